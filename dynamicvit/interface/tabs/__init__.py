"""The tabs beside the explorer: a room for each, with a function that fills it.

A tab's words are ``tab.<name>`` and ``<name>.*`` in the texts.
"""

from __future__ import annotations

from collections.abc import Callable

from dynamicvit.interface.handlers import Workbench
from dynamicvit.interface.tabs.about import component as about
from dynamicvit.interface.tabs.compare import component as compare
from dynamicvit.interface.tabs.compute import component as compute
from dynamicvit.interface.tabs.export import component as export
from dynamicvit.interface.tabs.many import component as many
from dynamicvit.interface.tabs.sweep import component as sweep
from dynamicvit.interface.tabs.video import component as video
from dynamicvit.interface.words import Labels

TABS: dict[str, Callable[[Workbench, Labels], None]] = {
    "sweep": sweep.fill,
    "compare": compare.fill,
    "compute": compute.fill,
    "many": many.fill,
    "video": video.fill,
    "export": export.fill,
    "about": about.fill,
}
