"""Weight files: read without running what they contain, loaded strictly, saved together with what they are."""

from __future__ import annotations

import argparse
import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from dynamicvit.errors import CheckpointError, SettingError
from dynamicvit.labels import checked_class_names, default_class_names
from dynamicvit.models.base import DynamicModel
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.registry import create_model
from dynamicvit.weights.foreign import count_blocks, identify_config, named_config, size_of
from dynamicvit.writing import explained, write_whole

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tar")

_NAMES_SHOWN = 3
_WITHOUT_EFFECT = ("drop_path_rate", "trained_keep_ratios")
_ZIP_START = b"PK\x03\x04"
# Where training programs keep the weights beside other things: the authors', Lightning, and timm the averaged ones.
_ENTRIES = ("model", "state_dict", "model_ema", "state_dict_ema")
_numpy_scalar = np.float64(0).__reduce__()[0]
# What the authors' training script stores beside the tensors: its options, and in older files scores as numpy scalars
# (whose constructor had another module name before numpy 2). None of these runs anything when unpickled.
_HARMLESS_GLOBALS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    np.dtypes.Float32DType,
    np.dtypes.Float64DType,
    _numpy_scalar,
    (_numpy_scalar, "numpy.core.multiarray.scalar"),
]
# torch keeps its allow list in one place for the whole process, and two readers would reset each other's.
_allow_list_lock = threading.Lock()


@dataclass(frozen=True)
class WeightFile:
    """What a weight file holds.

    Attributes:
        name: of the file.
        tensors: by name, without what wrappers put before the names.
        metadata: what a ``.safetensors`` header says beside them; empty for other kinds of file.
        config: the file's own description; None where it has none.
        class_names: one for each class; None where the file names none.
    """

    name: str
    tensors: dict[str, Tensor]
    metadata: Mapping[str, str]
    config: ModelConfig | None
    class_names: tuple[str, ...] | None


# Models and files ----------------------------------------------------------------------------------------------------


def load_file(
    path: str | Path, name: str | None = None, *, prune_locations: Sequence[int] | None = None
) -> DynamicModel:
    """Return the model that a weight file belongs to, with those weights, in evaluation mode.

    A file that :func:`save_model` wrote says itself what it is; what other people's files are is found from the shapes
    of their tensors, and for plain vision transformers from the file's name.

    Args:
        path: the file.
        name: the model to build, from :func:`~dynamicvit.models.registry.list_models` or timm's name of a plain vision
            transformer; the file's own when not given. The number of classes and the image size always come from the
            file.
        prune_locations: blocks before which a model without prediction modules drops tokens, 0-based, increasing; its
            own, or those after each quarter of its depth, when not given.

    Raises:
        CheckpointError: the file cannot be read, contradicts itself, or is of no known or of another model.
        SettingError: there is no model of that name, or the locations are not valid for the model.
    """
    file = read_weights(Path(path))
    config = _config_of(file, name)
    if prune_locations is not None:
        config = _moved(config, prune_locations, file.name)
    # Built without numbers: drawing random ones first would take several times as long as reading the file.
    with torch.device("meta"):
        model = create_model(config, class_names=file.class_names)
    _load_strictly(model, file, replaces_tensors=True)
    return model


def load_checkpoint(model: DynamicModel, path: str | Path) -> None:
    """Copy the weights of a file into a model, and the names of the classes if the file has them.

    Every tensor must be in both, with the same shape, and what the file says of itself must be true of the model.

    Raises:
        CheckpointError: the file cannot be read or does not fit; the model is then left as it was.
    """
    file = read_weights(Path(path))
    _load_strictly(model, file)
    if file.class_names is not None:
        model.class_names = file.class_names


def save_model(
    model: DynamicModel,
    path: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a model as ``.safetensors``, from which :func:`load_file` returns the same model.

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
        OutputError: the path cannot be written, or the disk is full.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise CheckpointError(f"Weights are saved as .safetensors files only; got {path.name}.")
    # torch.compile wraps a model in another one.
    model = getattr(model, "_orig_mod", model)
    names = checked_class_names(model.class_names if class_names is None else class_names, model.config.num_classes)
    own = {} if names == default_class_names(len(names)) else {"class_names": json.dumps(names, ensure_ascii=False)}
    header = {**(metadata or {}), "class_names": "[]", "config": json.dumps(model.config.to_json()), **own}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, save(tensors, metadata=header))


def different_fields(first: ModelConfig, second: ModelConfig) -> list[str]:
    """Return the fields in which two descriptions are of models that answer differently with the same weights.

    Stages that can be moved are a setting; where they are makes no other model.
    """
    one, other = first.to_json(), second.to_json()
    settings = ("prune_locations",) if first.has_movable_stages and second.has_movable_stages else ()
    return [name for name in one if one[name] != other.get(name) and name not in (*_WITHOUT_EFFECT, *settings)]


def _config_of(file: WeightFile, name: str | None) -> ModelConfig:
    """Return the description by which a file's model is built: the file's own, the named one or the identified one."""
    named = None if name is None else named_config(name, file.tensors, file.name)
    if file.config is None:
        return named or identify_config(file.tensors, file.name).config
    if named is not None and different_fields(file.config, named):
        raise CheckpointError(f"{file.name} describes another model than {name}; leave the name out.")
    _check_sizes(file.config, file)
    return file.config


def _moved(config: ModelConfig, prune_locations: Sequence[int], source: str) -> ModelConfig:
    """Return the description with stages at other blocks, which predictors would have to be trained for."""
    if not config.has_movable_stages:
        raise SettingError(
            f"The stages of {source} cannot be moved, only those of a plain vision transformer without predictors; "
            "leave prune_locations out."
        )
    return replace(config, prune_locations=tuple(prune_locations))


def _check_sizes(config: ModelConfig, file: WeightFile) -> None:
    """Refuse a description that would have much built and named for few weights, before it is."""
    # timm's models without a classifier have no head.
    classes = size_of(file.tensors, "head.weight", 0, file.name) if config.num_classes else 0
    found = count_blocks(file.tensors), classes
    if found != (config.num_blocks, config.num_classes):
        raise CheckpointError(
            f"{file.name} does not fit its own description: it has {found[0]} blocks and {found[1]} classes, not "
            f"{config.num_blocks} and {config.num_classes}."
        )


def _load_strictly(model: DynamicModel, file: WeightFile, *, replaces_tensors: bool = False) -> None:
    expected, found = model.state_dict(), file.tensors
    problems = [
        _report("missing", [name for name in expected if name not in found]),
        _report("unexpected", [name for name in found if name not in expected]),
        _report("of another shape", _shape_differences(expected, found)),
    ]
    if not any(problems) and file.config is not None and (fields := different_fields(file.config, model.config)):
        problems = [f"it was saved from one with another {' and '.join(fields)}"]
    if any(problems):
        raise CheckpointError(f"{file.name} does not fit the model: {'; '.join(filter(None, problems))}.")
    converted = {name: tensor.to(expected[name].dtype) for name, tensor in found.items()}
    model.load_state_dict(converted, assign=replaces_tensors)


def _shape_differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{name} {tuple(found[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]


def _report(kind: str, names: Sequence[str]) -> str:
    """Return how many tensors have a problem and the names of the first ones; empty when none has."""
    if not names:
        return ""
    more = ", ..." if len(names) > _NAMES_SHOWN else ""
    return f"{len(names)} {kind} ({', '.join(names[:_NAMES_SHOWN])}{more})"


# Reading -------------------------------------------------------------------------------------------------------------


def read_weights(path: Path) -> WeightFile:
    """Read a weight file into memory, on the CPU; what happens to the file afterwards changes nothing.

    Of a training checkpoint the entry ``model``, ``state_dict``, ``model_ema`` or ``state_dict_ema`` is taken, and of
    names such as ``module.head.weight`` or ``_orig_mod.head.weight`` what the model itself calls its tensors.

    Raises:
        CheckpointError: the file is missing, unsafe, damaged, not a weight file, holds no tensors or numbers that are
            not finite, or describes itself in a way that cannot be understood.
    """
    with _open(path) as stream:
        if _is_safetensors(_checked_start(stream, path)):
            file = _weight_file(path, *_unpack_safetensors(stream, path))
        else:
            file = _weight_file(path, _unpickle(stream, path))
    for name, tensor in file.tensors.items():
        if tensor.is_floating_point() and not tensor.float().isfinite().all():
            raise CheckpointError(
                f"{path.name} holds numbers that are not finite, the first of them in {name}, so it cannot answer; "
                "take an earlier state of that training, or download it again."
            )
    return file


def read_shapes(path: Path) -> WeightFile:
    """Read what a weight file is: tensors on the ``meta`` device, shapes without numbers, so without waiting.

    Raises:
        CheckpointError: as for :func:`read_weights`, except that numbers are not looked at.
    """
    with _open(path) as stream:
        head = _checked_start(stream, path)
        if _is_safetensors(head):
            return _weight_file(path, *_safetensors_shapes(path))
        # Files from before PyTorch 1.6 are not zip archives and cannot be mapped; those are read in full.
        is_mapped = head.startswith(_ZIP_START)
        file = _weight_file(path, _unpickle(path if is_mapped else stream, path, is_mapped=is_mapped))
    return replace(file, tensors={name: tensor.detach().to("meta") for name, tensor in file.tensors.items()})


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise CheckpointError(f"There is no weight file {path}.") from None
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read: {error.strerror}.") from error


def _checked_start(stream: BinaryIO, path: Path) -> bytes:
    """Return the first bytes of a file that may hold weights, and refuse what is often saved in the place of one."""
    head = stream.read(512)
    stream.seek(0)
    # First, because a binary length may happen to look like any text.
    if _is_safetensors(head):
        return head
    if not head:
        raise CheckpointError(f"{path.name} is empty; download it again.")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise CheckpointError(
            f"{path.name} is a web page, not weights; open the file's address in a browser and save it from there."
        )
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path.name} is a Git LFS pointer, not weights; run 'git lfs pull' to fetch the file.")
    if not head.startswith((_ZIP_START, b"\x80")):
        raise _damaged(path)
    return head


def _is_safetensors(head: bytes) -> bool:
    """Tell by content: the header's length in eight bytes, below 4 GiB, then the header, which is JSON."""
    return head[4:9] == b"\0\0\0\0{"


def _unpack_safetensors(stream: BinaryIO, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        tensors = load(stream.read())
        stream.seek(0)
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise _damaged(path) from error
    return {name: tensors.pop(name).clone() for name in list(tensors)}, header.get("__metadata__", {})


def _safetensors_shapes(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            shapes = {name: torch.empty(file.get_slice(name).get_shape(), device="meta") for name in names}
            return shapes, dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise _damaged(path) from error


def _unpickle(source: BinaryIO | Path, path: Path, *, is_mapped: bool = False) -> object:
    try:
        with _allow_list_lock, torch.serialization.safe_globals(_HARMLESS_GLOBALS):
            return torch.load(source, map_location="cpu", weights_only=True, mmap=is_mapped)
    # A damaged file can make the parser fail in any way; whatever it is, the file cannot be used.
    except Exception as error:
        blocked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if blocked:
            raise CheckpointError(
                f"{path.name} is not loaded because it asks to run {blocked[1]}, which weights do not need; "
                "use a file that holds tensors only, best a .safetensors one."
            ) from error
        raise _damaged(path) from error


def _weight_file(path: Path, content: object, metadata: Mapping[str, str] = MappingProxyType({})) -> WeightFile:
    """Find the named tensors in what a file holds, and read its description."""
    if isinstance(content, Mapping):
        entries = [content[entry] for entry in _ENTRIES if isinstance(content.get(entry), Mapping)]
        content = (entries or [content])[0]
    items = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(name): value for name, value in items if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path.name} holds no named tensors; it is not the weights of a model.")
    return WeightFile(path.name, _without_wrappers(tensors), metadata, *_description(metadata, path.name))


def _without_wrappers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove from the names what torch.compile, parallel training and Lightning put there, in any order."""
    tensors = {name.replace("_orig_mod.", ""): tensor for name, tensor in tensors.items()}
    while any(name.startswith(("module.", "model.")) for name in tensors):
        prefix = "module." if all(name.startswith("module.") for name in tensors) else "model."
        inner = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        if not inner:
            break
        # Beside its model, a Lightning module has losses and measures with buffers of their own.
        tensors = inner
    return tensors


def _description(metadata: Mapping[str, str], source: str) -> tuple[ModelConfig | None, tuple[str, ...] | None]:
    """Return what a header says of the model, and what it calls the classes; None for what it does not say."""
    if "config" not in metadata:
        return None, None
    try:
        config = ModelConfig.from_json(json.loads(metadata["config"]))
        names = json.loads(metadata.get("class_names", "[]"))
        return config, None if names == [] else checked_class_names(names, config.num_classes)
    except SettingError as error:
        raise CheckpointError(f"{source} describes a model that is not known here: {error}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{source} has a damaged description; save it anew.") from error


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(f"{path.name} is damaged, incomplete or not a weight file; download it again.")
