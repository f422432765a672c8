"""The files that make up a custom component."""

from __future__ import annotations

from pathlib import Path


def read_parts(module_file: str) -> dict[str, str]:
    """Give the template, style and script that lie beside a component's module, as arguments of ``gr.HTML``."""
    names = {"html_template": "template.html", "css_template": "style.css", "js_on_load": "script.js"}
    return {option: Path(module_file).with_name(name).read_text(encoding="utf-8") for option, name in names.items()}
