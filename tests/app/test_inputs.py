"""Settings as a browser sends them."""

from __future__ import annotations

import math

import pytest

from dynamicvit.app.inputs import MAX_WIDTH, MIN_WIDTH, checked_budget, checked_width
from dynamicvit.budget import KeepMass, as_budget
from dynamicvit.errors import SettingError


@pytest.mark.parametrize(
    ("payload", "budget"),
    [
        ({"keep_ratio": 0.7}, 0.7),
        ({"keep_ratio": 1}, 1.0),
        ({"keep_ratio": [0.7, 0.49, 0.34]}, (0.7, 0.49, 0.34)),
        ({"keep_ratio": [0.01]}, (0.01,)),
        ({"keep_mass": 0.9}, KeepMass(0.9)),
    ],
)
def test_settings_come_back_as_they_were_sent(payload: dict, budget: object) -> None:
    checked = checked_budget(payload)
    assert checked == as_budget(budget)  # type: ignore[arg-type]
    assert checked.to_json() == payload


def test_close_numbers_are_the_same_settings() -> None:
    assert checked_budget({"keep_ratio": 0.7000001}) == checked_budget({"keep_ratio": 0.7})
    assert checked_budget({"keep_ratio": [0.50001, 0.5]}) == checked_budget({"keep_ratio": [0.5, 0.50004]})


def test_other_keys_are_not_looked_at() -> None:
    assert checked_budget({"keep_ratio": 0.7, "stage": 2, "patch": None}) == as_budget(0.7)


@pytest.mark.parametrize("value", [0.05, 1.01, -1, math.nan, math.inf, "0.5", None, True, {}, 10**400, "x" * 10**6])
@pytest.mark.parametrize("name", ["keep_ratio", "keep_mass"])
def test_number_outside_its_range_gives_a_short_sentence(name: str, value: object) -> None:
    with pytest.raises(SettingError, match=r"from 0\.10 to 1\.00") as caught:
        checked_budget({name: value})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("ratios", "sentence"),
    [
        ([0.5, 0.6], "must not increase"),
        ([0.5, 0.0], r"from 0\.01 to 1\.00"),
        ([0.5, "0.4"], r"from 0\.01 to 1\.00"),
        ([0.5, [0.4]], r"from 0\.01 to 1\.00"),
        ([], "one keep ratio for each stage"),
        ([0.5] * 1000, "one keep ratio for each stage"),
    ],
)
def test_ratios_that_no_model_could_use_give_a_sentence(ratios: list, sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        checked_budget({"keep_ratio": ratios})


@pytest.mark.parametrize("payload", [None, 0.7, "keep_ratio", [], {}, {"keep_ratio": 0.7, "keep_mass": 0.7}])
def test_whatever_is_no_settings_gives_a_sentence(payload: object) -> None:
    with pytest.raises(SettingError, match="either a keep ratio or"):
        checked_budget(payload)


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (640.4, 640),
        (10, MIN_WIDTH),
        (10**400, MAX_WIDTH),
        (None, MIN_WIDTH),
        ("9", MIN_WIDTH),
        (float("inf"), MIN_WIDTH),
    ],
)
def test_charts_have_a_width_that_can_be_drawn(asked: object, given: int) -> None:
    assert checked_width(asked) == given
