"""``python -m dynamicvit.evaluate`` on small images, by one process and by two."""

import csv
import hashlib
import io
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dynamicvit.errors import SettingError
from dynamicvit.evaluate import main
from dynamicvit.evaluation.processes import join_processes
from dynamicvit.models.config import ModelConfig, TimmViTConfig
from dynamicvit.models.registry import create_model, model_config
from dynamicvit.weights.io import save_model

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """DeiT-256's geometry on 4 x 4 patches and 10 classes; a file is only known by a registered geometry."""
    torch.manual_seed(0)
    model = create_model(replace(model_config("dynamicvit_deit_256_patch16_224"), image_size=64, num_classes=10))
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_model(model, path)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Seven noise images, two of them without a label, one broken file, and the CSV that lists them."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    rows = [("broken.jpg", 1)] + [(f"{index}.png", index if index < 5 else "") for index in range(7)]
    for name, _ in rows[1:]:
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (64, 80, 3), np.uint8)).save(stream, "PNG")
        (folder / name).write_bytes(stream.getvalue())
    (folder / "broken.jpg").write_bytes(b"no image")
    with (folder / "list.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("file", "label"), *rows])
    return folder


@pytest.fixture(scope="module")
def boxes(photos):
    path = photos / "boxes.json"
    scene = {"size": [80, 64], "objects": [{"name": "dog", "box": [8, 0, 40, 64]}]}
    path.write_text(json.dumps({f"{index}.png": scene for index in range(3)}), encoding="utf-8")
    return path


def arguments(checkpoint, photos, *more):
    return ["--checkpoint", str(checkpoint), "--photos", str(photos), *map(str, more)]


def test_a_run_prints_tables_and_writes_what_made_them(checkpoint, photos, boxes, tmp_path, capsys):
    output = tmp_path / "results.json"
    settings = ["--keep-ratio", 0.7, 0.3, "--selector", "predictor", "random", "--seeds", 0, 1, 2, "--batch", 3]
    main(arguments(checkpoint, photos / "list.csv", *settings, "--boxes", boxes, "--json", output))
    printed = capsys.readouterr()
    rows = [line.split(" | ")[:2] for line in printed.out.splitlines() if line.startswith("|")]
    pruned = [[f"| {ratio}", selector] for ratio in ("0.7", "0.3") for selector in ("predictor", "random")]
    assert rows[2:7] == [["| dense", "-"], *pruned]
    assert rows[9:] == pruned
    assert "1 of 8 photos could not be read" in printed.out
    assert "- broken.jpg: " in printed.out
    assert printed.err == ""  # no progress bar where there is no terminal

    record = json.loads(output.read_text(encoding="utf-8"))
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    made_with = record["made_with"]
    assert made_with["checkpoint"] == "small.safetensors"
    assert digest.startswith(made_with["sha256_prefix"])
    assert (made_with["torch"], made_with["batch"], made_with["processes"]) == (torch.__version__, 3, 1)
    assert [photo["name"] for photo in record["unreadable"]] == ["broken.jpg"]
    dense, *_, random = record["results"]
    assert (dense["photos"], dense["labelled"], dense["keep_ratio"]) == (7, 5, None)
    assert dense["agreement"] == {"mean": 1.0, "standard_deviation": None, "values": [1.0]}
    assert random["seeds"] == [0, 1, 2]
    assert random["top1"]["mean"] == pytest.approx(np.mean(random["top1"]["values"]))
    assert random["top1"]["standard_deviation"] == pytest.approx(np.std(random["top1"]["values"], ddof=1))
    assert all(entry["images_per_second"] > 0 for entry in record["results"])
    assert [entry["scenes"] for entry in record["coverage"]] == [3, 3, 3, 3]
    assert record["coverage"][0]["chance"]["mean"] == 0.5  # columns 8 to 40 of a crop from 8 to 72


def test_one_half_is_to_choose_on_and_the_other_to_report_on(checkpoint, photos, tmp_path):
    found = {}
    for half in ("even", "odd"):
        output = tmp_path / f"{half}.json"
        main(arguments(checkpoint, photos, "--half", half, "--json", output))
        record = json.loads(output.read_text(encoding="utf-8"))
        found[half] = record["results"][0]["photos"], [photo["name"] for photo in record["unreadable"]]
        assert record["made_with"]["half"] == half
    assert found == {"even": (4, []), "odd": (3, ["broken.jpg"])}  # by name it comes after the numbers


def test_photos_without_labels_give_no_accuracy_and_it_says_so(checkpoint, photos, tmp_path, capsys):
    output = tmp_path / "results.json"
    main(arguments(checkpoint, photos, "--json", output))
    printed = capsys.readouterr().out
    assert "No photo has a label" in printed
    assert "| dense | - | - | - | 100.0 | - |" in printed
    assert json.loads(output.read_text(encoding="utf-8"))["results"][0]["top1"]["mean"] is None


def test_a_model_without_predictors_is_measured_with_its_own_choice(photos, tmp_path, capsys):
    config = TimmViTConfig(image_size=64, embed_dim=24, depth=4, num_heads=3, num_classes=10, prune_locations=(1, 2))
    save_model(create_model(config), tmp_path / "plain.safetensors")
    main(arguments(tmp_path / "plain.safetensors", photos))
    assert "| 0.7 | class-attention |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no predictors"):
        main(arguments(tmp_path / "plain.safetensors", photos, "--selector", "predictor"))


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """A model of one's own with named classes: 8 heads, and always the same answer, "red"."""
    config = ModelConfig(image_size=32, embed_dim=64, depth=2, num_heads=8, num_classes=2, prune_locations=(1,))
    model = create_model(config, class_names=["red", "blue"])
    torch.nn.init.zeros_(model.head.weight)
    model.head.bias.data.copy_(torch.tensor([1.0, 0.0]))
    path = tmp_path_factory.mktemp("named") / "colours.safetensors"
    save_model(model, path)
    return path


def write_pictures(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40)).save(folder / name)
    return folder


def test_folders_are_the_classes_that_the_weight_file_names(named, tmp_path, capsys):
    photos = write_pictures(tmp_path / "photos", "red/1.png", "red/2.bmp", "red/3.tif", "blue/1.png")
    main(arguments(named, photos))
    assert "| dense | - | 75.0 |" in capsys.readouterr().out


def test_what_has_no_class_or_is_no_image_is_counted_and_named(named, tmp_path, capsys):
    photos = write_pictures(tmp_path / "photos", "red/1.png", "green/1.png", ".ipynb_checkpoints/1.png")
    (photos / "Thumbs.db").write_bytes(b"")
    main(arguments(named, photos, "--json", tmp_path / "results.json"))
    printed = capsys.readouterr().out
    notes = [
        "2 files are left out, hidden or no image that can be read: .ipynb_checkpoints/1.png, Thumbs.db.",
        "Photos in sub-folders that name no class of the model: 1 (green).",
    ]
    assert all(note in printed for note in notes)
    assert "Accuracy on 1 labelled photos, agreement with dense on 2." in printed
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["notes"] == notes


@pytest.mark.parametrize("where", ["photos", "photos/train/red"])
def test_one_folder_too_high_or_too_low_the_place_of_the_classes_is_said(named, tmp_path, capsys, where):
    write_pictures(tmp_path / "photos" / "train", "red/1.png", "blue/1.png")
    main(arguments(named, tmp_path / where))
    printed = capsys.readouterr().out
    assert "No photo has a label" in printed
    assert f"The classes seem to be the 2 folders in {tmp_path / 'photos' / 'train'}" in printed


def test_several_sources_are_one_set(checkpoint, photos, capsys):
    main(arguments(checkpoint, photos, photos / "list.csv"))
    assert "Accuracy on 5 labelled photos, agreement with dense on 14." in capsys.readouterr().out


def test_a_dense_checkpoint_has_a_dense_row(photos, tmp_path, capsys):
    model = create_model(replace(model_config("deit_256_patch16_224"), image_size=32, num_classes=10))
    save_model(model, tmp_path / "dense.safetensors")
    main(arguments(tmp_path / "dense.safetensors", photos))
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(rows) == 3
    with pytest.raises(SystemExit, match="prun"):
        main(arguments(tmp_path / "dense.safetensors", photos, "--keep-ratio", "0.7"))


def test_what_cannot_be_measured_ends_with_a_sentence(checkpoint, photos, boxes, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    strangers = tmp_path / "strangers.csv"
    strangers.write_text("file,label\nelsewhere.jpg,1\n", encoding="utf-8")
    for more, message in [
        (("--photos", tmp_path), "None of the 1 photos can be read"),
        (("--photos", tmp_path, "--boxes", boxes), "None of the photos has boxes"),
        (("--labels", strangers), "None of the photos has a label"),
        (("--keep-ratio", "1.5"), "keep ratio"),
        (("--json", tmp_path / "nowhere" / "results.json"), "no folder"),
        (("--checkpoint", tmp_path / "missing.pth"), "missing.pth"),
    ]:
        with pytest.raises(SystemExit, match=message):
            main(arguments(checkpoint, photos, *more))


@pytest.mark.parametrize("option", [("--batch", "0"), ("--workers", "-1"), ("--selector", "wishes")])
def test_senseless_options_are_refused(checkpoint, photos, option, capsys):
    with pytest.raises(SystemExit):
        main(arguments(checkpoint, photos, *option))
    assert option[0] in capsys.readouterr().err


def test_only_launched_processes_need_accelerate(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert join_processes().count == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingError, match="accelerate"):
        join_processes()


def test_two_processes_count_what_one_counts(checkpoint, photos, boxes, tmp_path):
    pytest.importorskip("accelerate")
    # Three batches: the first process takes two of them, the second, which finds the broken file, one.
    settings = ["--keep-ratio", 0.3, "--selector", "predictor", "random", "--batch", 3, "--boxes", boxes]
    alone, together = tmp_path / "alone.json", tmp_path / "together.json"
    main(arguments(checkpoint, photos / "list.csv", *settings, "--json", alone))
    run_two_processes(arguments(checkpoint, photos / "list.csv", *settings, "--json", together))
    expected, found = (json.loads(path.read_text(encoding="utf-8")) for path in (alone, together))
    assert found["made_with"]["processes"] == 2
    assert found["unreadable"] == expected["unreadable"]
    for entry in (*found["results"], *expected["results"]):
        assert entry.pop("images_per_second") > 0
    assert_near(found["results"], expected["results"])
    for one, other in zip(found["coverage"], expected["coverage"], strict=True):
        assert one["scenes"] == other["scenes"] == 3
        assert one["kept"]["mean"] == pytest.approx(other["kept"]["mean"])


def assert_near(found, expected):
    """Hold nested results to each other; processes with other numbers of threads add in another order."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            assert_near(found[name], expected[name])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_near(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-4)
    else:
        assert found == expected


def run_two_processes(options):
    """Start two processes with the environment that a launcher gives them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launched = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "dynamicvit.evaluate", *options],
            cwd=ROOT,
            env=os.environ | launched | {"RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    try:
        outputs = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "| dense |" in outputs[0][0]
    assert outputs[1][0] == ""


def test_bfloat16_is_compared_with_float32(checkpoint, photos, tmp_path, capsys):
    output = tmp_path / "results.json"
    main(arguments(checkpoint, photos / "list.csv", "--precision", "bfloat16", "--batch", 3, "--json", output))
    assert "| same answer % |" in capsys.readouterr().out
    record = json.loads(output.read_text(encoding="utf-8"))
    dense, pruned = record["equality"]
    assert record["made_with"]["precision"] == "bfloat16"
    assert (dense["photos"], dense["overlaps"], len(pruned["overlaps"])) == (7, [], 3)
    assert all(0.5 < stage["mean"] <= 1 for stage in pruned["overlaps"])
    assert 0.5 < pruned["same_answer"]["mean"] <= 1


def test_float32_is_not_compared_with_itself(checkpoint, photos, tmp_path, capsys):
    output = tmp_path / "results.json"
    main(arguments(checkpoint, photos / "list.csv", "--json", output))
    assert "same answer" not in capsys.readouterr().out
    assert json.loads(output.read_text(encoding="utf-8"))["equality"] == []
