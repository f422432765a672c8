"""Where the compute goes as a chart: tokens, multiply-adds and milliseconds along the depth, dense and pruned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dynamicvit.figures.svg import DENSE, KEPT, PAGE, QUIET, TEXT_PIXELS, page_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 520
BAR_WIDTH = 0.38
PIXELS_PER_NAME = 44  # columns narrower than this have their names upright

Pair = tuple[float | None, float | None]
"""A number of the dense and of the pruned model."""


@dataclass(frozen=True)
class ProfileColumn:
    """One part of the model, dense and pruned; None where a model does not have it.

    Attributes:
        name: written under the column.
        tokens: patch tokens that it works on.
        gmacs: its multiply-adds in 10^9.
        milliseconds: its time.
    """

    name: str
    tokens: Pair
    gmacs: Pair
    milliseconds: Pair


def draw_profile(columns: Sequence[ProfileColumn], *, width: int, titles: tuple[str, str, str]) -> Figure:
    """Draw three charts above each other: live tokens, GMACs and milliseconds, a column for each part.

    The dense model is drawn hollow, the pruned one filled.

    Args:
        columns: in the order in which the parts run.
        width: in CSS pixels.
        titles: of the three charts.
    """
    figure = page_figure(width, HEIGHT)
    charts = figure.subplots(3, 1, sharex=True, height_ratios=(3, 4, 4))
    _stairs(charts[0], [column.tokens for column in columns])
    _bars(charts[1], [column.gmacs for column in columns])
    _bars(charts[2], [column.milliseconds for column in columns])
    for axes, title in zip(charts, titles, strict=True):
        plain_axes(axes, title=title)
        axes.locator_params(axis="y", nbins=4)
        axes.set_xlim(-0.6, len(columns) - 0.4)
        axes.set_xticks([])
        axes.set_ylim(bottom=0)
    _name_columns(charts[-1], [column.name for column in columns], is_upright=width < PIXELS_PER_NAME * len(columns))
    return figure


def _stairs(axes: Axes, pairs: Sequence[Pair]) -> None:
    """Draw two lines in steps, as far as the values go."""
    dense, pruned = ([value for value in side if value is not None] for side in zip(*pairs, strict=True))
    axes.stairs(pruned, [place - 0.5 for place in range(len(pruned) + 1)], fill=True, color=KEPT, alpha=0.75)
    edges = [place - 0.5 for place in range(len(dense) + 1)]
    axes.stairs(dense, edges, color=DENSE, linewidth=2, linestyle=(0, (4, 2)), baseline=None)


def _bars(axes: Axes, pairs: Sequence[Pair]) -> None:
    """Draw two bars beside each other, none where there is no value."""
    styles = ((PAGE, DENSE, -0.5), (KEPT, KEPT, 0.5))
    for side, (fill, edge, shift) in zip(zip(*pairs, strict=True), styles, strict=True):
        places = [place + shift * BAR_WIDTH for place, value in enumerate(side) if value is not None]
        heights = [value for value in side if value is not None]
        axes.bar(places, heights, width=BAR_WIDTH, color=fill, edgecolor=edge, linewidth=1.5)


def _name_columns(axes: Axes, names: Sequence[str], is_upright: bool) -> None:
    # Texts of their own, not tick labels: those are made anew while matplotlib draws, so no stand-in would last.
    for place, name in enumerate(names):
        axes.text(
            place,
            -0.04,
            name,
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="top",
            rotation=90 if is_upright else 0,
            fontsize=TEXT_PIXELS,
            color=QUIET,
        )
