"""What the Compare tab asks for, without a page."""

from __future__ import annotations

import json

import pytest

from dynamicvit.analysis.comparison import METHODS
from dynamicvit.app.state import AppState
from dynamicvit.app.tabs import compare


@pytest.fixture(scope="module")
def model(state: AppState) -> str:
    key = state.first_model()
    assert key is not None
    return key


def test_every_method_costs_the_same_at_equal_macs(state: AppState, model: str) -> None:
    cards = {method: compare.method(state, "cat", model, {"keep_ratio": 0.5}, method, "macs", 0) for method in METHODS}
    budget = float(cards["predictor"]["gmacs"])
    for method in ("class-attention", "merging", "random", "grid"):
        assert float(cards[method]["gmacs"]) == pytest.approx(budget, rel=0.01)
    assert float(cards["none"]["gmacs"]) > budget
    json.dumps(cards)


def test_every_method_keeps_the_same_number_at_equal_ratio(state: AppState, model: str) -> None:
    cards = [compare.method(state, "cat", model, {"keep_ratio": 0.5}, method, "ratio", 0) for method in METHODS[:-1]]
    assert {len(card["kept"]) for card in cards} == {24}
    assert {tuple(card["ratios"]) for card in cards} == {("0.500",)}


def test_only_merging_gives_regions_and_they_cover_all_patches(state: AppState, model: str) -> None:
    settings = {"keep_ratio": [0.6, 0.4, 0.2]}
    merged = compare.method(state, "cat", model, settings, "merging", "ratio", 0)
    assert (len(merged["groups"]), set(merged["groups"])) == (196, set(range(len(merged["kept"]))))
    assert compare.method(state, "cat", model, settings, "grid", "ratio", 0)["groups"] is None


def test_seed_changes_the_random_choice_alone(state: AppState, model: str) -> None:
    def kept(method: str, seed: int) -> list[int]:
        return sorted(compare.method(state, "cat", model, {"keep_ratio": 0.5}, method, "macs", seed)["kept"])

    assert kept("random", 1) == kept("random", 1) != kept("random", 2)
    assert kept("grid", 1) == kept("grid", 2)


def test_adaptive_mode_can_be_compared(state: AppState, model: str) -> None:
    settings = {"keep_mass": 0.6}
    assert compare.method(state, "cat", model, settings, "predictor", "macs", 0)["ratios"] == []
    assert len(compare.method(state, "cat", model, settings, "grid", "macs", 0)["ratios"]) == 3


@pytest.mark.parametrize(
    ("method", "basis", "seed", "said"),
    [
        ("magic", "macs", 0, "no method"),
        ("grid", "time", 0, "equal macs or ratio"),
        ("random", "macs", -1, "seed must be a whole number"),
        ("random", "macs", 0.5, "seed must be a whole number"),
        ("random", "macs", None, "seed must be a whole number"),
    ],
)
def test_wrong_question_gives_a_sentence(
    state: AppState, model: str, method: str, basis: str, seed: object, said: str
) -> None:
    assert said in compare.method(state, "cat", model, {"keep_ratio": 0.5}, method, basis, seed)["problem"]
