"""Arrangement of the tab: one component that measures what Explore shows."""

from __future__ import annotations

import gradio as gr

from dynamicvit.interface.handlers import Workbench
from dynamicvit.interface.parts import server_function
from dynamicvit.interface.tabs.compute.handlers import ComputeHandlers
from dynamicvit.interface.tabs.parts import read_tab_parts
from dynamicvit.interface.words import Labels


def fill(bench: Workbench, labels: Labels) -> None:
    """Put the component into the tab; it translates itself."""
    asked = [server_function("compute_profile", ComputeHandlers(bench).profile)]
    gr.HTML(None, apply_default_css=False, server_functions=asked, elem_id="compute", **read_tab_parts(__file__))
