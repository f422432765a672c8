"""The token explorer: slider, views, predictions and costs, drawn in the browser from compact answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from dynamicvit.interface.parts import read_parts, server_function

Ask = Callable[[str, str, dict[str, Any], str], dict[str, Any]]
SCRIPTS = ("painting.js", "budget.js", "patch.js", "views.js", "results.js", "script.js")  # one scope; the last starts


def token_explorer(scene: dict[str, Any], *, analyse: Ask, measure: Ask, **options: Any) -> gr.HTML:
    """Give the component that shows a scene and lets the visitor say how many tokens are kept.

    Its value is a scene ``{serial, image, model, picture[, answer]}`` or ``{serial, problem}``. What depends on the
    settings is asked for by the browser itself through the two functions, past Gradio's queue.

    Args:
        scene: the one to open with.
        analyse, measure: called with image key, model key, settings (as :func:`..settings.settings_from` takes them)
            and language, by several threads at a time.
    """
    asked = [server_function("analyse", analyse), server_function("measure", measure)]
    parts = read_parts(__file__) | {"js_on_load": _joined_scripts()}
    return gr.HTML(scene, apply_default_css=False, server_functions=asked, **parts, **options)


def _joined_scripts() -> str:
    here = Path(__file__).parent
    return '"use strict";\n' + "\n".join((here / name).read_text(encoding="utf-8") for name in SCRIPTS)
