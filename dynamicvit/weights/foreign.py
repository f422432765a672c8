"""Other people's weight files, which do not say what they are: tensor shapes -> the authors' and timm's models."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import timm
from torch import Tensor

from dynamicvit.errors import CheckpointError, SettingError
from dynamicvit.models.config import (
    STRIDES,
    Embedding,
    HierarchicalConfig,
    ModelConfig,
    Preprocessing,
    SwinConfig,
    TimmViTConfig,
    quarter_locations,
)
from dynamicvit.models.registry import list_models, model_config
from dynamicvit.models.timm_vit import describe_timm, is_timm_name

# What no plain vision transformer has.
_SPECIAL = re.compile(r"(score_predictor|aux_head|patch_embed\.(conv\w+|trunk))\.")
# Token models, ConvNeXt, Swin.
_BLOCK = re.compile(r"(blocks|stages\.\d+|layers\.\d+\.blocks)\.\d+\.")
_DEIT_NAME = re.compile(r"deit_(small|base)_patch16_224")


@dataclass(frozen=True)
class IdentifiedModel:
    """A named model, and its description with the class count and image size that the weights have."""

    name: str
    config: ModelConfig


@dataclass(frozen=True)
class _TokenGeometry:
    """What tells one token model from another in the shapes of its tensors; the number of heads leaves no trace."""

    embedding: Embedding
    patch_size: int
    embed_dim: int
    depth: int
    mlp_width: int
    has_qkv_bias: bool
    has_aux_head: bool
    num_stages: int  # with prediction modules

    def __str__(self) -> str:
        return (
            f"a {self.embedding!r} embedding with patches of {self.patch_size} pixels, width {self.embed_dim}, "
            f"{self.depth} blocks with MLP width {self.mlp_width}, {self.num_stages} prediction modules, "
            f"{'a' if self.has_qkv_bias else 'no'} qkv bias and {'an' if self.has_aux_head else 'no'} auxiliary head"
        )


@dataclass(frozen=True)
class _HierarchicalGeometry:
    """What tells one ConvNeXt or Swin from another in the names and shapes of its tensors.

    Only the first location leaves a trace, the first block with a fast path; the later ones do not.
    """

    family: str
    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window_size: int
    mlp_width: int
    num_stages: int
    first_location: int | None

    def __str__(self) -> str:
        attention = f", {self.heads} heads in windows of {self.window_size}" if self.heads else ""
        paths = "no fast paths" if self.first_location is None else f"fast paths from block {self.first_location}"
        return (
            f"a {self.family} of width {self.width}, with {self.depths} blocks{attention}, MLP width {self.mlp_width} "
            f"in the third stage, {self.num_stages} prediction modules and {paths}"
        )


# Which model ---------------------------------------------------------------------------------------------------------


def identify_config(state_dict: Mapping[str, Tensor], source: str = "The file") -> IdentifiedModel:
    """Find which model some weights belong to.

    Weights of a plain vision transformer without prediction modules (DeiT's, timm's) drop tokens by a choice that needs
    none. Their shapes tell neither the number of heads nor how images are normalised; the name of the file does, where
    it begins with timm's name of the model. Other weights without prediction modules are those of the dense models.

    Args:
        state_dict: tensors by name; only their shapes are looked at, so they may be on the ``meta`` device.
        source: name of the file.

    Raises:
        CheckpointError: the weights are of no known model, or may be of two; the message says what was found.
    """
    found = _geometry_of_weights(state_dict, source)
    if _is_plain(state_dict):
        return _identify_plain(state_dict, found, source)
    name = _registered(found)
    if name is None:
        raise CheckpointError(f"{source} has {found}; the known models are {', '.join(list_models())}.")
    return IdentifiedModel(name, fit_config(model_config(name), state_dict, source))


def named_config(name: str, state_dict: Mapping[str, Tensor], source: str = "The file") -> ModelConfig:
    """Return the description of a registered model, or of timm's model of that name, for some weights.

    Raises:
        CheckpointError: as in :func:`fit_config`.
        SettingError: there is no model of that name, or it is none that can be used.
    """
    if is_timm_name(name) and (name not in list_models() or _is_plain(state_dict)):
        return fit_config(describe_timm(name), state_dict, source)
    return fit_config(_prunable(model_config(name)), state_dict, source)


def timm_name(text: str) -> str | None:
    """Return timm's name of a model that a text begins with, such as the name of a file; None where it is none.

    A tag that names the training is part of it: ``vit_small_patch16_224.augreg_in21k_ft_in1k``.
    """
    names = [name for name in _timm_names() if text.startswith(name) and not text[len(name) :][:1].isalnum()]
    if not names:
        return None
    name = max(names, key=len)
    tagged = re.match(re.escape(name) + r"\.\w+", text)
    # What follows the dot may be the file's suffix.
    return tagged[0] if tagged and tagged[0] in timm.list_pretrained(f"{name}.*") else name


def timm_preprocessing(name: str) -> Preprocessing | None:
    """Return how timm prepares the images of the model whose name this text begins with; None where it is none."""
    found = timm_name(name)
    own = None if found is None else timm.get_pretrained_cfg(found)
    return None if own is None else Preprocessing(own.crop_pct, own.mean, own.std)


def _identify_plain(
    state_dict: Mapping[str, Tensor], found: _TokenGeometry | _HierarchicalGeometry, source: str
) -> IdentifiedModel:
    name = timm_name(source)
    if name is not None:
        try:
            config = describe_timm(name)
        except SettingError as error:
            raise CheckpointError(f"{source} is of no model that can be used: {error}") from error
        if _geometry_of_config(config) != found:
            raise CheckpointError(f"{source} is named after {name}, but has {found}.")
        return IdentifiedModel(name, fit_config(config, state_dict, source))
    name = _registered(found)
    twin = None if name is None else _DEIT_NAME.fullmatch(name)
    if name is not None and (twin is None or "deit" in source.lower()):
        return IdentifiedModel(name, fit_config(_prunable(model_config(name)), state_dict, source))
    other = "vit_tiny_patch16_224" if twin is None else f"vit_{twin[1]}_patch16_224"
    shapes = "of a plain vision transformer" if twin is None else f"of {name} and of timm's {other}"
    raise CheckpointError(
        f"{source} has the shapes {shapes}, and models of the same shapes differ in their heads or in how images are "
        f"normalised, so it cannot be told which it is: name it, as in load_model(path, {other!r}), or begin the "
        "file's name with timm's name of the model."
    )


def _is_plain(state_dict: Mapping[str, Tensor]) -> bool:
    """Return whether these are the weights of a plain vision transformer, without prediction modules."""
    return "blocks.0.attn.qkv.weight" in state_dict and not any(_SPECIAL.match(name) for name in state_dict)


def _prunable(config: ModelConfig) -> ModelConfig:
    """Return a dense plain vision transformer as one that drops tokens by a choice that needs no training."""
    if type(config) is not ModelConfig or config.embedding != "patch" or config.num_stages:
        return config
    return TimmViTConfig(
        image_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.embed_dim,
        depth=config.depth,
        num_heads=config.num_heads,
        mlp_ratio=config.mlp_ratio,
        qkv_bias=config.qkv_bias,
        num_classes=config.num_classes,
        norm_eps=config.norm_eps,
        prune_locations=quarter_locations(config.depth),
        preprocessing=config.preprocessing,
    )


def _registered(found: _TokenGeometry | _HierarchicalGeometry) -> str | None:
    return next((name for name in list_models() if _geometry_of_config(model_config(name)) == found), None)


@lru_cache(maxsize=1)
def _timm_names() -> tuple[str, ...]:
    return tuple(timm.list_models())


# Of which size -------------------------------------------------------------------------------------------------------


def fit_config(config: ModelConfig, state_dict: Mapping[str, Tensor], source: str = "The file") -> ModelConfig:
    """Return the description with the number of classes and the image size of some weights.

    Raises:
        CheckpointError: the weights lack the tensors that tell, or their position grid is not square.
    """
    # timm has models without a classifier.
    is_headless = isinstance(config, TimmViTConfig) and "head.weight" not in state_dict
    changes: dict[str, Any] = {"num_classes": 0 if is_headless else size_of(state_dict, "head.weight", 0, source)}
    if not is_headless and not changes["num_classes"]:
        raise CheckpointError(f"{source} has a classifier for no classes; at least one class is needed.")
    if isinstance(config, SwinConfig):
        changes["image_size"] = _swin_image_size(config, state_dict, source)
    elif not isinstance(config, HierarchicalConfig):
        changes["image_size"] = config.patch_size * _grid_side(config, state_dict, source)
    try:
        return replace(config, **changes)
    except SettingError as error:
        raise CheckpointError(f"{source} is of no model that can be used: {error}") from error


def _grid_side(config: ModelConfig, state_dict: Mapping[str, Tensor], source: str) -> int:
    """Return for how many rows, and columns, of patches the weights have positions."""
    num_patches = size_of(state_dict, "pos_embed", 1, source) - config.num_prefix_positions
    side = math.isqrt(max(num_patches, 0))
    if side < 1 or side * side != num_patches:
        raise CheckpointError(f"{source} has positions for {num_patches} patches; a square grid of patches is needed.")
    return side


def _swin_image_size(config: SwinConfig, state_dict: Mapping[str, Tensor], source: str) -> int:
    """Return the image size by the number of shifted windows in the first stage that has some."""
    for stage, stride in enumerate(STRIDES):
        name = f"layers.{stage}.blocks.1.attn_mask"
        if name in state_dict:
            return math.isqrt(size_of(state_dict, name, 0, source)) * config.window_size * stride
    return config.image_size


# Names and shapes ----------------------------------------------------------------------------------------------------


def _geometry_of_weights(state_dict: Mapping[str, Tensor], source: str) -> _TokenGeometry | _HierarchicalGeometry:
    if any(name.startswith("downsample_layers.") for name in state_dict):
        return _geometry_of_convnext(state_dict, source)
    if any(name.startswith("layers.") for name in state_dict):
        return _geometry_of_swin(state_dict, source)
    embedding, patch_size = _embedding_of(state_dict, source)
    # A plain vision transformer may have no class token.
    width = ("pos_embed" if _is_plain(state_dict) else "cls_token", 2)
    return _TokenGeometry(
        embedding=embedding,
        patch_size=patch_size,
        embed_dim=size_of(state_dict, *width, source),
        depth=len(_numbers(state_dict, "blocks")),
        mlp_width=size_of(state_dict, "blocks.0.mlp.fc1.weight", 0, source),
        has_qkv_bias="blocks.0.attn.qkv.bias" in state_dict,
        has_aux_head="aux_head.weight" in state_dict,
        num_stages=len(_numbers(state_dict, "score_predictor")),
    )


def _geometry_of_convnext(state_dict: Mapping[str, Tensor], source: str) -> _HierarchicalGeometry:
    return _HierarchicalGeometry(
        family="convnext",
        width=size_of(state_dict, "downsample_layers.0.0.weight", 0, source),
        depths=tuple(len(_numbers(state_dict, f"stages.{stage}")) for stage in range(4)),
        heads=(),
        window_size=0,
        mlp_width=size_of(state_dict, "stages.2.0.pwconv1.weight", 0, source),
        num_stages=len(_numbers(state_dict, "score_predictor")),
        first_location=min(_numbers(state_dict, "stages.2", "fast_path."), default=None),
    )


def _geometry_of_swin(state_dict: Mapping[str, Tensor], source: str) -> _HierarchicalGeometry:
    tables = [f"layers.{stage}.blocks.0.attn.relative_position_bias_table" for stage in range(4)]
    return _HierarchicalGeometry(
        family="swin",
        width=size_of(state_dict, "patch_embed.proj.weight", 0, source),
        depths=tuple(len(_numbers(state_dict, f"layers.{stage}.blocks")) for stage in range(4)),
        heads=tuple(size_of(state_dict, table, 1, source) for table in tables),
        window_size=(math.isqrt(size_of(state_dict, tables[0], 0, source)) + 1) // 2,  # (2 w - 1)^2 rows
        mlp_width=size_of(state_dict, "layers.2.blocks.0.mlp.fc1.weight", 0, source),
        num_stages=len(_numbers(state_dict, "layers.2.score_predictor")),
        first_location=min(_numbers(state_dict, "layers.2.blocks", "fastmlp."), default=None),
    )


def _geometry_of_config(config: ModelConfig) -> _TokenGeometry | _HierarchicalGeometry:
    if isinstance(config, HierarchicalConfig):
        return _HierarchicalGeometry(
            family=config.family,
            width=config.widths[0],
            depths=config.depths,
            heads=config.heads if isinstance(config, SwinConfig) else (),
            window_size=config.window_size if isinstance(config, SwinConfig) else 0,
            mlp_width=int(config.embed_dim * config.mlp_ratio),
            num_stages=config.num_stages,
            first_location=config.prune_locations[0] if config.prune_locations else None,
        )
    return _TokenGeometry(
        embedding=config.embedding,
        patch_size=config.patch_size,
        embed_dim=config.embed_dim,
        depth=config.depth,
        mlp_width=int(config.embed_dim * config.mlp_ratio),
        has_qkv_bias=config.qkv_bias,
        has_aux_head=config.has_aux_head,
        num_stages=0 if config.has_movable_stages else config.num_stages,
    )


def _embedding_of(state_dict: Mapping[str, Tensor], source: str) -> tuple[Embedding, int]:
    """Return the kind of token embedding and the side of its patches in pixels."""
    if "patch_embed.trunk.conv_stem.weight" in state_dict:
        return "lite0", 16
    kernel = size_of(state_dict, "patch_embed.proj.weight", 2, source)
    if "patch_embed.conv1.weight" in state_dict:
        return "lvvit", 2 * kernel
    return "patch", kernel


def count_blocks(state_dict: Mapping[str, Tensor]) -> int:
    """Return the number of blocks, in hierarchical models of all four stages."""
    return len({found[0] for name in state_dict if (found := _BLOCK.match(name))})


def _numbers(state_dict: Mapping[str, Tensor], module_list: str, part: str = "") -> set[int]:
    """Return the numbers of the modules of a list, all or those with a part, as in ``blocks.11.norm1.weight``."""
    pattern = re.compile(re.escape(module_list) + r"\.(\d{1,9})\." + re.escape(part))
    return {int(found[1]) for name in state_dict if (found := pattern.match(name))}


def size_of(state_dict: Mapping[str, Tensor], name: str, axis: int, source: str) -> int:
    """Return one size of a tensor that every model of its kind has.

    Raises:
        CheckpointError: it is not there.
    """
    try:
        return state_dict[name].shape[axis]
    except (KeyError, IndexError):
        raise CheckpointError(
            f"{source} has no usable tensor {name}, which every known model of its kind has; it is of another kind."
        ) from None
