"""Title and language switch; its event ``language`` carries the language of the page, at the start too."""

from __future__ import annotations

from typing import Any

import gradio as gr

from dynamicvit.interface.parts import read_parts
from dynamicvit.interface.words import LANGUAGES


def page_header(**options: Any) -> gr.HTML:
    """Give the head of the page."""
    return gr.HTML(LANGUAGES, apply_default_css=False, **read_parts(__file__), **options)
