"""Rows -> CSV that a spreadsheet opens as data and never as formulas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

Cell = str | int | float | bool

# A text cell that starts so is computed by spreadsheets: "=1+1", "@SUM(A1)", "-2+3", or after a stray tab.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def to_csv(headers: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Return a table as CSV (RFC 4180); a text that could be taken for a formula gets a leading apostrophe.

    Source: OWASP, "CSV Injection".
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([_inert(header) for header in headers])
    writer.writerows([_inert(cell) for cell in row] for row in rows)
    return text.getvalue()


def _inert(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip(" ").startswith(_FORMULA_STARTS) else cell
