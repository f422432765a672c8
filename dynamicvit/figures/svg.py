"""Charts as SVG text that takes its colours and fonts from the page around it, so that it follows light and dark."""

from __future__ import annotations

import io
import threading
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# matplotlib knows no CSS variables: a chart is drawn in colours that nobody would choose, which are then replaced.
TEXT, QUIET, LINE, PAGE, KEPT, DROPPED, DENSE = (f"#fade{number:02x}" for number in range(7))
VARIABLES = {
    TEXT: "--body-text-color",
    QUIET: "--quiet",
    LINE: "--line",
    PAGE: "--background-fill-primary",
    KEPT: "--kept",
    DROPPED: "--dropped",
    DENSE: "--dense",
}
TEXT_PIXELS = 12
PIXELS_PER_INCH = 72  # of matplotlib's SVG: one unit of the drawing is then one pixel of the page

settings_lock = threading.Lock()  # matplotlib's settings belong to the whole process


def page_figure(width: int, height: int) -> Figure:
    """Return an empty figure of a size in CSS pixels."""
    # matplotlib takes a second to import; pyplot stays out, its figures are shared by all threads.
    from matplotlib.figure import Figure

    size = (width / PIXELS_PER_INCH, height / PIXELS_PER_INCH)
    return Figure(figsize=size, layout="constrained", facecolor="none")


def plain_axes(axes: Axes, *, title: str) -> None:
    """Take everything off the axes but horizontal grid lines and quiet numbers, and put the title on the left."""
    axes.set_title(title, loc="left", fontsize=TEXT_PIXELS, color=TEXT)
    axes.set_facecolor("none")
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.grid(axis="y", color=LINE, linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=TEXT_PIXELS, labelcolor=QUIET, pad=6)


def to_svg(figure: Figure) -> str:
    """Return the figure as one ``<svg>`` element in the colours of the page (the values of ``VARIABLES``).

    Texts stay text, in the page's font and in any language. What has a gid (``set_gid``) becomes a ``<g>`` of that id.
    """
    import matplotlib
    from matplotlib.text import Text

    # matplotlib's font has no Chinese: it measures and writes a stand-in of the same length, which is then replaced.
    words: dict[str, str] = {}
    for number, text in enumerate(figure.findobj(Text)):
        if not text.get_text().isascii():
            stand_in = f"text{number:x}".ljust(2 * len(text.get_text()), "-")
            words[f">{stand_in}<"] = f">{escape(text.get_text())}<"
            text.set_text(stand_in)
    data = io.StringIO()
    with settings_lock, matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(data, format="svg", metadata={"Date": None})
    svg = data.getvalue()
    svg = svg[svg.index("<svg") :]
    for stand_in, word in words.items():
        svg = svg.replace(stand_in, word)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg
