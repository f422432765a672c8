"""The benchmark times what it names, side by side, and says what it costs."""

import json

import pytest
import torch
from PIL import Image

from dynamicvit import benchmark
from dynamicvit.benchmark import contenders, main, measure, milliseconds
from dynamicvit.errors import SettingError
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.registry import create_model
from dynamicvit.precision import in_bfloat16
from dynamicvit.weights.io import save_model

TINY = ModelConfig(
    image_size=32, patch_size=8, embed_dim=32, depth=4, num_heads=2, num_classes=5, prune_locations=(1, 2, 3)
)


@pytest.fixture
def model():
    return create_model(TINY).eval()


def test_milliseconds_are_those_of_the_call(monkeypatch):
    clock = iter([1.0, 1.25])
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(clock))
    assert milliseconds(torch.sum, torch.zeros(1, 3, 8, 8), None) == 250.0


def test_the_baseline_is_timms_model_of_that_name():
    known = create_model("dynamicvit_deit_small_patch16_224", depth=1, prune_locations=(0,)).eval()
    hows = [one.how for one in contenders(known, "dynamicvit_deit_small_patch16_224", [0.7, 0.5], ["grid"], 224)]
    assert hows == ["timm's dense", "dense", "0.7 grid", "0.5 grid"]


def test_timms_model_is_rounded_as_ours_is():
    known = create_model("dynamicvit_deit_small_patch16_224", depth=1, prune_locations=(0,)).eval()
    twin = contenders(in_bfloat16(known), "dynamicvit_deit_small_patch16_224", [], [], 224)[0].call
    assert twin.blocks[0].attn.qkv.weight.dtype == torch.bfloat16
    assert twin.head.weight.dtype == torch.float32


def test_a_model_without_blocks_of_tokens_has_no_bfloat16_of_them():
    with pytest.raises(SystemExit, match="no blocks of tokens"):
        main(["--model", "dynamicvit_convnext_tiny", "--precision", "bfloat16-blocks"])


def test_speedup_and_ideal_are_against_the_dense_model(model):
    dense, pruned = measure(
        model,
        "tiny",
        ratios=[0.5],
        selectors=[],
        batch=2,
        image_size=32,
        precision="float32",
        seconds=0.0,
        most_rounds=4,
    )
    assert (dense.how, pruned.how, dense.speedup, dense.of_ideal) == ("dense", "0.5 predictor", 1.0, 1.0)
    assert pruned.of_ideal == pytest.approx(pruned.speedup / (dense.gmacs / pruned.gmacs))
    assert pruned.p10 <= pruned.milliseconds <= pruned.p90
    assert pruned.images_per_second == pytest.approx(2e3 / pruned.milliseconds)


def test_a_selector_that_the_model_lacks_is_refused():
    plain = create_model("dynamicvit_convnext_tiny", depths=(1, 1, 3, 1), prune_locations=(0,)).eval()
    with pytest.raises(SettingError, match="cannot be asked by"):
        contenders(plain, "dynamicvit_convnext_tiny", [0.7], ["class-attention"], 224)


def test_the_program_prints_a_table_and_writes_the_numbers(model, tmp_path, capsys):
    save_model(model, tmp_path / "tiny.safetensors")
    options = ["--batch", "1", "2", "--precision", "float32", "bfloat16", "--seconds", "0", "--device", "cpu"]
    main(["--model", str(tmp_path / "tiny.safetensors"), *options, "--json", str(tmp_path / "numbers.json")])
    printed = capsys.readouterr().out
    rows = json.loads((tmp_path / "numbers.json").read_text())["rows"]
    assert [(row["batch"], row["precision"], row["how"]) for row in rows][:3] == [
        (1, "float32", "dense"),
        (1, "float32", "0.7 predictor"),
        (1, "bfloat16", "dense"),
    ]
    assert len(rows) == 8
    assert printed.count("| tiny |") == 8
    assert all(row["peak_mb"] > 0 for row in rows)


def test_the_chart_shows_growth_over_batches_and_over_sizes(model, tmp_path):
    save_model(model, tmp_path / "tiny.safetensors")
    common = ["--model", str(tmp_path / "tiny.safetensors"), "--seconds", "0", "--device", "cpu"]
    for growing in (["--batch", "1", "2"], ["--image-size", "32", "64"]):
        main([*common, *growing, "--chart", str(tmp_path / "growth.png")])
        with Image.open(tmp_path / "growth.png") as chart:
            assert chart.format == "PNG"
            assert chart.width > 2 * chart.height


def test_a_chart_of_a_single_point_is_refused_before_anything_is_timed(capsys):
    with pytest.raises(SystemExit):
        main(["--model", "deit_of_mine", "--chart", "growth.png"])
    assert "several values of either --image-size or --batch" in capsys.readouterr().err


def test_a_model_that_nothing_has_ends_with_a_sentence():
    with pytest.raises(SystemExit, match="no file and no model"):
        main(["--model", "deit_of_mine"])
