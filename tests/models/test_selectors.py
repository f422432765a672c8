"""Selectors score the live tokens, alike for alike arguments."""

from dataclasses import replace

import pytest
import torch

from dynamicvit.errors import SettingError
from dynamicvit.models.live_tokens import LiveTokens
from dynamicvit.models.selectors import (
    SELECTORS,
    AttentionRecord,
    GridSelector,
    RandomSelector,
    SelectionContext,
    create_selector,
)


def context(live, grid=(4, 4), stage=0):
    patches = torch.tensor(live)
    return SelectionContext(
        stage,
        LiveTokens(torch.zeros(len(live), 1 + patches.shape[1], 8), patches),
        grid,
        predict=lambda x: x[..., :2],
        attention=lambda: pytest.fail("nobody asked for attention"),
    )


def test_random_scores_repeat_for_a_seed_and_differ_between_seeds_stages_and_images():
    everything = [list(range(16))] * 2
    scores = RandomSelector(1)(context(everything))
    assert torch.equal(scores, RandomSelector(1)(context(everything)))
    assert not torch.equal(scores, RandomSelector(2)(context(everything)))
    assert not torch.equal(scores, RandomSelector(1)(context(everything, stage=1)))
    assert not torch.equal(scores[0], scores[1])


def test_random_scores_belong_to_patches_not_positions():
    forward = RandomSelector(1)(context([[0, 5, 9]]))
    backward = RandomSelector(1)(context([[9, 5, 0]]))
    assert torch.equal(forward, backward.flip(1))


@pytest.mark.parametrize("count", [4, 16, 49])
def test_the_grid_selector_spreads_its_choice_over_the_picture(count):
    everything = [list(range(196))]
    best = GridSelector()(context(everything, grid=(14, 14)))[0].topk(count).indices
    halves = torch.tensor([(best // 14 < 7).sum(), (best % 14 < 7).sum()])
    assert ((halves - count / 2).abs() <= max(1, 0.15 * count)).all()


def test_every_patch_has_its_own_place_in_the_grid_order():
    scores = GridSelector()(context([list(range(16))]))
    assert scores.unique().numel() == 16


def test_the_class_attention_selector_scores_by_it_alone():
    record = AttentionRecord(torch.randn(1, 2, 17, 4), torch.randn(1, 2, 17, 4))
    scores = create_selector("class-attention")(replace(context([list(range(16))]), attention=lambda: record))
    assert torch.equal(scores, record.class_weights())


def test_the_merger_says_where_every_token_goes():
    keys = torch.randn(1, 1, 17, 4, generator=torch.Generator().manual_seed(0))
    asked = replace(context([list(range(16))]), attention=lambda: AttentionRecord(keys, keys))
    merge = create_selector("merging").merge(asked, 5)
    assert merge.survivors.shape == (1, 5)
    assert sorted(merge.groups[0].unique().tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", SELECTORS)
def test_selectors_of_one_name_are_alike(name):
    assert create_selector(name, seed=3) == create_selector(name, seed=3)


def test_an_unknown_selector_lists_the_known_ones():
    with pytest.raises(SettingError, match="predictor, random, grid"):
        create_selector("magic")
