"""A sweep over the keep ratio as a chart: confidence and cost, both in percent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dynamicvit.analysis.results import Classification
from dynamicvit.analysis.sweep import SweepPoint, find_stable_range
from dynamicvit.figures.svg import DENSE, DROPPED, KEPT, PAGE, QUIET, TEXT_PIXELS, page_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 340
TARGET_PIXELS = 22  # diameter of what reacts to the pointer around a point
X_LIMITS = (0.02, 1.08)  # with room for a small image under the first and the last ratio
X_TICKS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0)


def draw_sweep(
    points: Sequence[SweepPoint], dense: Classification, *, width: int, x_title: str, y_title: str
) -> Figure:
    """Draw confidence in the dense model's class, and cost, over the keep ratio, and where the prediction holds.

    Points that agree are filled circles, the others hollow diamonds. Dashed lines are the cost as a share of the dense
    model's GMACs, and the dense model's own confidence. Each point has an invisible target with the gid ``ratio-0.35``.

    Args:
        points: at least one, in any order.
        dense: the dense result.
        width: in CSS pixels.
        x_title, y_title: of the axes.
    """
    points = sorted(points, key=lambda point: point.keep_ratio)
    figure = page_figure(width, HEIGHT)
    axes = figure.subplots()
    plain_axes(axes, title=y_title)
    axes.set_xlabel(x_title, loc="right", fontsize=TEXT_PIXELS, color=QUIET)
    axes.set_xlim(*X_LIMITS)
    axes.set_xticks(X_TICKS, [f"{ratio:.2f}" for ratio in X_TICKS])
    axes.set_ylim(-5, 112)
    axes.set_yticks(range(0, 101, 25))
    _shade_stable(axes, points)
    axes.axhline(100 * dense.top[0].probability, color=DENSE, linewidth=1.5, linestyle=(0, (1, 2)))
    ratios = [point.keep_ratio for point in points]
    axes.plot(ratios, [100 * (1 - point.saved_share) for point in points], color=QUIET, linewidth=2, linestyle="--")
    axes.plot(*_places(points), color=KEPT, linewidth=1.5, alpha=0.5)
    for point in points:
        _mark(axes, point)
        _add_target(axes, point)
    return figure


def _places(points: Sequence[SweepPoint]) -> tuple[list[float], list[float]]:
    return [point.keep_ratio for point in points], [100 * point.confidence for point in points]


def _shade_stable(axes: Axes, points: Sequence[SweepPoint]) -> None:
    """Shade from the lowest ratio at which the prediction holds up to the highest one, and write that ratio."""
    last = find_stable_range(points).last
    if last is None:
        return
    axes.axvspan(last.keep_ratio, points[-1].keep_ratio, color=KEPT, alpha=0.1, linewidth=0)
    axes.axvline(last.keep_ratio, color=KEPT, linewidth=1.5, linestyle=(0, (4, 3)))
    axes.annotate(
        f"{last.keep_ratio:.2f}",
        (last.keep_ratio, 112),
        xytext=(5, -1),
        textcoords="offset points",
        va="top",
        fontsize=TEXT_PIXELS,
        color=KEPT,
        fontweight="bold",
    )


def _mark(axes: Axes, point: SweepPoint) -> None:
    marker, fill, edge = ("o", KEPT, KEPT) if point.agrees else ("D", PAGE, DROPPED)
    axes.plot(
        *_places([point]),
        marker,
        markersize=7,
        markerfacecolor=fill,
        markeredgecolor=edge,
        markeredgewidth=1.8,
        clip_on=False,
    )


def _add_target(axes: Axes, point: SweepPoint) -> None:
    (target,) = axes.plot(*_places([point]), "o", markersize=TARGET_PIXELS, color=KEPT, alpha=0.0, clip_on=False)
    target.set_gid(f"ratio-{point.keep_ratio:.2f}")
