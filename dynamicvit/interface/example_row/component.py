"""Example pictures as a row of buttons."""

from __future__ import annotations

from typing import Any

import gradio as gr

from dynamicvit.interface.parts import read_parts


def example_row(thumbnails: list[dict[str, Any]], **options: Any) -> gr.HTML:
    """Give a row that offers pictures; its event ``choose`` carries the name of the chosen one.

    Args:
        thumbnails: name, title and data URL of each picture.
    """
    return gr.HTML(thumbnails, apply_default_css=False, **read_parts(__file__), **options)
