"""The token explorer: slider, stages, predictions and costs, drawn in the browser from compact answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from dynamicvit.interface.parts import read_parts, server_function

Ask = Callable[[str, str, float, str], dict[str, Any]]


def token_explorer(scene: dict[str, Any], *, analyse: Ask, measure: Ask, **options: Any) -> gr.HTML:
    """Give the component that shows a scene and lets the visitor move the keep ratio.

    Its value is a scene ``{serial, image, model, picture[, answer]}`` or ``{serial, problem}``. What depends on the
    keep ratio is asked for by the browser itself through the two functions, past Gradio's queue.

    Args:
        scene: the one to open with.
        analyse, measure: called with image key, model key, keep ratio and language, by several threads at a time.
    """
    asked = [server_function("analyse", analyse), server_function("measure", measure)]
    return gr.HTML(scene, apply_default_css=False, server_functions=asked, **read_parts(__file__), **options)
