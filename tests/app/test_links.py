"""What a link asks for, whatever stands in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamicvit.app.inputs import checked_budget
from dynamicvit.app.links import Link, parse_link, requested, wanted
from dynamicvit.budget import BaseRatio, KeepMass, StageRatios

NAMES = ["example", "model", "ratio", "ratios", "mass", "stage", "patch"]
EXAMPLES, MODELS = ["cat", "corgis"], ["lite0.safetensors"]


def parse(**query: str) -> Link:
    return parse_link(query, EXAMPLES, MODELS)


def test_everything_that_can_be_shown_is_read() -> None:
    link = parse(example="cat", model="lite0.safetensors", ratio="0.55", stage="2", patch="90", lang="zh")
    assert link == Link("cat", "lite0.safetensors", BaseRatio(0.55), 2, 90)


def test_an_example_is_cropped_where_the_link_says() -> None:
    assert parse(example="cat@0.20,1.00").example == "cat@0.20,1.00"
    for wrong in ("cat@1.20,0.00", "cat@", "dog@0.20,0.50", "cat@0.2,0.5"):
        assert parse(example=wrong) == Link(ignored=("example",))


def test_ratios_of_the_stages_and_the_adaptive_mode_are_read() -> None:
    assert parse(ratios="0.7,0.5,0.3").budget == StageRatios((0.7, 0.5, 0.3))
    assert parse(mass="0.8").budget == KeepMass(0.8)


def test_an_address_without_parameters_asks_for_nothing() -> None:
    assert parse().is_empty
    assert parse(__theme="dark", view="api", lang="en") == Link()


HOSTILE = [
    "",
    " ",
    "nan",
    "inf",
    "-1",
    "1e999",
    "9" * 400,
    "0x7",
    "\N{FULLWIDTH DIGIT SEVEN}",
    "\N{ARABIC-INDIC DIGIT ZERO}.7",
    "0.7;drop",
    "<script>",
    "../../x",
    "\0",
    "1_0",
]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("name", [*NAMES, "tour", "lang", "tab"])
def test_hostile_values_are_named_and_left_out(name: str, value: str) -> None:
    assert parse(**{name: value}) == Link(ignored=(name,))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ratio", "0.09"),
        ("ratio", "1.01"),
        ("ratio", "0"),
        ("mass", "0.05"),
        ("ratios", "0.3,0.5,0.7"),
        ("ratios", "0.7,,0.3"),
        ("ratios", ",".join(["0.5"] * 500)),
    ],
)
def test_settings_out_of_range_are_left_out(name: str, value: str) -> None:
    assert parse(**{name: value}) == Link(ignored=(name,))


def test_of_several_budgets_the_first_counts_and_the_rest_is_named() -> None:
    assert parse(mass="0.8", ratio="0.5") == Link(budget=BaseRatio(0.5), ignored=("mass",))


def test_one_bad_value_does_not_spoil_the_others() -> None:
    assert parse(example="cat", ratio="7", patch="3") == Link("cat", patch=3, ignored=("ratio",))


def test_what_the_model_cannot_show_is_left_out() -> None:
    link = parse(ratios="0.7,0.5", stage="4", patch="196").fitted(num_stages=3, num_patches=196)
    assert link == Link(ignored=("ratios", "stage", "patch"))
    assert parse(ratios="0.7,0.5,0.3", stage="3", patch="195").fitted(3, 196).ignored == ()


@given(st.dictionaries(st.sampled_from(NAMES), st.text()))
def test_any_text_gives_a_link_that_the_explorer_can_show(query: dict[str, str]) -> None:
    link = parse_link(query, EXAMPLES, MODELS).fitted(3, 196)
    assert link.budget is None or checked_budget(link.budget.to_json()) == link.budget
    assert link.stage is None or 0 <= link.stage <= 3
    assert link.patch is None or 0 <= link.patch < 196
    assert set(link.ignored) <= set(query)


@pytest.mark.parametrize("value", [None, "2", 2.5, True, -1, [1], {}])
def test_a_browser_can_send_anything(value: object) -> None:
    assert requested(value, value, value).is_empty


def test_the_browser_is_told_only_what_is_asked_for() -> None:
    assert wanted(1, None, None, Link(ignored=("ratio",)))["asks"] is False
    message = wanted(2, "cat", "lite0.safetensors", parse(ratio="0.5", patch="0"))
    assert message["asks"] is True
    assert (message["settings"], message["stage"], message["patch"]) == ({"keep_ratio": 0.5}, None, 0)
