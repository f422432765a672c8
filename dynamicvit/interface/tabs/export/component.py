"""The Export tab's component: buttons for the files, the link, and the control that opens a saved analysis."""

from __future__ import annotations

import gradio as gr

from dynamicvit.interface.handlers import Workbench
from dynamicvit.interface.parts import server_function
from dynamicvit.interface.tabs.export.handlers import ExportDesk
from dynamicvit.interface.tabs.parts import read_tab_parts
from dynamicvit.interface.words import Labels


def fill(bench: Workbench, labels: Labels) -> None:
    """Put the component into the tab under construction."""
    desk = ExportDesk(bench)
    asked = [server_function("export", desk.export), server_function("open_analysis", desk.open_analysis)]
    gr.HTML({}, apply_default_css=False, server_functions=asked, elem_id="export", **read_tab_parts(__file__))
