"""Sentences in the visitor's language, and the components whose words change with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr

LANGUAGES = {"en": "English", "zh": "中文"}
DEFAULT_LANGUAGE = "en"

C = TypeVar("C")


@dataclass(frozen=True)
class Words:
    """The texts of one language."""

    language: str
    texts: dict[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """Give the text of a key with its ``{names}`` filled in."""
        return self.texts[key].format(**values)

    def listed(self, items: Sequence[str]) -> str:
        """Join items into a list as one says it."""
        separator, last = self.texts["list.separator"], self.texts["list.and"]
        return last.join(filter(None, [separator.join(items[:-1]), items[-1]]))


def words_in(language: object) -> Words:
    """Give the words of a language; those of the default one for whatever else is asked."""
    return _read(language if isinstance(language, str) and language in LANGUAGES else DEFAULT_LANGUAGE)


@cache
def _read(language: str) -> Words:
    texts: dict[str, str] = {}
    for path in sorted(Path(__file__).parent.rglob(f"{language}.json")):
        texts |= json.loads(path.read_text(encoding="utf-8"))
    return Words(language, texts)


@dataclass(frozen=True)
class Labels:
    """Gradio's own components that show words: what to change when the language does."""

    entries: list[tuple[Any, dict[str, str]]] = field(default_factory=list)

    def add(self, component: C, **keys: str) -> C:
        """Note that the component's properties show the texts of these keys, and give the component back."""
        self.entries.append((component, keys))
        return component

    @property
    def components(self) -> list[Any]:
        """Give the components in the order of :meth:`updates`."""
        return [component for component, _ in self.entries]

    def apply(self, words: Words) -> None:
        """Give the components their words while the page is built."""
        for component, keys in self.entries:
            for name, key in keys.items():
                setattr(component, name, words(key))

    def updates(self, words: Words) -> list[dict[str, Any]]:
        """Give the update of each component for a language."""
        return [gr.update(**{name: words(key) for name, key in keys.items()}) for _, keys in self.entries]
