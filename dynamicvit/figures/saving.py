"""Figures and images -> the bytes of files, or addresses that hold them."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

from PIL import Image

from dynamicvit.figures.svg import settings_lock

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SETTINGS = {
    "pdf.fonttype": 42,  # whole glyphs as TrueType, so that words can be searched and copied
    "svg.fonttype": "none",  # words stay words
    "svg.hashsalt": "dynamicvit",  # the same figure gives the same file
}
_NO_DATE: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}


def figure_bytes(figure: Figure, file_format: str) -> bytes:
    """Return a figure as a file: ``png`` at the figure's own resolution, ``pdf`` or ``svg`` with words kept as text."""
    from matplotlib import rc_context

    data = io.BytesIO()
    with settings_lock, rc_context(_SETTINGS):
        figure.savefig(data, format=file_format, metadata=_NO_DATE.get(file_format))
    return data.getvalue()


def data_url(image: Image.Image) -> str:
    """Return an image as a JPEG inside an address."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")
