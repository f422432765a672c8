"""Image classifiers of the library transformers (its ViT and DeiT), read without it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from dynamicvit.errors import CheckpointError, SettingError
from dynamicvit.labels import checked_class_names
from dynamicvit.models.config import Preprocessing
from dynamicvit.models.timm_vit import TimmVisionTransformer, from_timm
from dynamicvit.weights.io import read_weights

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
FILES = ("model.safetensors", "pytorch_model.bin")
ARCHITECTURES = ("ViTForImageClassification", "DeiTForImageClassification", "DeiTForImageClassificationWithTeacher")
# In both, names of tensors -> timm's; queries, keys and values are one matrix there.
_NAMES = (
    (r"^(vit|deit)\.", ""),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"^(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"^layernorm\.", "norm."),
    (r"^(cls_)?classifier\.", "head."),
    (r"^distillation_classifier\.", "head_dist."),
)


def is_transformers_folder(path: Path) -> bool:
    """Return whether a folder looks like one that ``save_pretrained`` of transformers wrote, not that of our models."""
    is_saved = (path / CONFIG).is_file() and any((path / name).is_file() for name in FILES)
    return is_saved and "prune_locations" not in _json(path / CONFIG)


def from_transformers(folder: str | Path, prune_locations: Sequence[int] | None = None) -> TimmVisionTransformer:
    """Return the model in a folder that transformers saved or downloaded, in evaluation mode; its logits are the same.

    It has no prediction modules: tokens are chosen by class-token attention or another selector that needs no training.

    Args:
        folder: with ``config.json``, the weights, and ``preprocessor_config.json``.
        prune_locations: as for :func:`~dynamicvit.models.timm_vit.from_timm`.

    Raises:
        CheckpointError: a file is missing or damaged, or the model is of another kind.
        SettingError: the locations do not fit.
    """
    path = Path(folder)
    config = _json(path / CONFIG)
    architecture = next(iter(config.get("architectures") or []), "of no name")
    if architecture not in ARCHITECTURES:
        raise CheckpointError(f"{path.name} holds a {architecture}; what can be read is {', '.join(ARCHITECTURES)}.")
    file = next((path / name for name in FILES if (path / name).is_file()), None)
    if file is None:
        raise CheckpointError(f"{path.name} has no {' or '.join(FILES)}.")
    tensors = timm_tensors(read_weights(file).tensors)
    has_teacher = architecture == ARCHITECTURES[2]
    try:
        model = _timm_model(config, tensors, has_teacher=has_teacher)
        model.load_state_dict(tensors)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"The weights in {path.name} do not fit its {CONFIG}.") from error
    result = from_timm(model, prune_locations, preprocessing=_preprocessing(path / PREPROCESSOR))
    names = config.get("id2label") or {}
    labels = [str(names.get(str(index), "")) for index in range(result.config.num_classes)]
    if all(labels) and not all(re.fullmatch(r"LABEL_\d+", label) for label in labels):
        try:
            result.class_names = checked_class_names(labels, result.config.num_classes)
        except SettingError as error:
            raise CheckpointError(f"The class names in {path.name}/{CONFIG} cannot be used: {error}") from error
    return result


def timm_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under timm's names."""
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        for old, new in _NAMES:
            name = re.sub(old, new, name)
        named[name] = tensor
    distillation = named.pop("embeddings.distillation_token", None)
    if distillation is not None:
        named["dist_token" if "head_dist.weight" in named else "reg_token"] = distillation
    for query in [name for name in named if ".attention.attention.query." in name]:
        parts = [named.pop(query.replace("query", part)) for part in ("query", "key", "value")]
        named[query.replace(".attention.attention.query.", ".attn.qkv.")] = torch.cat(parts)
    return {name: tensor for name, tensor in named.items() if not name.startswith("pooler.")}


def _timm_model(config: Mapping[str, Any], tensors: Mapping[str, Tensor], *, has_teacher: bool) -> nn.Module:
    """Return timm's model of the same description, with fresh weights."""
    kind = (
        VisionTransformerDistilled
        if has_teacher
        else partial(VisionTransformer, reg_tokens=int("reg_token" in tensors))
    )
    if config.get("hidden_act", "gelu") != "gelu":
        raise ValueError("another activation")
    return kind(
        img_size=config["image_size"],
        patch_size=config["patch_size"],
        embed_dim=config["hidden_size"],
        depth=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        mlp_ratio=config["intermediate_size"] / config["hidden_size"],
        qkv_bias=config.get("qkv_bias", True),
        num_classes=len(tensors["head.weight"]),
        norm_layer=partial(nn.LayerNorm, eps=config.get("layer_norm_eps", 1e-12)),
    )


def _preprocessing(path: Path) -> Preprocessing:
    """Return how images are prepared; nothing is guessed."""
    given = _json(path)
    try:
        crop = given["crop_size"] if given.get("do_center_crop") else given["size"]
        ratio = _side(crop) / _side(given["size"])
        return Preprocessing(ratio, tuple(given["image_mean"]), tuple(given["image_std"]))
    except (KeyError, TypeError, ValueError, SettingError) as error:
        raise CheckpointError(f"{path.name} does not say how images are prepared.") from error


def _side(size: Any) -> float:
    return float(size.get("shortest_edge") or size["height"]) if isinstance(size, dict) else float(size)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path.parent.name} has no {path.name} that can be read; save the model anew."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.parent.name}/{path.name} is no description; save the model anew.")
    return content
