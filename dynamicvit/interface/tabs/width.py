"""The width that a browser asks a chart to have."""

from __future__ import annotations

import math

MIN_WIDTH, MAX_WIDTH = 280, 1200


def checked_width(width: object) -> int:
    """Give a width in pixels that a chart can have, near the one that was asked for; the least for anything else."""
    if not isinstance(width, int | float) or not math.isfinite(width):
        return MIN_WIDTH
    return round(min(MAX_WIDTH, max(MIN_WIDTH, width)))
