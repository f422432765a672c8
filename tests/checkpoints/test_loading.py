from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dynamicvit.checkpoints import loading
from dynamicvit.checkpoints.loading import load_checkpoint, load_model, save_checkpoint
from dynamicvit.checkpoints.reading import read_metadata
from dynamicvit.errors import CheckpointError, SettingError
from dynamicvit.models.registry import create_model


def assert_same_weights(found: torch.nn.Module, expected: torch.nn.Module) -> None:
    torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_a_saved_model_comes_back_equal_and_ready_to_use(tiny_model, tiny_file):
    loaded = load_model(tiny_file)
    assert_same_weights(loaded, tiny_model)
    assert loaded.config == tiny_model.config
    assert not loaded.training


def test_a_named_model_takes_class_count_and_image_size_from_the_file(tiny_model, tmp_path):
    resized = create_model("tiny", num_classes=7, image_size=64)
    save_checkpoint(resized, tmp_path / "resized.safetensors", {})
    assert load_model(tmp_path / "resized.safetensors", "tiny").config == resized.config


def test_a_path_may_be_a_string(tiny_model, tmp_path):
    path = str(tmp_path / "weights.safetensors")
    save_checkpoint(tiny_model, path, {})
    load_checkpoint(tiny_model, path)
    assert_same_weights(load_model(path), tiny_model)


def test_a_name_that_does_not_exist_is_refused(tiny_file):
    with pytest.raises(SettingError, match="no model 'huge'"):
        load_model(tiny_file, "huge")


def test_weights_in_half_precision_load_into_a_full_precision_model(tiny_model, tmp_path):
    torch.save(tiny_model.half().state_dict(), tmp_path / "half.pth")
    assert {parameter.dtype for parameter in load_model(tmp_path / "half.pth").parameters()} == {torch.float32}


def test_one_message_reports_missing_and_unexpected_tensors_and_other_shapes(tiny_model, tmp_path):
    state = tiny_model.state_dict()
    state["extra"] = torch.ones(1)
    state["head.weight"] = torch.ones(7, 16)
    for key in ("norm.weight", "norm.bias"):
        del state[key]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tiny_model, tmp_path / "other.pth")
    assert str(caught.value) == (
        "other.pth does not fit the model: 2 missing (norm.weight, norm.bias); 1 unexpected (extra); "
        "1 of another shape (head.weight (7, 16) for (5, 16))."
    )


def test_a_long_list_of_tensors_is_shortened(tiny_model, tmp_path):
    torch.save({"w": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(
        CheckpointError, match=r"\d\d missing \(cls_token, pos_embed, patch_embed.proj.weight, \.\.\.\)"
    ):
        load_checkpoint(tiny_model, tmp_path / "other.pth")


def test_a_model_that_does_not_fit_is_left_as_it_was(tiny_model, tmp_path):
    state = {key: torch.zeros_like(tensor) for key, tensor in tiny_model.state_dict().items()}
    torch.save(state | {"extra": torch.ones(1)}, tmp_path / "other.pth")
    before = {key: tensor.clone() for key, tensor in tiny_model.state_dict().items()}
    with pytest.raises(CheckpointError):
        load_checkpoint(tiny_model, tmp_path / "other.pth")
    torch.testing.assert_close(dict(tiny_model.state_dict()), before)


def test_metadata_is_saved(tiny_file):
    assert read_metadata(tiny_file) == {"keep_ratios": "0.5, 0.7"}


def test_only_safetensors_are_written(tiny_model, tmp_path):
    with pytest.raises(CheckpointError, match=r"\.safetensors files only"):
        save_checkpoint(tiny_model, tmp_path / "weights.pth", {})


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tiny_model, tiny_file, monkeypatch):
    def write_half(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    before = tiny_file.read_bytes()
    monkeypatch.setattr(loading, "save_file", write_half)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tiny_model, tiny_file, {})
    assert list(tiny_file.parent.iterdir()) == [tiny_file]
    assert tiny_file.read_bytes() == before
