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
from dynamicvit.budget import KeepMass
from dynamicvit.figures.captions import ENGLISH
from dynamicvit.interface.captions import captions as captions_module
from dynamicvit.interface.captions.captions import file_captions, page_captions
from dynamicvit.interface.handlers import Payload, Workbench
from dynamicvit.interface.sessions import Picture
from dynamicvit.interface.tabs.about.handlers import MethodDesk
from dynamicvit.interface.tabs.export.handlers import ExportDesk, file_name
from dynamicvit.interface.uploads import Upload
from dynamicvit.interface.words import words_in

MODEL = "dynamicvit_lite0_small_patch16_224.safetensors"
SCENE = {
    "image": "butterfly",
    "model": MODEL,
    "title": "Butterfly",
    "settings": {"keep_ratio": 0.7},
    "stage": 2,
    "patch": 90,
}


@pytest.fixture(scope="module")
def desk(bench: Workbench) -> ExportDesk:
    return ExportDesk(bench)


def content(answer: Payload) -> bytes:
    assert "problem" not in answer, answer
    return base64.b64decode(answer["data"])


@pytest.fixture(scope="module")
def saved(desk: ExportDesk) -> str:
    return content(desk.export("json", SCENE, "en")).decode()


@pytest.mark.parametrize(
    ("file_format", "begins"),
    [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml"), ("gif", b"GIF8"), ("webp", b"RIFF")],
)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_format_is_made_in_both_languages(
    desk: ExportDesk, file_format: str, begins: bytes, language: str
) -> None:
    answer = desk.export(file_format, SCENE, language)
    assert content(answer).startswith(begins)
    assert answer["name"] == f"butterfly-keep0.70.{file_format}"


def test_png_is_a_slide(desk: ExportDesk) -> None:
    assert Image.open(io.BytesIO(content(desk.export("png", SCENE, "en")))).size == (1920, 1080)


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
def test_files_have_telling_names(bench: Workbench, file: str, settings: AnalysisSettings, expected: str) -> None:
    picture = Picture("key", "", bench.picture("cat").image, file)
    assert file_name(picture, settings, "png") == expected


def test_json_makes_the_same_analysis_again(bench: Workbench, saved: str, checkpoints: Path) -> None:
    assert bench.examples is not None
    report = read_report(saved.encode())
    again = reproduce(report, bench.examples / "butterfly.jpg", checkpoints / MODEL)
    assert [stage.kept_patches for stage in again.stages] == [stage.kept_patches for stage in report.analysis.stages]
    assert json.loads(saved)["view"] == {"stage": 2, "patch": 90}


def test_json_opened_again_asks_for_the_same_view(desk: ExportDesk, saved: str) -> None:
    answer = desk.open_analysis(saved, [], "en")
    assert answer["open"] == {name: SCENE[name] for name in ("image", "model", "settings", "stage", "patch")}
    assert answer["note"] == words_in("en")("export.same")


def test_json_of_an_upload_asks_for_the_picture_and_knows_it_again(
    bench: Workbench, desk: ExportDesk, tmp_path: Path
) -> None:
    path = tmp_path / "holiday.png"
    Image.linear_gradient("L").save(path)
    key = bench.open_file(Upload(path.name, path), MODEL)["image"]
    text = content(desk.export("json", SCENE | {"image": key}, "en")).decode()
    unknown = desk.open_analysis(text, [], "en")
    assert unknown["waits"]
    assert "open" not in unknown
    assert "holiday.png" in unknown["note"]
    assert desk.open_analysis(text, ["forgotten", key], "en")["open"]["image"] == key
    other_visitor = bench.open_file(Upload(path.name, path), MODEL)["image"]
    assert desk.open_analysis(text, [other_visitor], "zh")["open"]["image"] == other_visitor


def test_json_that_was_changed_by_hand_is_noticed(desk: ExportDesk, saved: str) -> None:
    data = json.loads(saved)
    data["pruned"]["top"][0]["probability"] = 0.123456
    assert desk.open_analysis(json.dumps(data), [], "en")["note"] == words_in("en")("export.differs")
    data["model"]["sha256_prefix"] = "0" * 16
    assert desk.open_analysis(json.dumps(data), [], "en")["note"] == words_in("en")("export.other_weights")


@pytest.mark.parametrize("text", ["", "{}", "[1]", "\ud800", "x" * 5_000_000, None, 7])
def test_a_file_that_is_no_analysis_gives_one_sentence(desk: ExportDesk, text: object) -> None:
    assert desk.open_analysis(text, [], "en")["problem"].endswith(".")  # type: ignore[arg-type]


@pytest.mark.parametrize("scene", [{}, SCENE | {"image": "x"}, SCENE | {"settings": {"keep_ratio": 7}}])
def test_a_scene_that_cannot_be_shown_gives_one_sentence(desk: ExportDesk, scene: Payload) -> None:
    assert desk.export("png", scene, "en")["problem"].endswith(".")


def test_an_unknown_format_gives_one_sentence(desk: ExportDesk) -> None:
    assert "no export as 'exe'" in desk.export("exe", SCENE, "en")["problem"]


def test_without_a_font_for_chinese_captions_are_english_and_the_answer_says_so(
    desk: ExportDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captions_module, "chinese_font", lambda: None)
    assert file_captions(words_in("zh")) == (ENGLISH, False)
    assert desk.export("svg", SCENE, "zh")["note"] == words_in("zh")("export.english")
    assert desk.export("json", SCENE, "zh")["note"] == ""


def test_english_captions_of_the_page_are_those_of_the_library() -> None:
    assert page_captions(words_in("en")) == ENGLISH


@pytest.mark.parametrize(("language", "word"), [("en", "Predictor 1"), ("zh", "预测模块 1")])
def test_the_method_is_drawn_from_what_is_shown(bench: Workbench, language: str, word: str) -> None:
    svg = MethodDesk(bench).draw_method(SCENE, language)["svg"]
    assert word in svg
    assert "137" in svg
