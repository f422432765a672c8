"""A picture in which the dropped patches fade."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def fade_dropped(
    picture: NDArray[np.uint8], kept_patches: Sequence[int], grid: tuple[int, int], strength: float = 0.8
) -> NDArray[np.uint8]:
    """Blend every patch that is not kept towards white and leave the kept ones untouched.

    Args:
        picture: (H, W, 3) uint8 RGB, any size; patch borders fall on the nearest pixel.
        kept_patches: row-major indices in the grid.
        grid: rows and columns of patches.
        strength: 0 leaves dropped patches as they are, 1 makes them white.

    Returns:
        (H, W, 3) uint8, ``(1 - strength) * pixel + strength * 255`` truncated where a patch was dropped.

    Source: the authors' visualisation notebook (strength 0.8).
    """
    rows, columns = grid
    is_kept = np.zeros(rows * columns, dtype=bool)
    is_kept[list(kept_patches)] = True
    is_kept = is_kept.reshape(grid).repeat(_sizes(picture.shape[0], rows), axis=0)
    is_kept = is_kept.repeat(_sizes(picture.shape[1], columns), axis=1)
    faded = ((1.0 - strength) * np.arange(256) + strength * 255.0).astype(np.uint8)
    return np.where(is_kept[..., None], picture, faded[picture])


def _sizes(pixels: int, patches: int) -> NDArray[np.int64]:
    """Divide a side of so many pixels among its patches."""
    borders = np.rint(np.linspace(0, pixels, patches + 1)).astype(np.int64)
    return borders[1:] - borders[:-1]
