"""Tables as CSV."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamicvit.analysis.spreadsheet import to_csv


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize(
    "hostile", ['=HYPERLINK("http://x")', "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1"]
)
def test_text_that_a_spreadsheet_would_compute_is_made_inert(hostile: str) -> None:
    assert cells(to_csv(["a"], [[hostile]]))[1] == [f"'{hostile}"]


def test_negative_numbers_stay_numbers() -> None:
    assert cells(to_csv(["a", "b"], [[-0.5, True]]))[1] == ["-0.5", "True"]


def test_separators_quotes_and_line_ends_stay_in_their_cell() -> None:
    row = ['a,b"c', "two\nlines", "名字"]
    assert cells(to_csv(["x", "y", "z"], [row]))[1] == row


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=4))
def test_any_text_comes_back_with_at_most_an_apostrophe_before_it(row: list[str]) -> None:
    (back,) = cells(to_csv(["x"], [row]))[1:]
    assert all(found in (text, f"'{text}") for found, text in zip(back, row, strict=True))
    assert not any(found.lstrip(" ").startswith(("=", "+", "-", "@")) for found in back)
