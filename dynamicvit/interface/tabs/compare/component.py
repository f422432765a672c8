"""Arrangement of the tab: one component that asks method by method."""

from __future__ import annotations

import gradio as gr

from dynamicvit.analysis.comparison import METHODS
from dynamicvit.interface.handlers import Workbench
from dynamicvit.interface.parts import server_function
from dynamicvit.interface.tabs.compare.handlers import CompareHandlers
from dynamicvit.interface.tabs.parts import read_tab_parts
from dynamicvit.interface.words import Labels


def fill(bench: Workbench, labels: Labels) -> None:
    """Put the component into the tab; it translates itself."""
    handlers = CompareHandlers(bench)
    asked = [server_function("compare_method", handlers.method), server_function("compare_crop", handlers.crop)]
    gr.HTML(METHODS, apply_default_css=False, server_functions=asked, elem_id="compare", **read_tab_parts(__file__))
