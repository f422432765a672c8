"""An image in which the dropped patches fade."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Segment = tuple[tuple[int, int], tuple[int, int]]


def fade_dropped(
    pixels: NDArray[np.uint8], kept_patches: Sequence[int], grid: tuple[int, int], strength: float = 0.8
) -> NDArray[np.uint8]:
    """Blend every patch that is not kept towards white and leave the kept ones untouched.

    Args:
        pixels: (H, W, 3) uint8 RGB, any size; patch borders fall on the nearest pixel.
        kept_patches: row-major indices in the grid.
        grid: rows and columns of patches.
        strength: 0 leaves dropped patches as they are, 1 makes them white.

    Returns:
        (H, W, 3) uint8, ``(1 - strength) * pixel + strength * 255`` truncated where a patch was dropped.

    Source: the authors' visualisation notebook (strength 0.8).
    """
    height, width = pixels.shape[:2]
    is_kept = np.zeros(grid, dtype=np.uint8)
    is_kept.flat[list(kept_patches)] = 1
    is_kept = cv2.resize(is_kept, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    faded = ((1.0 - strength) * np.arange(256) + strength * 255.0).astype(np.uint8)
    return np.where(is_kept[..., None].astype(bool), pixels, cv2.LUT(pixels, faded))


def kept_edges(kept_patches: Sequence[int], grid: tuple[int, int]) -> list[Segment]:
    """Return the borders between kept and dropped patches as line segments from (x, y) to (x, y), in patches.

    Args:
        kept_patches: row-major indices in the grid.
        grid: rows and columns of patches.
    """
    is_kept = np.zeros(grid, dtype=bool)
    is_kept.flat[list(kept_patches)] = True
    beside = [((x + 1, y), (x + 1, y + 1)) for y, x in np.argwhere(is_kept[:, 1:] != is_kept[:, :-1]).tolist()]
    below = [((x, y + 1), (x + 1, y + 1)) for y, x in np.argwhere(is_kept[1:] != is_kept[:-1]).tolist()]
    return beside + below
