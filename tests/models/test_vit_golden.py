"""Whole models give what the authors' released implementation gives."""

import pytest
import torch
from goldens import TOLERANCE, golden, golden_model

MODELS = ["deit_mini", "lvvit_mini"]
SETS = ["r0.7", "r0.5"]


@pytest.mark.parametrize("name", MODELS)
def test_embedding_equals_the_released_one(name):
    model = golden_model(name)
    with torch.no_grad():
        tokens, _ = model.embed(golden(name)["input"])
    torch.testing.assert_close(tokens, golden(name)["embedded"], **TOLERANCE)


@pytest.mark.parametrize("as_base", [True, False], ids=["base ratio", "ratio of each stage"])
@pytest.mark.parametrize("ratio_set", SETS)
@pytest.mark.parametrize("name", MODELS)
def test_pruned_inference_equals_the_released_one(name, ratio_set, as_base):
    file, model = golden(name), golden_model(name)
    ratios = file.metadata["ratios"][ratio_set]
    with torch.no_grad():
        output = model.forward_stages(file["input"], ratios[0] if as_base else ratios)

    torch.testing.assert_close(output.logits, file[f"{ratio_set}:logits"], **TOLERANCE)
    for number, stage in enumerate(output.stages):
        expected = f"{ratio_set}:stage{number}"
        assert torch.equal(stage.kept_patches.sort().values, file[f"{expected}.kept"].sort().values)
        live_scores = _by_patch(stage.keep_scores, stage.live_patches)
        golden_scores = _by_patch(file[f"{expected}.log_probs"][..., 0], file[f"{expected}.live"])
        torch.testing.assert_close(live_scores, golden_scores, equal_nan=True, **TOLERANCE)
    kept = output.stages[-1].kept_patches
    torch.testing.assert_close(
        _tokens_by_patch(output.final_tokens, kept),
        _tokens_by_patch(file[f"{ratio_set}:final_tokens"], file[f"{ratio_set}:stage2.kept"]),
        equal_nan=True,
        **TOLERANCE,
    )


@pytest.mark.parametrize("name", MODELS)
def test_logits_alone_equal_those_with_the_record(name):
    file, model = golden(name), golden_model(name)
    with torch.no_grad():
        assert torch.equal(model(file["input"], 0.7), model.forward_stages(file["input"], 0.7).logits)


@pytest.mark.parametrize("name", MODELS)
def test_choice_for_an_image_does_not_depend_on_its_batch(name):
    file, model = golden(name), golden_model(name)
    with torch.no_grad():
        together = model.forward_stages(file["input"], 0.5).stages[-1].kept_patches
        alone = model.forward_stages(file["input"][1:2], 0.5).stages[-1].kept_patches
    assert set(together[1].tolist()) == set(alone[0].tolist())


def _by_patch(values, patches, num_patches=196):
    """Scatter (B, n) values to their original patches; NaN where there is none."""
    return torch.full((len(values), num_patches), torch.nan).scatter(1, patches, values)


def _tokens_by_patch(tokens, patches, num_patches=196):
    index = patches.unsqueeze(-1).expand(-1, -1, tokens.shape[-1])
    places = torch.full((len(tokens), num_patches, tokens.shape[-1]), torch.nan)
    return torch.cat([tokens[:, :1], places.scatter(1, index, tokens[:, 1:])], dim=1)
