"""bfloat16 where it is faster and answers the same; float32 everywhere else."""

import copy

import pytest
import torch
from analysis.examples import decided_model

from dynamicvit import precision as module
from dynamicvit.costs.benchmark import runs_on
from dynamicvit.costs.macs import MacCounter
from dynamicvit.models.config import ModelConfig, TimmViTConfig
from dynamicvit.models.registry import create_model
from dynamicvit.models.selectors import create_selector
from dynamicvit.precision import in_bfloat16, overlap, with_precision

SIZES = {
    "image_size": 64,
    "patch_size": 8,
    "embed_dim": 64,
    "depth": 4,
    "num_heads": 2,
    "num_classes": 10,
    "prune_locations": (1, 2, 3),
}
CONFIGS = {
    "vit": ModelConfig(**SIZES),
    "timm_vit": TimmViTConfig(**SIZES, layer_scale=True, qk_norm=True, num_registers=2),
}


@pytest.fixture
def images():
    return [torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]


@pytest.fixture
def clock(monkeypatch):
    """Gives the seconds that passes in bfloat16 take, where those in float32 take one."""
    seconds = {"bfloat16": 0.5}
    own = module._timed
    for limit in ("MEASURING_S", "GIVE_UP_S"):
        monkeypatch.setattr(module, limit, 600)

    def timed(model, image, ratio):
        return own(model, image, ratio)[0], seconds.get(model.precision, 1.0)

    monkeypatch.setattr(module, "_timed", timed)
    return seconds


@pytest.mark.parametrize("name", CONFIGS)
def test_every_selector_works_in_bfloat16_near_to_float32_at_the_same_cost(name, images):
    model = decided_model(CONFIGS[name])
    rounded = in_bfloat16(copy.deepcopy(model))
    for selector in map(create_selector, model.selectors):
        with torch.inference_mode():
            with MacCounter(model) as before:
                own = model.forward_stages(images[0], 0.7, selector)
            with MacCounter(rounded) as after:
                its = rounded.forward_stages(images[0], 0.7, selector)
        assert its.logits.dtype == its.final_tokens.dtype == torch.float32
        assert after.report().total == before.report().total
        assert overlap(own.stages[0].kept_patches, its.stages[0].kept_patches) > 0.8
        assert not torch.equal(own.logits, its.logits)


def test_a_model_says_its_precision_and_so_does_what_it_runs_on():
    model = decided_model(CONFIGS["vit"])
    rounded = in_bfloat16(copy.deepcopy(model))
    assert (model.precision, rounded.precision) == ("float32", "bfloat16")
    assert runs_on(rounded) == f"{runs_on(model)}, bfloat16"


@pytest.mark.parametrize(("seconds", "chosen"), [(0.5, "bfloat16"), (0.95, "float32"), (2.0, "float32")])
def test_auto_chooses_what_is_clearly_faster(seconds, chosen, clock, images):
    clock["bfloat16"] = seconds
    model = decided_model(CONFIGS["vit"])
    found = with_precision(model, "auto", images)
    assert found.precision == chosen
    assert model.precision == "float32"


def test_auto_stays_in_float32_where_answers_or_kept_patches_change(clock, images, monkeypatch):
    model = decided_model(CONFIGS["vit"])
    monkeypatch.setattr(module, "LEAST_OVERLAP", 1.01)
    assert with_precision(model, "auto", images).precision == "float32"
    monkeypatch.setattr(module, "LEAST_OVERLAP", 0.0)
    assert with_precision(model, "auto", images).precision == "bfloat16"

    def other_answer(model):
        rounded = in_bfloat16(model)
        with torch.no_grad():
            rounded.head.weight.neg_()
        return rounded

    monkeypatch.setattr(module, "in_bfloat16", other_answer)
    assert with_precision(model, "auto", images).precision == "float32"


def test_auto_stays_in_float32_where_measuring_takes_too_long(clock, images, monkeypatch):
    monkeypatch.setattr(module, "GIVE_UP_S", 0.0)
    assert with_precision(decided_model(CONFIGS["vit"]), "auto", images).precision == "float32"


def test_without_images_to_measure_with_auto_stays_in_float32(clock, images):
    model = decided_model(CONFIGS["vit"])
    assert with_precision(model, "auto").precision == "float32"
    assert with_precision(model, "auto", images[:1]).precision == "float32"  # that one warms up


def test_what_is_asked_for_is_done_where_it_is_possible():
    model = decided_model(CONFIGS["vit"])
    assert with_precision(model, "float32").precision == "float32"
    assert with_precision(model, "bfloat16").precision == "bfloat16"
    assert with_precision(create_model("dynamicvit_convnext_tiny"), "bfloat16").precision == "float32"


def test_overlap_is_the_share_of_kept_patches_that_are_kept_in_both():
    some, others = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]]), torch.tensor([[4, 3, 9], [0, 1, 2]])
    assert overlap(some, others).tolist() == [0.5, 0.0]
