"""Passes that go on from a start give to the last bit what whole passes give, in every family."""

import pytest
import torch
from analysis.examples import decided_model

from dynamicvit.budget import KeepMass
from dynamicvit.errors import ImageError
from dynamicvit.models.config import ConvNeXtConfig, ModelConfig, SwinConfig, TimmViTConfig
from dynamicvit.models.selectors import create_selector
from dynamicvit.precision import in_bfloat16

SIZES = {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depth": 5, "num_heads": 2, "num_classes": 10}
STAGES = {"prune_locations": (2, 3, 4)}
HIERARCHICAL = {"image_size": 64, "widths": (4, 8, 16, 32), "num_classes": 10, "prune_locations": (1, 3)}
CONFIGS = {
    "vit": ModelConfig(**SIZES, **STAGES),
    "vit, from the first block on": ModelConfig(**SIZES, prune_locations=(0, 1)),
    "vit, dense": ModelConfig(**SIZES),
    "lvvit": ModelConfig(**SIZES, **STAGES, embedding="lvvit", has_aux_head=True),
    "timm_vit": TimmViTConfig(**SIZES, **STAGES, num_registers=2, layer_scale=True, pre_norm=True),
    "timm_vit, average": TimmViTConfig(**SIZES, **STAGES, class_token=False, pool="avg"),
    "convnext": ConvNeXtConfig(depths=(1, 2, 4, 1), **HIERARCHICAL),
    "swin": SwinConfig(depths=(1, 2, 4, 1), heads=(1, 2, 4, 4), window_size=4, **HIERARCHICAL),
}


def assert_same(one, other):
    assert torch.equal(one.logits, other.logits)
    assert torch.equal(one.final_tokens, other.final_tokens)
    assert one.grid == other.grid
    for own, its in zip(one.stages, other.stages, strict=True):
        assert own.block == its.block
        assert torch.equal(own.kept_patches, its.kept_patches)
        assert torch.equal(own.keep_scores, its.keep_scores)


@pytest.mark.parametrize("name", CONFIGS)
def test_any_number_of_passes_go_on_from_one_start(name):
    model = decided_model(CONFIGS[name])
    side = CONFIGS[name].image_size
    images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    stages = model.config.num_stages
    budgets = [0.3, (0.9, 0.5, 0.4)[:stages], KeepMass(0.5), 1.0] if stages else []
    with torch.inference_mode():
        start = model.start(images)
        assert_same(model.forward_stages(start), model.forward_stages(images))
        for selector in [name for name in model.selectors if stages]:
            for budget in budgets:
                if not isinstance(budget, KeepMass) or selector == "predictor":
                    how = budget, create_selector(selector)
                    assert_same(model.forward_stages(start, *how), model.forward_stages(images, *how))


def test_so_do_passes_in_bfloat16():
    model = in_bfloat16(decided_model(CONFIGS["vit"]))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert_same(model.forward_stages(model.start(images), 0.5), model.forward_stages(images, 0.5))


@pytest.mark.parametrize("name", ["vit", "convnext"])
def test_images_that_a_model_cannot_take_are_refused_at_the_start(name):
    with pytest.raises(ImageError, match="multiple of"):
        decided_model(CONFIGS[name]).start(torch.zeros(1, 3, 33, 32))
