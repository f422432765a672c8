import importlib
import io
import sys

import numpy as np
import pytest
from PIL import Image

from dynamicvit.analysis import Analysis, AnalysisSettings, Classification, Prediction, StageView
from dynamicvit.figures import sheet as sheet_module
from dynamicvit.figures.sheet import stage_sheet
from dynamicvit.images import CropBox, DecodedImage
from dynamicvit.macs import MacReport

SCORES = (0.9, 0.1, 0.8, 0.7)


@pytest.fixture
def sheet():
    analysis = Analysis(
        settings=AnalysisSettings(0.7),
        grid=(2, 2),
        dense=Classification((Prediction(1, "golden retriever", 0.815),), MacReport({"head": 4_599_000_000})),
        pruned=Classification((Prediction(2, "Labrador", 0.6),), MacReport({"head": 2_981_000_000})),
        stages=(StageView(1, 3, 4, (0, 2), SCORES), StageView(2, 6, 2, (2,), SCORES)),
    )
    return stage_sheet(DecodedImage(np.zeros((20, 20, 3), np.uint8), "PNG"), CropBox(0, 0, 20, 20), analysis)


def test_captions_count_the_tokens_that_are_left(sheet):
    assert [axes.get_title() for axes in sheet.axes] == ["input", "stage 1: 2 of 4 tokens", "stage 2: 1 of 4 tokens"]


def test_panels_show_the_input_and_what_each_stage_left(sheet):
    panels = [np.asarray(axes.images[0].get_array()) for axes in sheet.axes]
    corners = [[panel[y, x, 0] == 0 for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1))] for panel in panels]
    assert corners == [[True] * 4, [True, False, True, False], [False, False, True, False]]


def test_a_line_names_both_answers_and_their_cost(sheet):
    line = sheet.get_supxlabel()
    assert "dense: golden retriever 82%, 4.60 GMACs" in line
    assert "pruned: Labrador 60%, 2.98 GMACs" in line


def test_the_sheet_can_be_saved_as_a_picture(sheet):
    buffer = io.BytesIO()
    sheet.savefig(buffer, format="png")
    assert Image.open(buffer).width > 3 * 300


def test_the_module_loads_without_matplotlib(monkeypatch):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    importlib.reload(sheet_module)
