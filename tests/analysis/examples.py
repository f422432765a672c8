"""A model small enough for every test that tells classes and tokens apart all the same."""

import torch

from dynamicvit.models.config import ModelConfig
from dynamicvit.models.registry import create_model
from dynamicvit.models.vit import DynamicVisionTransformer


def decided_model(config: ModelConfig) -> DynamicVisionTransformer:
    """Build a model whose weights are large enough for scores and classes to differ clearly."""
    torch.manual_seed(0)
    model = create_model(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model
