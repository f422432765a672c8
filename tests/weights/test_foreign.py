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
from dynamicvit.weights.foreign import fit_config, identify_config, named_config

DATA = Path(__file__).parents[1] / "data"


def without(state_dict: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state_dict.items() if part not in key}


@pytest.fixture(scope="module")
def small() -> dict[str, Tensor]:
    """The shapes of DynamicViT-DeiT-256, as released."""
    keys = json.loads((DATA / "checkpoint_keys_deit-256.json").read_text(encoding="utf-8"))["keys"]
    return {key: torch.empty(shape, device="meta") for key, (shape, _) in keys.items()}


def test_the_hybrid_model_that_ships_is_identified_with_and_without_its_prediction_modules():
    pruned = create_model("dynamicvit_lite0_256_patch16_224").state_dict()
    for name, weights in (
        ("dynamicvit_lite0_256_patch16_224", pruned),
        ("lite0_256_patch16_224", without(pruned, "score_predictor.")),
    ):
        identified = identify_config(weights)
        assert (identified.name, identified.config) == (name, model_config(name))


def test_the_hybrid_is_identified_with_the_papers_prediction_modules_too():
    weights = create_model("dynamicvit_lite0_256_patch16_224", candidate_classes=0).state_dict()
    identified = identify_config(weights)
    assert identified.name == "dynamicvit_lite0_256_patch16_224"
    assert identified.config == replace(model_config(identified.name), candidate_classes=0)


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
        ("token_readout.features.weight", (1280, 256)),
        ("patch_embed.conv1.weight", (64, 3, 7, 7)),
        ("patch_embed.conv_stem.weight", (32, 3, 3, 3)),
    ],
)
def test_every_mark_of_a_geometry_counts(small, key, shape):
    with pytest.raises(CheckpointError, match="the known models are"):
        identify_config(small | {key: torch.empty(shape, device="meta")})


def test_a_missing_qkv_bias_counts(small):
    with pytest.raises(CheckpointError, match="no qkv bias"):
        identify_config(without(small, "qkv.bias"))


@pytest.mark.parametrize(
    ("key", "family"), [("downsample_layers.0.0.weight", "ConvNeXt"), ("layers.0.blocks.0.norm1.weight", "Swin")]
)
def test_the_hierarchical_families_are_named_as_not_supported_yet(key, family):
    with pytest.raises(CheckpointError, match=f"{family}.* not supported yet"):
        identify_config({key: torch.empty(96, device="meta")})


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
    "name",
    [
        "vit_small_patch16_224.pth",
        "vit_small_patch16_224.augreg_in21k_ft_in1k.safetensors",
        "vit_small_patch16_224.augreg_in21k_ft_in1k",
        "vit_small_patch16_224-mine.bin",
    ],
)
def test_timms_model_gets_timms_images_where_the_file_is_named_after_it(vit_small, name):
    identified = identify_config(vit_small, name)
    assert identified.name == "vit_small_patch16_224"
    images = Preprocessing(crop_ratio=0.9, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert identified.config == replace(model_config("deit_small_patch16_224"), preprocessing=images)


def test_the_training_that_a_name_tells_decides_on_the_images(vit_small):
    assert identify_config(vit_small, "vit_small_patch16_224.dino.pth").config.preprocessing.mean == IMAGENET_MEAN


@pytest.mark.parametrize("name", ["deit_small_patch16_224-cd65a155.pth", "my DeiT.pth"])
def test_deits_model_keeps_its_own_where_the_file_is_named_after_it(vit_small, name):
    assert identify_config(vit_small, name).config == model_config("deit_small_patch16_224")


@pytest.mark.parametrize("name", ["weights.pth", "vit_small.pth", "vit_small_patch16_999.pth"])
def test_where_shapes_and_name_cannot_tell_it_is_said(vit_small, name):
    with pytest.raises(CheckpointError, match=r"of deit_small_\w+ and of timm's vit_small_\w+, .*cannot be told"):
        identify_config(vit_small, name)


def test_with_prediction_modules_it_is_the_authors_model():
    with torch.device("meta"):
        weights = create_model("dynamicvit_deit_small_patch16_224").state_dict()
    assert identify_config(weights, "weights.pth").config == model_config("dynamicvit_deit_small_patch16_224")


def test_a_model_can_be_named_as_timm_names_it(vit_small):
    images = named_config("vit_small_patch16_224", vit_small).preprocessing
    assert (images.mean, images.crop_ratio) == ((0.5, 0.5, 0.5), 0.9)
    larger = named_config("vit_base_patch16_384", vit_small | {"pos_embed": torch.empty(1, 577, 384, device="meta")})
    assert (larger.image_size, larger.embed_dim, larger.preprocessing.crop_ratio) == (384, 768, 1.0)
    assert named_config("deit_small_patch16_224", vit_small) == model_config("deit_small_patch16_224")
    with pytest.raises(SettingError, match="no model 'vit_small'"):
        named_config("vit_small", vit_small)
