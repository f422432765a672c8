"""A model small enough to write and fetch in no time, known to the registry while a test runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dynamicvit.models import registry
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.registry import create_model
from dynamicvit.models.vit import DynamicVisionTransformer
from dynamicvit.weights.io import save_model

TINY = ModelConfig(image_size=32, embed_dim=16, depth=3, num_heads=2, num_classes=5, prune_locations=(1,))


@pytest.fixture
def tiny_model(monkeypatch: pytest.MonkeyPatch) -> DynamicVisionTransformer:
    monkeypatch.setitem(registry._REGISTRY, "tiny", TINY)
    torch.manual_seed(0)
    return create_model("tiny")


@pytest.fixture
def tiny_file(tiny_model: DynamicVisionTransformer, tmp_path: Path) -> Path:
    """A ``.safetensors`` file of the tiny model."""
    path = tmp_path / "source" / "tiny.safetensors"
    save_model(tiny_model, path, metadata={"keep_ratios": "0.5, 0.7"})
    return path
