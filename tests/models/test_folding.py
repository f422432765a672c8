"""Folded models answer as before, with no batch norm left."""

import copy

import pytest
import torch
from torch import nn

from dynamicvit.costs.macs import MacCounter
from dynamicvit.models.folding import fold_batch_norms
from dynamicvit.models.registry import create_model

SIZES = {"embed_dim": 64, "num_heads": 2, "depth": 3, "prune_locations": (0, 1, 2), "num_classes": 7}
MODELS = {
    "dynamicvit_lite0_small_patch16_224": SIZES | {"image_size": 64},
    "dynamicvit_lvvit_small_patch16_224": SIZES | {"image_size": 64},
    "dynamicvit_deit_small_patch16_224": SIZES | {"image_size": 64},
}


@pytest.mark.parametrize("name", MODELS)
def test_a_folded_model_answers_as_before_at_the_same_cost(name):
    torch.manual_seed(0)
    model = create_model(name, **MODELS[name])
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    model.eval()
    images = torch.randn(2, 3, 64, 64)
    folded = fold_batch_norms(copy.deepcopy(model))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.inference_mode():
        for ratio in (None, 0.7):
            with MacCounter(model) as before:
                expected = model.forward_stages(images, ratio)
            with MacCounter(folded) as after:
                found = folded.forward_stages(images, ratio)
            torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=1e-5)
            assert after.report().total == before.report().total
            for one, other in zip(found.stages, expected.stages, strict=True):
                assert torch.equal(one.kept_patches, other.kept_patches)
