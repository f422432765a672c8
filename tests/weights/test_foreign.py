from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from dynamicvit.errors import CheckpointError, SettingError
from dynamicvit.models.config import IMAGENET_MEAN, Preprocessing
from dynamicvit.models.registry import create_model, model_config
from dynamicvit.models.timm_vit import from_timm
from dynamicvit.weights.foreign import fit_config, identify_config, named_config, timm_preprocessing

DATA = Path(__file__).parents[1] / "data"


def without(state_dict: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state_dict.items() if part not in key}


@pytest.fixture(scope="module")
def small() -> dict[str, Tensor]:
    """The shapes of DynamicViT-DeiT-256, as released."""
    keys = json.loads((DATA / "checkpoint_keys_deit-256.json").read_text(encoding="utf-8"))["keys"]
    return {key: torch.empty(shape, device="meta") for key, (shape, _) in keys.items()}


def test_the_model_that_ships_is_identified_with_and_without_its_prediction_modules():
    pruned = create_model("dynamicvit_lite0_small_patch16_224").state_dict()
    for name, weights in (
        ("dynamicvit_lite0_small_patch16_224", pruned),
        ("lite0_small_patch16_224", without(pruned, "score_predictor.")),
    ):
        identified = identify_config(weights)
        assert (identified.name, identified.config) == (name, model_config(name))


def test_weights_without_prediction_modules_are_the_dense_model(small):
    assert identify_config(without(small, "score_predictor.")).name == "deit_256_patch16_224"


def test_class_count_and_image_size_are_those_of_the_weights(small):
    changed = small | {
        "head.weight": torch.empty(100, 256, device="meta"),
        "pos_embed": torch.empty(1, 1 + 24 * 24, 256, device="meta"),
    }
    identified = identify_config(changed)
    assert identified.name == "dynamicvit_deit_256_patch16_224"
    assert identified.config == replace(model_config(identified.name), num_classes=100, image_size=384)


def test_an_unknown_geometry_is_described_beside_the_known_names(small):
    with pytest.raises(CheckpointError, match=r"my\.pth has .*width 256, 11 blocks.*dynamicvit_deit_256_patch16_224"):
        identify_config(without(small, "blocks.11."), "my.pth")


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("blocks.0.mlp.fc1.weight", (768, 256)),
        ("patch_embed.proj.weight", (256, 3, 8, 8)),
        ("cls_token", (1, 1, 320)),
        ("aux_head.weight", (1000, 256)),
        ("score_predictor.3.in_conv.0.weight", (256,)),
        ("patch_embed.conv1.weight", (64, 3, 7, 7)),
        ("patch_embed.trunk.conv_stem.weight", (32, 3, 3, 3)),
    ],
)
def test_every_mark_of_a_geometry_counts(small, key, shape):
    with pytest.raises(CheckpointError, match="the known models are"):
        identify_config(small | {key: torch.empty(shape, device="meta")})


def test_a_missing_qkv_bias_counts(small):
    with pytest.raises(CheckpointError, match="no qkv bias"):
        identify_config(without(small, "qkv.bias"))


@pytest.mark.parametrize("key", ["downsample_layers.0.0.weight", "layers.0.blocks.0.norm1.weight"])
def test_weights_that_begin_like_a_convnext_or_a_swin_and_go_on_otherwise_are_refused(key):
    with pytest.raises(CheckpointError, match="no usable tensor"):
        identify_config({key: torch.empty(96, device="meta")})


@pytest.fixture(scope="module")
def hierarchical() -> dict[str, dict[str, Tensor]]:
    """The shapes of the released ConvNeXt-T and Swin-T."""
    names = {"convnext": "dynamicvit_convnext_tiny", "swin": "dynamicvit_swin_tiny_patch4_window7_224"}
    with torch.device("meta"):
        return {family: create_model(name).state_dict() for family, name in names.items()}


@pytest.mark.parametrize(
    ("family", "part", "says"),
    [
        ("convnext", "stages.2.8.", r"\(3, 3, 8, 3\) blocks"),
        ("convnext", "stages.2.1.fast_path", "fast paths from block 2"),
        ("convnext", "score_predictor.2.", "2 prediction modules and fast paths from block 1"),
        ("swin", "layers.2.blocks.5.", r"\(2, 2, 5, 2\) blocks"),
        ("swin", "layers.2.blocks.1.fastmlp", "fast paths from block 2"),
        ("swin", "layers.2.score_predictor.0.", "2 prediction modules and fast paths from block 1"),
        ("swin", "fastmlp", "3 prediction modules and no fast paths"),
    ],
)
def test_every_mark_of_a_hierarchical_model_counts(hierarchical, family, part, says):
    with pytest.raises(CheckpointError, match=f"has a {family} .*{says}.*the known models are"):
        identify_config(without(hierarchical[family], part))


@pytest.mark.parametrize(
    ("family", "key", "shape", "says"),
    [
        ("convnext", "downsample_layers.0.0.weight", (48, 3, 4, 4), "width 48"),
        ("convnext", "stages.2.0.pwconv1.weight", (384, 384), "MLP width 384"),
        ("swin", "patch_embed.proj.weight", (48, 3, 4, 4), "width 48"),
        ("swin", "layers.1.blocks.0.attn.relative_position_bias_table", (169, 5), r"\(3, 5, 12, 24\) heads"),
        ("swin", "layers.0.blocks.0.attn.relative_position_bias_table", (23 * 23, 3), "windows of 12"),
        ("swin", "layers.2.blocks.0.mlp.fc1.weight", (384, 384), "MLP width 384"),
    ],
)
def test_every_size_of_a_hierarchical_model_counts(hierarchical, family, key, shape, says):
    with pytest.raises(CheckpointError, match=f"has a {family} .*{says}.*the known models are"):
        identify_config(hierarchical[family] | {key: torch.empty(shape, device="meta")})


@pytest.mark.parametrize("name", ["dynamicvit_convnext_tiny", "dynamicvit_swin_tiny_patch4_window7_224"])
def test_class_count_and_where_it_leaves_a_trace_image_size_are_those_of_the_weights(name):
    with torch.device("meta"):
        weights = create_model(name, num_classes=10, image_size=448).state_dict()
    identified = identify_config(weights)
    assert identified.name == name
    size = 448 if "swin" in name else 224
    assert identified.config == replace(model_config(name), num_classes=10, image_size=size)


def test_a_dense_hierarchical_model_can_be_named_although_timm_has_another_of_that_name(hierarchical):
    weights = {key: tensor for key, tensor in hierarchical["swin"].items() if "fast" not in key and "score" not in key}
    name = "swin_tiny_patch4_window7_224"
    assert named_config(name, weights) == model_config(name)


@pytest.mark.parametrize("windows", [0, 1, 63])
def test_shifted_windows_that_make_no_square_map_are_refused(hierarchical, windows):
    mask = {"layers.0.blocks.1.attn_mask": torch.empty(windows, 49, 49, device="meta")}
    with pytest.raises(CheckpointError, match=r"of no model that can be used: image_size"):
        identify_config(hierarchical["swin"] | mask)


@pytest.mark.parametrize("key", ["cls_token", "patch_embed.proj.weight", "head.weight", "pos_embed"])
@pytest.mark.parametrize("is_scalar", [True, False])
def test_weights_that_lack_a_telling_tensor_are_refused(small, key, is_scalar):
    changed = {name: tensor for name, tensor in small.items() if name != key}
    if is_scalar:
        changed[key] = torch.empty((), device="meta")
    with pytest.raises(CheckpointError, match=f"no usable tensor {key}"):
        identify_config(changed)


@pytest.mark.parametrize("positions", [0, 1, 198, 199])
def test_a_position_grid_that_is_not_square_is_refused(small, positions):
    changed = small | {"pos_embed": torch.empty(1, positions, 256, device="meta")}
    with pytest.raises(CheckpointError, match="square grid"):
        fit_config(model_config("dynamicvit_deit_256_patch16_224"), changed)


def test_positions_for_an_absurd_image_are_refused(small):
    with pytest.raises(CheckpointError, match="image_size must be from"):
        identify_config(small | {"pos_embed": torch.empty(1, 1 + 5000**2, 256, device="meta")})


def test_weights_for_no_classes_are_refused(small):
    with pytest.raises(CheckpointError, match="at least one class"):
        identify_config(small | {"head.weight": torch.empty(0, 256, device="meta")})


@pytest.fixture(scope="module")
def vit_small() -> dict[str, Tensor]:
    """The shapes of a dense ViT-S/16, which DeiT-S and timm's vit_small_patch16_224 have alike."""
    with torch.device("meta"):
        return timm.create_model("vit_small_patch16_224").state_dict()


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("vit_small_patch16_224.pth", "vit_small_patch16_224"),
        ("vit_small_patch16_224.augreg_in21k_ft_in1k.safetensors", "vit_small_patch16_224.augreg_in21k_ft_in1k"),
        ("vit_small_patch16_224.augreg_in21k_ft_in1k", "vit_small_patch16_224.augreg_in21k_ft_in1k"),
        ("vit_small_patch16_224-mine.bin", "vit_small_patch16_224"),
        ("vit_small_patch16_224.mine.bin", "vit_small_patch16_224"),
    ],
)
def test_timms_model_gets_timms_images_where_the_file_is_named_after_it(vit_small, source, name):
    identified = identify_config(vit_small, source)
    assert (identified.name, identified.config) == (name, from_timm("vit_small_patch16_224").config)
    assert identified.config.preprocessing == Preprocessing(0.9, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_the_training_that_a_name_tells_decides_on_the_images(vit_small):
    assert identify_config(vit_small, "vit_small_patch16_224.dino.pth").config.preprocessing.mean == IMAGENET_MEAN


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vit_tiny_patch16_224", {"num_classes": 7, "img_size": 64}),
        ("vit_tiny_patch16_224", {"num_classes": 0}),
        ("deit_tiny_distilled_patch16_224", {"img_size": 96}),
        ("deit3_small_patch16_224", {"num_classes": 3}),
        ("vit_small_patch14_dinov2", {"num_classes": 5, "img_size": 28}),
        ("vit_small_patch14_reg4_dinov2", {}),
        ("vit_base_patch16_clip_224", {"num_classes": 9}),
        ("vit_medium_patch16_gap_256", {"num_classes": 4, "img_size": 32}),
        ("vit_little_patch16_reg4_gap_256", {}),
    ],
)
def test_a_file_named_after_timms_model_has_its_own_class_count_and_image_size(name, arguments):
    with torch.device("meta"):
        network = timm.create_model(name, **arguments)
    identified = identify_config(network.state_dict(), f"{name}.bin")
    assert identified.config == from_timm(network).config


def test_a_file_that_is_named_after_another_model_than_it_holds_is_refused(vit_small):
    with pytest.raises(CheckpointError, match=r"^vit_base_patch16_224\.bin is named after vit_base_.* width 384"):
        identify_config(vit_small, "vit_base_patch16_224.bin")


def test_a_file_named_after_a_model_that_cannot_be_used_says_why(vit_small):
    with pytest.raises(CheckpointError, match=r"^vit_giant_patch14_dinov2\.bin is of no model .*GluMlp"):
        identify_config(vit_small, "vit_giant_patch14_dinov2.bin")


def test_deits_model_has_its_own_images_where_the_file_says_deit(vit_small):
    identified = identify_config(vit_small, "my DeiT.pth")
    assert identified.name == "deit_small_patch16_224"
    assert identified.config.preprocessing == model_config("deit_small_patch16_224").preprocessing
    original = identify_config(vit_small, "deit_small_patch16_224-cd65a155.pth")
    assert original.config == from_timm("deit_small_patch16_224").config


@pytest.mark.parametrize("name", ["weights.pth", "vit_small.pth", "vit_small_patch16_999.pth"])
def test_where_shapes_and_name_cannot_tell_it_is_said(vit_small, name):
    with pytest.raises(CheckpointError, match=r"of deit_small_\w+ and of timm's vit_small_\w+, .*cannot be told"):
        identify_config(vit_small, name)


def test_a_plain_transformer_of_other_shapes_has_to_be_named():
    with torch.device("meta"):
        weights = timm.create_model("vit_tiny_patch16_224").state_dict()
    with pytest.raises(CheckpointError, match=r"plain vision transformer.*cannot be told.*load_model\(path, 'vit_tiny"):
        identify_config(weights, "model.safetensors")


def test_with_prediction_modules_it_is_the_authors_model():
    with torch.device("meta"):
        weights = create_model("dynamicvit_deit_small_patch16_224").state_dict()
    assert identify_config(weights, "weights.pth").config == model_config("dynamicvit_deit_small_patch16_224")


def test_a_model_can_be_named_as_timm_names_it(vit_small):
    images = named_config("vit_small_patch16_224", vit_small).preprocessing
    assert (images.mean, images.crop_ratio) == ((0.5, 0.5, 0.5), 0.9)
    larger = named_config("vit_base_patch16_384", vit_small | {"pos_embed": torch.empty(1, 577, 384, device="meta")})
    assert (larger.image_size, larger.embed_dim, larger.preprocessing.crop_ratio) == (384, 768, 1.0)
    assert named_config("deit_small_patch16_224", vit_small) == from_timm("deit_small_patch16_224").config
    with pytest.raises(SettingError, match="no model 'vit_small'"):
        named_config("vit_small", vit_small)


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("vit_tiny_patch16_224.bin", (0.5, 0.5, 0.5)),
        ("deit3_small_patch16_224.fb_in1k.safetensors", IMAGENET_MEAN),
        ("vit_base_patch16_224.dino", IMAGENET_MEAN),
    ],
)
def test_how_timm_prepares_images_is_told_by_the_name_of_a_file(name, mean):
    assert timm_preprocessing(name).mean == mean


@pytest.mark.parametrize("name", ["weights.pth", "vit_tiny_patch16_2240.bin", "my vit_tiny_patch16_224.bin", ""])
def test_a_file_that_is_not_named_after_timms_model_tells_nothing(name):
    assert timm_preprocessing(name) is None
