"""The tabs beside the explorer: a room for each, with a function that fills it.

A tab's words are ``tab.<name>`` and ``<name>.*`` in the texts.
"""

from __future__ import annotations

from collections.abc import Callable

from dynamicvit.interface.handlers import Workbench
from dynamicvit.interface.words import Labels

TABS: dict[str, Callable[[Workbench, Labels], None]] = {}
