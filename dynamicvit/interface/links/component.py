"""What connects the page with its address: opens what a link or a file asks for, and knows the page's own link."""

from __future__ import annotations

from typing import Any

import gradio as gr

from dynamicvit.interface.links.link import Link
from dynamicvit.interface.parts import read_parts
from dynamicvit.interface.settings import settings_payload

Payload = dict[str, Any]


def page_links(examples: list[str], **options: Any) -> gr.HTML:
    """Give the component; its value is what :func:`wanted` gives, its event ``open`` carries ``{image, model, ...}``.

    Args:
        examples: names of the pictures that can be in a link.
    """
    return gr.HTML({}, examples=examples, apply_default_css=False, **read_parts(__file__), **options)


def wanted(serial: int, image: str | None, model: str | None, link: Link) -> Payload:
    """Tell the browser what to show as soon as the explorer shows that image with that model.

    Args:
        serial: no two alike, or the browser would not notice the second.
        image, model: keys of what is about to be shown; None when nothing is.
        link: the rest.
    """
    asks = link.settings is not None or link.stage is not None or link.patch is not None
    return {
        "serial": serial,
        "image": image,
        "model": model,
        "asks": asks,
        "settings": None if link.settings is None else settings_payload(link.settings),
        "stage": link.stage,
        "patch": link.patch,
        "ignored": list(link.ignored),
    }
