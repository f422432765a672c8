import importlib
import io
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dynamicvit.analysis.report import ImageIdentity, ModelIdentity, Report
from dynamicvit.analysis.results import Analysis, AnalysisSettings, Classification, Prediction, StageView
from dynamicvit.budget import KeepMass
from dynamicvit.costs.macs import MacReport
from dynamicvit.figures import sheet as sheet_module
from dynamicvit.figures.captions import Captions
from dynamicvit.figures.saving import figure_bytes
from dynamicvit.figures.sheet import settings_text, slide_sheet
from dynamicvit.images import CropBox, DecodedImage

SCORES = (0.9, 0.1, 0.8, 0.7)
BLACK = DecodedImage(np.zeros((20, 20, 3), np.uint8), "PNG")
ALL = CropBox(0, 0, 20, 20)
ANALYSIS = Analysis(
    settings=AnalysisSettings(0.7),
    grid=(2, 2),
    dense=Classification((Prediction(1, "golden retriever", 0.815),), MacReport({"head": 4_599_000_000})),
    pruned=Classification((Prediction(2, "Labrador of the $ kind", 0.6),), MacReport({"head": 2_981_000_000})),
    stages=(StageView(1, 3, 4, (0, 2), SCORES), StageView(2, 6, 2, (2,), SCORES)),
)
REPORT = Report(ImageIdentity("dog.jpg", (20, 20), "ab" * 32), ModelIdentity("deit", "deit.pth", "cd" * 8), ANALYSIS)


@pytest.fixture
def sheet():
    return slide_sheet(BLACK, ALL, REPORT, "A dog")


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_sheet_is_a_slide(sheet):
    picture = Image.open(io.BytesIO(figure_bytes(sheet, "png")))
    assert (picture.format, picture.size) == ("PNG", (1920, 1080))


def test_captions_count_the_tokens_that_are_left(sheet):
    assert {"Input: 4 tokens", "Stage 1: 2 of 4 tokens", "Stage 2: 1 of 4 tokens"} <= set(texts(sheet))
    assert {"50% kept, after block 3", "25% kept, after block 6"} <= set(texts(sheet))


def test_a_model_with_a_fast_path_drops_nothing():
    stages = tuple(replace(stage, has_fast_path=True) for stage in ANALYSIS.stages)
    sheet = slide_sheet(BLACK, ALL, replace(REPORT, analysis=replace(ANALYSIS, stages=stages)), "A dog")
    assert {"Stage 1: 2 of 4 on the slow path", "50%, after block 3"} <= set(texts(sheet))
    assert not any("kept" in text for text in texts(sheet))


def test_both_answers_and_their_cost_are_named(sheet):
    assert {"golden retriever", "81.5%", "Labrador of the $ kind", "60.0%", "4.599", "2.981"} <= set(texts(sheet))
    assert {"≠ Different answers", "35% saved"} <= set(texts(sheet))


def test_a_sheet_says_what_made_it(sheet):
    assert {"A dog", "deit, keep ratio 0.70"} <= set(texts(sheet))
    assert f"dog.jpg (sha256 {'ab' * 8})" in texts(sheet)[-1]
    assert f"deit.pth (sha256 {'cd' * 8})" in texts(sheet)[-1]


def test_panels_show_the_input_and_what_each_stage_left(sheet):
    panels = [np.asarray(image.get_array()) for image in sheet.axes[0].images]
    corners = [[panel[y, x, 0] == 0 for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1))] for panel in panels]
    assert corners == [[True] * 4, [True, False, True, False], [False, False, True, False]]


def test_words_can_be_others():
    sheet = slide_sheet(BLACK, ALL, REPORT, "A dog", Captions(input="Eingabe: {count}"))
    assert "Eingabe: 4" in texts(sheet)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (AnalysisSettings(0.7), "keep ratio 0.70"),
        (AnalysisSettings((0.6, 0.5, 0.25)), "keep ratio 0.60 / 0.50 / 0.25"),
        (AnalysisSettings(KeepMass(0.8)), "adaptive, keep mass 0.80"),
        (AnalysisSettings(0.7, "random", 3), "keep ratio 0.70, random (3)"),
    ],
)
def test_settings_are_said_in_words(settings, expected):
    assert settings_text(settings) == expected


def test_the_module_loads_without_matplotlib(monkeypatch):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    importlib.reload(sheet_module)
