"""How milliseconds and memory grow, as lines side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dynamicvit.figures.canvas import INK, QUIET

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Lines = Mapping[str, Sequence[tuple[float, float]]]
"""Points (x, y) of each line by its name."""

SIZE = (8.0, 3.4)  # inches
DPI = 150
MARKS = "osD^vPX"


def draw_growth(panels: Mapping[str, Lines], x_title: str) -> Figure:
    """Draw one panel for each quantity, all over the same x, each from zero up.

    Args:
        panels: lines of each quantity, by the title of its panel; the same names in all of them.
        x_title: of the axes below.
    """
    # matplotlib takes a second to import; pyplot stays out, its figures are shared by all threads.
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained", facecolor="white")
    for axes, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for mark, (name, points) in zip(MARKS * len(lines), lines.items(), strict=False):
            axes.plot(*zip(*sorted(points), strict=True), marker=mark, markersize=5, label=name)
        axes.set_title(title, loc="left", fontsize=10, color=INK)
        axes.set_xlabel(x_title, fontsize=9, color=QUIET)
        axes.set_xticks(sorted({x for points in lines.values() for x, _ in points}))
        axes.set_ylim(bottom=0)
        axes.tick_params(labelsize=8, labelcolor=QUIET)
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["right", "top"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
    return figure
