"""A workbench on a model with random weights, in folders of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from dynamicvit.checkpoints.loading import save_checkpoint
from dynamicvit.interface.handlers import Workbench
from dynamicvit.models.registry import create_model

# Before gradio is imported: it would look up other hosts at once.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

MODEL = "dynamicvit_lite0_192_patch16_224.safetensors"
EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one weight file."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    model = create_model(MODEL.removesuffix(".safetensors"))
    with torch.no_grad():
        model.head.weight.mul_(8)  # random heads answer almost evenly: this gives first answers that can differ
    save_checkpoint(model, folder / MODEL, {"keep_ratios": "0.7"})
    return folder


@pytest.fixture(scope="session")
def bench(checkpoints: Path) -> Workbench:
    """What one app shares, with the examples of the repository."""
    return Workbench(checkpoints, EXAMPLES)


@pytest.fixture(scope="session")
def empty_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A download cache with nothing in it."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNAMICVIT_CACHE", str(empty_cache))
