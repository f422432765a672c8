"""Files of what is shown, and saved analyses opened again, without a page."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from dynamicvit.analysis.report import read_report, reproduce
from dynamicvit.analysis.results import AnalysisSettings
from dynamicvit.app import explorer
from dynamicvit.app import words as words_module
from dynamicvit.app.components import Payload
from dynamicvit.app.state import AppState, OpenImage
from dynamicvit.app.tabs import about, export
from dynamicvit.app.tabs.export import file_name
from dynamicvit.app.uploads import Upload
from dynamicvit.app.words import file_captions, page_captions, words_in
from dynamicvit.budget import KeepMass
from dynamicvit.figures.captions import ENGLISH

MODEL = "dynamicvit_lite0_small_patch16_224.safetensors"
SCENE = {
    "image": "butterfly",
    "model": MODEL,
    "title": "Butterfly",
    "settings": {"keep_ratio": 0.7},
    "stage": 2,
    "patch": 90,
}


def content(answer: Payload) -> bytes:
    assert "problem" not in answer, answer
    return base64.b64decode(answer["data"])


@pytest.fixture(scope="module")
def saved(state: AppState) -> str:
    return content(export.export(state, "json", SCENE, "en")).decode()


@pytest.mark.parametrize(
    ("file_format", "begins"),
    [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml"), ("gif", b"GIF8"), ("webp", b"RIFF")],
)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_format_is_made_in_both_languages(
    state: AppState, file_format: str, begins: bytes, language: str
) -> None:
    answer = export.export(state, file_format, SCENE, language)
    assert content(answer).startswith(begins)
    assert answer["name"] == f"butterfly-keep0.70.{file_format}"


def test_png_is_a_slide(state: AppState) -> None:
    assert Image.open(io.BytesIO(content(export.export(state, "png", SCENE, "en")))).size == (1920, 1080)


@pytest.mark.parametrize(
    ("file", "settings", "expected"),
    [
        ("cat.jpg", AnalysisSettings(0.7), "cat-keep0.70.png"),
        ("cat.jpg", AnalysisSettings((0.6, 0.5, 0.3)), "cat-keep0.60-0.50-0.30.png"),
        ("cat.jpg", AnalysisSettings(KeepMass(0.8)), "cat-mass0.80.png"),
        ("my holiday (3).JPG", AnalysisSettings(0.7), "my-holiday-3-keep0.70.png"),
        ("../../etc/passwd", AnalysisSettings(0.7), "passwd-keep0.70.png"),
        ("...", AnalysisSettings(0.7), "picture-keep0.70.png"),
        ("", AnalysisSettings(0.7), "picture-keep0.70.png"),
    ],
)
def test_files_have_telling_names(state: AppState, file: str, settings: AnalysisSettings, expected: str) -> None:
    opened = OpenImage("key", "", state.image("cat").image, file)
    assert file_name(opened, settings.budget, "png") == expected


def test_json_makes_the_same_analysis_again(state: AppState, saved: str, checkpoints: Path) -> None:
    report = read_report(saved.encode())
    again = reproduce(report, state.examples["butterfly"], checkpoints / MODEL)
    assert [stage.kept_patches for stage in again.stages] == [stage.kept_patches for stage in report.analysis.stages]
    assert json.loads(saved)["view"] == {"stage": 2, "patch": 90}


def test_json_opened_again_asks_for_the_same_view(state: AppState, saved: str) -> None:
    answer = export.open_analysis(state, saved, [], "en")
    assert answer["open"] == {name: SCENE[name] for name in ("image", "model", "settings", "stage", "patch")}
    assert answer["note"] == words_in("en")("export.same")


def test_json_of_an_upload_asks_for_the_picture_and_knows_it_again(state: AppState, tmp_path: Path) -> None:
    path = tmp_path / "holiday.png"
    Image.linear_gradient("L").save(path)
    key = explorer.open_file(state, Upload(path.name, path), MODEL)["image"]
    text = content(export.export(state, "json", SCENE | {"image": key}, "en")).decode()
    unknown = export.open_analysis(state, text, [], "en")
    assert unknown["waits"]
    assert "open" not in unknown
    assert "holiday.png" in unknown["note"]
    assert export.open_analysis(state, text, ["forgotten", key], "en")["open"]["image"] == key
    other_visitor = explorer.open_file(state, Upload(path.name, path), MODEL)["image"]
    assert export.open_analysis(state, text, [other_visitor], "zh")["open"]["image"] == other_visitor


def test_json_that_was_changed_by_hand_is_noticed(state: AppState, saved: str) -> None:
    data = json.loads(saved)
    data["pruned"]["top"][0]["probability"] = 0.123456
    assert export.open_analysis(state, json.dumps(data), [], "en")["note"] == words_in("en")("export.differs")
    data["model"]["sha256_prefix"] = "0" * 16
    assert export.open_analysis(state, json.dumps(data), [], "en")["note"] == words_in("en")("export.other_weights")


@pytest.mark.parametrize("text", ["", "{}", "[1]", "\ud800", "x" * 5_000_000, None, 7])
def test_a_file_that_is_no_analysis_gives_one_sentence(state: AppState, text: object) -> None:
    assert export.open_analysis(state, text, [], "en")["problem"].endswith(".")  # type: ignore[arg-type]


@pytest.mark.parametrize("scene", [{}, SCENE | {"image": "x"}, SCENE | {"settings": {"keep_ratio": 7}}])
def test_a_scene_that_cannot_be_shown_gives_one_sentence(state: AppState, scene: Payload) -> None:
    assert export.export(state, "png", scene, "en")["problem"].endswith(".")


def test_an_unknown_format_gives_one_sentence(state: AppState) -> None:
    assert "no export as 'exe'" in export.export(state, "exe", SCENE, "en")["problem"]


def test_without_a_font_for_chinese_captions_are_english_and_the_answer_says_so(
    state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words_module, "chinese_font", lambda: None)
    assert file_captions(words_in("zh")) == (ENGLISH, False)
    assert export.export(state, "svg", SCENE, "zh")["note"] == words_in("zh")("export.english")
    assert export.export(state, "json", SCENE, "zh")["note"] == ""


def test_english_captions_of_the_page_are_those_of_the_library() -> None:
    assert page_captions(words_in("en")) == ENGLISH


@pytest.mark.parametrize(("language", "word"), [("en", "Predictor 1"), ("zh", "预测模块 1")])
def test_the_method_is_drawn_from_what_is_shown(state: AppState, language: str, word: str) -> None:
    svg = about.draw_method(state, SCENE, language)["svg"]
    assert word in svg
    assert "137" in svg
