"""The models that have a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from dynamicvit.errors import SettingError
from dynamicvit.models.config import HALF, ModelConfig, Preprocessing
from dynamicvit.models.hybrid import Hybrid
from dynamicvit.models.lvvit import LVViT
from dynamicvit.models.vit import DynamicVisionTransformer

_LVVIT = ModelConfig(
    mlp_ratio=3.0, qkv_bias=False, norm_eps=1e-5, residual_divisor=2.0, embedding="lvvit", has_aux_head=True
)

_PRUNED: dict[str, ModelConfig] = {
    "dynamicvit_deit_256_patch16_224": ModelConfig(
        embed_dim=256, num_heads=4, prune_locations=(3, 6, 9), trained_keep_ratios=(0.7,)
    ),
    "dynamicvit_deit_small_patch16_224": ModelConfig(
        embed_dim=384, num_heads=6, prune_locations=(3, 6, 9), trained_keep_ratios=(0.7,)
    ),
    "dynamicvit_deit_base_patch16_224": ModelConfig(
        embed_dim=768, num_heads=12, prune_locations=(3, 6, 9), trained_keep_ratios=(0.7,)
    ),
    "dynamicvit_lvvit_small_patch16_224": replace(
        _LVVIT, embed_dim=384, depth=16, num_heads=6, prune_locations=(4, 8, 12), trained_keep_ratios=(0.5, 0.7)
    ),
    "dynamicvit_lvvit_medium_patch16_224": replace(
        _LVVIT, embed_dim=512, depth=20, num_heads=8, prune_locations=(5, 10, 15), trained_keep_ratios=(0.7,)
    ),
    # The geometry of the checkpoint that ships with this project; not one of the paper's.
    "dynamicvit_lite0_256_patch16_224": ModelConfig(
        embed_dim=256,
        num_heads=4,
        mlp_ratio=2.0,
        embedding="lite0",
        token_features=1280,
        candidate_classes=32,
        prune_locations=(2, 4, 6),
        preprocessing=Preprocessing(mean=HALF, std=HALF),
    ),
}

_REGISTRY: dict[str, ModelConfig] = _PRUNED | {
    name.removeprefix("dynamicvit_"): replace(config, prune_locations=(), candidate_classes=0, trained_keep_ratios=())
    for name, config in _PRUNED.items()
}


def list_models() -> list[str]:
    """Return the names that :func:`create_model` knows, the pruned models first."""
    return list(_REGISTRY)


def model_config(name: str) -> ModelConfig:
    """Return the description of a named model.

    Raises:
        SettingError: no model has that name.
    """
    if name not in _REGISTRY:
        raise SettingError(f"There is no model {name!r}; choose one of {', '.join(_REGISTRY)}.")
    return _REGISTRY[name]


def create_model(
    model: str | ModelConfig, *, class_names: Sequence[str] | None = None, **changes: Any
) -> DynamicVisionTransformer:
    """Build a model with fresh weights, in evaluation mode.

    Args:
        model: a name from :func:`list_models`, or a description of one's own.
        class_names: one for each class; ImageNet's for 1000 classes or else "class 0" and so on when not given.
        changes: fields of :class:`ModelConfig` to replace, for example ``num_classes=10``.

    Raises:
        SettingError: the name, a field or a value is not valid.
    """
    config = model_config(model) if isinstance(model, str) else model
    unknown = set(changes) - {field.name for field in fields(ModelConfig)}
    if unknown:
        raise SettingError(f"A model description has no field {', '.join(sorted(unknown))}.")
    config = replace(config, **changes)
    return _family(config)(config, class_names).eval()


def _family(config: ModelConfig) -> type[DynamicVisionTransformer]:
    if config.embedding == "lvvit":
        return LVViT
    return Hybrid if config.token_features else DynamicVisionTransformer
