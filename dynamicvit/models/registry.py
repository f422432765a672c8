"""The models that have a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from dynamicvit.errors import SettingError
from dynamicvit.models.base import DynamicModel
from dynamicvit.models.config import HALF, ConvNeXtConfig, ModelConfig, Preprocessing, SwinConfig, TimmViTConfig
from dynamicvit.models.convnext import ConvNeXt
from dynamicvit.models.lite0 import Lite0ViT
from dynamicvit.models.lvvit import LVViT
from dynamicvit.models.swin import Swin
from dynamicvit.models.timm_vit import TimmVisionTransformer
from dynamicvit.models.vit import DynamicVisionTransformer

_LVVIT = ModelConfig(
    mlp_ratio=3.0, qkv_bias=False, norm_eps=1e-5, residual_divisor=2.0, embedding="lvvit", has_aux_head=True
)
_CONVNEXT = ConvNeXtConfig(trained_keep_ratios=(0.7, 0.9))
_SWIN = SwinConfig(trained_keep_ratios=(0.7,))

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
    "dynamicvit_convnext_tiny": replace(_CONVNEXT, prune_locations=(1, 2, 3)),
    "dynamicvit_convnext_small": replace(_CONVNEXT, depths=(3, 3, 27, 3), prune_locations=(3, 6, 9)),
    "dynamicvit_convnext_base": replace(
        _CONVNEXT, widths=(128, 256, 512, 1024), depths=(3, 3, 27, 3), prune_locations=(3, 6, 9)
    ),
    "dynamicvit_swin_tiny_patch4_window7_224": replace(_SWIN, prune_locations=(1, 2, 3)),
    "dynamicvit_swin_small_patch4_window7_224": replace(_SWIN, depths=(2, 2, 18, 2), prune_locations=(2, 4, 6)),
    "dynamicvit_swin_base_patch4_window7_224": replace(
        _SWIN,
        widths=(128, 256, 512, 1024),
        depths=(2, 2, 18, 2),
        heads=(4, 8, 16, 32),
        prune_locations=(2, 4, 6),
    ),
    # The model that ships with this project, the paper's on another embedding.
    "dynamicvit_lite0_small_patch16_224": ModelConfig(
        embed_dim=384,
        num_heads=6,
        mlp_ratio=3.0,
        embedding="lite0",
        prune_locations=(3, 6, 9),
        preprocessing=Preprocessing(mean=HALF, std=HALF),
    ),
}

_REGISTRY: dict[str, ModelConfig] = _PRUNED | {
    name.removeprefix("dynamicvit_"): config.dense() for name, config in _PRUNED.items()
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


def create_model(model: str | ModelConfig, *, class_names: Sequence[str] | None = None, **changes: Any) -> DynamicModel:
    """Build a model with fresh weights, in evaluation mode.

    Args:
        model: a name from :func:`list_models`, or a description of one's own.
        class_names: one for each class; ImageNet's for 1000 classes or else "class 0" and so on when not given.
        changes: fields of :class:`ModelConfig` to replace, for example ``num_classes=10``.

    Raises:
        SettingError: the name, a field or a value is not valid.
    """
    config = model_config(model) if isinstance(model, str) else model
    unknown = set(changes) - {field.name for field in fields(config) if field.init}
    if unknown:
        raise SettingError(f"A model description has no field {', '.join(sorted(unknown))}.")
    config = replace(config, **changes)
    return _family(config)(config, class_names).eval()


def _family(config: ModelConfig) -> type[DynamicModel]:
    if isinstance(config, ConvNeXtConfig):
        return ConvNeXt
    if isinstance(config, SwinConfig):
        return Swin
    if isinstance(config, TimmViTConfig):
        return TimmVisionTransformer
    return {"patch": DynamicVisionTransformer, "lvvit": LVViT, "lite0": Lite0ViT}[config.embedding]
