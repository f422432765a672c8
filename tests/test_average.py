from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file as read_tensors

from dynamicvit.average import average_checkpoints, main
from dynamicvit.errors import CheckpointError
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.registry import create_model
from dynamicvit.weights.io import load_file, read_shapes, save_model

TINY = ModelConfig(image_size=32, embed_dim=16, depth=3, num_heads=2, num_classes=5, prune_locations=(1,))


@pytest.fixture
def tiny_model():
    return create_model(TINY)


@pytest.fixture
def runs(tiny_model, tmp_path):
    """Three weight files of one model, with other numbers in each."""
    paths = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        for tensor in tiny_model.state_dict().values():
            tensor.copy_(torch.randn_like(tensor))
        save_model(tiny_model, path, metadata={"keep_ratios": "0.2:1", "images": str(seed)})
    return paths


def test_every_number_is_the_mean_over_the_files(runs):
    files = [read_tensors(path) for path in runs]
    for name, tensor in average_checkpoints(runs).state_dict().items():
        torch.testing.assert_close(tensor, torch.stack([file[name] for file in files]).mean(0))


def test_the_average_of_a_file_with_itself_is_the_file(runs):
    average = average_checkpoints([runs[0]] * 3)
    torch.testing.assert_close(average.state_dict(), load_file(runs[0]).state_dict(), rtol=0, atol=0)
    assert not average.training


def test_the_program_writes_what_the_headers_agree_on(runs, tmp_path):
    output = tmp_path / "soup" / "mean.safetensors"
    main([*map(str, runs), "--output", str(output)])
    metadata = read_shapes(output).metadata
    assert (metadata["keep_ratios"], "images" in metadata) == ("0.2:1", False)
    torch.testing.assert_close(load_file(output).state_dict(), average_checkpoints(runs).state_dict())


def test_runs_over_other_keep_ratios_give_a_model_for_all_of_them(runs, tiny_model, tmp_path):
    save_model(tiny_model, runs[1], metadata={"keep_ratios": "0.2:0.8"})
    main([*map(str, runs), "--output", str(tmp_path / "mean.safetensors")])
    assert read_shapes(tmp_path / "mean.safetensors").metadata["keep_ratios"] == "0.2:1, 0.2:0.8"


def test_the_average_knows_the_classes_by_their_names(runs, tiny_model, tmp_path):
    for path in runs:
        save_model(load_file(path), path, class_names=list("abcde"))
    main([*map(str, runs), "--output", str(tmp_path / "mean.safetensors")])
    assert load_file(tmp_path / "mean.safetensors").class_names == ("a", "b", "c", "d", "e")
    for names in (list("abced"), None):
        save_model(tiny_model, runs[1], class_names=names)
        with pytest.raises(CheckpointError, match=r"b\.safetensors does not fit .* another class names"):
            average_checkpoints(runs)


@pytest.mark.parametrize("change", [{"num_classes": 7}, {"image_size": 64}, {"num_heads": 4}])
def test_files_of_different_models_are_refused_and_nothing_is_written(runs, tmp_path, change):
    save_model(create_model(TINY, **change), tmp_path / "other.safetensors")
    with pytest.raises(SystemExit, match=r"other.safetensors does not fit the model"):
        main([str(runs[0]), str(tmp_path / "other.safetensors"), "--output", str(tmp_path / "mean.safetensors")])
    assert not (tmp_path / "mean.safetensors").exists()


def test_one_file_has_no_average(runs):
    with pytest.raises(CheckpointError, match="two weight files"):
        average_checkpoints(runs[:1])
