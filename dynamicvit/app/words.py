"""Sentences in the visitor's language, on the page and in figures, and the components whose words change with it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr

from dynamicvit.figures.captions import DEFAULT_FONT, Captions, chinese_font

LANGUAGES = {"en": "English", "zh": "中文"}
DEFAULT_LANGUAGE = "en"

C = TypeVar("C")


@dataclass(frozen=True)
class Words:
    """The texts of one language, and what it says for English where that is another language.

    Attributes:
        language: its code.
        texts: by their keys.
        classes: the names of ImageNet's classes, by their English names.
        errors: sentences that say what went wrong, with ``{1}``, ``{2}``, ... for the blanks, by the English ones with
            ``{}``.
    """

    language: str
    texts: dict[str, str]
    classes: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def __call__(self, key: str, **values: object) -> str:
        """Return the text of a key with its ``{names}`` filled in."""
        return self.texts[key].format(**values)

    def class_name(self, name: str) -> str:
        """Return the name of a class in this language; as it is where none is known, as of a model's own classes."""
        return self.classes.get(name, name)

    def device(self, name: str) -> str:
        """Return the name of a device, such as ``"AMD EPYC, 2 threads"``, with its threads said in this language."""

        def said(found: re.Match[str]) -> str:
            return self("device.thread" if found[1] == "1" else "device.threads", count=found[1])

        return re.sub(r"\b(\d+) threads?\b", said, name)

    @cached_property
    def error_patterns(self) -> list[tuple[str, str]]:
        """Regular expressions of the English sentences, for Python and JavaScript, each with the one to say instead.

        The first that matches is meant: those with the most words of their own come first.
        """
        by_length = sorted(self.errors.items(), key=lambda pair: len(pair[0].replace("{}", "")), reverse=True)
        return [(r"([\s\S]*?)".join(map(re.escape, english.split("{}"))), own) for english, own in by_length]

    def sentence(self, text: str) -> str:
        """Return a sentence that says what went wrong in this language, and so what fills it in; else as it is."""
        for pattern, own in self.error_patterns:
            found = re.fullmatch(pattern, text)
            if found:
                return own.format(text, *map(self.sentence, found.groups()))
        return text

    def listed(self, items: Sequence[str]) -> str:
        """Join items into a list as one says it."""
        separator, last = self.texts["list.separator"], self.texts["list.and"]
        return last.join(filter(None, [separator.join(items[:-1]), *items[-1:]]))


def words_in(language: object) -> Words:
    """Return the words of a language; those of the default one for whatever else is asked."""
    return _read(language if isinstance(language, str) and language in LANGUAGES else DEFAULT_LANGUAGE)


@cache
def _read(language: str) -> Words:
    folder = Path(__file__).parent / "texts"
    texts = json.loads((folder / f"{language}.json").read_text(encoding="utf-8"))
    classes, errors = (_table(folder / f"{name}_{language}.txt") for name in ("classes", "errors"))
    return Words(language, texts, classes, errors)


def _table(path: Path) -> dict[str, str]:
    """Return what a language says, by the English for it; nothing without a list."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return dict(line.split("\t", 1) for line in lines if not line.startswith("#"))


def page_captions(words: Words) -> Captions:
    """Return the captions of a figure inside the page, which the browser's own fonts write."""
    said: dict[str, Any] = {
        one.name: words.texts[f"figure.{one.name}"] for one in fields(Captions) if one.type == "str"
    }
    return Captions(**said, classes=words.classes)


def file_captions(words: Words) -> tuple[Captions, bool]:
    """Return the captions of a figure in a file, and whether they are in the language of the words.

    They are English when no font on this machine can write the language.
    """
    font = chinese_font() if words.language == "zh" else None
    if words.language == "zh" and font is None:
        return page_captions(words_in("en")), False
    fonts = (DEFAULT_FONT, font) if font else (DEFAULT_FONT,)
    return page_captions(words).written_with(fonts), True


@dataclass(frozen=True)
class Labels:
    """Gradio's own components that show words: what to change when the language does."""

    entries: list[tuple[Any, dict[str, str]]] = field(default_factory=list)

    def add(self, component: C, **keys: str) -> C:
        """Note that the component's properties show the texts of these keys, and return it."""
        self.entries.append((component, keys))
        return component

    @property
    def components(self) -> list[Any]:
        """Return the components in the order of :meth:`updates`."""
        return [component for component, _ in self.entries]

    def apply(self, words: Words) -> None:
        """Write the words on the components while the page is built."""
        for component, keys in self.entries:
            for name, key in keys.items():
                setattr(component, name, words(key))

    def updates(self, words: Words) -> list[dict[str, Any]]:
        """Return the update of each component for a language."""
        return [gr.update(**{name: words(key) for name, key in keys.items()}) for _, keys in self.entries]
