"""What a survey says of hand-made analyses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dynamicvit.analysis.results import Analysis, AnalysisSettings, Classification, Prediction, StageView
from dynamicvit.analysis.survey import Survey
from dynamicvit.costs.macs import MacReport
from dynamicvit.errors import SettingError


def answer(index: int, macs: int) -> Classification:
    return Classification((Prediction(index, f"class {index}", 0.5),), MacReport({"blocks.0": macs}))


def analysis(*kept: tuple[int, ...], pruned: int = 0, macs: int = 60, grid: tuple[int, int] = (2, 2)) -> Analysis:
    """An analysis on 2 x 2 patches; the dense model answers 0 with 100 multiply-adds."""
    stages = (
        StageView(number, number, 4, patches, (None,) * (grid[0] * grid[1])) for number, patches in enumerate(kept, 1)
    )
    return Analysis(AnalysisSettings(0.5), grid, answer(0, 100), answer(pruned, macs), tuple(stages))


def test_keep_maps_are_shares_of_the_pictures() -> None:
    survey = Survey().including("a", analysis((0, 1), (0,))).including("b", analysis((0, 3), (3,)))
    assert survey.keep_maps.tolist() == [[[1.0, 0.5], [0.0, 0.5]], [[0.5, 0.0], [0.0, 0.5]]]


def test_patch_is_at_row_and_column_of_its_index() -> None:
    survey = Survey().including("a", analysis((4,), grid=(2, 3)))
    assert survey.keep_maps[0].tolist() == [[0, 0, 0], [0, 1, 0]]


def test_mean_of_a_map_is_the_mean_share_of_kept_tokens() -> None:
    rng = np.random.default_rng(0)
    survey, counts = Survey(), []
    for number in range(20):
        kept = tuple(rng.choice(12, size=rng.integers(1, 13), replace=False).tolist())
        counts.append(len(kept))
        survey = survey.including(f"{number}", analysis(kept, grid=(3, 4)))
    assert survey.keep_maps.mean() == pytest.approx(np.mean(counts) / 12)
    assert [picture.kept_counts for picture in survey.images] == [(count,) for count in counts]


def test_rates_and_savings_are_means_over_the_pictures() -> None:
    survey = Survey()
    for pruned, macs in ((0, 60), (0, 80), (7, 40)):
        survey = survey.including("x", analysis((0,), pruned=pruned, macs=macs))
    assert survey.agreement_rate == pytest.approx(2 / 3)
    assert survey.mean_saved_share == pytest.approx(0.4)
    assert survey.mean_saved_gmacs == pytest.approx(40e-9)
    assert [picture.agrees for picture in survey.images] == [True, True, False]


def test_growing_leaves_the_survey_before_as_it_was() -> None:
    first = Survey().including("a", analysis((0, 1)))
    before = first.keep_maps.copy()
    first.including("b", analysis((2, 3)))
    assert [picture.name for picture in first.images] == ["a"]
    assert (first.keep_maps == before).all()


def test_survey_without_pictures_has_no_rates() -> None:
    survey = Survey()
    assert math.isnan(survey.agreement_rate)
    assert math.isnan(survey.mean_saved_share)
    assert survey.keep_maps.size == 0


@pytest.mark.parametrize("other", [analysis((0,), grid=(1, 4)), analysis((0,), (0,))])
def test_pictures_of_another_model_are_refused(other: Analysis) -> None:
    with pytest.raises(SettingError, match="same model"):
        Survey().including("a", analysis((0,))).including("b", other)
