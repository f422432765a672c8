from __future__ import annotations

import argparse
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dynamicvit.errors import CheckpointError
from dynamicvit.weights.io import WeightFile, read_shapes, read_weights

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


class Payload:
    """Pickles into a call that makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def write(path: Path, content: object, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def assert_weights(file: WeightFile) -> None:
    assert list(file.tensors) == list(WEIGHTS)
    for name, tensor in WEIGHTS.items():
        torch.testing.assert_close(file.tensors[name], tensor)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".pth.tar"])
def test_a_bare_state_dict_is_read_under_every_suffix_in_the_new_and_the_old_format(tmp_path, suffix, is_zip):
    path = write(tmp_path / f"weights{suffix}", WEIGHTS, _use_new_zipfile_serialization=is_zip)
    assert_weights(read_weights(path))


@pytest.mark.parametrize("entry", ["model", "state_dict", "model_ema", "state_dict_ema"])
def test_the_weights_of_a_training_checkpoint_are_taken_and_nothing_else(tmp_path, entry):
    path = write(tmp_path / "run.pth", {entry: WEIGHTS | {"epoch": 3}, "optimizer": {"x": torch.ones(1)}, "best": 1.0})
    assert_weights(read_weights(path))


def test_the_entry_model_wins_over_other_entries(tmp_path):
    path = write(tmp_path / "run.pth", {"state_dict": {"b": torch.ones(1)}, "model": WEIGHTS})
    assert_weights(read_weights(path))


@pytest.mark.parametrize("read", [read_weights, read_shapes])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "model._orig_mod.module."])
def test_what_wrappers_put_before_the_names_is_removed(tmp_path, prefix, read):
    path = write(tmp_path / "run.pth", {"state_dict": {f"{prefix}{name}": t for name, t in WEIGHTS.items()}})
    assert list(read(path).tensors) == list(WEIGHTS)


def test_what_compiling_block_by_block_puts_into_the_names_is_removed(tmp_path):
    path = write(tmp_path / "run.pth", {"blocks.0._orig_mod.a": torch.ones(1), "b": torch.ones(1)})
    assert list(read_weights(path).tensors) == ["blocks.0.a", "b"]


def test_of_a_lightning_module_the_model_is_taken(tmp_path):
    state = {f"model.{name}": tensor for name, tensor in WEIGHTS.items()} | {"loss.weight": torch.ones(5)}
    path = write(tmp_path / "run.pth", {"pytorch-lightning_version": "2.5", "state_dict": state})
    assert_weights(read_weights(path))


def test_a_module_that_is_called_module_among_others_keeps_its_name(tmp_path):
    path = write(tmp_path / "run.pth", {"module.a": torch.ones(1), "b": torch.ones(1)})
    assert list(read_weights(path).tensors) == ["module.a", "b"]


def test_an_average_is_taken_only_where_there_is_nothing_else(tmp_path):
    content = {"state_dict_ema": {"b": torch.ones(1)}, "model_ema": None, "state_dict": WEIGHTS}
    assert_weights(read_weights(write(tmp_path / "run.pth", content)))


@pytest.mark.parametrize("scalar", [np.float64(81.4), np.float32(81.4)])
def test_options_and_numpy_scores_of_the_authors_training_script_are_accepted(tmp_path, scalar):
    path = write(tmp_path / "run.pth", {"model": WEIGHTS, "args": argparse.Namespace(lr=0.1), "best": scalar})
    assert_weights(read_weights(path))


def test_reading_leaves_torchs_allow_list_as_it_was(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    read_weights(write(tmp_path / "run.pth", {"model": WEIGHTS, "args": argparse.Namespace(lr=0.1)}))
    assert set(torch.serialization.get_safe_globals()) == before
    assert argparse.Namespace not in before


def test_scores_from_before_numpy_2_are_accepted(tmp_path):
    content = {"model": WEIGHTS, "best": np.float64(81.4)}
    path = write(tmp_path / "run.pth", content, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert_weights(read_weights(path))


def test_files_with_options_are_read_by_several_threads_at_once(tmp_path):
    path = write(tmp_path / "run.pth", {"model": WEIGHTS, "args": argparse.Namespace(lr=0.1)})
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(read_weights, [path] * 200):
            assert_weights(found)


def test_safetensors_are_read(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(dict(reversed(WEIGHTS.items())), path)
    torch.testing.assert_close(read_weights(path).tensors, WEIGHTS)


@pytest.mark.parametrize("padding", range(0, 320, 8))
def test_safetensors_are_known_by_their_content_whatever_their_header_length_looks_like(tmp_path, padding):
    path = tmp_path / "weights.bin"
    save_file({"w": torch.ones(2)}, path, metadata={"note": "x" * padding})
    assert list(read_weights(path).tensors) == ["w"]


@pytest.mark.parametrize("read", [read_weights, read_shapes])
@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickle_that_runs_something_is_refused_and_does_not_run(tmp_path, is_zip, read):
    target = tmp_path / "made_by_the_payload"
    content = {"model": WEIGHTS, "extra": Payload(target)}
    path = write(tmp_path / "bad.pth", content, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(CheckpointError, match=r"bad\.pth is not loaded because it asks to run \w+\.mkdir"):
        read(path)
    assert not target.exists()
    pickle.loads(pickle.dumps(Payload(target)))
    assert target.exists(), "the payload must be one that works"


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_plain_pickle_that_runs_something_does_not_run(tmp_path, protocol):
    path = tmp_path / "bad.bin"
    path.write_bytes(pickle.dumps(Payload(tmp_path / "made"), protocol=protocol))
    with pytest.raises(CheckpointError):
        read_weights(path)
    assert not (tmp_path / "made").exists()


def test_a_pickled_module_is_refused(tmp_path):
    path = write(tmp_path / "module.pth", torch.nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match=r"asks to run torch\.nn\.modules\.linear\.Linear"):
        read_weights(path)


@pytest.mark.parametrize("read", [read_weights, read_shapes])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_a_truncated_file_is_refused(tmp_path, kind, share, read):
    path = tmp_path / "cut.bin"
    if kind == "safetensors":
        save_file(WEIGHTS, path)
    else:
        write(path, WEIGHTS, _use_new_zipfile_serialization=kind == "zip")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CheckpointError, match=r"cut\.bin is damaged"):
        read(path)


@pytest.mark.parametrize("read", [read_weights, read_shapes])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html></html>", "is a web page"),
        (b"\xef\xbb\xbf\n <html></html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
    ],
)
def test_what_is_often_saved_in_the_place_of_weights_is_named(tmp_path, content, message, suffix, read):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read(path)


@pytest.mark.parametrize("content", [b"not weights at all", bytes(range(256))])
def test_other_content_is_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged, incomplete or not a weight file"):
        read_weights(path)


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {}, torch.ones(2)])
def test_a_file_without_named_tensors_is_refused(tmp_path, content):
    with pytest.raises(CheckpointError, match="holds no named tensors"):
        read_weights(write(tmp_path / "weights.pth", content))


def test_a_missing_file_and_a_folder_are_reported(tmp_path):
    with pytest.raises(CheckpointError, match="There is no weight file"):
        read_weights(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match=f"^{tmp_path.name} cannot be read"):  # the page shows it to visitors
        read_weights(tmp_path)


@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_shapes_are_those_of_the_tensors_and_hold_no_numbers(tmp_path, kind):
    path = tmp_path / "weights.bin"
    if kind == "safetensors":
        save_file(WEIGHTS, path)
    else:
        write(path, {"model": WEIGHTS}, _use_new_zipfile_serialization=kind == "zip")
    shapes = read_shapes(path).tensors
    assert {name: shapes[name].shape for name in WEIGHTS} == {name: WEIGHTS[name].shape for name in WEIGHTS}
    assert all(tensor.is_meta for tensor in shapes.values())


@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_numbers_that_are_not_finite_are_refused_in_a_sentence(tmp_path, kind, bad, dtype):
    weights = {"a": torch.ones(3, dtype=dtype), "count": torch.tensor(3), "b": torch.tensor([1.0, bad], dtype=dtype)}
    path = tmp_path / "weights.bin"
    if kind == "safetensors":
        save_file(weights, path)
    else:
        write(path, weights, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(CheckpointError, match=r"weights\.bin holds .* not finite, the first of them in b,"):
        read_weights(path)
    assert set(read_shapes(path).tensors) == set(weights)


def test_numbers_too_large_for_single_precision_are_refused(tmp_path):
    path = write(tmp_path / "weights.pth", {"a": torch.tensor([1e300], dtype=torch.float64)})
    with pytest.raises(CheckpointError, match="not finite"):
        read_weights(path)


@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
@pytest.mark.parametrize("size", [0, 10, None])
def test_a_file_that_is_overwritten_in_place_changes_nothing_that_was_read(tmp_path, kind, size):
    path = tmp_path / "weights.bin"
    if kind == "safetensors":
        save_file(WEIGHTS, path)
    else:
        write(path, WEIGHTS, _use_new_zipfile_serialization=kind == "zip")
    file = read_weights(path)
    with path.open("r+b") as stream:
        stream.write(b"\xff" * path.stat().st_size)
        stream.truncate(size)
    torch.testing.assert_close(dict(sorted(file.tensors.items())), dict(sorted(WEIGHTS.items())))


def test_a_file_is_opened_once_to_be_read(tmp_path, monkeypatch):
    save_file(WEIGHTS, tmp_path / "weights.safetensors")
    write(tmp_path / "weights.pth", WEIGHTS)
    opened = []

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and is_watching and str(arguments[0]).startswith(str(tmp_path)):
            opened.append(arguments[0])

    is_watching = True
    sys.addaudithook(watch)
    for name in ("weights.safetensors", "weights.pth"):
        read_weights(tmp_path / name)
    is_watching = False
    assert [Path(str(path)).name for path in opened] == ["weights.safetensors", "weights.pth"]


def test_what_a_header_says_is_read_with_the_tensors_and_with_the_shapes(tmp_path):
    save_file(WEIGHTS, tmp_path / "with.safetensors", metadata={"keep_ratios": "0.7"})
    save_file(WEIGHTS, tmp_path / "without.safetensors")
    write(tmp_path / "weights.pth", WEIGHTS)
    for read in (read_weights, read_shapes):
        assert read(tmp_path / "with.safetensors").metadata == {"keep_ratios": "0.7"}
        assert read(tmp_path / "without.safetensors").metadata == {}
        assert read(tmp_path / "weights.pth").metadata == {}
