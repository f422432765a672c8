"""Tensor shapes -> the model that they belong to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from dynamicvit.errors import CheckpointError
from dynamicvit.models.config import Embedding, ModelConfig
from dynamicvit.models.registry import list_models, model_config

# Predictors that compare answers have it, the paper's have not.
_LOCAL_ANSWER = "score_predictor.0.local.weight"


@dataclass(frozen=True)
class IdentifiedModel:
    """A named model, and its description with the class count, image size and predictors that the weights have."""

    name: str
    config: ModelConfig


@dataclass(frozen=True)
class _Geometry:
    """What tells one model from another in the shapes of its tensors; the number of heads leaves no trace there."""

    embedding: Embedding
    patch_size: int
    embed_dim: int
    depth: int
    mlp_width: int
    has_qkv_bias: bool
    has_aux_head: bool
    token_features: int
    num_stages: int

    def __str__(self) -> str:
        return (
            f"a {self.embedding!r} embedding with patches of {self.patch_size} pixels, width {self.embed_dim}, "
            f"{self.depth} blocks with MLP width {self.mlp_width}, {self.num_stages} prediction modules, "
            f"{'a' if self.has_qkv_bias else 'no'} qkv bias, {'an' if self.has_aux_head else 'no'} auxiliary head "
            f"and a token read-out of width {self.token_features}"
        )


def identify_config(state_dict: Mapping[str, Tensor], source: str = "The file") -> IdentifiedModel:
    """Find which registered model some weights belong to.

    Weights without prediction modules (DeiT's, timm's, LV-ViT's) are those of the dense models. Two registered models
    that differ only in what shapes do not show are told apart by nobody: the first one is given.

    Args:
        state_dict: tensors by name; only their shapes are looked at, so they may be on the ``meta`` device.
        source: what the error messages call the weights.

    Raises:
        CheckpointError: the weights are of no registered model; the message says what was found.
    """
    _refuse_other_families(state_dict, source)
    found = _geometry_of_weights(state_dict, source)
    for name in list_models():
        config = model_config(name)
        if _geometry_of_config(config) == found:
            return IdentifiedModel(name, fit_config(config, state_dict, source))
    raise CheckpointError(f"{source} has {found}; the known models are {', '.join(list_models())}.")


def fit_config(config: ModelConfig, state_dict: Mapping[str, Tensor], source: str = "The file") -> ModelConfig:
    """Give the description with the number of classes, the image size and the kind of predictors of some weights.

    Raises:
        CheckpointError: the weights lack the tensors that tell, or their position grid is not square.
    """
    num_classes = _size(state_dict, "head.weight", 0, source)
    num_patches = _size(state_dict, "pos_embed", 1, source) - 1
    side = math.isqrt(max(num_patches, 0))
    if num_classes < 1 or side < 1 or side * side != num_patches:
        raise CheckpointError(
            f"{source} has {num_classes} classes and positions for {num_patches} patches; "
            "at least one class and a square grid of patches are needed."
        )
    return replace(
        config,
        num_classes=num_classes,
        image_size=side * config.patch_size,
        candidate_classes=config.candidate_classes if _LOCAL_ANSWER in state_dict else 0,
    )


def _refuse_other_families(state_dict: Mapping[str, Tensor], source: str) -> None:
    for prefix, family in (("downsample_layers.", "ConvNeXt (DynamicCNN)"), ("layers.", "Swin (DynamicSwin)")):
        if any(name.startswith(prefix) for name in state_dict):
            raise CheckpointError(
                f"{source} holds the weights of a {family} model, which is not supported yet; "
                "use a DeiT or LV-ViT checkpoint."
            )


def _geometry_of_weights(state_dict: Mapping[str, Tensor], source: str) -> _Geometry:
    embedding, patch_size = _embedding_of(state_dict, source)
    return _Geometry(
        embedding=embedding,
        patch_size=patch_size,
        embed_dim=_size(state_dict, "cls_token", 2, source),
        depth=_count(state_dict, "blocks"),
        mlp_width=_size(state_dict, "blocks.0.mlp.fc1.weight", 0, source),
        has_qkv_bias="blocks.0.attn.qkv.bias" in state_dict,
        has_aux_head="aux_head.weight" in state_dict,
        token_features=_token_features_of(state_dict, source),
        num_stages=_count(state_dict, "score_predictor"),
    )


def _geometry_of_config(config: ModelConfig) -> _Geometry:
    return _Geometry(
        embedding=config.embedding,
        patch_size=config.patch_size,
        embed_dim=config.embed_dim,
        depth=config.depth,
        mlp_width=int(config.embed_dim * config.mlp_ratio),
        has_qkv_bias=config.qkv_bias,
        has_aux_head=config.has_aux_head,
        token_features=config.token_features,
        num_stages=config.num_stages,
    )


def _embedding_of(state_dict: Mapping[str, Tensor], source: str) -> tuple[Embedding, int]:
    """Give the kind of token embedding and the side of its patches in pixels."""
    if "patch_embed.conv_stem.weight" in state_dict:
        return "lite0", 16
    kernel = _size(state_dict, "patch_embed.proj.weight", 2, source)
    if "patch_embed.conv1.weight" in state_dict:
        return "lvvit", 2 * kernel
    return "patch", kernel


def _token_features_of(state_dict: Mapping[str, Tensor], source: str) -> int:
    """Give the width of the token read-out; 0 when there is none."""
    name = "token_readout.features.weight"
    return _size(state_dict, name, 0, source) if name in state_dict else 0


def _count(state_dict: Mapping[str, Tensor], module_list: str) -> int:
    """Count the modules of a list from names such as ``blocks.11.norm1.weight``."""
    return len({name.split(".")[1] for name in state_dict if name.startswith(f"{module_list}.")})


def _size(state_dict: Mapping[str, Tensor], name: str, axis: int, source: str) -> int:
    try:
        return state_dict[name].shape[axis]
    except (KeyError, IndexError):
        raise CheckpointError(
            f"{source} has no usable tensor {name}, which every DeiT and LV-ViT model has; it is of another kind."
        ) from None
