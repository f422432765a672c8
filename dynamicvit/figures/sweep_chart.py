"""A sweep over the keep ratio as a chart: confidence against multiply-adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dynamicvit.analysis.results import Classification
from dynamicvit.analysis.sweep import SweepPoint, find_stable_range
from dynamicvit.figures.svg import DENSE, DROPPED, KEPT, PAGE, QUIET, TEXT_PIXELS, page_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 380
TARGET_PIXELS = 22  # diameter of what reacts to the pointer around a point
LABELLED = (1.0, 0.8, 0.6, 0.4)
LABEL_PIXELS = 40  # of a ratio and the room that it needs


def draw_sweep(
    points: Sequence[SweepPoint], dense: Classification, *, width: int, x_title: str, y_title: str
) -> Figure:
    """Draw the confidence in the dense model's class against GMACs, with the ratios at which the prediction holds.

    Points that agree are filled circles, the others hollow diamonds, the dense model is a square. Each point has an
    invisible target with the gid ``ratio-0.35``.

    Args:
        points: at least one, in any order.
        dense: the dense result.
        width: in CSS pixels.
        x_title, y_title: of the axes.
    """
    points = sorted(points, key=lambda point: point.macs)
    figure = page_figure(width, HEIGHT)
    axes = figure.subplots()
    plain_axes(axes, title=y_title)
    axes.set_xlabel(x_title, loc="right", fontsize=TEXT_PIXELS, color=QUIET)
    axes.margins(x=0.06)
    _shade_stable(axes, points)
    axes.plot(*_places(points), color=KEPT, linewidth=1.5, alpha=0.5)
    for point in points:
        _mark(axes, point)
    axes.plot(dense.macs.gmacs, 100 * dense.top[0].probability, "s", markersize=8, color=DENSE)
    _fit_height(axes, max(dense.top[0].probability, *(point.confidence for point in points)))
    _label_ratios(axes, points, width)
    for point in points:
        _add_target(axes, point)
    return figure


def _places(points: Sequence[SweepPoint]) -> tuple[list[float], list[float]]:
    return [point.macs / 1e9 for point in points], [100 * point.confidence for point in points]


def _shade_stable(axes: Axes, points: Sequence[SweepPoint]) -> None:
    """Shade from the point down to which the prediction holds up to the most expensive one."""
    last = find_stable_range(points).last
    if last is not None:
        axes.axvspan(last.macs / 1e9, max(point.macs for point in points) / 1e9, color=KEPT, alpha=0.1, linewidth=0)
        axes.axvline(last.macs / 1e9, color=KEPT, linewidth=1.5, linestyle=(0, (4, 3)))


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


def _fit_height(axes: Axes, highest: float) -> None:
    """Start at 0 and leave room above the highest confidence, for its label too."""
    axes.set_ylim(-4 * highest, 114 * highest)
    axes.locator_params(axis="y", nbins=5)


def _label_ratios(axes: Axes, points: Sequence[SweepPoint], width: int) -> None:
    """Write the ratio down to which the prediction holds, and some others that are not too near to it."""
    last = find_stable_range(points).last
    macs_per_pixel = (points[-1].macs - points[0].macs) / width
    for point in points:
        if point == last:
            _label(axes, point, KEPT, "bold")
        elif point.keep_ratio in LABELLED and (
            last is None or abs(point.macs - last.macs) > LABEL_PIXELS * macs_per_pixel
        ):
            _label(axes, point, QUIET, "normal")


def _label(axes: Axes, point: SweepPoint, color: str, weight: str) -> None:
    axes.annotate(
        f"{point.keep_ratio:.2f}",
        (point.macs / 1e9, 100 * point.confidence),
        xytext=(0, 9),
        textcoords="offset points",
        ha="center",
        fontsize=TEXT_PIXELS,
        color=color,
        fontweight=weight,
    )


def _add_target(axes: Axes, point: SweepPoint) -> None:
    (target,) = axes.plot(*_places([point]), "o", markersize=TARGET_PIXELS, color=KEPT, alpha=0.0, clip_on=False)
    target.set_gid(f"ratio-{point.keep_ratio:.2f}")
