"""Arrangement of the tab: one component that asks ratio by ratio."""

from __future__ import annotations

import gradio as gr

from dynamicvit.analysis.sweep import SWEPT_RATIOS
from dynamicvit.interface.handlers import Workbench
from dynamicvit.interface.parts import server_function
from dynamicvit.interface.tabs.parts import read_tab_parts
from dynamicvit.interface.tabs.sweep.handlers import SweepHandlers
from dynamicvit.interface.words import Labels


def fill(bench: Workbench, labels: Labels) -> None:
    """Put the component into the tab; it translates itself."""
    handlers = SweepHandlers(bench)
    asked = [server_function("sweep_point", handlers.point), server_function("sweep_chart", handlers.chart)]
    ratios = [f"{ratio:.2f}" for ratio in SWEPT_RATIOS]
    gr.HTML(ratios, apply_default_css=False, server_functions=asked, elem_id="sweep", **read_tab_parts(__file__))
