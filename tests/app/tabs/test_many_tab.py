"""Many images, without a page."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import pytest
from conftest import EXAMPLES
from full_disk import room_for

from dynamicvit.app.api import analyze_bytes
from dynamicvit.app.inputs import TabRequest, tab_request
from dynamicvit.app.state import AppState
from dynamicvit.app.tabs import many
from dynamicvit.app.tabs.many import describe_survey, show_survey, survey_csv, survey_examples, survey_uploads, table_of
from dynamicvit.app.uploads import NO_ROOM, Upload
from dynamicvit.budget import BaseRatio
from dynamicvit.errors import DynamicViTError, ImageError, SettingError


def asked(**sent: object) -> TabRequest:
    return tab_request({"settings": {"keep_ratio": 0.5}, **sent})


@pytest.fixture
def uploads(tmp_path: Path) -> list[Upload]:
    """An image, an archive with a good and a bad file, and an archive that is damaged."""
    archive, damaged = tmp_path / "stored.zip", tmp_path / "damaged.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(EXAMPLES / "pagoda.jpg", "in/pagoda.jpg")
        file.writestr("in/=1+1.png", b"no image")
    damaged.write_bytes(archive.read_bytes().replace(b"PK\1\2", b"XXXX"))
    return [
        Upload("holiday.zip", archive),
        Upload("broken.zip", damaged),
        Upload("cat.jpg", EXAMPLES / "cat.jpg"),
    ]


def test_one_bad_file_is_named_and_does_not_stop_the_rest(state: AppState, uploads: list[Upload]) -> None:
    states = list(survey_uploads(state, uploads, asked()))
    assert [(state.done, state.total) for state in states] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert [picture.name for picture in states[-1].survey.images] == ["in/pagoda.jpg", "cat.jpg"]
    assert [problem.name for problem in states[-1].problems] == ["broken.zip", "in/=1+1.png"]
    assert "save it as JPEG" in states[-1].problems[1].sentence


def test_survey_grows_picture_by_picture(state: AppState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "examples", {name: state.examples[name] for name in ("cat", "pagoda")})
    counts = [len(state.survey.images) for state in survey_examples(state, asked())]
    assert counts == [0, 1, 2]


def test_survey_says_of_a_picture_what_the_explorer_says(state: AppState) -> None:
    (*_, last) = survey_uploads(state, [Upload("cat.jpg", EXAMPLES / "cat.jpg")], asked())
    plain = analyze_bytes(state, (EXAMPLES / "cat.jpg").read_bytes(), {"keep_ratio": 0.5}, None)
    (picture,) = last.survey.images
    assert picture.dense.label == plain["dense"]["top"][0]["label"]
    assert picture.pruned.probability == pytest.approx(plain["pruned"]["top"][0]["probability"])
    assert picture.saved_share == pytest.approx(plain["saved_share"])
    kept = [sorted(stage["kept_patches"]) for stage in plain["stages"]]
    assert [shares.ravel().nonzero()[0].tolist() for shares in last.survey.keep_maps] == kept


def test_settings_of_the_explorer_are_used(state: AppState) -> None:
    (*_, last) = survey_uploads(
        state, [Upload("cat.jpg", EXAMPLES / "cat.jpg")], asked(settings={"keep_ratio": [0.5, 0.25, 0.25]})
    )
    assert last.survey.images[0].kept_counts == (98, 49, 49)


def test_nothing_and_too_much_are_refused_in_a_sentence(
    state: AppState, uploads: list[Upload], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ImageError, match="no images yet"):
        next(survey_uploads(state, [], asked()))
    monkeypatch.setattr(many, "MAX_IMAGES", 2)
    with pytest.raises(ImageError, match="at most 2"):
        next(survey_uploads(state, uploads, asked()))


@pytest.mark.parametrize("sent", [{"model": ["x"]}, {"settings": {"keep_ratio": 7}}, {"settings": "x"}])
def test_settings_that_no_page_sends_are_refused(sent: object) -> None:
    with pytest.raises(SettingError):
        tab_request(sent)


@pytest.mark.parametrize("sent", [None, "x", {}, {"language": ["zh"], "is_narrow": "yes"}])
def test_page_that_shows_nothing_yet_gets_the_first_settings(sent: object) -> None:
    found = tab_request(sent)
    assert (found.model, found.budget, found.words.language) == (None, BaseRatio(0.7), "en")
    assert not found.is_narrow


def test_model_that_is_gone_is_refused_in_a_sentence(state: AppState) -> None:
    with pytest.raises(DynamicViTError, match="no longer in the list"):
        next(survey_examples(state, asked(model="gone.safetensors")))


def test_what_is_shown_follows_the_language(state: AppState, uploads: list[Upload]) -> None:
    (*_, last) = survey_uploads(state, uploads, asked())
    english, chinese = describe_survey(last, asked()), describe_survey(last, asked(language="zh"))
    assert english["saved"] == chinese["saved"]
    assert english["problems"] == chinese["problems"]
    assert "Stage 3" in english["maps"]
    assert "阶段 3" in chinese["maps"]
    assert len(table_of(last.survey, asked().words)["headers"]) == len(table_of(last.survey, asked().words)["data"][0])


def test_file_repeats_the_survey(state: AppState, uploads: list[Upload]) -> None:
    (*_, last) = survey_uploads(state, uploads, asked())
    rows = list(csv.DictReader(io.StringIO(survey_csv(last.survey), newline="")))
    assert [row["picture"] for row in rows] == ["in/pagoda.jpg", "cat.jpg"]
    for row, picture in zip(rows, last.survey.images, strict=True):
        assert float(row["gmacs_dense"]) - float(row["gmacs_pruned"]) == pytest.approx(float(row["gmacs_saved"]))
        assert row["agrees"] == str(picture.agrees)
        assert [row[f"tokens_stage_{stage}"] for stage in (1, 2, 3)] == ["98", "49", "24"]


def test_a_full_disk_costs_the_file_and_not_the_survey(state: AppState) -> None:
    with room_for(10):
        *_, (line, result, table, download, _, last) = show_survey(state, None, {"settings": {"keep_ratio": 0.5}})
    assert (line["text"], last.done) == ("many.done", len(state.examples))
    assert result["problems"] == [{"name": many.CSV_NAME, "sentence": NO_ROOM}]
    assert len(table.value["data"]) == len(state.examples)
    assert not download.visible
    assert download.value is None


def test_page_is_told_what_is_wrong_and_keeps_its_results(state: AppState) -> None:
    (values,) = show_survey(state, [], {"settings": {"keep_ratio": 0.5}})
    assert "no images yet" in values[0]["problem"]
    assert all(value["__type__"] == "update" and len(value) == 1 for value in values[1:4])
