"""What custom components are made of: files beside their module, and functions that the browser calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dynamicvit.interface.uploads import UploadError, check_files


def read_parts(module_file: str) -> dict[str, str]:
    """Give the template, style and script that lie beside a component's module, as arguments of ``gr.HTML``."""
    names = {"html_template": "template.html", "css_template": "style.css", "js_on_load": "script.js"}
    return {option: Path(module_file).with_name(name).read_text(encoding="utf-8") for option, name in names.items()}


def server_function(name: str, ask: Callable[..., dict[str, Any]]) -> Callable[[list[Any]], dict[str, Any]]:
    """Give a function as Gradio's browser side calls it: by its name, with all arguments in one list.

    It is called past the queue, by several threads at a time, with whatever a client sends. Call it with two arguments
    or more: Gradio hands a single one over bare.
    """

    def called(arguments: list[Any]) -> dict[str, Any]:
        try:
            check_files(arguments)
        except UploadError as error:
            return {"problem": str(error)}
        return ask(*arguments)

    called.__name__ = name
    return called
