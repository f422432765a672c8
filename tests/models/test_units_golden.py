"""Single parts equal the released ones on inputs chosen so that every epsilon matters."""

import pytest
import torch
from goldens import TOLERANCE, golden

from dynamicvit.models.config import ModelConfig
from dynamicvit.models.vit import Block, TokenPredictor, masked_softmax


@pytest.fixture(scope="module")
def units():
    return golden("units")


def test_masked_softmax_equals_the_released_one(units):
    result = masked_softmax(units["policy_softmax:scores"], units["policy"].squeeze(-1))
    torch.testing.assert_close(result, units["policy_softmax:out"], **TOLERANCE)


def test_predictor_equals_the_released_one(units):
    predictor = TokenPredictor(16)
    predictor.load_state_dict(units.state("predictor_tokens:"))
    with torch.no_grad():
        result = predictor(units["tokens"][:, 1:], units["policy"][:, 1:].squeeze(-1))
    torch.testing.assert_close(result, units["predictor_tokens:out"], **TOLERANCE)


@pytest.mark.parametrize(
    ("part", "settings"),
    [
        ("block_deit:", {"mlp_ratio": 4, "qkv_bias": True, "norm_eps": 1e-6}),
        ("block_lvvit:", {"mlp_ratio": 3, "qkv_bias": False, "norm_eps": 1e-5, "residual_divisor": 2.0}),
    ],
)
def test_block_equals_the_released_one(units, part, settings):
    block = Block(ModelConfig(embed_dim=16, num_heads=2, **settings))
    block.load_state_dict(units.state(part))
    with torch.no_grad():
        torch.testing.assert_close(block(units["tokens"]), units[f"{part}out"], **TOLERANCE)
        masked = block(units["tokens"], units["policy"].squeeze(-1))
    torch.testing.assert_close(masked, units[f"{part}out_policy"], **TOLERANCE)
