"""Dense weights into a model that may have predictors, another number of classes or another image size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from timm.layers import resample_abs_pos_embed
from torch import Tensor

from dynamicvit.errors import CheckpointError, SettingError
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.vit import DynamicVisionTransformer
from dynamicvit.training.timm_teacher import create_timm_network
from dynamicvit.weights.foreign import timm_preprocessing
from dynamicvit.weights.io import read_shapes, read_weights

TIMM = "timm:"
_HEADS = ("head.", "aux_head.", "token_readout.classifier.")
PREDICTORS = "score_predictor."


def read_start(source: str, model: DynamicVisionTransformer) -> dict[str, Tensor]:
    """Return start weights by name: of a file, or with ``timm:NAME`` the pretrained ones of timm.

    Raises:
        CheckpointError: they cannot be had, or say that they belong to a model that computes otherwise.
        SettingError: timm has no such model, or it was trained on pictures with another normalisation.
    """
    if source.startswith(TIMM):
        network = create_timm_network(source.removeprefix(TIMM), None)
        own = network.pretrained_cfg
        _refuse_other_images(own["mean"], own["std"], model.config, source)
        weights: dict[str, Tensor] = network.state_dict()
        return weights
    file = read_weights(Path(source))
    images = timm_preprocessing(file.name) if file.config is None else file.config.preprocessing
    if images is not None:
        _refuse_other_images(images.mean, images.std, model.config, source)
    if file.config is not None:
        _refuse_other_arithmetic(file.config, model.config, source)
    return file.tensors


def _refuse_other_images(mean: Sequence[float], std: Sequence[float], wanted: ModelConfig, source: str) -> None:
    if (tuple(mean), tuple(std)) != (wanted.preprocessing.mean, wanted.preprocessing.std):
        raise SettingError(f"{source} was trained with another mean and standard deviation than the model's pictures.")


def _refuse_other_arithmetic(said: ModelConfig, wanted: ModelConfig, source: str) -> None:
    """Refuse weights by what leaves no trace in their shapes."""
    for name in ("num_heads", "norm_eps", "residual_divisor"):
        own, asked = getattr(said, name), getattr(wanted, name)
        if own != asked:
            raise CheckpointError(f"{source} is of a model with {name} {own}, not {asked}; give --set {name}={own}.")


def start_class_names(source: str | None, num_classes: int) -> tuple[str, ...] | None:
    """Return what a start file calls the classes; None where it names none, or is of another number of classes."""
    if source is None or source.startswith(TIMM):
        return None
    # A file that cannot be read is refused when its weights are wanted.
    with suppress(CheckpointError):
        names = read_shapes(Path(source)).class_names
        return names if names is not None and len(names) == num_classes else None
    return None


def load_backbone(model: DynamicVisionTransformer, weights: dict[str, Tensor], source: str) -> bool:
    """Copy start weights into a model.

    Predictors that the weights lack keep their initialisation, and predictors that the model lacks are passed over.
    A head for another number of classes is left out; the position embedding is resampled to the model's grid.

    Returns:
        Whether the model's head is new.

    Raises:
        CheckpointError: the weights are of another model.
    """
    expected = model.state_dict()
    found = {name: value for name, value in weights.items() if name in expected or not name.startswith(PREDICTORS)}
    has_new_head = found.get("head.weight", expected["head.weight"]).shape != expected["head.weight"].shape
    if has_new_head:
        found = {name: value for name, value in found.items() if not name.startswith(_HEADS)}
    if "pos_embed" in found:
        found["pos_embed"] = _resampled(found["pos_embed"], expected["pos_embed"])
    may_be_missing = (PREDICTORS, *_HEADS) if has_new_head else (PREDICTORS,)
    missing = [name for name in expected if name not in found and not name.startswith(may_be_missing)]
    strange = [name for name, value in found.items() if name not in expected or value.shape != expected[name].shape]
    if missing or strange:
        named = f"lacks {missing[0]}" if missing else f"has {strange[0]} {tuple(found[strange[0]].shape)}"
        raise CheckpointError(f"{source} does not fit the model to be trained: it {named}; check --model and --set.")
    model.load_state_dict(found, strict=False)
    return has_new_head


def _resampled(positions: Tensor, expected: Tensor) -> Tensor:
    """Bring a square grid of positions, class token first, to the number that is expected."""
    if positions.ndim != 3 or positions.shape[1] == expected.shape[1]:
        return positions
    old, new = (math.isqrt(grid.shape[1] - 1) for grid in (positions, expected))
    if old * old + 1 != positions.shape[1]:
        return positions
    return resample_abs_pos_embed(positions, [new, new], [old, old], num_prefix_tokens=1)
