"""The closed form gives what is counted, to the last multiply-add."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamicvit.analysis.comparison import stem_macs
from dynamicvit.budget import as_budget
from dynamicvit.costs.closed_form import pruned_macs, token_model_macs
from dynamicvit.costs.macs import MacCounter
from dynamicvit.models.config import ConvNeXtConfig, ModelConfig, SwinConfig
from dynamicvit.models.registry import create_model
from dynamicvit.models.selectors import SELECTORS, create_selector

TINY = ModelConfig(
    image_size=32, patch_size=4, embed_dim=24, depth=4, num_heads=2, num_classes=10, prune_locations=(1, 2, 3)
)
MODELS = {
    "deit": create_model(TINY),
    "lvvit": create_model(TINY, embedding="lvvit", has_aux_head=True, mlp_ratio=3.0, qkv_bias=False),
    "from the first block on": create_model(TINY, prune_locations=(0, 1)),
}
SMALL = {"image_size": 64, "widths": (4, 8, 16, 32), "num_classes": 10, "prune_locations": (1, 3)}
HIERARCHICAL = {
    "convnext": create_model(ConvNeXtConfig(depths=(1, 2, 4, 1), **SMALL)),
    "swin": create_model(SwinConfig(depths=(1, 2, 4, 1), heads=(1, 2, 4, 4), window_size=4, **SMALL)),
}


def count(model, images, *args):
    """Count on a real forward pass what comes after the embedding."""
    with torch.inference_mode(), MacCounter(model) as counter:
        model(images, *args)
    return counter.report().total - stem_macs(model, counter.report())


@pytest.mark.parametrize("name", SELECTORS)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@settings(max_examples=5, deadline=None)
@given(keep_ratio=st.floats(0.02, 1.0), rows=st.integers(1, 9), columns=st.integers(1, 9))
def test_every_method_costs_what_is_counted(name, model, keep_ratio, rows, columns):
    counts = as_budget(keep_ratio).counts(model.config.schedule, rows * columns)
    counted = count(model, torch.zeros(1, 3, rows * 4, columns * 4), keep_ratio, create_selector(name))
    assert pruned_macs(model.config, (rows, columns), counts, name) == counted


@pytest.mark.parametrize("name", SELECTORS)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_every_module_costs_what_is_counted(name, model):
    counts = as_budget(0.6).counts(model.config.schedule, 64)
    with torch.inference_mode(), MacCounter(model) as counter:
        model(torch.zeros(1, 3, 32, 32), 0.6, create_selector(name))
    counted = Counter({key: macs for key, macs in counter.report().by_module.items() if "patch_embed" not in key})
    found = Counter()
    for module, macs in token_model_macs(model.config, (8, 8), counts, name):
        found[module] += macs
    assert +found == +counted


@pytest.mark.parametrize("name", ["predictor", "random", "grid"])
@pytest.mark.parametrize("model", HIERARCHICAL.values(), ids=HIERARCHICAL)
@settings(max_examples=5, deadline=None)
@given(keep_ratio=st.floats(0.02, 1.0), sides=st.tuples(st.integers(2, 5), st.integers(2, 5)))
def test_the_slow_path_costs_what_is_counted(name, model, keep_ratio, sides):
    rows, columns = (model.config.size_multiple // 16 * side for side in sides)
    counts = as_budget(keep_ratio).counts(model.config.schedule, rows * columns)
    counted = count(model, torch.zeros(1, 3, rows * 16, columns * 16), keep_ratio, create_selector(name))
    assert pruned_macs(model.config, (rows, columns), counts, name) == counted


@pytest.mark.parametrize("model", HIERARCHICAL.values(), ids=HIERARCHICAL)
def test_the_dense_hierarchical_pass_costs_what_is_counted(model):
    assert pruned_macs(model.config, (4, 4), (), "none") == count(model, torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_dense_pass_costs_what_is_counted(model):
    assert pruned_macs(model.config, (8, 8), (), "none") == count(model, torch.zeros(1, 3, 32, 32))
