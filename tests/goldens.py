"""Golden tensors: results of the authors' released implementation on tiny random models."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from dynamicvit.models.config import ModelConfig
from dynamicvit.models.registry import create_model
from dynamicvit.models.vit import DynamicVisionTransformer

FOLDER = Path(__file__).parent / "golden"
TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}


class Golden:
    """One golden file: tensors by name, metadata decoded from JSON where it is JSON."""

    def __init__(self, name: str) -> None:
        with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
            self.tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no iterator)
            self.metadata = {key: _decoded(value) for key, value in file.metadata().items()}

    def __getitem__(self, key: str) -> Tensor:
        return self.tensors[key]

    def state(self, prefix: str = "") -> dict[str, Tensor]:
        """Give the weights stored under ``<prefix>state.``."""
        start = f"{prefix}state."
        return {key.removeprefix(start): value for key, value in self.tensors.items() if key.startswith(start)}


@lru_cache(maxsize=8)
def golden(name: str) -> Golden:
    """Read one golden file once."""
    return Golden(name)


def golden_model(name: str) -> DynamicVisionTransformer:
    """Build ``deit_mini`` or ``lvvit_mini`` with its golden weights."""
    file = golden(name)
    model = create_model(golden_config(file.metadata["config"], is_lvvit=name == "lvvit_mini"))
    model.load_state_dict(file.state())
    return model


def golden_config(fields: dict[str, Any], *, is_lvvit: bool) -> ModelConfig:
    """Translate the metadata's description."""
    return ModelConfig(
        image_size=fields["img_size"],
        patch_size=fields["patch_size"],
        embed_dim=fields["embed_dim"],
        depth=fields["depth"],
        num_heads=fields["num_heads"],
        mlp_ratio=fields["mlp_ratio"],
        qkv_bias=fields["qkv_bias"],
        num_classes=fields["num_classes"],
        norm_eps=fields["norm_eps"],
        residual_divisor=fields.get("skip_lam", 1.0),
        embedding="lvvit" if is_lvvit else "patch",
        has_aux_head=is_lvvit,
        prune_locations=tuple(fields["pruning_loc"]),
    )


def _decoded(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value
