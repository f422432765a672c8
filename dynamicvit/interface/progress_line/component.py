"""How far a long piece of work is, and what went wrong."""

from __future__ import annotations

from typing import Any

import gradio as gr

from dynamicvit.interface.parts import read_parts


def progress_line(**options: Any) -> gr.HTML:
    """Give the component; its value is made by :func:`progress`, :func:`finished` or :func:`problem`."""
    return gr.HTML(None, apply_default_css=False, **read_parts(__file__), **options)


def progress(done: int, total: int, text: str) -> dict[str, Any]:
    """Show a bar, and below it the text of a key, in the language of the page.

    Args:
        done, total: also what stands for the text's ``{done}`` and ``{total}``; a total of 0 shows a bar that only
            says that something happens.
        text: the key.
    """
    return {"done": done, "total": total, "text": text, "values": {"done": done, "total": total}, "problem": ""}


def finished(text: str, **values: object) -> dict[str, Any]:
    """Take the bar away and leave the text of a key, with its ``{names}`` filled in."""
    return {"done": None, "total": None, "text": text, "values": values, "problem": ""}


def problem(sentence: str) -> dict[str, Any]:
    """Take the bar away and say what went wrong."""
    return {"done": None, "total": None, "text": "", "values": {}, "problem": sentence}
