"""Images are analyzed from the command line: files for each, what is there is kept, what cannot be used is named."""

import json

import numpy as np
import pytest
from full_disk import room_for
from PIL import Image

from dynamicvit.analyze import main, unique_stems
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.registry import create_model
from dynamicvit.weights.io import load_file, save_model


@pytest.fixture
def checkpoint(tmp_path):
    config = ModelConfig(
        image_size=64, patch_size=16, embed_dim=16, depth=4, num_heads=2, num_classes=3, prune_locations=(1, 2, 3)
    )
    save_model(create_model(config, class_names=["red", "green", "blue"]), tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def folder(tmp_path):
    images = tmp_path / "images"
    (images / "more").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    for name in ("one.png", "more/one.jpg", "more/two.jpg"):
        Image.fromarray(pixels).save(images / name)
    (images / "notes.txt").write_text("no image")
    return images


def run(checkpoint, tmp_path, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments), "--checkpoint", str(checkpoint), "--out", str(tmp_path / "out")])
    return ended.value.code


def test_every_image_of_a_folder_gets_a_sheet_an_animation_and_json(checkpoint, folder, tmp_path):
    assert run(checkpoint, tmp_path, folder, "--keep-ratio", 0.5) == 0
    stems = ("one-keep-0.50", "one-2-keep-0.50", "two-keep-0.50")
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {f"{stem}.{suffix}" for stem in stems for suffix in ("png", "gif", "json")}
    record = json.loads((tmp_path / "out" / "one-keep-0.50.json").read_text())
    assert record["settings"]["keep_ratio"] == 0.5
    assert {top["label"] for top in record["dense"]["top"]} == {"red", "green", "blue"}


def test_results_that_are_there_are_kept_and_missing_ones_are_made(checkpoint, folder, tmp_path):
    run(checkpoint, tmp_path, folder / "one.png")
    kept = tmp_path / "out" / "one-keep-0.70.json"
    kept.write_text(mine := kept.read_text() + "\n\n")
    assert run(checkpoint, tmp_path, folder / "one.png", folder / "more" / "two.jpg") == 0
    assert kept.read_text() == mine
    assert (tmp_path / "out" / "two-keep-0.70.json").exists()


@pytest.mark.parametrize("change", ["image", "weights", "record"])
def test_results_of_something_else_are_neither_kept_for_these_nor_lost(checkpoint, folder, tmp_path, change):
    run(checkpoint, tmp_path, folder / "one.png")
    record = tmp_path / "out" / "one-keep-0.70.json"
    if change == "image":
        Image.new("RGB", (80, 80)).save(folder / "one.png")
    elif change == "weights":
        save_model(create_model(load_file(checkpoint).config, class_names=["a", "b", "c"]), checkpoint)
    else:
        record.write_text("mine")
    before = record.read_bytes()
    code = run(checkpoint, tmp_path, folder / "one.png")
    assert "one-keep-0.70.json is of another image, model or selector; choose another --out." in code
    assert record.read_bytes() == before


def test_an_image_that_cannot_be_read_is_named_and_the_others_are_analyzed(checkpoint, folder, tmp_path):
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code = run(checkpoint, tmp_path, folder)
    assert "broken.png: " in code
    assert code.count("\n") == 0
    assert len(list((tmp_path / "out").glob("*.json"))) == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.png"], "There is no image nowhere.png"),
        (["{folder}", "--keep-ratio", "1.5"], "keep ratio must be above 0"),
        (["{folder}", "--selector", "best"], "no selector 'best'; choose one of predictor"),
    ],
)
def test_what_cannot_be_done_ends_with_one_sentence(arguments, sentence, checkpoint, folder, tmp_path):
    assert sentence in run(checkpoint, tmp_path, *(argument.format(folder=folder) for argument in arguments))
    assert not (tmp_path / "out").exists()


def test_a_full_disk_ends_it_in_a_sentence_and_it_goes_on_where_there_is_room(checkpoint, folder, tmp_path):
    assert run(checkpoint, tmp_path, folder / "more" / "one.jpg") == 0
    with room_for(2000):  # less than a sheet
        sentence = run(checkpoint, tmp_path, folder)
    assert "keep-0.70.png cannot be written (File too large)" in sentence
    assert sentence.count("cannot be written") == 1
    assert len(list((tmp_path / "out").iterdir())) == 3
    assert run(checkpoint, tmp_path, folder) == 0
    assert len(list((tmp_path / "out").iterdir())) == 9


def test_a_file_in_the_place_of_the_results_is_named(checkpoint, folder, tmp_path):
    (tmp_path / "out").write_text("mine")
    assert "out cannot be written (File exists)" in run(checkpoint, tmp_path, folder)
    assert (tmp_path / "out").read_text() == "mine"


def test_results_of_an_image_with_a_very_long_name_can_be_written(checkpoint, folder, tmp_path):
    (folder / "one.png").rename(folder / f"{'ö' * 110}.png")
    assert run(checkpoint, tmp_path, folder, "--keep-ratio", 0.7, 0.5, 0.3, "--selector", "class-attention") == 0


def test_results_of_images_of_one_name_do_not_overwrite_each_other(tmp_path):
    assert unique_stems([tmp_path / "a" / "x.png", tmp_path / "x.jpg", tmp_path / "x-2.png"]) == ["x", "x-2", "x-2-2"]
