"""An exported file answers as the model does, for any number of images, without this package."""

from pathlib import Path

import pytest
import torch
from full_disk import room_for

from dynamicvit.budget import KeepMass
from dynamicvit.errors import OutputError, SettingError
from dynamicvit.export import AtRatio, export_model, main
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.registry import create_model
from dynamicvit.weights.io import save_model

TINY = ModelConfig(
    image_size=32, patch_size=8, embed_dim=32, depth=3, num_heads=2, num_classes=5, prune_locations=(0, 1, 2)
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = create_model(TINY)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def test_an_onnx_file_answers_as_the_model_does_at_any_batch(model, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export_model(model, tmp_path / "model.onnx", 0.7)
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    assert [one.name for one in session.get_outputs()] == ["logits", "kept_1", "kept_2", "kept_3"]
    for count in (1, 2, 5):
        images = torch.randn(count, 3, 32, 32)
        logits, *kept = (torch.from_numpy(one) for one in session.run(None, {"images": images.numpy()}))
        with torch.no_grad():
            expected_logits, *expected_kept = AtRatio(model, 0.7)(images)
        torch.testing.assert_close(logits, expected_logits, atol=1e-4, rtol=1e-4)
        assert all(torch.equal(one, other) for one, other in zip(kept, expected_kept, strict=True))


def test_the_program_writes_a_file_that_torch_runs_by_itself(model, tmp_path, capsys):
    save_model(model, tmp_path / "weights.safetensors")
    target = tmp_path / "model.pt2"
    main(["--checkpoint", str(tmp_path / "weights.safetensors"), "--keep-ratio", "0.5", "--output", str(target)])
    assert str(target) in capsys.readouterr().out
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(torch.export.load(target).module()(images)[0], model(images, keep_ratio=0.5))


def test_the_dense_model_is_exported_too(model, tmp_path):
    export_model(model, tmp_path / "dense.pt2", None)
    images = torch.randn(1, 3, 32, 32)
    (logits,) = torch.export.load(tmp_path / "dense.pt2").module()(images)
    torch.testing.assert_close(logits, model(images))


@pytest.mark.parametrize(
    ("path", "keep_ratio", "sentence"),
    [("model.h5", 0.7, "neither"), ("model.pt2", 1.7, "ratio"), ("model.pt2", KeepMass(0.7), "as many tokens")],
)
def test_what_cannot_be_exported_is_refused(model, path, keep_ratio, sentence, tmp_path):
    with pytest.raises(SettingError, match=sentence):
        export_model(model, tmp_path / path, keep_ratio)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["pt2", "onnx"])
def test_a_full_disk_leaves_no_half_file(model, suffix, tmp_path):
    if suffix == "onnx":
        pytest.importorskip("onnxscript")
    with room_for(1000), pytest.raises(OutputError, match="cannot be written"):
        export_model(model, tmp_path / f"model.{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [["--output", "x.h5"], ["--output", "/proc/x.pt2"], ["--checkpoint", "none.pth"]])
def test_the_program_ends_with_a_sentence(model, options, tmp_path):
    weights = tmp_path / "weights.safetensors"
    save_model(model, weights)
    with pytest.raises(SystemExit) as ended:
        main(["--checkpoint", str(weights), "--output", str(Path(tmp_path, "x.pt2")), *options])
    assert str(ended.value).endswith(".")
