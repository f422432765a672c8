"""The authors' released state dicts: names, order, shapes and types of every tensor, without the numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dynamicvit.models.base import DynamicModel
from dynamicvit.models.config import TimmViTConfig
from dynamicvit.models.hierarchical import HierarchicalModel
from dynamicvit.models.registry import create_model, model_config
from dynamicvit.models.vit import DynamicVisionTransformer
from dynamicvit.weights.foreign import identify_config
from dynamicvit.weights.io import load_file
from dynamicvit.weights.published import PUBLISHED

DATA = Path(__file__).parents[1] / "data"
# Variant: registered name, parameters with and without prediction modules and fast paths.
VARIANTS = {
    "deit-256": ("dynamicvit_deit_256_patch16_224", 10_304_942, 9_982_184),
    "deit-s": ("dynamicvit_deit_small_patch16_224", 22_774_414, 22_050_664),
    "deit-b": ("dynamicvit_deit_base_patch16_224", 89_452_846, 86_567_656),
    "lvvit-s": ("dynamicvit_lvvit_small_patch16_224", 26_875_574, 26_151_824),
    "lvvit-m": ("dynamicvit_lvvit_medium_patch16_224", 57_115_030, 55_830_544),
    "convnext-t": ("dynamicvit_convnext_tiny", 30_504_814, 28_589_128),
    "convnext-s": ("dynamicvit_convnext_small", 54_523_246, 50_223_688),
    "convnext-b": ("dynamicvit_convnext_base", 96_216_558, 88_591_464),
    "swin-t": ("dynamicvit_swin_tiny_patch4_window7_224", 29_755_144, 28_288_354),
    "swin-s": ("dynamicvit_swin_small_patch4_window7_224", 52_707_736, 49_606_258),
    "swin-b": ("dynamicvit_swin_base_patch4_window7_224", 93_271_590, 87_768_224),
}


def is_dynamic(key: str) -> bool:
    return "score_predictor" in key or "fast" in key


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def released(variant: str) -> dict:
    return json.loads((DATA / f"checkpoint_keys_{variant}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model(variant: str) -> DynamicModel:
    with pytest.MonkeyPatch.context() as patch:
        # The numbers do not matter here, and drawing a hundred million of them takes seconds.
        for family in (DynamicVisionTransformer, HierarchicalModel):
            patch.setattr(family, "initialise", staticmethod(lambda module: None))
        return create_model(VARIANTS[variant][0])


def test_a_model_has_the_released_tensors_in_the_released_order(released, model):
    found = [(key, list(t.shape), str(t.dtype).removeprefix("torch.")) for key, t in model.state_dict().items()]
    assert sorted(found) == sorted((key, *spec) for key, spec in released["keys"].items())
    assert [key for key, _, _ in found] == list(released["keys"])


def test_prune_locations_are_the_released_ones(variant, released):
    assert list(model_config(VARIANTS[variant][0]).prune_locations) == released["prune_locations"]


def test_parameters_are_as_many_as_in_the_reference(variant, model):
    total = sum(parameter.numel() for parameter in model.parameters())
    dense = sum(parameter.numel() for key, parameter in model.named_parameters() if not is_dynamic(key))
    assert (total, dense) == VARIANTS[variant][1:]


def test_a_file_with_the_released_tensors_is_loaded_strictly(variant, released, tmp_path):
    # One stored number stands for all of a tensor, so that the file is small.
    tensors = {
        key: torch.full((), 0.5).to(getattr(torch, dtype)).expand(shape)
        for key, (shape, dtype) in released["keys"].items()
    }
    torch.save({"model": tensors, "epoch": 29}, tmp_path / "download.pth")
    loaded = load_file(tmp_path / "download.pth")
    assert loaded.config == model_config(VARIANTS[variant][0])
    assert not any(tensor.is_meta for tensor in loaded.state_dict().values())


@pytest.mark.parametrize("is_dense", [False, True])
def test_the_released_shapes_are_identified(variant, released, is_dense):
    shapes = {
        key: torch.empty(shape, device="meta")
        for key, (shape, _) in released["keys"].items()
        if not (is_dense and is_dynamic(key))
    }
    name = VARIANTS[variant][0].removeprefix("dynamicvit_" if is_dense else "")
    identified = identify_config(shapes, f"{variant}.pth")
    assert identified.name == name
    if is_dense and "deit" in variant:
        assert_same_backbone(identified.config, name)
    else:
        assert identified.config == model_config(name)


def assert_same_backbone(config, name):
    """A dense DeiT drops tokens by a choice that needs no training, before the blocks of the paper."""
    expected = model_config(f"dynamicvit_{name}")
    assert isinstance(config, TimmViTConfig)
    assert config.prune_locations == expected.prune_locations
    for field in ("image_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "qkv_bias", "norm_eps"):
        assert getattr(config, field) == getattr(expected, field)
    assert config.preprocessing == expected.preprocessing


def test_the_catalogue_offers_the_variants_at_the_keep_ratios_they_were_trained_for():
    trained = {(name, ratio) for name, _, _ in VARIANTS.values() for ratio in model_config(name).trained_keep_ratios}
    assert {(checkpoint.model, checkpoint.keep_ratio) for checkpoint in PUBLISHED} == trained
    assert len(PUBLISHED) == len({checkpoint.file_name for checkpoint in PUBLISHED}) == 15
    assert len({url for checkpoint in PUBLISHED for url in (*checkpoint.urls, *checkpoint.pages)}) == 60
