"""ConvNeXt and Swin with slow and fast path give what the authors' released implementation gives."""

import json
from pathlib import Path

import pytest
import torch
from goldens import TOLERANCE, golden, golden_model

from dynamicvit.models.convnext import ConvNeXtBlock, ConvNeXtPredictor, to_map, to_positions
from dynamicvit.models.registry import create_model
from dynamicvit.models.swin import FastMlp
from dynamicvit.models.vit import TokenPredictor

MODELS = ["convnext_mini", "swin_mini"]
SETS = ["r0.7", "r0.9"]
KEYS = Path(__file__).parents[1] / "data"
# Variant: registered name without "dynamicvit_", parameters with and without predictors and fast paths.
VARIANTS = {
    "convnext-t": ("convnext_tiny", 30_504_814, 28_589_128),
    "convnext-s": ("convnext_small", 54_523_246, 50_223_688),
    "convnext-b": ("convnext_base", 96_216_558, 88_591_464),
    "swin-t": ("swin_tiny_patch4_window7_224", 29_755_144, 28_288_354),
    "swin-s": ("swin_small_patch4_window7_224", 52_707_736, 49_606_258),
    "swin-b": ("swin_base_patch4_window7_224", 93_271_590, 87_768_224),
}


@pytest.mark.parametrize("as_base", [True, False], ids=["base ratio", "ratio of each stage"])
@pytest.mark.parametrize("ratio_set", SETS)
@pytest.mark.parametrize("name", MODELS)
def test_inference_equals_the_released_one(name, ratio_set, as_base):
    file, model = golden(name), golden_model(name)
    ratios = file.metadata["ratios"][ratio_set]
    with torch.no_grad():
        output = model.forward_stages(file["input"], ratios[0] if as_base else ratios)
    torch.testing.assert_close(output.logits, file[f"{ratio_set}:logits"], **TOLERANCE)
    assert len(output.stages) == 3
    for number, stage in enumerate(output.stages):
        expected = f"{ratio_set}:stage{number}"
        assert stage.block == model.config.prune_locations[number]
        assert torch.equal(stage.kept_patches.sort().values, file[f"{expected}.slow"].sort().values)
        assert torch.equal(stage.fast_patches.sort().values, file[f"{expected}.fast"].sort().values)
        torch.testing.assert_close(stage.keep_scores, file[f"{expected}.log_probs"][..., 0], **TOLERANCE)


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_any_number_of_images_gives_each_its_own_answer(name, batch):
    """The released Swin fails with exactly two images."""
    file, model = golden(name), golden_model(name)
    with torch.no_grad():
        logits = model(file["input"][:batch], 0.7)
    torch.testing.assert_close(logits, file["r0.7:logits"][:batch], **TOLERANCE)


@pytest.fixture(scope="module")
def units():
    return golden("units")


def test_the_adaptive_convnext_block_equals_the_released_one(units):
    block = ConvNeXtBlock(16, 4.0, 1e-6, 0.0, has_fast_path=True)
    block.load_state_dict(units.state("block_convnext:"))
    paths = (units["block_convnext:slow"], units["block_convnext:fast"])
    with torch.no_grad():
        result = to_map(block(to_positions(units["map"]), (5, 5), paths), (5, 5))
    torch.testing.assert_close(result, units["block_convnext:out"], atol=1e-5, rtol=1e-5)


def test_the_convnext_predictor_equals_the_released_one(units):
    predictor = ConvNeXtPredictor(16, 1e-6)
    predictor.load_state_dict(units.state("predictor_convnext:"))
    with torch.no_grad():
        result = to_map(predictor(to_positions(units["map"])), (5, 5))
    torch.testing.assert_close(result, units["predictor_convnext:out"], **TOLERANCE)


def test_the_swin_predictor_equals_the_released_one(units):
    predictor = TokenPredictor(16)
    predictor.load_state_dict(units.state("predictor_swin:"))
    with torch.no_grad():
        torch.testing.assert_close(predictor(units["tokens"][:, 1:]), units["predictor_swin:out"], **TOLERANCE)


def test_the_swin_fast_path_equals_the_released_one(units):
    fast = FastMlp(16, 1e-5)
    fast.load_state_dict(units.state("fast_swin:"))
    with torch.no_grad():
        torch.testing.assert_close(fast(units["tokens"]), units["fast_swin:out"], **TOLERANCE)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_named_model_has_the_released_tensors_in_the_released_order(variant):
    name, parameters, dense_parameters = VARIANTS[variant]
    released = json.loads((KEYS / f"checkpoint_keys_{variant}.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        model, dense = create_model(f"dynamicvit_{name}"), create_model(name)
    found = [(key, [list(t.shape), str(t.dtype).removeprefix("torch.")]) for key, t in model.state_dict().items()]
    assert found == list(released["keys"].items())
    assert list(model.config.prune_locations) == released["prune_locations"]
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert sum(p.numel() for p in dense.parameters()) == dense_parameters
