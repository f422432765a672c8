"""Weights into models, strictly, and back into files that say what they are."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from dynamicvit.checkpoints.identification import fit_config, identify_config
from dynamicvit.checkpoints.reading import read_metadata, read_state_dict
from dynamicvit.errors import CheckpointError, SettingError
from dynamicvit.labels import checked_class_names, default_class_names
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.registry import create_model, model_config
from dynamicvit.models.vit import DynamicVisionTransformer

_NAMES_SHOWN = 3
_WITHOUT_EFFECT = ("drop_path_rate", "trained_keep_ratios")


def load_model(path: str | Path, name: str | None = None) -> DynamicVisionTransformer:
    """Build the model that a weight file belongs to, with those weights, in evaluation mode.

    A file that :func:`save_model` wrote says itself what it is; what other people's files are is found from the shapes
    of their tensors.

    Args:
        path: the file.
        name: the model to build, from :func:`~dynamicvit.models.registry.list_models`; the file's own when not given.
            The number of classes and the image size always come from the file.

    Raises:
        CheckpointError: the file cannot be read, contradicts itself, or is of no known or of another model.
        SettingError: there is no model of that name.
    """
    path = Path(path)
    state_dict, metadata = read_state_dict(path), read_metadata(path)
    config = described_config(metadata, path.name)
    if config is not None:
        _check_sizes(config, state_dict, path.name)
    named = None if name is None else fit_config(model_config(name), state_dict, path.name)
    if config is None:
        config = named or identify_config(state_dict, path.name).config
    elif named is not None and different_fields(config, named):
        raise CheckpointError(f"{path.name} describes another model than {name}; leave the name out.")
    names = described_class_names(metadata, config.num_classes, path.name)
    # Built without numbers: drawing random ones first would take several times as long as reading the file.
    with torch.device("meta"):
        model = create_model(config, class_names=names)
    _load_strictly(model, state_dict, path.name, replaces_tensors=True)
    return model


def load_checkpoint(model: DynamicVisionTransformer, path: str | Path) -> None:
    """Copy the weights of a file into a model, and the names of the classes if the file has them.

    Every tensor must be in both, with the same shape, and what the file says of itself must be true of the model.

    Raises:
        CheckpointError: the file cannot be read or does not fit; the model is then left as it was.
    """
    path = Path(path)
    state_dict, metadata = read_state_dict(path), read_metadata(path)
    config = described_config(metadata, path.name)
    names = described_class_names(metadata, model.config.num_classes, path.name)
    _load_strictly(model, state_dict, path.name, described=config)
    if names is not None:
        model.class_names = names


def save_model(
    model: DynamicVisionTransformer,
    path: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a model as ``.safetensors``, from which :func:`load_model` gives the same model back.

    A reader of the path sees the old file or the new one, never half of one.

    Args:
        model: its parameters and buffers are written, and in the header its description and the names of its classes.
        path: ends in ``.safetensors``; its folder is made if need be.
        class_names: one for each class; the model's own when not given.
        metadata: goes into the header too. Read back by this package: ``keep_ratios``, the base keep ratios of the
            training, such as ``"0.7"`` or ``"0.5, 0.7"``.

    Raises:
        CheckpointError: the path has another suffix.
        SettingError: there is not one name for each class.
    """
    path = Path(path)
    # torch.compile wraps a model in another one.
    model = getattr(model, "_orig_mod", model)
    names = checked_class_names(model.class_names if class_names is None else class_names, model.config.num_classes)
    header = {**(metadata or {}), "config": json.dumps(model.config.to_json())}
    if names != default_class_names(model.config.num_classes):
        header["class_names"] = json.dumps(names, ensure_ascii=False)
    if path.suffix != ".safetensors":
        raise CheckpointError(f"Weights are saved as .safetensors files only; got {path.name}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    try:
        save_file(tensors, unfinished, metadata=header)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def described_config(metadata: Mapping[str, str], source: str) -> ModelConfig | None:
    """Return what a header says of its model; None when it says nothing.

    Raises:
        CheckpointError: it says what makes no sense.
    """
    if "config" not in metadata:
        return None
    try:
        return ModelConfig.from_json(json.loads(metadata["config"]))
    except SettingError as error:
        raise CheckpointError(f"{source} describes a model that is not known here: {error}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{source} has a damaged description; save it anew.") from error


def described_class_names(metadata: Mapping[str, str], num_classes: int, source: str) -> tuple[str, ...] | None:
    """Return the names that a header gives to the classes; None when it gives none.

    Raises:
        CheckpointError: there is not one for each class, or they are no names.
    """
    try:
        names = json.loads(metadata.get("class_names", "[]"))
        if not isinstance(names, list):
            raise SettingError("They are no list.")
        return checked_class_names(names, num_classes) if names else None
    except SettingError as error:
        raise CheckpointError(f"{source} has class names that cannot be used. {error}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{source} has damaged class names; save it anew.") from error


def different_fields(first: ModelConfig, second: ModelConfig) -> list[str]:
    """Return the fields in which two descriptions are of models that answer differently with the same weights."""
    one, other = first.to_json(), second.to_json()
    return [name for name in one if one[name] != other[name] and name not in _WITHOUT_EFFECT]


def _check_sizes(config: ModelConfig, state_dict: Mapping[str, Tensor], source: str) -> None:
    """Refuse a description whose model would be larger than its weights, before anything is built."""
    shapes = {name: tuple(tensor.shape) for name, tensor in state_dict.items()}
    expected = {
        "cls_token": (1, 1, config.embed_dim),
        "pos_embed": (1, config.num_patches + 1, config.embed_dim),
        "head.weight": (config.num_classes, config.embed_dim),
        **{f"blocks.{block}.norm1.weight": (config.embed_dim,) for block in range(config.depth)},
    }
    for name, shape in expected.items():
        if shapes.get(name) != shape:
            found = f"has {name} {shapes[name]}, not {shape}" if name in shapes else f"lacks {name}"
            raise CheckpointError(f"{source} does not fit its own description: it {found}.")


def _load_strictly(
    model: DynamicVisionTransformer,
    state_dict: Mapping[str, Tensor],
    source: str,
    *,
    described: ModelConfig | None = None,
    replaces_tensors: bool = False,
) -> None:
    expected = model.state_dict()
    problems = [
        _report("missing", [name for name in expected if name not in state_dict]),
        _report("unexpected", [name for name in state_dict if name not in expected]),
        _report("of another shape", _shape_differences(expected, state_dict)),
    ]
    if not any(problems) and described is not None:
        differences = different_fields(described, model.config)
        problems = [f"it was saved from one with another {' and '.join(differences)}"] if differences else []
    if any(problems):
        raise CheckpointError(f"{source} does not fit the model: {'; '.join(filter(None, problems))}.")
    converted = {name: tensor.to(expected[name].dtype) for name, tensor in state_dict.items()}
    model.load_state_dict(converted, assign=replaces_tensors)


def _shape_differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{name} {tuple(found[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]


def _report(kind: str, names: Sequence[str]) -> str:
    """Say how many tensors have a problem and name the first ones; empty when none has."""
    if not names:
        return ""
    more = ", ..." if len(names) > _NAMES_SHOWN else ""
    return f"{len(names)} {kind} ({', '.join(names[:_NAMES_SHOWN])}{more})"
