"""What the Sweep tab asks for, without a page."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from dynamicvit.analysis.prepared import PreparedImage
from dynamicvit.analysis.sweep import SWEPT_RATIOS, SweepPoint
from dynamicvit.app.state import AppState
from dynamicvit.app.tabs import sweep
from dynamicvit.app.tabs.sweep import verdict
from dynamicvit.app.words import words_in


@pytest.fixture(scope="module")
def model(state: AppState) -> str:
    key = state.first_model()
    assert key is not None
    return key


def test_row_has_the_numbers_of_one_ratio(state: AppState, model: str) -> None:
    row = json.loads(json.dumps(sweep.point(state, "cat", model, 0.35)))
    whole = sweep.point(state, "cat", model, 1)
    assert (row["ratio"], whole["ratio"], whole["agrees"]) == ("0.35", "1.00", True)
    assert float(row["gmacs"]) < float(whole["gmacs"])
    assert row["time"].endswith("%")
    assert (len(row["kept"]), len(whole["kept"]), row["grid"]) == (int(196 * 0.35**3), 196, [14, 14])


def test_ratio_that_was_computed_is_not_computed_again(
    state: AppState, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sweep.point(state, "cat", model, 0.5)
    monkeypatch.setattr(PreparedImage, "sweep", lambda *_: pytest.fail("computed twice"))
    assert sweep.point(state, "cat", model, 0.5) == first
    assert "problem" not in sweep.chart(state, "cat", model, [0.5], 600, "zh")


def test_chart_comes_with_verdict_dense_row_and_how_it_was_measured(state: AppState, model: str) -> None:
    answer = sweep.chart(state, "cat", model, [1.0, 0.5], 600)
    assert ElementTree.fromstring(answer["svg"]).get("viewBox", "").startswith("0 0 600 ")
    assert "0.50" in answer["verdict"]
    assert "runs" in answer["how"]
    assert answer["dense"]["time"].startswith("100")
    assert "thread" not in sweep.chart(state, "cat", model, [1.0, 0.5], 600, "zh")["how"]


def test_ratio_is_measured_again_where_that_is_asked_for(
    state: AppState, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep.point(state, "cat", model, 0.5)
    timed: list[float] = []
    time = PreparedImage.time
    monkeypatch.setattr(PreparedImage, "time", lambda self, ratio, **options: timed.append(ratio) or time(self, ratio))
    assert "problem" not in sweep.point(state, "cat", model, 0.5, True)
    assert timed == [0.5]


@pytest.mark.parametrize("ratio", [0.33, 0, -1, "0.5", None, [0.5], float("nan")])
def test_ratio_outside_the_sweep_gives_a_sentence(state: AppState, model: str, ratio: object) -> None:
    assert "steps of 0.05" in sweep.point(state, "cat", model, ratio)["problem"]


@pytest.mark.parametrize("ratios", [[], None, "1.0", [0.5] * 20])
def test_chart_of_nothing_gives_a_sentence(state: AppState, model: str, ratios: object) -> None:
    assert "start the sweep" in sweep.chart(state, "cat", model, ratios, 600)["problem"]


def test_unknown_picture_gives_a_sentence(state: AppState, model: str) -> None:
    assert "add it again" in sweep.point(state, "forgotten", model, 0.5)["problem"]


def points(state: AppState, *agreements: bool) -> list[SweepPoint]:
    best = state.prepared(state.image("cat"), state.load(None)).dense.top[0]
    return [
        SweepPoint(ratio, best, 0.5, agrees, 100, 1 - ratio)
        for ratio, agrees in zip(SWEPT_RATIOS, agreements, strict=False)
    ]


@pytest.mark.parametrize(
    ("agreements", "said", "not_said"),
    [
        ([True] * 14 + [False] * 5, "holds down to 0.35: 65\N{NO-BREAK SPACE}% saved. At 0.30", "flips back"),
        ([True] * 19, "holds everywhere, down to 0.10: 90", "so far"),
        ([True] * 4, "all ratios so far, down to 0.85", "everywhere"),
        ([True] + [False] * 18, "never holds: as soon as tokens are dropped, at 0.95", "flips back"),
        ([False] * 19, "never holds", "flips back"),
        ([True, True, False, True, False, True], "flips back at 0.85 and 0.75", "everywhere"),
    ],
)
def test_verdict_says_how_it_is(state: AppState, agreements: list[bool], said: str, not_said: str) -> None:
    dense = state.prepared(state.image("cat"), state.load(None)).dense
    sentence = verdict(points(state, *agreements), dense, words_in("en"))
    assert said in sentence
    assert not_said not in sentence
