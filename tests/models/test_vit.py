"""Properties of the model that hold for any weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamicvit.budget import KeepMass
from dynamicvit.errors import ImageError, SettingError
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.registry import create_model
from dynamicvit.models.selectors import ClassAttentionSelector, GridSelector, RandomSelector, TokenMerger
from dynamicvit.training.choice import TrainingChoice

TINY = ModelConfig(
    image_size=32, patch_size=8, embed_dim=24, depth=6, num_heads=3, num_classes=7, prune_locations=(1, 3, 5)
)
VARIANTS = {
    "deit": TINY,
    "lvvit": ModelConfig(**{**vars(TINY), "embedding": "lvvit", "has_aux_head": True, "residual_divisor": 2.0}),
}


def tiny_model(variant="deit", seed=0):
    """Build a small model whose weights are large enough that every part matters."""
    torch.manual_seed(seed)
    model = create_model(VARIANTS[variant])
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def pictures(batch=2, height=32, width=32, seed=1):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("variant", VARIANTS)
def test_keep_ratio_one_equals_the_dense_model_exactly(variant):
    model, images = tiny_model(variant), pictures()
    with torch.no_grad():
        output = model.forward_stages(images, 1.0)
        assert torch.equal(output.logits, model(images))
    assert [stage.kept_patches.shape[1] for stage in output.stages] == [16, 16, 16]


@settings(max_examples=25, deadline=None)
@given(
    ratio=st.floats(0.01, 1.0),
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    selector=st.sampled_from([None, RandomSelector(3), GridSelector()]),
)
def test_stages_are_nested_and_count_the_initial_tokens(ratio, rows, columns, selector):
    model = tiny_model()
    with torch.no_grad():
        output = model.forward_stages(pictures(2, rows * 8, columns * 8), ratio, selector)
    assert output.grid == (rows, columns)
    previous = {image: set(range(rows * columns)) for image in range(2)}
    for number, stage in enumerate(output.stages):
        expected = max(1, int(rows * columns * ratio ** (number + 1)))
        for image in range(2):
            kept = stage.kept_patches[image].tolist()
            assert len(kept) == len(set(kept)) == expected
            assert set(stage.live_patches[image].tolist()) == previous[image]
            assert set(kept) <= previous[image]
            previous[image] = set(kept)


@pytest.mark.parametrize("ratio", [0.8, 0.5, 0.2])
def test_masked_training_attention_equals_really_dropping_the_tokens(ratio):
    model, images = tiny_model(), pictures()
    with torch.no_grad():
        pruned = model.forward_stages(images, ratio)
        noise = []
        for stage in pruned.stages:
            certain = torch.full((2, 16, 2), 0.0)
            certain[..., 1] = 1e4
            for image in range(2):
                certain[image, stage.kept_patches[image]] = torch.tensor([2e4, 0.0])
            noise.append(certain)
        masked = model.forward_training(images, TrainingChoice(noise))
    torch.testing.assert_close(masked.logits, pruned.logits, atol=1e-5, rtol=1e-5)


def test_with_next_to_no_noise_training_keeps_what_inference_keeps():
    model, images = tiny_model(), pictures()
    ratio = 0.5
    with torch.no_grad():
        pruned = model.forward_stages(images, ratio)
        ratios = [len(stage.kept_patches[0]) / 16 for stage in pruned.stages]
        trained = model.forward_training(images, TrainingChoice(ratios=ratios, noise_scale=1e-6))
        noisy = model.forward_training(images, TrainingChoice(ratios=ratios))
    for stage, decision in zip(pruned.stages, trained.decisions, strict=True):
        kept = [set(row.nonzero().flatten().tolist()) for row in decision]
        assert kept == [set(row.tolist()) for row in stage.kept_patches]
    assert any((a > 0.5).ne(b > 0.5).any() for a, b in zip(trained.decisions, noisy.decisions, strict=True))


def test_dropped_tokens_are_not_computed_on():
    model, images = tiny_model(), pictures()
    lengths = []
    handles = [
        block.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1])) for block in model.blocks
    ]
    with torch.no_grad():
        model(images, 0.5)
    for handle in handles:
        handle.remove()
    assert lengths == [17, 9, 9, 5, 5, 3]


def test_scores_are_log_probabilities_of_keeping():
    with torch.no_grad():
        output = tiny_model().forward_stages(pictures(), 0.5)
    for stage in output.stages:
        assert (stage.keep_scores <= 0).all()
        kept = stage.keep_scores.sort(descending=True).values[:, stage.kept_patches.shape[1] - 1]
        assert (stage.keep_scores.ge(kept[:, None]).sum(1) == stage.kept_patches.shape[1]).all()


def test_the_model_keeps_no_state_between_calls():
    model, images = tiny_model(), pictures()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        first = model(images)
        model(images, 0.3, RandomSelector(5))
        model(images, (0.9, 0.9, 0.1))
        assert torch.equal(model(images), first)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_all_dropped_mask_gives_finite_outputs_and_gradients():
    model, images = tiny_model(), pictures()
    drop_everything = torch.zeros(2, 16, 2)
    drop_everything[..., 1] = 1e4
    output = model.forward_training(images, TrainingChoice([drop_everything] * 3))
    assert all(decision.max() == 0 for decision in output.decisions)
    output.logits.sum().backward()
    assert torch.isfinite(output.logits).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def explicit_class_attention(block, x):
    """The class token's row of softmax attention, formed whole, and averaged over heads."""
    query, key, _ = block.attn.qkv(block.norm1(x)).chunk(3, dim=-1)
    weights = []
    for q, k in zip(query.chunk(3, dim=-1), key.chunk(3, dim=-1), strict=True):
        weights.append((q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(dim=-1))
    return torch.stack(weights).mean(0)[:, 0, 1:]


@pytest.mark.parametrize("variant", ["deit", "lvvit"])
def test_class_attention_is_that_of_the_block_before_the_stage(variant):
    model, images = tiny_model(variant), pictures()
    inputs = []
    handles = [block.register_forward_pre_hook(lambda _, given: inputs.append(given[0])) for block in model.blocks]
    with torch.no_grad():
        output = model.forward_stages(images, 0.6, ClassAttentionSelector())
        for stage in output.stages:
            before = explicit_class_attention(model.blocks[stage.block - 1], inputs[stage.block - 1])
            torch.testing.assert_close(stage.keep_scores, before)
    for handle in handles:
        handle.remove()


def test_before_the_first_block_class_attention_is_what_that_block_would_pay():
    torch.manual_seed(0)
    model, images = create_model(TINY, prune_locations=(0,)), pictures()
    with torch.no_grad():
        stage = model.forward_stages(images, 0.5, ClassAttentionSelector()).stages[0]
        expected = explicit_class_attention(model.blocks[0], model.embed(images)[0])
    torch.testing.assert_close(stage.keep_scores, expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_merging_down_to_everything_equals_the_dense_model_exactly(variant):
    model, images = tiny_model(variant), pictures()
    with torch.no_grad():
        output = model.forward_stages(images, 1.0, TokenMerger())
        assert torch.equal(output.logits, model(images))
    assert output.stages[-1].groups.tolist() == [list(range(16))] * 2


@settings(max_examples=15, deadline=None)
@given(ratio=st.floats(0.01, 1.0), first=st.sampled_from([0, 1]))
def test_merged_tokens_stand_for_all_patches_between_them(ratio, first):
    model = tiny_model() if first else create_model(TINY, prune_locations=(0, 2, 4))
    with torch.no_grad():
        output = model.forward_stages(pictures(), ratio, TokenMerger())
    before = torch.arange(16).expand(2, 16)
    for number, stage in enumerate(output.stages):
        count = max(1, int(16 * ratio ** (number + 1)))
        assert stage.kept_patches.shape == (2, count)
        assert torch.equal(stage.groups.gather(1, stage.kept_patches), torch.arange(count).expand(2, count))
        for image in range(2):
            assert stage.groups[image].unique().numel() == count
            # what went together stays together
            pairs = set(zip(before[image].tolist(), stage.groups[image].tolist(), strict=True))
            assert len(pairs) == before[image].unique().numel()
        before = stage.groups


def test_merging_patches_that_are_all_the_same_changes_nothing():
    """Proportional attention counts a merged token as its parts."""
    model = tiny_model().double()
    with torch.no_grad():
        model.pos_embed[:, 1:] = model.pos_embed[:, 1:2]
        images = pictures().double()[..., :1, :1].expand(2, 3, 32, 32)
        torch.testing.assert_close(model(images, 0.5, TokenMerger()), model(images))
        assert not torch.allclose(model(images, 0.5, GridSelector()), model(images))


def test_the_adaptive_mode_keeps_what_the_picture_needs():
    model = tiny_model()
    counts = {}
    with torch.no_grad():
        for predictor in model.score_predictor:
            predictor.out_conv[-2].weight.mul_(30)  # scores that differ as those of a trained predictor do
        for share in (0.2, 0.6, 1.0):
            for seed in range(4):
                stages = model.forward_stages(pictures(1, 64, 64, seed), KeepMass(share)).stages
                counts[share, seed] = [stage.kept_patches.shape[1] for stage in stages]
                assert counts[share, seed] == sorted(counts[share, seed], reverse=True)
        assert torch.equal(model(pictures(1), KeepMass(1.0)), model(pictures(1)))
    assert all(counts[0.2, seed][0] < counts[0.6, seed][0] < 64 for seed in range(4))
    assert all(counts[1.0, seed] == [64, 64, 64] for seed in range(4))
    assert len({counts[0.6, seed][0] for seed in range(4)}) > 1


def test_the_adaptive_mode_is_for_one_picture_at_a_time():
    with pytest.raises(SettingError, match="one at a time, not 2"):
        tiny_model()(pictures(2), KeepMass(0.5))


def test_position_embedding_follows_the_image_size():
    model = tiny_model()
    with torch.no_grad():
        assert model(pictures(1, 64, 48)).shape == (1, 7)


@pytest.mark.parametrize("shape", [(2, 3, 33, 32), (2, 3, 4, 32), (3, 32, 32), (2, 1, 32, 32)])
def test_images_that_do_not_fit_are_refused_with_their_shape(shape):
    with pytest.raises(ImageError, match=r"\d"):
        tiny_model()(torch.zeros(shape))


def test_images_that_are_not_normalised_numbers_are_refused():
    with pytest.raises(ImageError, match="uint8"):
        tiny_model()(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def test_pruning_a_dense_model_is_refused():
    model = create_model(TINY, prune_locations=())
    with pytest.raises(SettingError, match="no pruning stages"):
        model(pictures(), 0.7)


def test_a_selector_may_ask_a_later_predictor_first():
    def only_in_the_last_stage(context):
        return context.predict(context.patches)[..., 0] if context.stage == 2 else context.patches[..., 0]

    with torch.no_grad():
        output = tiny_model().forward_stages(pictures(2), 0.7, only_in_the_last_stage)
    assert [stage.kept_patches.shape[1] for stage in output.stages] == [11, 7, 5]


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_scores_tokens_as_inference_does(variant):
    model, images = tiny_model(variant), pictures()
    with torch.no_grad():
        asked = []

        def choose(stage, log_probs, keep_mask):
            asked.append(log_probs[..., 0])
            return keep_mask

        model.forward_training(images, choose)
        log_probs = model.forward_stages(images, 0.5).stages[0].keep_scores
    torch.testing.assert_close(asked[0], log_probs, atol=1e-3, rtol=1e-3)
