"""The closed form gives what is counted, to the last multiply-add."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamicvit.budget import as_budget
from dynamicvit.costs.closed_form import pruned_macs
from dynamicvit.costs.macs import MacCounter
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.registry import create_model
from dynamicvit.models.selectors import SELECTORS, create_selector

TINY = ModelConfig(
    image_size=32, patch_size=4, embed_dim=24, depth=4, num_heads=2, num_classes=10, prune_locations=(1, 2, 3)
)
MODELS = {
    "deit": create_model(TINY),
    "lvvit": create_model(TINY, embedding="lvvit", has_aux_head=True, mlp_ratio=3.0, qkv_bias=False),
    "token readout": create_model(TINY, token_features=40),
    "answers": create_model(TINY, token_features=40, candidate_classes=4),
    "from the first block on": create_model(TINY, prune_locations=(0, 1)),
}


def count(model, images, *args):
    """Count on a real forward pass what comes after the embedding."""
    with torch.inference_mode(), MacCounter(model) as counter:
        model(images, *args)
    return counter.report().total - counter.report().within("patch_embed")


@pytest.mark.parametrize("name", SELECTORS)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@settings(max_examples=5, deadline=None)
@given(keep_ratio=st.floats(0.02, 1.0), rows=st.integers(1, 9), columns=st.integers(1, 9))
def test_every_method_costs_what_is_counted(name, model, keep_ratio, rows, columns):
    counts = as_budget(keep_ratio).counts(model.config.num_stages, rows * columns)
    counted = count(model, torch.zeros(1, 3, rows * 4, columns * 4), keep_ratio, create_selector(name))
    assert pruned_macs(model.config, (rows, columns), counts, name) == counted


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_dense_pass_costs_what_is_counted(model):
    assert pruned_macs(model.config, (8, 8), (), "none") == count(model, torch.zeros(1, 3, 32, 32))
