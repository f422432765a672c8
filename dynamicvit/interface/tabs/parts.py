"""What a tab's component is made of: its own files, after the script and the style that all tabs share."""

from __future__ import annotations

from pathlib import Path

from dynamicvit.interface.parts import read_parts


def read_tab_parts(module_file: str) -> dict[str, str]:
    """Give template, style and script that lie beside a tab's component as arguments of ``gr.HTML``."""
    parts = read_parts(module_file)
    for option, name in {"css_template": "shared.css", "js_on_load": "shared.js"}.items():
        parts[option] = Path(__file__).with_name(name).read_text(encoding="utf-8") + parts[option]
    return parts
