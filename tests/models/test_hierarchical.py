"""What holds for a slow and a fast path whatever the weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamicvit.budget import KeepMass
from dynamicvit.errors import ImageError, SettingError
from dynamicvit.models.config import ConvNeXtConfig, SwinConfig
from dynamicvit.models.registry import create_model
from dynamicvit.models.selectors import SELECTORS, GridSelector, RandomSelector, create_selector
from dynamicvit.models.swin import relative_position_index, shift_mask

SMALL = {"image_size": 128, "widths": (4, 8, 16, 32), "depths": (1, 2, 5, 2), "num_classes": 7}
CONFIGS = {
    "convnext": ConvNeXtConfig(**SMALL, prune_locations=(1, 2, 4)),
    "swin": SwinConfig(**SMALL, heads=(1, 2, 4, 4), window_size=4, prune_locations=(1, 2, 4)),
}


def small_model(family, **changes):
    """Build a small model whose weights are large enough that every part matters."""
    torch.manual_seed(0)
    model = create_model(CONFIGS[family], **changes)
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def images(batch=2, height=128, width=128, seed=1):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("family", CONFIGS)
@settings(max_examples=10, deadline=None)
@given(ratio=st.floats(0.01, 1.0), selector=st.sampled_from([None, RandomSelector(3), GridSelector()]))
def test_every_stage_divides_all_positions(family, ratio, selector):
    model = small_model(family)
    with torch.no_grad():
        output = model.forward_stages(images(), ratio, selector)
    assert output.grid == (8, 8)
    assert output.final_tokens.shape == (2, 16, 32)
    for number, stage in enumerate(output.stages):
        assert stage.kept_patches.shape[1] == max(1, int(64 * max(0.0, ratio - 0.2 * number)))
        for slow, fast in zip(stage.kept_patches, stage.fast_patches, strict=True):
            assert sorted([*slow.tolist(), *fast.tolist()]) == list(range(64))
        least_kept = stage.keep_scores.gather(1, stage.kept_patches).amin(dim=1)
        if stage.fast_patches.shape[1]:
            assert (stage.keep_scores.gather(1, stage.fast_patches).amax(dim=1) <= least_kept).all()


@pytest.mark.parametrize("family", CONFIGS)
def test_a_position_can_come_back_to_the_slow_path(family):
    with torch.no_grad():
        first, second, _ = small_model(family).forward_stages(images(), (0.5, 0.5, 0.5)).stages
    assert set(second.kept_patches[0].tolist()) - set(first.kept_patches[0].tolist())


@pytest.mark.parametrize("family", CONFIGS)
def test_all_positions_on_the_slow_path_equal_the_dense_twin_exactly(family):
    model = small_model(family)
    twin = create_model(model.config.dense())
    weights = model.state_dict()
    twin.load_state_dict({name: weights[name] for name in twin.state_dict()})
    assert not any("fast" in name or "predictor" in name for name in twin.state_dict())
    with torch.no_grad():
        expected = twin(images())
        assert torch.equal(model(images()), expected)
        assert torch.equal(model(images(), (1.0, 1.0, 1.0)), expected)
        assert not torch.allclose(model(images(), (1.0, 1.0, 0.9)), expected)


@pytest.mark.parametrize("family", CONFIGS)
def test_while_no_position_changes_its_path_training_gives_the_logits_of_inference(family):
    model = small_model(family, prune_locations=(1,))
    with torch.no_grad():
        output = model.forward_stages(images(), 0.6)
        is_slow = torch.zeros(2, 64).scatter(1, output.stages[0].kept_patches, 1.0)
        trained = model.forward_training(images(), lambda stage, log_probs, keep_mask: is_slow)
    torch.testing.assert_close(trained.logits, output.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(trained.token_outputs, output.final_tokens, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", CONFIGS)
def test_in_training_every_position_may_be_chosen_anew(family):
    asked = []

    def choose(stage, log_probs, keep_mask):
        asked.append(keep_mask)
        return torch.zeros_like(keep_mask)

    with torch.no_grad():
        output = small_model(family).forward_training(images(), choose)
    assert [mask.min().item() for mask in asked] == [1, 1, 1]
    assert torch.isfinite(output.logits).all()


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("is_whole", [True, False], ids=["weights too", "autocast"])
def test_half_precision_gives_nearly_the_same(family, is_whole):
    model = small_model(family)
    with torch.no_grad():
        expected = model(images(), 0.5, GridSelector())
        if is_whole:
            logits = model.bfloat16()(images().bfloat16(), 0.5, GridSelector())
        else:
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(images(), 0.5, GridSelector())
    assert (logits.float() - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize("family", CONFIGS)
def test_slow_layers_run_on_the_slow_positions_alone(family):
    model = small_model(family)
    lengths = []
    for block in model.path_blocks:
        slow = block.pwconv1 if family == "convnext" else block.mlp
        slow.register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    with torch.no_grad():
        model(images(), 0.5)
    assert lengths == [64, 32, 19, 19, 6]  # int(64 * (0.5 - 0.2)) is 19, int(64 * (0.5 - 0.4)) is 6


@pytest.mark.parametrize("family", CONFIGS)
def test_the_image_may_decide_how_many_take_the_slow_path(family):
    model = small_model(family)
    with torch.no_grad():
        few, many = (model.forward_stages(images(1), KeepMass(share)).stages for share in (0.2, 0.8))
        assert torch.equal(model(images(1), KeepMass(1.0)), model(images(1)))
    assert all(a.kept_patches.shape[1] < b.kept_patches.shape[1] for a, b in zip(few, many, strict=True))


@pytest.mark.parametrize("name", SELECTORS)
@pytest.mark.parametrize("family", CONFIGS)
def test_selectors_work_or_are_refused_in_a_sentence(family, name):
    model = small_model(family)
    if name in model.selectors:
        with torch.no_grad():
            assert torch.isfinite(model(images(), 0.5, create_selector(name))).all()
    else:
        with pytest.raises(SettingError, match=r"(slow and a fast path|no class token).*[Cc]hoose the selector"):
            model(images(), 0.5, create_selector(name))


def test_convnext_takes_any_size_of_whole_positions():
    with torch.no_grad():
        output = small_model("convnext").forward_stages(images(1, 112, 160), 0.5)
    assert output.grid == (7, 10)
    assert output.final_tokens.shape == (1, 3 * 5, 32)


def test_a_swin_with_larger_images_masks_what_wraps_around_there():
    """The stored mask is that of one size; whole windows of a larger map must agree with a model built for it."""
    model, larger = small_model("swin"), create_model(CONFIGS["swin"], image_size=256)
    weights = {name: tensor for name, tensor in model.state_dict().items() if "attn_mask" not in name}
    # With one window the fourth stage of the small model does not shift; the large one's would.
    for block in [*larger.layers[3].blocks]:
        block.shift, block.attn_mask = 0, None
    larger.load_state_dict(weights, strict=False)
    with torch.no_grad():
        torch.testing.assert_close(model(images(1, 256, 256), 0.5), larger(images(1, 256, 256), 0.5))
        assert model(images(1, 128, 256), 0.5).shape == (1, 7)


@pytest.mark.parametrize(
    ("family", "shape"),
    [("convnext", (1, 3, 40, 64)), ("convnext", (1, 3, 16, 64)), ("swin", (1, 3, 128, 160)), ("swin", (3, 128, 128))],
)
def test_images_that_do_not_fit_are_refused_with_their_shape(family, shape):
    with pytest.raises(ImageError, match=r"\d"):
        small_model(family)(torch.zeros(shape))


def test_relative_positions_of_a_window_of_two():
    # Keys by columns: the same place, one to the left, one up, and both are offsets (1, 1), (1, 2), (2, 1), (2, 2).
    assert relative_position_index(2).tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


def test_a_shifted_map_of_two_windows_separates_what_was_at_opposite_borders():
    mask = shift_mask((4, 2), window=2, shift=1)
    assert mask.shape == (2, 4, 4)
    # One column of windows: its two columns are a border each, so only rows of one column see each other ...
    assert (mask[0] == 0).tolist() == [[i % 2 == j % 2 for j in range(4)] for i in range(4)]
    # ... and in the last window the rows come from the two ends of the map.
    assert (mask[1] == 0).tolist() == torch.eye(4, dtype=torch.bool).tolist()


@pytest.mark.parametrize("family", CONFIGS)
def test_a_model_has_all_its_parts(family):
    model = small_model(family)
    covered = {id(parameter) for _, _, module in model.parts() for parameter in module.parameters()}
    assert covered == {id(parameter) for parameter in model.parameters()}
    kinds = [(kind, number) for kind, number, _ in model.parts() if kind in ("block", "predictor")]
    assert kinds == [("predictor", n) for n in (1, 2, 3)] + [("block", n) for n in range(5)]


def test_drop_path_rises_over_all_blocks_and_acts_in_training_alone():
    model = small_model("convnext", drop_path_rate=0.9)
    rates = [block.drop_path.drop_prob for block in model.path_blocks]
    assert rates == sorted(rates)
    assert 0 < rates[0] < rates[-1] < 0.9
    with torch.no_grad():
        assert torch.equal(model(images(), 0.5), model(images(), 0.5))
        model.train()
        assert not torch.equal(model(images()), model(images()))
