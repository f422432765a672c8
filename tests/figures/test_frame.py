"""A frame beside its stages."""

from __future__ import annotations

import numpy as np
import pytest

from dynamicvit.figures.frame import GAP, PANEL_PIXELS, stage_frame

CAPTIONS = ["Input", "Stage 1", "Stage 2", "Stage 3"]
KEPT = [(0, 1, 2), (0, 1), (3,)]


def draw(columns: int, captions: list[str] = CAPTIONS, headline: str = "an answer") -> np.ndarray:
    return stage_frame(np.full((100, 100, 3), 50, np.uint8), KEPT, (2, 2), captions, headline, columns)


def panel(sheet: np.ndarray, index: int) -> np.ndarray:
    left = GAP + index * (PANEL_PIXELS + GAP)
    return sheet[GAP : GAP + PANEL_PIXELS, left : left + PANEL_PIXELS, 0]


def test_each_stage_fades_what_it_dropped() -> None:
    sheet = draw(columns=4)
    quarters = [
        [int(panel(sheet, index)[y, x] == 50) for y in (60, 190) for x in (60, 190)] for index in range(len(CAPTIONS))
    ]
    assert quarters == [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_size_is_even_and_the_same_for_all_texts(columns: int) -> None:
    sheet, other = draw(columns), draw(columns, ["图" * 99, *CAPTIONS[1:]], "long " * 99)
    assert sheet.shape == other.shape
    assert sheet.shape[0] % 2 == sheet.shape[1] % 2 == 0


def test_captions_stay_in_their_column() -> None:
    plain, long = draw(4, [""] * 4, ""), draw(4, ["W" * 99, "", "", ""], "")
    changed = np.flatnonzero((plain != long).any(axis=(0, 2)))
    assert changed.min() >= GAP
    assert changed.max() < GAP + PANEL_PIXELS


def test_chinese_is_written() -> None:
    drawings = [draw(4, ["", "", "", ""], text) for text in ("阶段", "保留", "?")]
    assert len({drawing.tobytes() for drawing in drawings}) == 3
