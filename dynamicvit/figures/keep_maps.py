"""How often each stage keeps each patch, over many images: the paper's average keep maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dynamicvit.figures.svg import LINE, QUIET, TEXT, TEXT_PIXELS, page_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

MAP_WIDTH, MAP_HEIGHT = 250, 275
SCALE_WIDTH = 60
COLORS = "cividis"  # grows in brightness, and looks the same to the colour-blind


def draw_keep_maps(maps: NDArray[np.float64], titles: Sequence[str], scale_title: str, *, is_narrow: bool) -> Figure:
    """Draw one map for each stage, with one scale from 0 to 100 % for all.

    Args:
        maps: (S, rows, columns) share of the images in which the stage keeps the patch, in [0, 1].
        titles: of the maps.
        scale_title: what the colours mean.
        is_narrow: whether the maps stand below each other and not side by side.

    Source: Rao et al. 2021, the figure of the keep probabilities of the three stages.
    """
    rows, columns = (len(maps), 1) if is_narrow else (1, len(maps))
    figure = page_figure(MAP_WIDTH * columns + SCALE_WIDTH, MAP_HEIGHT * rows)
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    images = [_draw_map(*parts) for parts in zip(all_axes, maps, titles, strict=True)]
    scale = figure.colorbar(
        images[-1],
        ax=list(all_axes),
        fraction=0.12 / columns,
        pad=0.06 / columns,
        aspect=16 * rows,
        ticks=[0, 25, 50, 75, 100],
    )
    scale.set_label(scale_title, fontsize=TEXT_PIXELS, color=QUIET)
    scale.ax.tick_params(length=0, labelsize=TEXT_PIXELS, labelcolor=QUIET)
    scale.outline.set_edgecolor(LINE)
    return figure


def _draw_map(axes: Axes, shares: NDArray[np.float64], title: str) -> AxesImage:
    axes.set_title(title, loc="left", fontsize=TEXT_PIXELS, color=TEXT)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(LINE)
    return axes.imshow(100 * shares, cmap=COLORS, vmin=0, vmax=100, interpolation="nearest")
