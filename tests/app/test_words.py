"""The words of the page in every language."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from dynamicvit.app import words as module
from dynamicvit.app.tabs import TABS
from dynamicvit.app.words import DEFAULT_LANGUAGE, LANGUAGES, words_in
from dynamicvit.figures.captions import Captions
from dynamicvit.labels import default_class_names

APP = Path(module.__file__).parent
OTHERS = [language for language in LANGUAGES if language != DEFAULT_LANGUAGE]


def texts(language: str) -> dict[str, str]:
    pairs: list[tuple[str, str]] = []
    for path in sorted(APP.rglob(f"{language}.json")):
        pairs += json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=list)
    keys = [key for key, _ in pairs]
    assert len(keys) == len(set(keys)), "a key stands twice"
    return dict(pairs)


def blanks(text: str) -> list[str]:
    return sorted(re.findall(r"\{(\w+)\}", text))


@pytest.mark.parametrize("language", OTHERS)
def test_every_language_has_the_same_keys_in_the_same_order(language: str) -> None:
    assert list(texts(language)) == list(texts(DEFAULT_LANGUAGE))


@pytest.mark.parametrize("language", OTHERS)
def test_every_translation_fills_in_the_same_values(language: str) -> None:
    for key, text in texts(DEFAULT_LANGUAGE).items():
        assert blanks(texts(language)[key]) == blanks(text), key


def test_no_text_is_empty() -> None:
    assert all(
        text.strip() or key.startswith("list.") for language in LANGUAGES for key, text in texts(language).items()
    )


def test_every_key_that_the_page_names_exists() -> None:
    used = set()
    for path in [*APP.rglob("*.html"), *APP.rglob("*.js")]:
        source = path.read_text(encoding="utf-8")
        used |= set(re.findall(r'data-text(?:-label|-title)?="([^"]+)"', source))
        used |= set(re.findall(r'\bsay\("([^"]+)"', source))
        used |= {f"{key}_text" for key in re.findall(r'data-hint="([^"<]+)"', source)}
        used |= {f"{key}{path}" for key in re.findall(r'\bsayOf\([\w.]+, "([^"]+)"', source) for path in ("", "_fast")}
    for path in APP.rglob("*.py"):
        used |= set(re.findall(r'\bwords(?:_in\(\w+\))?\(\s*"([^"]+)"', path.read_text(encoding="utf-8")))
    used |= {f"tab.{name}" for name in TABS}
    assert len(used) > 30
    assert used <= set(texts(DEFAULT_LANGUAGE))


def test_every_text_is_used() -> None:
    sources = "".join(
        path.read_text(encoding="utf-8") for suffix in ("py", "js", "html") for path in APP.rglob(f"*.{suffix}")
    )
    unused = [
        key
        for key in texts(DEFAULT_LANGUAGE)
        if f'"{key}"' not in sources
        and not (key.endswith("_text") and f'"{key.removesuffix("_text")}"' in sources)  # in a bubble
        and not (key.endswith("_fast") and f'"{key.removesuffix("_fast")}"' in sources)  # where nothing is dropped
        and not key.startswith(("tab.", "figure."))
    ]
    assert not unused
    captions = {f"figure.{one.name}" for one in fields(Captions) if one.type == "str"}
    assert captions == {key for key in texts(DEFAULT_LANGUAGE) if key.startswith("figure.")}


@pytest.mark.parametrize("language", [None, "fr", "../en", 7, ["zh"]])
def test_unknown_languages_get_the_default_words(language: object) -> None:
    assert words_in(language).language == DEFAULT_LANGUAGE


@pytest.mark.parametrize(
    ("items", "english", "chinese"),
    [(["a"], "a", "a"), (["a", "b"], "a and b", "a和b"), (["a", "b", "c"], "a, b and c", "a、b和c")],
)
def test_lists_are_said_as_one_says_them(items: list[str], english: str, chinese: str) -> None:
    assert (words_in("en").listed(items), words_in("zh").listed(items)) == (english, chinese)


def test_every_class_of_imagenet_has_a_chinese_name_of_its_own() -> None:
    names = default_class_names(1000)
    said = [words_in("zh").class_name(name) for name in names]
    assert list(words_in("zh").classes) == list(names)
    assert len(set(said)) == 1000
    assert (said[0], said[-1]) == ("丁鲷", "卫生纸")


def test_a_class_that_is_not_imagenets_keeps_its_name() -> None:
    assert words_in("zh").class_name("my own class") == "my own class"
    assert words_in("en").class_name("tench") == "tench"


@pytest.mark.parametrize(
    ("device", "chinese"),
    [
        ("AMD EPYC, 1 thread", "AMD EPYC, 1 个线程"),
        ("AMD EPYC, 2 threads, bfloat16", "AMD EPYC, 2 个线程, bfloat16"),
        ("NVIDIA H100", "NVIDIA H100"),
    ],
)
def test_threads_of_a_device_are_said_in_the_language_of_the_page(device: str, chinese: str) -> None:
    assert words_in("en").device(device) == device
    assert words_in("zh").device(device) == chinese
