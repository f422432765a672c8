"""The About tab's component: a figure of the method drawn from what is shown, and short explanations."""

from __future__ import annotations

import gradio as gr

from dynamicvit.interface.handlers import Workbench
from dynamicvit.interface.parts import server_function
from dynamicvit.interface.tabs.about.handlers import MethodDesk
from dynamicvit.interface.tabs.parts import read_tab_parts
from dynamicvit.interface.words import Labels


def fill(bench: Workbench, labels: Labels) -> None:
    """Put the component into the tab under construction."""
    asked = [server_function("draw_method", MethodDesk(bench).draw_method)]
    gr.HTML({}, apply_default_css=False, server_functions=asked, elem_id="about", **read_tab_parts(__file__))
