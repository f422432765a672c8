"""Weights into models, strictly, and back into files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dynamicvit.checkpoints.identification import fit_config, identify_config
from dynamicvit.checkpoints.reading import read_state_dict
from dynamicvit.errors import CheckpointError
from dynamicvit.models.base import DynamicModel
from dynamicvit.models.registry import create_model, model_config

_NAMES_SHOWN = 3


def load_model(path: str | Path, name: str | None = None) -> DynamicModel:
    """Build the model that a weight file belongs to, with those weights, in evaluation mode.

    Args:
        path: the file.
        name: the model to build, from :func:`~dynamicvit.models.registry.list_models`; found from the shapes of the
            tensors when not given. The number of classes and the image size always come from the file.

    Raises:
        CheckpointError: the file cannot be read, or it is of no known or of another model.
        SettingError: there is no model of that name.
    """
    path = Path(path)
    state_dict = read_state_dict(path)
    if name is None:
        config = identify_config(state_dict, path.name).config
    else:
        config = fit_config(model_config(name), state_dict, path.name)
    # Built without numbers: drawing random ones first would take several times as long as reading the file.
    with torch.device("meta"):
        model = create_model(config)
    _load_strictly(model, state_dict, path.name, replaces_tensors=True)
    return model


def load_checkpoint(model: nn.Module, path: str | Path) -> None:
    """Copy the weights of a file into a model; every tensor must be in both, with the same shape.

    Raises:
        CheckpointError: the file cannot be read or does not fit; the model is then left as it was.
    """
    path = Path(path)
    _load_strictly(model, read_state_dict(path), path.name)


def save_checkpoint(model: nn.Module, path: str | Path, metadata: Mapping[str, str]) -> None:
    """Write a model's weights as ``.safetensors``; a reader sees the old file or the new one, never half of one.

    Args:
        model: its parameters and buffers are written.
        path: ends in ``.safetensors``; its folder is made if need be.
        metadata: goes into the header. Read back by this package: ``keep_ratios``, the base keep ratios of the
            training, such as ``"0.7"`` or ``"0.5, 0.7"``.

    Raises:
        CheckpointError: the path has another suffix.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise CheckpointError(f"Weights are saved as .safetensors files only; got {path.name}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    try:
        save_file(tensors, unfinished, metadata=dict(metadata))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _load_strictly(
    model: nn.Module, state_dict: Mapping[str, Tensor], source: str, *, replaces_tensors: bool = False
) -> None:
    expected = model.state_dict()
    problems = [
        _report("missing", [name for name in expected if name not in state_dict]),
        _report("unexpected", [name for name in state_dict if name not in expected]),
        _report("of another shape", _shape_differences(expected, state_dict)),
    ]
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
