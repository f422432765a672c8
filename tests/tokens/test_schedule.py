"""Keep ratios become token counts as in the paper, and nonsense is refused in words."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamicvit.errors import SettingError
from dynamicvit.tokens.schedule import KeepMass, stage_budgets, stage_ratios, tokens_kept


@pytest.mark.parametrize(
    ("ratio", "counts"),
    [
        (0.9, (176, 158, 142)),
        (0.8, (156, 125, 100)),
        (0.7, (137, 96, 67)),
        (0.6, (117, 70, 42)),
        (0.5, (98, 49, 24)),
        (1.0, (196, 196, 196)),
        (0.1, (19, 1, 1)),
    ],
)
def test_196_tokens_are_cut_as_published(ratio, counts):
    assert tokens_kept(196, stage_ratios(ratio, 3)) == counts


def test_powers_are_taken_before_truncation():
    assert tokens_kept(100, stage_ratios(0.7, 2)) == (70, 48)
    assert tokens_kept(100, stage_ratios((0.7, 0.49), 2)) == (70, 49)


@given(ratio=st.floats(0, 1, exclude_min=True), patches=st.integers(1, 5000), stages=st.integers(1, 6))
def test_counts_are_positive_and_never_increase(ratio, patches, stages):
    counts = tokens_kept(patches, stage_ratios(ratio, stages))
    assert all(1 <= count <= patches for count in counts)
    assert list(counts) == sorted(counts, reverse=True)


@pytest.mark.parametrize(
    "ratio", [0, -0.1, 1.0001, math.nan, math.inf, "0.7", None, (0.7,), (0.5, 0.6, 0.4), (0.7, 0.5, 0), (0.7, "a", 0.1)]
)
def test_a_ratio_that_makes_no_sense_is_refused(ratio):
    with pytest.raises(SettingError, match="keep ratio"):
        stage_ratios(ratio, 3)


class TestKeepMass:
    """The adaptive mode."""

    @settings(deadline=None)
    @given(
        odds=st.lists(st.floats(-40, 40), min_size=1, max_size=60),
        shares=st.tuples(st.floats(0, 1, exclude_min=True), st.floats(0, 1, exclude_min=True)),
    )
    def test_a_larger_share_never_keeps_fewer_and_at_least_one_stays(self, odds, shares):
        log_probs = F.logsigmoid(torch.tensor([odds]))
        few, many = (KeepMass(share).tokens_kept(log_probs) for share in sorted(shares))
        assert 1 <= few <= many <= len(odds)

    def test_the_kept_tokens_hold_the_share_and_one_less_would_not(self):
        odds = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0], dtype=torch.float64)  # mean 0: the probabilities stay
        probabilities = odds.sigmoid()
        held = probabilities.cumsum(0) / probabilities.sum()
        assert held[1] < 0.7 < held[2]
        assert KeepMass(0.7).tokens_kept(F.logsigmoid(odds)[None]) == 3

    @settings(deadline=None)
    @given(level=st.floats(-6, 6), seed=st.integers(0, 1000))
    def test_the_level_of_the_scores_does_not_matter(self, level, seed):
        odds = torch.randn(1, 50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert KeepMass(0.8).tokens_kept(F.logsigmoid(odds)) == KeepMass(0.8).tokens_kept(F.logsigmoid(odds + level))

    def test_tokens_that_are_all_alike_are_kept_to_that_share(self):
        assert KeepMass(0.25).tokens_kept(torch.full((1, 100), -0.5)) == 25

    def test_predictors_that_are_sure_keep_that_share_of_what_they_want(self):
        log_probs = F.logsigmoid(torch.tensor([[9.0] * 60 + [-9.0] * 40]))
        assert KeepMass(0.94).tokens_kept(log_probs) == 57

    def test_one_token_cannot_take_the_place_of_many(self):
        log_probs = F.logsigmoid(torch.tensor([[20.0] + [6.0] * 49 + [-6.0] * 50]))
        assert 40 <= KeepMass(0.9).tokens_kept(log_probs) <= 50

    def test_all_of_it_keeps_everything_however_little_some_tokens_hold(self):
        log_probs = torch.tensor([[0.0, -1e-9, -60.0, -100.0]])
        assert KeepMass(1.0).tokens_kept(log_probs) == 4

    def test_several_pictures_are_refused(self):
        with pytest.raises(SettingError, match="one at a time, not 2"):
            KeepMass(0.5).tokens_kept(torch.zeros(2, 4))

    @pytest.mark.parametrize("share", [0, -1, 1.01, math.nan, math.inf, "0.5", None])
    def test_a_share_that_makes_no_sense_is_refused(self, share):
        with pytest.raises(SettingError, match="share"):
            KeepMass(share)

    def test_every_stage_decides_for_itself(self):
        assert stage_budgets(KeepMass(0.5), 3, 196) == (KeepMass(0.5),) * 3
        assert stage_budgets(0.7, 3, 196) == (137, 96, 67)

    def test_a_model_without_stages_is_refused(self):
        with pytest.raises(SettingError, match="no pruning stages"):
            stage_budgets(KeepMass(0.5), 0, 196)
