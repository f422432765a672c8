"""Golden tensors: results of the authors' released implementation on tiny random models."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from dynamicvit.models.base import DynamicModel
from dynamicvit.models.config import ConvNeXtConfig, ModelConfig, SwinConfig
from dynamicvit.models.registry import create_model

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


def golden_model(name: str) -> DynamicModel:
    """Build ``deit_mini``, ``lvvit_mini``, ``convnext_mini`` or ``swin_mini`` with its golden weights."""
    file = golden(name)
    fields = file.metadata["config"]
    if name == "convnext_mini":
        config = golden_convnext(fields)
    elif name == "swin_mini":
        config = golden_swin(fields)
    else:
        config = golden_config(fields, is_lvvit=name == "lvvit_mini")
    model = create_model(config)
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


def golden_convnext(fields: dict[str, Any]) -> ConvNeXtConfig:
    """Translate the metadata's description of a ConvNeXt."""
    return ConvNeXtConfig(
        image_size=fields["img_size"],
        widths=tuple(fields["dims"]),
        depths=tuple(fields["depths"]),
        num_classes=fields["num_classes"],
        prune_locations=tuple(fields["pruning_loc"]),
    )


def golden_swin(fields: dict[str, Any]) -> SwinConfig:
    """Translate the metadata's description of a Swin."""
    return SwinConfig(
        image_size=fields["img_size"],
        widths=tuple(fields["embed_dim"] * 2**stage for stage in range(4)),
        depths=tuple(fields["depths"]),
        heads=tuple(fields["num_heads"]),
        window_size=fields["window_size"],
        mlp_ratio=fields["mlp_ratio"],
        num_classes=fields["num_classes"],
        prune_locations=tuple(fields["pruning_loc"]),
    )


def _decoded(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value
