"""The sentences and numbers of the page."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from dynamicvit.analysis.results import Analysis, AnalysisSettings, Classification, Prediction, StageView
from dynamicvit.budget import KeepMass
from dynamicvit.costs.benchmark import PairTiming, Timing
from dynamicvit.costs.macs import MacReport
from dynamicvit.interface.wording import describe_analysis, describe_timing, ratio_note
from dynamicvit.interface.words import words_in

ENGLISH = words_in("en")
Budget = float | tuple[float, ...] | KeepMass


def result(label: str, probability: float, macs: int, predictors: int = 0) -> Classification:
    report = MacReport(MappingProxyType({"blocks.0": macs - predictors, "score_predictor.0": predictors}))
    return Classification((Prediction(len(label), label, probability),), report)


def analysis(dense: Classification, pruned: Classification, budget: Budget) -> Analysis:
    stage = StageView(1, 3, 4, (2, 0, 1), (0.5, 0.25, 0.75, 0.1))
    return Analysis(AnalysisSettings(budget), (2, 2), dense, pruned, (stage,))


def described(dense: Classification, pruned: Classification, budget: Budget = 0.75) -> dict:
    return describe_analysis(analysis(dense, pruned, budget), "Cat", 12, (0.7,), ENGLISH)


def timing(dense_ms: float, pruned_ms: float) -> PairTiming:
    pair = [Timing(ms, ms, ms, 9) for ms in (dense_ms, pruned_ms)]
    return PairTiming(*pair, dense_ms / pruned_ms, "a test bench", 1)


def test_stage_says_its_count_in_words() -> None:
    stage = described(result("cat", 0.9, 10**9), result("cat", 0.8, 10**9))["stages"][0]
    assert f"{stage['name']} {stage['count']}" == "Stage 1 3 of 4 tokens"
    assert (stage["percent"], stage["detail"]) == ("75\N{NO-BREAK SPACE}%", "after block 3 of 12")
    assert stage["kept"] == [2, 0, 1]


def test_stage_brings_what_the_browser_says_of_a_patch() -> None:
    stage = described(result("cat", 0.9, 10**9), result("cat", 0.8, 10**9))["stages"][0]
    assert stage["scores"] == [5000, 2500, 7500, 1000]
    assert (stage["ranks"], stage["live"]) == ([2, 3, 1, 4], 4)
    assert stage["cut"] == 1750  # halfway between 0.25 and 0.1


@pytest.mark.parametrize(
    ("budget", "aside", "note"),
    [
        (0.7, "ratio 0.70", "trained for this ratio"),
        ((0.7, 0.5, 0.25), "ratios 0.70 · 0.50 · 0.25", "A ratio of its own for each stage"),
        (KeepMass(0.9), "adaptive, 90\N{NO-BREAK SPACE}%", "what holds 90\N{NO-BREAK SPACE}% of its keep probability"),
    ],
)
def test_settings_are_named_beside_the_pruned_model(budget: Budget, aside: str, note: str) -> None:
    shown = described(result("cat", 0.9, 1), result("cat", 0.8, 1), budget)
    assert shown["pruned_aside"] == aside
    assert note in shown["note"]


@pytest.mark.parametrize(
    ("answer", "agrees", "verdict"),
    [("cat", True, "Same answer"), ("tiger", False, "Different answers")],
)
def test_agreement_is_said_in_words(answer: str, agrees: bool, verdict: str) -> None:
    shown = described(result("cat", 0.9, 10**9), result(answer, 0.8, 10**9))
    assert (shown["agrees"], shown["verdict"]) == (agrees, verdict)


def test_low_confidence_names_the_model_that_is_unsure() -> None:
    assert described(result("cat", 0.9, 1), result("cat", 0.8, 1))["confidence"] == ""
    assert "12.0\N{NO-BREAK SPACE}% (pruned)" in described(result("cat", 0.9, 1), result("cat", 0.12, 1))["confidence"]
    assert (
        "(dense) and 12.0\N{NO-BREAK SPACE}% (pruned)"
        in described(result("cat", 0.2, 1), result("cat", 0.12, 1))["confidence"]
    )


def test_macs_have_the_predictors_as_a_part() -> None:
    macs = described(result("cat", 0.9, 4_599_000_000), result("cat", 0.8, 2_981_000_000, 123_000_000))["macs"]
    assert macs == {
        "dense": "4.599",
        "pruned": "2.981",
        "predictors": "0.123",
        "saved": "35\N{NO-BREAK SPACE}%",
        "is_loss": False,
    }


def test_predictors_that_cost_more_than_pruning_saves_give_a_negative_share() -> None:
    macs = described(result("cat", 0.9, 10**9), result("cat", 0.8, 1_020_000_000))["macs"]
    assert (macs["saved"], macs["is_loss"]) == ("\N{MINUS SIGN}2\N{NO-BREAK SPACE}%", True)


def test_faster_model_gets_no_excuse() -> None:
    shown = describe_timing(timing(20.0, 15.0), 0.3, ENGLISH)
    assert (shown["dense"], shown["pruned"], shown["is_slower"]) == ("20.0", "15.0", False)
    assert shown["note"] == "Median of 9 runs each, in turn, one picture at a time, on a test bench."


@pytest.mark.parametrize(("saved", "reason"), [(0.3, "single picture"), (-0.02, "hardly anything is dropped")])
def test_slower_model_is_said_to_be_slower_and_why(saved: float, reason: str) -> None:
    shown = describe_timing(timing(15.0, 20.0), saved, ENGLISH)
    assert shown["is_slower"]
    assert shown["note"].startswith("Pruning is slower here: 20.0 ms against 15.0 ms, because ")
    assert reason in shown["note"]


def test_note_tells_trained_from_untrained_ratios() -> None:
    assert ratio_note(0.7, (0.7,), ENGLISH) == "The model was trained for this ratio."
    assert ratio_note(0.5, (0.7,), ENGLISH) == "Trained for 0.70, not for this ratio."
    assert ratio_note(0.6, (0.3, 0.5, 0.7), ENGLISH) == "Trained for 0.30, 0.50 and 0.70, not for this ratio."
    assert ratio_note(0.25, ((0.25, 0.9),), ENGLISH) == "The model was trained for this ratio."
    assert ratio_note(0.95, (0.1, (0.25, 0.9)), ENGLISH) == "Trained for 0.10 and 0.25 to 0.90, not for this ratio."
    assert ratio_note(0.5, (), ENGLISH) == ""
