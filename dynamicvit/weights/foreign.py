"""Other people's weight files, which do not say what they are: tensor shapes -> the authors' and timm's models."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import timm
from torch import Tensor

from dynamicvit.errors import CheckpointError, SettingError
from dynamicvit.models.config import Embedding, ModelConfig, Preprocessing
from dynamicvit.models.registry import list_models, model_config

# Predictors that compare answers have it, the paper's have not.
_LOCAL_ANSWER = "score_predictor.0.local.weight"
# timm's models that have the shapes of a DeiT, but images that are normalised and cropped in another way; with a tag
# that names the training, such as ``vit_small_patch16_224.augreg_in21k_ft_in1k``.
_TIMM_NAME = re.compile(r"(vit_(small|base)_patch16_\d+)(\.\w+)?")
# Token models, ConvNeXt, Swin.
_BLOCK = re.compile(r"(blocks|stages\.\d+|layers\.\d+\.blocks)\.\d+\.")
_DEIT_NAME = re.compile(r"deit_(small|base)_patch16_224")


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

    Weights without prediction modules (DeiT's, timm's, LV-ViT's) are those of the dense models. A dense ViT-S/16 or
    ViT-B/16 can be DeiT's or one of timm's, which has other images; there the name of the file decides.

    Args:
        state_dict: tensors by name; only their shapes are looked at, so they may be on the ``meta`` device.
        source: name of the file.

    Raises:
        CheckpointError: the weights are of no registered model, or may be of two; the message says what was found.
    """
    _refuse_other_families(state_dict, source)
    found = _geometry_of_weights(state_dict, source)
    for name in list_models():
        config = model_config(name)
        if _geometry_of_config(config) == found:
            return _told_apart(IdentifiedModel(name, fit_config(config, state_dict, source)), source)
    raise CheckpointError(f"{source} has {found}; the known models are {', '.join(list_models())}.")


def named_config(name: str, state_dict: Mapping[str, Tensor], source: str = "The file") -> ModelConfig:
    """Return the description of a registered model, or of a timm model with the shapes of one, for some weights.

    Raises:
        CheckpointError: as in :func:`fit_config`.
        SettingError: there is no model of that name.
    """
    images = timm_preprocessing(name)
    if images is None:
        return fit_config(model_config(name), state_dict, source)
    config = model_config(name.partition(".")[0].replace("vit", "deit", 1).rpartition("_")[0] + "_224")
    return fit_config(replace(config, preprocessing=images), state_dict, source)


def timm_preprocessing(name: str) -> Preprocessing | None:
    """Return how timm prepares the images of its ViT-S/16 or ViT-B/16 of that name, which may be that of a file.

    None for other names.
    """
    found = _TIMM_NAME.match(name)
    if found is None:
        return None
    try:
        own = timm.get_pretrained_cfg(found[0])
    except RuntimeError:  # what follows the dot is no tag, such as the file's suffix
        own = timm.get_pretrained_cfg(found[1])
    return None if own is None else Preprocessing(own.crop_pct, own.mean, own.std)


def fit_config(config: ModelConfig, state_dict: Mapping[str, Tensor], source: str = "The file") -> ModelConfig:
    """Return the description with the number of classes, the image size and the kind of predictors of some weights.

    Raises:
        CheckpointError: the weights lack the tensors that tell, or their position grid is not square.
    """
    num_classes = size_of(state_dict, "head.weight", 0, source)
    num_patches = size_of(state_dict, "pos_embed", 1, source) - 1
    side = math.isqrt(max(num_patches, 0))
    if num_classes < 1 or side < 1 or side * side != num_patches:
        raise CheckpointError(
            f"{source} has {num_classes} classes and positions for {num_patches} patches; "
            "at least one class and a square grid of patches are needed."
        )
    candidate_classes = config.candidate_classes if _LOCAL_ANSWER in state_dict else 0
    image_size = side * config.patch_size
    try:
        return replace(config, num_classes=num_classes, image_size=image_size, candidate_classes=candidate_classes)
    except SettingError as error:
        raise CheckpointError(f"{source} is of no model that can be used: {error}") from error


def _told_apart(identified: IdentifiedModel, source: str) -> IdentifiedModel:
    """Tell DeiT's models from timm's of the same shapes by the name of the file, where it is one of theirs."""
    twin = _DEIT_NAME.fullmatch(identified.name)
    if twin is None or "deit" in source.lower():
        return identified
    other = f"vit_{twin[1]}_patch16_224"
    images = timm_preprocessing(source)
    if images is None:
        raise CheckpointError(
            f"{source} has the shapes of {identified.name} and of timm's {other}, whose images are normalised in "
            f"different ways, so it cannot be told which it is: name it, as in load_model(path, {other!r}), or begin "
            "the file's name with the model's."
        )
    return IdentifiedModel(other, replace(identified.config, preprocessing=images))


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
        embed_dim=size_of(state_dict, "cls_token", 2, source),
        depth=_count(state_dict, "blocks"),
        mlp_width=size_of(state_dict, "blocks.0.mlp.fc1.weight", 0, source),
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
    """Return the kind of token embedding and the side of its patches in pixels."""
    if "patch_embed.conv_stem.weight" in state_dict:
        return "lite0", 16
    kernel = size_of(state_dict, "patch_embed.proj.weight", 2, source)
    if "patch_embed.conv1.weight" in state_dict:
        return "lvvit", 2 * kernel
    return "patch", kernel


def _token_features_of(state_dict: Mapping[str, Tensor], source: str) -> int:
    """Return the width of the token read-out; 0 when there is none."""
    name = "token_readout.features.weight"
    return size_of(state_dict, name, 0, source) if name in state_dict else 0


def count_blocks(state_dict: Mapping[str, Tensor]) -> int:
    """Return the number of blocks, in hierarchical models of all four stages."""
    return len({found[0] for name in state_dict if (found := _BLOCK.match(name))})


def _count(state_dict: Mapping[str, Tensor], module_list: str) -> int:
    """Count the modules of a list from names such as ``blocks.11.norm1.weight``."""
    return len({name.split(".")[1] for name in state_dict if name.startswith(f"{module_list}.")})


def size_of(state_dict: Mapping[str, Tensor], name: str, axis: int, source: str) -> int:
    """Return one size of a tensor that every model has.

    Raises:
        CheckpointError: it is not there.
    """
    try:
        return state_dict[name].shape[axis]
    except (KeyError, IndexError):
        raise CheckpointError(
            f"{source} has no usable tensor {name}, which every DeiT and LV-ViT model has; it is of another kind."
        ) from None
