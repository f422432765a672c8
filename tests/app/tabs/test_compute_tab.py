"""What the Compute tab asks for, without a page."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from dynamicvit.app.state import AppState
from dynamicvit.app.tabs import compute


@pytest.fixture(scope="module")
def model(state: AppState) -> str:
    key = state.first_model()
    assert key is not None
    return key


@pytest.fixture(autouse=True)
def _measured_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "MEASURING_BUDGET_MS", 1.0)


def test_rows_add_up_to_the_whole_pass(state: AppState, model: str) -> None:
    answer = json.loads(json.dumps(compute.measure_parts(state, "cat", model, {"keep_ratio": 0.7}, 900)))
    *parts, whole = answer["rows"]
    for side in ("dense_gmacs", "pruned_gmacs"):
        numbers = [float(row[side]) for row in parts if row[side] != "\N{EN DASH}"]
        assert sum(numbers) == pytest.approx(float(whole[side]), abs=0.0005 * len(parts))


def test_tokens_fall_at_the_stages_and_the_dense_model_has_no_predictors(state: AppState, model: str) -> None:
    rows = {row["name"]: row for row in compute.measure_parts(state, "cat", model, {"keep_ratio": 0.7}, 900)["rows"]}
    assert [rows[f"Block {number}"]["pruned_tokens"] for number in (1, 4, 7, 12)] == ["196", "137", "96", "67"]
    assert {rows[f"Block {number}"]["dense_tokens"] for number in range(1, 13)} == {"196"}
    assert rows["Predictor of stage 2"]["dense_gmacs"] == "\N{EN DASH}"


def test_explanation_names_what_cannot_be_saved(state: AppState, model: str) -> None:
    answer = compute.measure_parts(state, "cat", model, {"keep_mass": 0.5}, 900)
    assert "no pruning reaches it" in answer["explanation"]
    assert "The predictors cost" in answer["explanation"]
    assert "runs" in answer["how"]


def test_chart_and_how_it_was_measured_speak_the_visitors_language(state: AppState, model: str) -> None:
    answer = compute.measure_parts(state, "cat", model, {"keep_ratio": 0.7}, 300, "zh")
    texts = [node.text for node in ElementTree.fromstring(answer["svg"]).iter() if node.tag.endswith("text")]
    assert {"前端", "毫秒"} <= set(texts)
    assert "thread" not in answer["how"]


@pytest.mark.parametrize("settings", [None, {}, {"keep_ratio": 7}, {"keep_ratio": [0.5, 0.4]}])
def test_wrong_settings_give_a_sentence(state: AppState, model: str, settings: object) -> None:
    assert compute.measure_parts(state, "cat", model, settings, 900)["problem"]
