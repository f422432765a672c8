"""The tabs beside Explore: a module each, with a function that fills the tab and those that its script asks.

A tab's words are ``tab.<name>`` and ``<name>.*`` in the texts; its browser side is ``web/<name>.*``.
"""

from __future__ import annotations

from collections.abc import Callable

from dynamicvit.app.state import AppState
from dynamicvit.app.tabs import about, compare, compute, export, many, sweep, video
from dynamicvit.app.words import Labels

TABS: dict[str, Callable[[AppState, Labels], None]] = {
    "sweep": sweep.fill,
    "compare": compare.fill,
    "compute": compute.fill,
    "many": many.fill,
    "video": video.fill,
    "export": export.fill,
    "about": about.fill,
}
