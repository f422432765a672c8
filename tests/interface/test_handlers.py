"""What the page asks for, without a page."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copy

import pytest
from PIL import Image

from dynamicvit import create_model, save_model
from dynamicvit.errors import DownloadError, SettingError
from dynamicvit.interface import handlers
from dynamicvit.interface.handlers import Workbench
from dynamicvit.interface.uploads import Upload, UploadError

PUBLISHED = "dynamic-vit_deit-s_r0.7.pth"


@pytest.fixture
def photo(tmp_path: Path) -> Upload:
    path = tmp_path / "photo.png"
    Image.linear_gradient("L").resize((320, 240)).save(path)
    return Upload(path.name, path)


@pytest.fixture
def model(bench: Workbench) -> str:
    key = bench.first_model()
    assert key is not None
    return key


def counts(answer: dict) -> list[int]:
    return [len(stage["kept"]) for stage in answer["stages"]]


def test_first_scene_is_analysed_and_ready_for_json(bench: Workbench) -> None:
    scene = json.loads(json.dumps(bench.first_scene()))
    assert counts(scene["answer"]) == [137, 96, 67]
    assert scene["answer"]["settings"] == {"keep_ratio": 0.7}
    assert scene["picture"].startswith("data:image/jpeg;base64,")


def test_without_a_model_the_first_scene_says_what_to_do(tmp_path: Path) -> None:
    assert "download" in Workbench(tmp_path).first_scene()["problem"]


def test_uploaded_picture_is_analysed_at_any_ratio(bench: Workbench, model: str, photo: Upload) -> None:
    scene = bench.open_file(photo, model)
    assert counts(bench.analyse(scene["image"], model, {"keep_ratio": 0.5})) == [98, 49, 24]
    everything = bench.analyse(scene["image"], model, {"keep_ratio": 1.0})
    assert counts(everything) == [196, 196, 196]
    assert everything["agrees"]


def test_same_file_opened_twice_gets_two_keys(bench: Workbench, model: str, photo: Upload) -> None:
    assert bench.open_file(photo, model)["image"] != bench.open_file(photo, model)["image"]


def test_no_picture_gives_a_sentence(bench: Workbench, model: str) -> None:
    assert "add one" in bench.open_file(None, model)["problem"]


def test_broken_file_gives_a_sentence(bench: Workbench, model: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 and then nothing")
    assert "damaged or incomplete" in bench.open_file(Upload(broken.name, broken), model)["problem"]


def test_unknown_picture_gives_a_sentence(bench: Workbench, model: str) -> None:
    assert "add it again" in bench.analyse("forgotten", model, {"keep_ratio": 0.5})["problem"]


def test_same_problem_twice_is_news_both_times(bench: Workbench, model: str) -> None:
    assert bench.open_file(None, model) != bench.open_file(None, model)


@pytest.mark.parametrize("ratio", [0.05, 1.01, math.nan, math.inf, "0.5", None])
def test_ratio_outside_the_slider_gives_a_sentence(bench: Workbench, model: str, ratio: object) -> None:
    assert "from 0.10 to 1.00" in bench.analyse("butterfly", model, {"keep_ratio": ratio})["problem"]


def test_stages_can_have_ratios_of_their_own(bench: Workbench, model: str) -> None:
    assert counts(bench.analyse("cat", model, {"keep_ratio": [0.9, 0.5, 0.5]})) == [176, 98, 98]
    assert "one for each stage" in bench.analyse("cat", model, {"keep_ratio": [0.9, 0.5]})["problem"]


def test_adaptive_mode_gives_each_picture_its_own_number_of_tokens(bench: Workbench, model: str) -> None:
    few, many = (bench.analyse("cat", model, {"keep_mass": share}) for share in (0.3, 0.9))
    assert all(less < more for less, more in zip(counts(few), counts(many), strict=True))
    assert counts(bench.analyse("cat", model, {"keep_mass": 1.0})) == [196, 196, 196]


def test_model_that_is_not_downloaded_gives_a_sentence(bench: Workbench) -> None:
    assert "download it first" in bench.change_model("butterfly", PUBLISHED)["problem"]


@pytest.mark.parametrize("settings", [{"keep_ratio": 0.5}, {"keep_ratio": [0.5, 0.4, 0.1]}, {"keep_mass": 0.5}])
def test_measurement_names_runs_and_device(bench: Workbench, model: str, settings: dict) -> None:
    measured = bench.measure("butterfly", model, settings)
    assert float(measured["dense"]) > 0
    assert "Median of" in measured["note"]
    assert "thread" in measured["note"] or "GPU" in measured["note"]


def test_visitors_at_once_get_what_they_would_get_alone(bench: Workbench, model: str) -> None:
    wishes = [{"keep_ratio": ratio} for ratio in (0.2, 0.4, 0.6, 0.8)]
    with ThreadPoolExecutor(4) as visitors:
        together = list(visitors.map(lambda wish: bench.analyse("cat", model, wish), wishes))
    alone = Workbench(bench.checkpoints, bench.examples)
    assert together == [alone.analyse("cat", model, wish) for wish in wishes]


def test_file_dropped_into_the_folder_appears(bench: Workbench, model: str, tmp_path: Path) -> None:
    late = Workbench(tmp_path)
    assert late.first_model() is None
    copy(bench.checkpoints / model, tmp_path / "mine.safetensors")
    assert late.first_model() == "mine.safetensors"


def test_model_of_ones_own_answers_with_the_names_of_its_classes(photo: Upload, tmp_path: Path) -> None:
    own = create_model("dynamicvit_deit_256_patch16_224", num_heads=8, depth=3, prune_locations=(1,), num_classes=2)
    save_model(own, tmp_path / "colours.safetensors", class_names=["blue", "red"])
    bench = Workbench(tmp_path)
    answer = bench.analyze_file(photo, 0.5, "colours.safetensors")
    assert {best["label"] for best in answer["pruned"]["top"]} == {"blue", "red"}
    assert bench.load("colours.safetensors").model.config == own.config


def test_overwritten_weights_are_loaded_anew(bench: Workbench, model: str, tmp_path: Path) -> None:
    copy(bench.checkpoints / model, tmp_path / model)
    own = Workbench(tmp_path, bench.examples)
    before = own.analyse("butterfly", model, {"keep_ratio": 0.5})
    damaged = bytearray((tmp_path / model).read_bytes())
    damaged[-4000:] = bytes(4000)
    (tmp_path / model).write_bytes(damaged)
    assert own.analyse("butterfly", model, {"keep_ratio": 0.5}) != before


def test_unusable_weight_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "wrong.safetensors").write_bytes(b"no weights")
    bench = Workbench(tmp_path)
    assert "wrong.safetensors" in bench.unusable_files()


def test_failed_download_gives_its_sentence(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise DownloadError("No connection; try again later.")

    monkeypatch.setattr(handlers, "download", fail)
    assert bench.fetch(PUBLISHED, lambda done, total: None)["problem"] == "No connection; try again later."


def test_program_gets_plain_numbers(bench: Workbench, model: str, photo: Upload) -> None:
    answer = json.loads(json.dumps(bench.analyze_file(photo, 0.5, None)))
    assert answer["model"] == model
    assert [len(stage["kept_patches"]) for stage in answer["stages"]] == [98, 49, 24]
    assert answer["saved_share"] == pytest.approx(1 - answer["pruned"]["gmacs"] / answer["dense"]["gmacs"])


def test_small_picture_is_said_to_be_too_small_to_judge_by(bench: Workbench, model: str, tmp_path: Path) -> None:
    path = tmp_path / "icon.png"
    Image.new("RGB", (48, 48), "teal").save(path)
    upload = Upload(path.name, path)
    key = bench.open_file(upload, model)["image"]
    assert "too small to judge by" in bench.analyse(key, model, {"keep_ratio": 0.5})["note"]
    assert "too small to judge by" in bench.analyze_file(upload, 0.5, model)["caution"]
    assert "small" not in bench.analyse("cat", model, {"keep_ratio": 0.5})["note"]


def test_program_gets_errors_raised(bench: Workbench, photo: Upload) -> None:
    with pytest.raises(SettingError):
        bench.analyze_file(photo, 2.0, None)
    with pytest.raises(UploadError):
        bench.analyze_file(Upload("nowhere.png", Path("/nowhere.png")), 0.5, None)
