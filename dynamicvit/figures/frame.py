"""A frame of a clip beside what each stage keeps of it, with captions; made for moving images."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dynamicvit.figures.overlay import fade_dropped

PANEL_PIXELS = 256
GAP = 12
CAPTION_HEIGHT = 34
HEADLINE_HEIGHT = 40
PAPER, INK = (255, 255, 255), (17, 24, 39)
TEXT_PIXELS = 18
TEXT_WEIGHT = 400


def stage_frame(
    pixels: NDArray[np.uint8],
    kept_patches: Sequence[Sequence[int]],
    grid: tuple[int, int],
    captions: Sequence[str],
    headline: str,
    columns: int,
) -> NDArray[np.uint8]:
    """Draw an image and its stages in rows of ``columns``, each with its caption below, and a line for all at the end.

    Args:
        pixels: (H, W, 3) uint8 RGB, what the model saw, square.
        kept_patches: row-major indices in the grid that each of the S stages keeps.
        grid: rows and columns of patches.
        captions: S + 1 lines; longer ones are cut.
        headline: the line at the end.

    Returns:
        uint8 RGB; height and width are even, as video needs them, and depend only on S and ``columns``.
    """
    panel = cv2.resize(pixels, (PANEL_PIXELS, PANEL_PIXELS), interpolation=cv2.INTER_AREA)
    panels = [panel, *(fade_dropped(panel, kept, grid) for kept in kept_patches)]
    sheet = np.full((*_sheet_size(len(panels), columns), 3), PAPER, dtype=np.uint8)
    for index, (pixels, caption) in enumerate(zip(panels, captions, strict=True)):
        top, left = _corner(index, columns)
        sheet[top : top + PANEL_PIXELS, left : left + PANEL_PIXELS] = pixels
        _write(sheet, caption, top + PANEL_PIXELS, left, CAPTION_HEIGHT, PANEL_PIXELS)
    bottom = sheet.shape[0] - HEADLINE_HEIGHT
    _write(sheet, headline, bottom, GAP, HEADLINE_HEIGHT - GAP, sheet.shape[1] - 2 * GAP)
    return sheet


def _sheet_size(panels: int, columns: int) -> tuple[int, int]:
    rows = -(-panels // columns)
    height = GAP + rows * (PANEL_PIXELS + CAPTION_HEIGHT) + HEADLINE_HEIGHT
    return height, GAP + columns * (PANEL_PIXELS + GAP)


def _corner(index: int, columns: int) -> tuple[int, int]:
    row, column = divmod(index, columns)
    return GAP + row * (PANEL_PIXELS + CAPTION_HEIGHT), GAP + column * (PANEL_PIXELS + GAP)


def _write(sheet: NDArray[np.uint8], text: str, top: int, left: int, height: int, width: int) -> None:
    """Write a line into a box of the sheet; what does not fit is left out."""
    box = np.ascontiguousarray(sheet[top : top + height, left : left + width])
    # FontFace writes accents and Chinese, too, which OpenCV's older fonts replace by question marks.
    cv2.putText(box, text, (0, (height + TEXT_PIXELS) // 2 - 2), INK, cv2.FontFace("sans"), TEXT_PIXELS, TEXT_WEIGHT)
    sheet[top : top + height, left : left + width] = box
