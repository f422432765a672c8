"""Every kind of plain vision transformer of timm gives timm's answers, and then drops tokens without training."""

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamicvit.analysis.comparison import stem_macs
from dynamicvit.analysis.results import classify_dense
from dynamicvit.budget import KeepMass, as_budget
from dynamicvit.costs.closed_form import pruned_macs
from dynamicvit.costs.macs import MacCounter
from dynamicvit.errors import SettingError
from dynamicvit.models.config import Preprocessing, TimmViTConfig
from dynamicvit.models.registry import create_model
from dynamicvit.models.selectors import SELECTORS, TokenMerger, create_selector
from dynamicvit.models.timm_vit import describe_timm, from_timm

SMALL = {"embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 7}
# Kind: timm's name, and what is changed to make it small; heads differ where the width of a head matters.
KINDS = {
    "plain": ("vit_tiny_patch16_224", {"img_size": 64, **SMALL}),
    "deit": ("deit_tiny_patch16_224", {"img_size": 64, **SMALL}),
    "distilled": ("deit_tiny_distilled_patch16_224", {"img_size": 64, **SMALL}),
    "deit3": ("deit3_small_patch16_224", {"img_size": 64, **SMALL}),
    "dinov2": ("vit_small_patch14_dinov2", {"img_size": 56, **SMALL}),
    "dinov2 registers": ("vit_small_patch14_reg4_dinov2", {"img_size": 56, **SMALL}),
    "dinov2 features": ("vit_small_patch14_dinov2", {"img_size": 56, **SMALL, "num_classes": 0}),
    "clip": ("vit_base_patch16_clip_224", {"img_size": 64, **SMALL}),
    "clip quickgelu": ("vit_base_patch16_clip_quickgelu_224", {"img_size": 64, **SMALL}),
    "average": ("vit_tiny_patch16_224", {"img_size": 64, "global_pool": "avg", **SMALL}),
    "average, norm first": ("vit_medium_patch16_gap_256", {"img_size": 64, **SMALL}),
    "average, registers": ("vit_little_patch16_reg4_gap_256", {"img_size": 64, **SMALL}),
    "qk norm": ("vit_tiny_patch16_224", {"img_size": 64, "qk_norm": True, **SMALL}),
    "no qkv bias": ("vit_tiny_patch16_224", {"img_size": 64, "qkv_bias": False, **SMALL}),
    "odd mlp": ("vit_tiny_patch16_224", {"img_size": 64, **SMALL, "mlp_ratio": 89.3 / 48}),
}


def timm_model(kind, **changes):
    """Build a small model of timm whose weights are large enough that every part matters."""
    torch.manual_seed(0)
    name, arguments = KINDS[kind]
    model = timm.create_model(name, **(arguments | changes)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def images(model, batch=2, height=None, width=None):
    side = model.config.image_size
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, height or side, width or side, generator=generator)


@pytest.mark.parametrize("kind", KINDS)
def test_dense_and_at_ratio_one_the_logits_are_timms(kind):
    source = timm_model(kind)
    model = from_timm(source, (1, 2, 3))
    with torch.no_grad():
        expected = source(images(model))
        torch.testing.assert_close(model(images(model)), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model(images(model), 1.0), expected, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(model(images(model), 0.5), expected, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_other_image_sizes_resample_positions_as_timm_does(kind):
    source = timm_model(kind, dynamic_img_size=True)
    model = from_timm(source, (1, 2))
    patch = model.config.patch_size
    with torch.no_grad():
        larger = images(model, 1, 6 * patch, 5 * patch)
        torch.testing.assert_close(model(larger), source(larger), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_prefix_tokens_stay_and_stages_are_nested(kind):
    model = from_timm(timm_model(kind), (1, 3))
    lengths = []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    with torch.no_grad():
        first, second = model.forward_stages(images(model), 0.5).stages
    prefix = model.config.num_prefix_tokens
    assert [length - prefix for length in lengths] == [16, 8, 8, 4]
    for image in range(2):
        assert set(second.kept_patches[image].tolist()) < set(first.kept_patches[image].tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_it_chooses_by_attention_or_diversity_and_not_by_predictors(kind):
    model = from_timm(timm_model(kind), (1, 3))
    has_class_token = model.config.class_token
    default = create_selector("class-attention" if has_class_token else "diversity")
    with torch.no_grad():
        assert torch.equal(model(images(model), 0.5), model(images(model), 0.5, default))
        for name in SELECTORS:
            if name in model.selectors:
                assert model(images(model), 0.5, create_selector(name)).shape == (2, model.config.num_classes or 48)
            else:
                with pytest.raises(SettingError, match=r"no (predictors|class token).*choose"):
                    model(images(model), 0.5, create_selector(name))
    with pytest.raises(SettingError, match="give a keep ratio"):
        model(images(model, 1), KeepMass(0.5))


def test_without_predictors_there_are_no_weights_for_them_and_training_says_so():
    model = from_timm(timm_model("plain"), (1, 3))
    assert not any("predictor" in name for name in model.state_dict())
    with pytest.raises(SettingError, match="no predictors, they have to be trained"):
        model.forward_training(images(model))


@pytest.mark.parametrize("kind", KINDS)
def test_with_predictors_masking_in_training_equals_dropping(kind):
    source = from_timm(timm_model(kind), (1, 3))
    model = create_model(source.config, has_predictors=True)
    missing, unexpected = model.load_state_dict(source.state_dict(), strict=False)
    assert not unexpected
    assert all("score_predictor" in name for name in missing)
    for parameter in model.score_predictor.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        output = model.forward_stages(images(model), 0.5)
        masks = [torch.zeros(2, 16).scatter(1, stage.kept_patches, 1.0) for stage in output.stages]
        trained = model.forward_training(images(model), lambda stage, log_probs, keep_mask: masks[stage])
    torch.testing.assert_close(trained.logits, output.logits, atol=1e-4, rtol=1e-4)
    assert trained.token_outputs.shape == (2, 16, 48)


@pytest.mark.parametrize("kind", ["plain", "dinov2 registers", "average", "average, registers"])
def test_merging_patches_that_are_all_the_same_changes_nothing(kind):
    model = from_timm(timm_model(kind), (1, 3)).double()
    with torch.no_grad():
        prefix = model.config.num_prefix_tokens * model.config.has_prefix_positions
        model.pos_embed[:, prefix:] = model.pos_embed[:, prefix : prefix + 1]
        same = images(model)[..., :1, :1].double().expand(2, 3, 56, 56) if "dino" in kind else None
        same = images(model)[..., :1, :1].double().expand(2, 3, 64, 64) if same is None else same
        torch.testing.assert_close(model(same, 0.5, TokenMerger()), model(same))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=3, deadline=None)
@given(data=st.data(), ratio=st.floats(0.1, 1.0))
def test_multiply_adds_follow_the_closed_form(kind, data, ratio):
    model = from_timm(timm_model(kind), (0, 2))
    name = data.draw(st.sampled_from(model.selectors))
    with torch.inference_mode(), MacCounter(model) as counter:
        model(images(model, 1), ratio, create_selector(name))
    counts = as_budget(ratio).counts(model.config.schedule, 16)
    counted = counter.report().total - stem_macs(model, counter.report())
    assert pruned_macs(model.config, (4, 4), counts, name) == counted


def test_size_mean_std_and_crop_are_timms_own():
    config = from_timm("vit_small_patch14_dinov2").config
    assert (config.image_size, config.patch_size, config.prune_locations) == (518, 14, (3, 6, 9))
    assert config.preprocessing == Preprocessing(1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    config = from_timm("vit_tiny_patch16_224").config
    assert config.preprocessing == Preprocessing(0.9, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_what_timm_does_not_say_is_asked_for():
    model = timm.models.VisionTransformer(img_size=32, **SMALL)
    with pytest.raises(SettingError, match="give preprocessing"):
        from_timm(model, (1,))
    assert from_timm(model, (1,), preprocessing=Preprocessing()).config.preprocessing == Preprocessing()


def test_images_that_are_not_resized_as_here_are_refused():
    with pytest.raises(SettingError, match="bilinear"):
        from_timm(timm.create_model("vit_base_patch16_224_miil", img_size=32, **SMALL), (1,))


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("resnet18", {}, "ResNet"),
        ("swin_tiny_patch4_window7_224", {}, "SwinTransformer"),
        ("vit_small_r26_s32_224", {"depth": 1}, "HybridEmbed"),
        ("vit_base_patch16_siglip_224", {"depth": 1, "num_heads": 3, "embed_dim": 48}, "'map'"),
        ("vit_tiny_patch16_224", {"global_pool": "max"}, "'max'"),
        ("vit_tiny_patch16_224", {"pos_embed": "none"}, "no learned positions"),
        ("vit_tiny_patch16_224", {"mlp_layer": timm.layers.SwiGLUPacked}, "MLPs"),
        ("vit_tiny_patch16_224", {"act_layer": "relu"}, "ReLU"),
        ("vit_tiny_patch16_224", {"norm_layer": timm.layers.RmsNorm}, "norms"),
        ("vit_tiny_patch16_224", {"attn_layer": "diff"}, "DiffAttention"),
        ("vit_tiny_patch16_224", {"scale_attn_norm": True}, "normed"),
        ("vit_tiny_patch16_224", {"block_fn": timm.models.vision_transformer.ParallelScalingBlock}, "ParallelScaling"),
        ("vit_tiny_patch16_224", {"final_norm": False}, "no last norm"),
        ("vit_tiny_patch16_224", {"img_size": (64, 96)}, "not square"),
        ("vit_tiny_patch16_224", {"in_chans": 1}, "colour"),
        ("vit_tiny_patch16_224", {"proj_bias": False}, "no bias"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(name, changes, says):
    model = timm.create_model(name, **changes)
    with pytest.raises(SettingError, match=f"{name}.*{says}"):
        from_timm(model)


def test_names_that_timm_does_not_have_are_refused():
    with pytest.raises(SettingError, match="vit_colossal"):
        from_timm("vit_colossal")
    with pytest.raises(SettingError, match="magic"):
        from_timm("vit_tiny_patch16_224.magic")


def test_locations_beyond_the_last_block_are_refused():
    with pytest.raises(SettingError, match="from 0 to 3"):
        from_timm(timm_model("plain"), (3, 6, 9))


@pytest.mark.parametrize(("name", "says"), [("resnet18", "ResNet"), ("vit_base_patch16_224_miil", "bilinear")])
def test_what_cannot_be_used_is_refused_before_it_is_fetched(name, says, monkeypatch):
    fetched = []
    create = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda name, pretrained: fetched.append(name) if pretrained else create(name)
    )
    with pytest.raises(SettingError, match=says):
        from_timm(name, pretrained=True)
    assert fetched == []


def test_images_that_are_resized_otherwise_can_be_used_all_the_same():
    config = from_timm("vit_base_patch16_224_miil", preprocessing=Preprocessing()).config
    assert config.preprocessing == Preprocessing()


def test_a_model_that_is_built_has_its_weights():
    with pytest.raises(SettingError, match="already"):
        from_timm(timm.create_model("test_vit"), (1, 2), pretrained=True)


@pytest.mark.parametrize(
    ("depth", "locations"),
    [(1, (0,)), (2, (0, 1)), (3, (0, 1, 2)), (12, (3, 6, 9)), (16, (4, 8, 12)), (40, (10, 20, 30))],
)
def test_tokens_are_dropped_after_each_quarter_of_the_depth_unless_told_otherwise(depth, locations):
    assert from_timm(timm.create_model("test_vit", depth=depth)).config.prune_locations == locations


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_described_by_its_name_as_by_itself(kind):
    name = KINDS[kind][0]
    assert describe_timm(name) == from_timm(name).config


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["cat", "dog"], ("cat", "dog")),
        (["n01440764", "n01443537"], ("class 0", "class 1")),
        (["cat"], ("class 0", "class 1")),
        ({"cat": 0, "dog": 1}, ("class 0", "class 1")),
        (None, ("class 0", "class 1")),
    ],
)
def test_classes_have_the_names_that_the_hub_gives_them(given, names):
    source = timm.create_model("test_vit", num_classes=2)
    source.pretrained_cfg["label_names"] = given
    assert from_timm(source).class_names == names


def test_the_given_model_and_the_new_one_share_no_weights():
    source = timm_model("plain")
    model = from_timm(source, (1, 3))
    before = model(images(model)).detach()
    for parameter in source.parameters():
        parameter.data.zero_()
    assert torch.equal(model(images(model)), before)


def test_a_model_without_a_classifier_has_no_answer_to_analyse():
    model = from_timm(timm_model("dinov2 features"), (1, 3))
    with pytest.raises(SettingError, match="no classifier"):
        classify_dense(model, images(model, 1))


@pytest.mark.parametrize(
    "fields",
    [
        {"class_token": False},
        {"distillation_token": True, "num_registers": 2},
        {"num_registers": -1},
        {"activation": "relu"},
        {"pool": "max"},
        {"residual_divisor": 2.0},
        {"num_classes": -1},
    ],
)
def test_a_description_that_does_not_fit_together_is_refused(fields):
    with pytest.raises(SettingError):
        TimmViTConfig(**fields)
