"""The notebook runs from nothing, as a visitor of the repository runs it."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="the notebook's test needs nbclient")
nbclient = pytest.importorskip("nbclient")
NOTEBOOK = Path(__file__).parents[1] / "examples" / "dynamicvit.ipynb"


@pytest.mark.filterwarnings("ignore")  # of the notebook's own programs
def test_the_notebook_runs_and_shows_what_it_shows_in_the_repository() -> None:
    stored = nbformat.read(NOTEBOOK, as_version=4)
    fresh = nbformat.from_dict(stored)
    nbclient.NotebookClient(fresh, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    kinds = [[_kinds(cell) for cell in notebook.cells] for notebook in (stored, fresh)]
    assert kinds[0] == kinds[1]
    assert NOTEBOOK.stat().st_size < 400_000


def _kinds(cell: Any) -> list[str]:
    """Return what kinds of output a cell has, warnings aside; what a slow cell prints may come in several pieces."""
    shown = [output for output in cell.get("outputs", []) if output.get("name") != "stderr"]
    kinds = [kind for output in shown for kind in sorted(output.get("data", [output.output_type]))]
    return [kind for kind, _ in groupby(kinds)]
