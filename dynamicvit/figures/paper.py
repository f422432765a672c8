"""A report as a small figure for one column of a paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamicvit.analysis.results import Analysis
from dynamicvit.figures.canvas import QUIET, Canvas
from dynamicvit.figures.captions import ENGLISH, Captions
from dynamicvit.figures.overlay import fade_dropped
from dynamicvit.figures.sheet import settings_text, shortened
from dynamicvit.images import CropBox, DecodedImage, display_crop

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 245.0  # points: 3.4 inches, the column of a two-column paper
GAP = 4.0
PANEL_PIXELS = 288  # about 360 to an inch, what a press can show


def paper_figure(image: DecodedImage, crop: CropBox, analysis: Analysis, captions: Captions = ENGLISH) -> Figure:
    """Draw the input and the stages in a row, with both answers below; 3.4 inches wide.

    Args:
        image: the image that was analysed.
        crop: the part of it that the model saw.
        analysis: the result.
        captions: the words.
    """
    count = len(analysis.stages) + 1
    side = (WIDTH - GAP * (count - 1)) / count
    canvas = Canvas(WIDTH, side + 37, 72, captions.fonts)
    pixels = display_crop(image, crop, PANEL_PIXELS)
    canvas.image(pixels, 0, 0, side)
    _caption(canvas, side / 2, side, f"{analysis.num_patches}")
    for place, stage in enumerate(analysis.stages, 1):
        x = place * (side + GAP)
        canvas.image(fade_dropped(pixels, stage.kept_patches, analysis.grid), x, 0, side)
        canvas.outline(stage.kept_patches, analysis.grid, x, 0, side, 0.6)
        _caption(canvas, x + side / 2, side, f"{len(stage.kept_patches)} / {analysis.num_patches}")
    settings = settings_text(analysis.settings, captions)
    for y, name, result in (
        (20, captions.dense, analysis.dense),
        (31, captions.pruned.format(settings=settings), analysis.pruned),
    ):
        best = result.top[0]
        canvas.text(0, side + y, name, 6.5, QUIET)
        answer = (
            f"{shortened(captions.class_name(best.label), 24)} {best.probability:.0%}, {result.macs.gmacs:.2f} GMACs"
        )
        canvas.text(WIDTH, side + y, answer, 6.5, ha="right")
    return canvas.figure


def _caption(canvas: Canvas, x: float, y: float, text: str) -> None:
    canvas.text(x, y + 8.5, text, 7, ha="center")
