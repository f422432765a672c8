"""What the explorer is set to, as a line on a tab and as an input of the tab's events.

Its value is ``{model, settings, language, is_narrow}``: the model's key, settings as ``interface.settings`` takes them,
the language of the page, and whether its window is as narrow as a telephone's; model and settings are missing before
the explorer has shown anything. Its event ``language`` follows the page's language.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from dynamicvit.analysis.results import AnalysisSettings
from dynamicvit.errors import SettingError
from dynamicvit.interface.handlers import FIRST_RATIO
from dynamicvit.interface.parts import read_parts
from dynamicvit.interface.settings import settings_from
from dynamicvit.interface.words import Words, words_in


@dataclass(frozen=True)
class Asked:
    """What a visitor asks of a tab.

    Attributes:
        model: its key; None for the first one.
        settings: of the pruned model.
        words: to answer with.
        is_narrow: whether little fits side by side.
    """

    model: str | None
    settings: AnalysisSettings
    words: Words
    is_narrow: bool = False


def current_settings(**options: Any) -> gr.HTML:
    """Give the line."""
    return gr.HTML(None, apply_default_css=False, **read_parts(__file__), **options)


def asked_from(value: object) -> Asked:
    """Give the line's value, as the browser sends it, in checked form.

    Raises:
        SettingError: the settings are not valid.
    """
    sent = value if isinstance(value, dict) else {}
    model = sent.get("model")
    if not isinstance(model, str | None):
        raise SettingError("The model must be one of the list; reload the page and choose again.")
    settings = settings_from(sent.get("settings", {"keep_ratio": FIRST_RATIO}))
    return Asked(model, settings, words_in(sent.get("language")), sent.get("is_narrow") is True)
