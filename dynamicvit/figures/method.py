"""The method in one figure, drawn from a real analysis: image, tokens, blocks with predictors, kept tokens, answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dynamicvit.analysis.results import Analysis, StageView
from dynamicvit.figures.canvas import Canvas
from dynamicvit.figures.captions import ENGLISH, Captions
from dynamicvit.figures.sheet import percent_text, shortened
from dynamicvit.figures.svg import DENSE, DROPPED, KEPT, LINE, PAGE, PIXELS_PER_INCH, QUIET, TEXT
from dynamicvit.images import CropBox, DecodedImage, display_crop

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 1080, 520
SIDE, GAP = 168, 40  # of the images above the blocks
TOP = 30
AXIS = 392  # the line on which the blocks are centred
TALLEST = 150  # a block that computes on all tokens
PICTURE_PIXELS = 192
SHOWN_CLASSES = 3


def method_figure(
    image: DecodedImage, crop: CropBox, analysis: Analysis, depth: int, captions: Captions = ENGLISH
) -> Figure:
    """Draw how the model went over one image, in the colours that :func:`~dynamicvit.figures.svg.to_svg` replaces.

    Args:
        image: the image that was analysed.
        crop: the part of it that the model saw.
        analysis: the result.
        depth: number of blocks of the model.
        captions: the words.
    """
    canvas = Canvas(WIDTH, HEIGHT, PIXELS_PER_INCH, captions.fonts)
    canvas.figure.set_facecolor("none")
    pixels = display_crop(image, crop, PICTURE_PIXELS)
    _draw_input(canvas, pixels, analysis, captions)
    left, right = SIDE + 96.0, WIDTH - 250.0
    step = (right - left) / depth
    alive = _tokens_along_depth(analysis, depth)
    for block, count in enumerate(alive):
        _draw_block(canvas, left + block * step, step, count / analysis.num_patches)
    for stage in analysis.stages:
        _draw_stage(canvas, pixels, stage, analysis, left + stage.block * step, captions)
    canvas.text((left + right) / 2, HEIGHT - 14, captions.blocks.format(depth=depth), 13, QUIET, ha="center")
    canvas.arrow(SIDE + 14, AXIS, left - 12, AXIS)
    canvas.arrow(right + 2, AXIS, right + 34, AXIS)
    _draw_answer(canvas, analysis, right + 44, captions)
    return canvas.figure


def _tokens_along_depth(analysis: Analysis, depth: int) -> list[int]:
    """Return the number of patch tokens that each block computes on."""
    counts = [analysis.num_patches] * depth
    for stage in analysis.stages:
        counts[stage.block :] = [len(stage.kept_patches)] * (depth - stage.block)
    return counts


def _draw_input(canvas: Canvas, pixels: np.ndarray, analysis: Analysis, captions: Captions) -> None:
    y = AXIS - SIDE / 2
    canvas.text(0, y - 12, captions.tokens.format(count=analysis.num_patches), 14, TEXT, weight="bold")
    canvas.image(pixels, 0, y, SIDE)
    rows, columns = analysis.grid
    for row in range(1, rows):
        canvas.line([(0, y + row * SIDE / rows), (SIDE, y + row * SIDE / rows)], PAGE, 0.7)
    for column in range(1, columns):
        canvas.line([(column * SIDE / columns, y), (column * SIDE / columns, y + SIDE)], PAGE, 0.7)
    canvas.text(0, y + SIDE + 20, captions.image, 13, QUIET)


def _draw_block(canvas: Canvas, x: float, step: float, share: float) -> None:
    """Draw a block as tall as the share of tokens that it computes on, within the outline of one without pruning."""
    width = step * 0.62
    canvas.rectangle(x, AXIS - TALLEST / 2, width, TALLEST, "none", edgecolor=LINE, linewidth=1)
    canvas.rectangle(x, AXIS - share * TALLEST / 2, width, share * TALLEST, DENSE)


def _draw_stage(
    canvas: Canvas, pixels: np.ndarray, stage: StageView, analysis: Analysis, x: float, captions: Captions
) -> None:
    """Draw a predictor between two blocks, and above it what it kept, with the scores of the tokens that it saw."""
    place = SIDE + 96 + (stage.number - 1) * (SIDE + GAP)
    canvas.rectangle(x - 10, AXIS - TALLEST / 2 - 10, 5, TALLEST + 20, KEPT)
    canvas.line([(x - 7.5, AXIS - TALLEST / 2 - 10), (place + SIDE / 2, TOP + SIDE + 44)], KEPT, 1.2)
    name = captions.predictor if analysis.settings.selector == "predictor" else captions.stage_name
    canvas.text(place, TOP - 10, name.format(number=stage.number), 14, KEPT, weight="bold")
    canvas.image(pixels, place, TOP, SIDE)
    canvas.image(_veil(stage, analysis.grid), place, TOP, SIDE)
    canvas.outline(stage.kept_patches, analysis.grid, place, TOP, SIDE, 1.4, color=KEPT)
    text = captions.stage_kept_fast if stage.has_fast_path else captions.stage_kept
    kept = text.format(kept=len(stage.kept_patches), seen=stage.live_count)
    canvas.text(place, TOP + SIDE + 19, kept, 13, TEXT)
    known = [score for score in stage.keep_scores if score is not None]
    scores = captions.scores.format(low=f"{min(known):.2f}", high=f"{max(known):.2f}")
    canvas.text(place, TOP + SIDE + 37, scores, 12, QUIET)


def _veil(stage: StageView, grid: tuple[int, int]) -> np.ndarray:
    """Return an RGBA image, one pixel for each patch, that fades what is dropped."""
    veil = np.zeros((*grid, 4))
    veil[..., :3] = 1.0
    veil.reshape(-1, 4)[:, 3] = 0.8
    veil.reshape(-1, 4)[list(stage.kept_patches), 3] = 0.0
    return veil


def _draw_answer(canvas: Canvas, analysis: Analysis, x: float, captions: Captions) -> None:
    width = WIDTH - x - 4
    y = AXIS - 64
    canvas.text(x, y, captions.answer, 14, TEXT, weight="bold")
    for place, best in enumerate(analysis.pruned.top[:SHOWN_CLASSES]):
        row = y + 26 + 34 * place
        canvas.text(x, row, shortened(captions.class_name(best.label), 19), 13, TEXT)
        canvas.text(x + width, row, percent_text(best.probability), 13, TEXT, ha="right")
        canvas.rectangle(x, row + 6, width, 5, LINE)
        canvas.rectangle(x, row + 6, width * best.probability, 5, KEPT)
    verdict, color = (captions.same, KEPT) if analysis.agrees else (captions.different, DROPPED)
    canvas.text(x, y + 140, verdict, 13, color, weight="bold")
    canvas.text(x, y + 160, captions.saved.format(share=f"{analysis.saved_share:.0%}"), 13, TEXT)
