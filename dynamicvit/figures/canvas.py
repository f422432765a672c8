"""A figure on which everything is placed in points of its own, from the top left corner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dynamicvit.figures.captions import DEFAULT_FONT
from dynamicvit.figures.overlay import kept_edges

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, QUIET, LINE = "#1f2937", "#5a6370", "#d9dee5"
KEPT, DROPPED, DENSE = "#0063b1", "#b34700", "#7a8593"


class Canvas:
    """A figure of a width and height in units, ``per_inch`` of them to an inch.

    Args:
        width, height: of the figure; x runs from 0 on the left, y from 0 at the top.
        per_inch: units to an inch; also the pixels to an inch when the figure is saved as an image.
        fonts: families to write with.
    """

    def __init__(self, width: float, height: float, per_inch: float, fonts: Sequence[str] = (DEFAULT_FONT,)) -> None:
        # matplotlib takes a second to import; pyplot stays out, its figures are shared by all threads.
        from matplotlib.figure import Figure

        self.figure: Figure = Figure(figsize=(width / per_inch, height / per_inch), dpi=per_inch)
        self._points = 72.0 / per_inch
        self._fonts = list(fonts)
        self._axes = self.figure.add_axes((0, 0, 1, 1))
        self._axes.set(xlim=(0, width), ylim=(height, 0))
        self._axes.set_axis_off()

    def text(self, x: float, y: float, text: str, size: float, color: str = INK, **options: Any) -> None:
        """Write a line; its baseline is at y, unless ``va`` says otherwise. ``$`` is a character like any other."""
        self._axes.text(
            x, y, text, fontsize=size * self._points, color=color, family=self._fonts, parse_math=False, **options
        )

    def rectangle(self, x: float, y: float, width: float, height: float, color: str, **options: Any) -> None:
        """Fill a rectangle."""
        from matplotlib.patches import Rectangle

        self._axes.add_patch(Rectangle((x, y), width, height, facecolor=color, **{"linewidth": 0} | options))

    def line(self, points: Sequence[tuple[float, float]], color: str, width: float = 1.0, **options: Any) -> None:
        """Draw a line through points."""
        x, y = zip(*points, strict=True)
        self._axes.plot(x, y, color=color, linewidth=width * self._points, **options)

    def arrow(self, x0: float, y0: float, x1: float, y1: float, color: str = QUIET, width: float = 1.2) -> None:
        """Draw an arrow to the second point."""
        style = {"arrowstyle": "-|>", "color": color, "linewidth": width * self._points, "shrinkA": 0, "shrinkB": 0}
        self._axes.annotate("", (x1, y1), (x0, y0), arrowprops=style)

    def image(self, pixels: NDArray[Any], x: float, y: float, side: float, **options: Any) -> None:
        """Place a square image with a thin frame."""
        limits = self._axes.get_xlim(), self._axes.get_ylim()
        # Not interpolated: PDF and SVG then hold the image with all its pixels.
        place: dict[str, Any] = {"extent": (x, x + side, y + side, y), "aspect": "auto", "interpolation": "none"}
        self._axes.imshow(pixels, **place, **options)
        self._axes.set(xlim=limits[0], ylim=limits[1])
        self.rectangle(x, y, side, side, "none", edgecolor=LINE, linewidth=self._points)

    def outline(
        self,
        kept_patches: Sequence[int],
        grid: tuple[int, int],
        x: float,
        y: float,
        side: float,
        width: float,
        color: str = KEPT,
    ) -> None:
        """Draw the border of the kept patches over a square image, with a light halo."""
        from matplotlib.collections import LineCollection
        from matplotlib.patches import Rectangle

        frame = Rectangle((x, y), side, side, transform=self._axes.transData)
        scale = side / np.array([grid[1], grid[0]])
        segments = np.array(kept_edges(kept_patches, grid), dtype=float).reshape(-1, 2, 2) * scale + (x, y)
        for stroke, thickness in (("white", 2.5 * width), (color, width)):
            lines = LineCollection(
                list(segments), colors=stroke, linewidths=thickness * self._points, capstyle="projecting"
            )
            self._axes.add_collection(lines, autolim=False)
            lines.set_clip_path(frame)
