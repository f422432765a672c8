from dataclasses import replace

import numpy as np
import pytest

from dynamicvit.analysis.results import Analysis, AnalysisSettings, Classification, Prediction, StageView
from dynamicvit.costs.macs import MacReport
from dynamicvit.figures.method import method_figure
from dynamicvit.images import CropBox, DecodedImage

STAGE = StageView(1, 2, 4, (0, 2), (0.9, 0.1, 0.8, 0.7))
ANALYSIS = Analysis(
    settings=AnalysisSettings(0.7),
    grid=(2, 2),
    dense=Classification((Prediction(1, "golden retriever", 0.8),), MacReport({"head": 4_000_000_000})),
    pruned=Classification((Prediction(1, "golden retriever", 0.6),), MacReport({"head": 3_000_000_000})),
    stages=(STAGE,),
)
BY_ATTENTION = replace(ANALYSIS, settings=AnalysisSettings(0.7, "class-attention"))
WITH_FAST_PATH = replace(ANALYSIS, stages=(replace(STAGE, has_fast_path=True),))


def texts(analysis):
    black = DecodedImage(np.zeros((20, 20, 3), np.uint8), "PNG")
    figure = method_figure(black, CropBox(0, 0, 20, 20), analysis, 6)
    return {text.get_text() for text in figure.axes[0].texts}


def test_the_figure_names_tokens_answer_and_what_is_saved():
    assert {"4 tokens", "golden retriever", "60.0%", "Same answer", "25% saved", "keep scores 0.10 to 0.90"} <= texts(
        ANALYSIS
    )


@pytest.mark.parametrize(
    ("analysis", "said"),
    [
        (ANALYSIS, {"Predictor 1", "keeps 2 of 4 tokens"}),
        (BY_ATTENTION, {"Stage 1", "keeps 2 of 4 tokens"}),
        (WITH_FAST_PATH, {"Predictor 1", "2 of 4 on the slow path"}),
    ],
)
def test_a_stage_says_what_chooses_and_what_becomes_of_the_tokens(analysis, said):
    assert said <= texts(analysis)
    assert not {"Predictor 1", "Stage 1", "keeps 2 of 4 tokens", "2 of 4 on the slow path"} - said & texts(analysis)
