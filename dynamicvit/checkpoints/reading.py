"""Weight files -> tensors by name, without running anything that a file contains."""

from __future__ import annotations

import argparse
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from dynamicvit.errors import CheckpointError

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tar")

_ZIP_START = b"PK\x03\x04"
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


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Give the tensors of a weight file by name, on the CPU.

    Of a training checkpoint the entry ``model`` is taken, or ``state_dict``; a prefix ``module.`` is removed.

    Raises:
        CheckpointError: the file is missing, unsafe, damaged, not a weight file, or holds no tensors.
    """
    if _is_safetensors(head := _first_bytes(path)):
        return _state_dict_in(_read_safetensors(path), path)
    return _state_dict_in(_read_pickle(path, head, is_mapped=False), path)


def read_shapes(path: Path) -> dict[str, Tensor]:
    """Give the tensors of a weight file by name on the ``meta`` device: shapes without numbers, so without waiting.

    Raises:
        CheckpointError: as for :func:`read_state_dict`.
    """
    if _is_safetensors(head := _first_bytes(path)):
        return _state_dict_in(_read_safetensors_shapes(path), path)
    # Files from before PyTorch 1.6 are not zip archives and cannot be mapped; those are read in full.
    tensors = _state_dict_in(_read_pickle(path, head, is_mapped=head.startswith(_ZIP_START)), path)
    return {name: tensor.detach().to("meta") for name, tensor in tensors.items()}


def read_metadata(path: Path) -> dict[str, str]:
    """Give what a ``.safetensors`` header says beside the tensors; empty for other kinds of file.

    Raises:
        CheckpointError: as for :func:`read_state_dict`.
    """
    if not _is_safetensors(_first_bytes(path)):
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise _damaged(path) from error


def _first_bytes(path: Path) -> bytes:
    """Give the start of a file that may hold weights, and refuse what is often saved in the place of one."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except FileNotFoundError:
        raise CheckpointError(f"There is no weight file {path}.") from None
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read: {error.strerror}.") from error
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
    return head


def _is_safetensors(head: bytes) -> bool:
    """Tell by content: the header's length in eight bytes, below 4 GiB, then the header, which is JSON."""
    return head[4:9] == b"\0\0\0\0{"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _damaged(path) from error


def _read_safetensors_shapes(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: torch.empty(file.get_slice(name).get_shape(), device="meta") for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _damaged(path) from error


def _read_pickle(path: Path, head: bytes, *, is_mapped: bool) -> object:
    if not head.startswith((_ZIP_START, b"\x80")):
        raise _damaged(path)
    try:
        with _allow_list_lock, torch.serialization.safe_globals(_HARMLESS_GLOBALS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
    # A damaged file can make the parser fail in any way; whatever it is, the file cannot be used.
    except Exception as error:
        blocked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if blocked:
            raise CheckpointError(
                f"{path.name} is not loaded because it asks to run {blocked[1]}, which weights do not need; "
                "use a file that holds tensors only, best a .safetensors one."
            ) from error
        raise _damaged(path) from error


def _state_dict_in(content: object, path: Path) -> dict[str, Tensor]:
    """Find the named tensors in what a file holds."""
    for entry in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(entry), Mapping):
            content = content[entry]
            break
    items = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(name): value for name, value in items if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path.name} holds no named tensors; it is not the weights of a model.")
    if all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(f"{path.name} is damaged, incomplete or not a weight file; download it again.")
