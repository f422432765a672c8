"""The authors' released state dicts: names, order, shapes and types of every tensor, without the numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dynamicvit.models.registry import create_model, model_config
from dynamicvit.models.vit import DynamicVisionTransformer
from dynamicvit.weights.foreign import identify_config
from dynamicvit.weights.published import PUBLISHED

DATA = Path(__file__).parents[1] / "data"
# Variant: registered name, parameters with and without the prediction modules.
VARIANTS = {
    "deit-256": ("dynamicvit_deit_256_patch16_224", 10_304_942, 9_982_184),
    "deit-s": ("dynamicvit_deit_small_patch16_224", 22_774_414, 22_050_664),
    "deit-b": ("dynamicvit_deit_base_patch16_224", 89_452_846, 86_567_656),
    "lvvit-s": ("dynamicvit_lvvit_small_patch16_224", 26_875_574, 26_151_824),
    "lvvit-m": ("dynamicvit_lvvit_medium_patch16_224", 57_115_030, 55_830_544),
}


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def released(variant: str) -> dict:
    return json.loads((DATA / f"checkpoint_keys_{variant}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model(variant: str) -> DynamicVisionTransformer:
    with pytest.MonkeyPatch.context() as patch:
        # The numbers do not matter here, and drawing a hundred million of them takes seconds.
        patch.setattr(DynamicVisionTransformer, "initialise", staticmethod(lambda module: None))
        return create_model(VARIANTS[variant][0])


def test_a_model_has_the_released_tensors_in_the_released_order(released, model):
    found = [(key, list(t.shape), str(t.dtype).removeprefix("torch.")) for key, t in model.state_dict().items()]
    assert sorted(found) == sorted((key, *spec) for key, spec in released["keys"].items())
    assert [key for key, _, _ in found] == list(released["keys"])


def test_prune_locations_are_the_released_ones(variant, released):
    assert list(model_config(VARIANTS[variant][0]).prune_locations) == released["prune_locations"]


def test_parameters_are_as_many_as_in_the_reference(variant, model):
    total = sum(parameter.numel() for parameter in model.parameters())
    predictors = sum(parameter.numel() for parameter in model.score_predictor.parameters())
    assert (total, total - predictors) == VARIANTS[variant][1:]


@pytest.mark.parametrize("is_dense", [False, True])
def test_the_released_shapes_are_identified(variant, released, is_dense):
    shapes = {
        key: torch.empty(shape, device="meta")
        for key, (shape, _) in released["keys"].items()
        if not (is_dense and key.startswith("score_predictor"))
    }
    name = VARIANTS[variant][0].removeprefix("dynamicvit_" if is_dense else "")
    identified = identify_config(shapes, f"{variant}.pth")
    assert (identified.name, identified.config) == (name, model_config(name))


def test_the_catalogue_offers_the_variants_at_the_keep_ratios_they_were_trained_for():
    trained = {(name, ratio) for name, _, _ in VARIANTS.values() for ratio in model_config(name).trained_keep_ratios}
    assert {(checkpoint.model, checkpoint.keep_ratio) for checkpoint in PUBLISHED} == trained
    assert len(PUBLISHED) == len({checkpoint.file_name for checkpoint in PUBLISHED}) == 6
