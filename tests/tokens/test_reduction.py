"""A stage drops or merges, and knows what every token stands for."""

import pytest
import torch

from dynamicvit.errors import SettingError
from dynamicvit.tokens.merging import Merge
from dynamicvit.tokens.reduction import LiveTokens, reduce_tokens
from dynamicvit.tokens.schedule import KeepMass
from dynamicvit.tokens.selectors import GridSelector, PredictorSelector, SelectionContext, TokenMerger

TOKENS = torch.tensor([[[9.0], [0.0], [1.0], [2.0], [3.0]]])  # the class token and four patches


def context(live):
    def predict(patches):
        return torch.cat([patches, -patches], dim=-1).log_softmax(-1)

    return SelectionContext(
        stage=0,
        tokens=live.tokens[:, 1:],
        live_patches=live.patches,
        grid=(2, 2),
        predict=predict,
        class_attention=lambda: pytest.fail("nobody asked for attention"),
        keys=lambda: live.tokens[:, 1:] - 1.5,
        sizes=live.patch_sizes,
    )


def test_dropping_keeps_the_best_first_behind_the_class_token():
    live = LiveTokens.all_of(TOKENS)
    after, scores = reduce_tokens(live, context(live), PredictorSelector(), 2)
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
    after, scores = reduce_tokens(live, context(live), TokenMerger(), 2)
    assert after.sizes.sum() == 4
    torch.testing.assert_close(scores, 1 / after.sizes.gather(1, after.groups))


def test_nothing_to_merge_leaves_the_tokens_untouched():
    live = LiveTokens.all_of(TOKENS)
    after, scores = reduce_tokens(live, context(live), TokenMerger(), 4)
    assert after.tokens is live.tokens
    assert after.sizes is None
    assert after.groups.tolist() == [[0, 1, 2, 3]]
    assert scores.tolist() == [[1, 1, 1, 1]]


def test_the_adaptive_mode_asks_the_predictor_how_many():
    live = LiveTokens.all_of(TOKENS)
    after, _ = reduce_tokens(live, context(live), PredictorSelector(), KeepMass(0.5))
    assert after.patches.tolist() == [[3, 2]]


@pytest.mark.parametrize("selector", [GridSelector(), TokenMerger()])
def test_the_adaptive_mode_is_refused_to_everything_else(selector):
    live = LiveTokens.all_of(TOKENS)
    with pytest.raises(SettingError, match="give a keep ratio"):
        reduce_tokens(live, context(live), selector, KeepMass(0.5))
