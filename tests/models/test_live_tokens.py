"""A stage drops or merges, and knows what every token stands for."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynamicvit.budget import KeepMass
from dynamicvit.errors import SettingError
from dynamicvit.models.live_tokens import LiveTokens
from dynamicvit.models.merging import Merge
from dynamicvit.models.selectors import (
    AttentionRecord,
    GridSelector,
    PredictorSelector,
    SelectionContext,
    TokenMerger,
    reduce_tokens,
)

TOKENS = torch.tensor([[[9.0], [0.0], [1.0], [2.0], [3.0]]])  # the class token and four patches


def context(live):
    def predict(patches):
        return torch.cat([patches, -patches], dim=-1).log_softmax(-1)

    return SelectionContext(
        stage=0,
        live=live,
        grid=(2, 2),
        predict=predict,
        attention=lambda: AttentionRecord(live.tokens[:, None] - 1.5, live.tokens[:, None] - 1.5),
    )


def test_dropping_keeps_the_best_first_behind_the_class_token():
    live = LiveTokens.all_of(TOKENS)
    after, scores = reduce_tokens(context(live), PredictorSelector(), lambda _: 2)
    assert after.tokens.flatten().tolist() == [9, 3, 2]
    assert after.patches.tolist() == [[3, 2]]
    assert (after.groups, after.sizes, after.key_bias) == (None, None, None)
    assert scores.shape == (1, 4)


def test_merging_averages_by_size_and_leaves_the_class_token():
    live = LiveTokens.all_of(TOKENS)
    once = live.merge(Merge(torch.tensor([[0, 1, 3]]), torch.tensor([[0, 1, 1, 2]])))
    assert once.tokens.flatten().tolist() == [9, 0, 1.5, 3]
    assert once.patches.tolist() == [[0, 1, 3]]
    assert once.sizes.tolist() == [[1, 2, 1]]
    twice = once.merge(Merge(torch.tensor([[0, 2]]), torch.tensor([[0, 1, 1]])))
    assert twice.tokens.flatten().tolist() == [9, 0, 2]  # the mean of 1, 2 and 3
    assert twice.groups.tolist() == [[0, 1, 1, 1]]
    assert twice.sizes.tolist() == [[1, 3]]
    torch.testing.assert_close(twice.key_bias.exp(), torch.tensor([[1.0, 1.0, 3.0]]))


def test_a_merged_tokens_score_is_its_share_in_the_new_one():
    live = LiveTokens.all_of(TOKENS)
    after, scores = reduce_tokens(context(live), TokenMerger(), lambda _: 2)
    assert after.sizes.sum() == 4
    torch.testing.assert_close(scores, 1 / after.sizes.gather(1, after.groups))


def test_nothing_to_merge_leaves_the_tokens_untouched():
    live = LiveTokens.all_of(TOKENS)
    after, scores = reduce_tokens(context(live), TokenMerger(), lambda _: 4)
    assert after.tokens is live.tokens
    assert after.sizes is None
    assert after.groups.tolist() == [[0, 1, 2, 3]]
    assert scores.tolist() == [[1, 1, 1, 1]]


def test_the_adaptive_mode_asks_the_predictor_how_many():
    live = LiveTokens.all_of(TOKENS)
    after, _ = reduce_tokens(context(live), PredictorSelector(), partial(KeepMass(0.5).count, 0, 1, 4))
    assert after.patches.tolist() == [[3, 2]]


@pytest.mark.parametrize("selector", [GridSelector(), TokenMerger()])
def test_the_adaptive_mode_is_refused_to_everything_else(selector):
    live = LiveTokens.all_of(TOKENS)
    with pytest.raises(SettingError, match="give a keep ratio"):
        reduce_tokens(context(live), selector, partial(KeepMass(0.5).count, 0, 1, 4))


@given(live=st.integers(1, 40), share=st.floats(0, 1), seed=st.integers(0, 1000))
def test_the_best_scores_are_kept_best_first(live, share, seed):
    scores = torch.randn(3, live, generator=torch.Generator().manual_seed(seed))
    count = max(1, int(live * share))
    kept = scores.gather(1, LiveTokens.all_of(torch.zeros(3, 1 + live, 2)).keep(scores, count).patches)
    best = scores.sort(dim=1, descending=True).values[:, :count]
    assert torch.equal(kept.sort(dim=1, descending=True).values, best)
    if count < live:
        assert torch.equal(kept, best)


def test_keeping_everything_keeps_the_order():
    live = LiveTokens.all_of(TOKENS)
    assert live.keep(torch.tensor([[0.1, 0.9, 0.5, 0.2]]), 4) is live
