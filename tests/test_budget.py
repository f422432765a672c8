"""Keep ratios become token counts as in the paper, and nonsense is refused in words."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamicvit.budget import BaseRatio, KeepMass, Schedule, StageRatios, as_budget, budget_from_json
from dynamicvit.errors import SettingError


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
    assert as_budget(ratio).counts(Schedule(3), 196) == counts


def test_powers_are_taken_before_truncation():
    assert as_budget(0.7).counts(Schedule(2), 100) == (70, 48)
    assert as_budget((0.7, 0.49)).counts(Schedule(2), 100) == (70, 49)


@pytest.mark.parametrize(
    ("ratio", "counts"), [(0.7, (137, 97, 58)), (0.9, (176, 137, 98)), (1.0, (196, 156, 117)), (0.3, (58, 19, 1))]
)
def test_196_positions_of_a_hierarchical_model_are_divided_as_published(ratio, counts):
    """0.7 - 0.2 is a little below a half: 97, not 98."""
    assert as_budget(ratio).counts(Schedule(3, step=0.2), 196) == counts


@given(
    ratio=st.floats(0, 1, exclude_min=True),
    patches=st.integers(1, 5000),
    stages=st.integers(1, 6),
    step=st.sampled_from([None, 0.2, 0.5]),
)
def test_counts_are_positive_and_never_increase(ratio, patches, stages, step):
    counts = as_budget(ratio).counts(Schedule(stages, step), patches)
    assert all(1 <= count <= patches for count in counts)
    assert list(counts) == sorted(counts, reverse=True)


@pytest.mark.parametrize(
    "ratio",
    [
        *[0, -0.1, 1.0001, math.nan, math.inf, 10**400, "0.7", None],
        *[(0.7,), (0.5, 0.6, 0.4), (0.7, 0.5, 0), (0.7, "a", 0.1), (0.7, 0.5, 10**400)],
    ],
)
def test_a_ratio_that_makes_no_sense_is_refused(ratio):
    with pytest.raises(SettingError, match="keep ratio"):
        as_budget(ratio).ratios(Schedule(3))


@pytest.mark.parametrize(
    ("schedule", "terms"),
    [
        (Schedule(3), ("r", "r²", "r³")),
        (Schedule(4), ("r", "r²", "r³", "r⁴")),
        (Schedule(3, step=0.2), ("r", "r − 0.2", "r − 0.4")),  # noqa: RUF001
        (Schedule(0), ()),
    ],
)
def test_the_ratios_of_the_stages_can_be_written(schedule, terms):
    assert schedule.terms == terms


def test_ratios_may_increase_where_positions_come_back():
    assert as_budget((0.5, 1.0, 0.25)).counts(Schedule(3, step=0.2), 100) == (50, 100, 25)


def adaptive_count(share, log_probs):
    return KeepMass(share).count(0, Schedule(3), 196, log_probs)


class TestKeepMass:
    """The adaptive mode."""

    @settings(deadline=None)
    @given(
        odds=st.lists(st.floats(-40, 40), min_size=1, max_size=60),
        shares=st.tuples(st.floats(0, 1, exclude_min=True), st.floats(0, 1, exclude_min=True)),
    )
    def test_a_larger_share_never_keeps_fewer_and_at_least_one_stays(self, odds, shares):
        log_probs = F.logsigmoid(torch.tensor([odds]))
        few, many = (adaptive_count(share, log_probs) for share in sorted(shares))
        assert 1 <= few <= many <= len(odds)

    def test_the_kept_tokens_hold_the_share_and_one_less_would_not(self):
        odds = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0], dtype=torch.float64)  # mean 0: the probabilities stay
        probabilities = odds.sigmoid()
        held = probabilities.cumsum(0) / probabilities.sum()
        assert held[1] < 0.7 < held[2]
        assert adaptive_count(0.7, F.logsigmoid(odds)[None]) == 3

    @settings(deadline=None)
    @given(level=st.floats(-6, 6), seed=st.integers(0, 1000))
    def test_the_level_of_the_scores_does_not_matter(self, level, seed):
        odds = torch.randn(1, 50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert adaptive_count(0.8, F.logsigmoid(odds)) == adaptive_count(0.8, F.logsigmoid(odds + level))

    def test_tokens_that_are_all_alike_are_kept_to_that_share(self):
        assert adaptive_count(0.25, torch.full((1, 100), -0.5)) == 25

    def test_predictors_that_are_sure_keep_that_share_of_what_they_want(self):
        log_probs = F.logsigmoid(torch.tensor([[9.0] * 60 + [-9.0] * 40]))
        assert adaptive_count(0.94, log_probs) == 57

    def test_one_token_cannot_take_the_place_of_many(self):
        log_probs = F.logsigmoid(torch.tensor([[20.0] + [6.0] * 49 + [-6.0] * 50]))
        assert 40 <= adaptive_count(0.9, log_probs) <= 50

    def test_all_of_it_keeps_everything_however_little_some_tokens_hold(self):
        log_probs = torch.tensor([[0.0, -1e-9, -60.0, -100.0]])
        assert adaptive_count(1.0, log_probs) == 4

    def test_several_pictures_are_refused(self):
        with pytest.raises(SettingError, match="one at a time, not 2"):
            adaptive_count(0.5, torch.zeros(2, 4))

    @pytest.mark.parametrize("share", [0, -1, 1.01, math.nan, math.inf, 10**400, "0.5", None])
    def test_a_share_that_makes_no_sense_is_refused(self, share):
        with pytest.raises(SettingError, match="share"):
            KeepMass(share)

    def test_a_model_without_stages_is_refused(self):
        for budget in (KeepMass(0.5), BaseRatio(0.5)):
            with pytest.raises(SettingError, match="no pruning stages"):
                budget.check(Schedule(0))

    def test_counts_are_asked_for_in_vain_without_scores(self):
        for ask in (
            lambda: KeepMass(0.5).counts(Schedule(3), 196),
            lambda: KeepMass(0.5).count(0, Schedule(3), 196, None),
        ):
            with pytest.raises(SettingError, match="give a keep ratio"):
                ask()

    def test_what_was_kept_is_a_ratio_for_each_stage(self):
        assert KeepMass(0.5).realised((137, 96, 67), 196).counts(Schedule(3), 196) == (137, 96, 67)
        assert BaseRatio(0.7).realised((137, 96, 67), 196) == BaseRatio(0.7)


BUDGETS = st.one_of(
    st.floats(0, 1, exclude_min=True).map(BaseRatio),
    st.floats(0, 1, exclude_min=True).map(KeepMass),
    st.lists(st.floats(0, 1, exclude_min=True), min_size=1, max_size=6).map(
        lambda ratios: StageRatios(tuple(sorted(ratios, reverse=True)))
    ),
)


@given(BUDGETS)
def test_a_budget_survives_json(budget):
    assert budget_from_json(json.loads(json.dumps(budget.to_json()))) == budget


@given(BUDGETS)
def test_a_budget_is_its_own_budget_and_says_what_it_is(budget):
    assert as_budget(budget) is budget
    assert budget.label.startswith("keep mass" if budget.is_adaptive else "keep ratio")
    assert all(f"{number:.2f}" in budget.label for number in budget.numbers)


@pytest.mark.parametrize("data", [{}, {"keep_ratio": 0.7, "keep_mass": 0.7}, {"keep_ratio": None}, {"keep_mass": "x"}])
def test_json_of_no_budget_is_refused(data):
    with pytest.raises(SettingError):
        budget_from_json(data)
