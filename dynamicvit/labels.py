"""Which name belongs to which class: the one place that decides it, for training, evaluation and the page.

A model carries the names of its own classes (``model.class_names``) and its weight file keeps them. Here is what they
are when nobody gives them, what they become when folders give them, and which class a folder or a table means.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

from timm.data import ImageNetInfo

from dynamicvit.errors import SettingError

_LONGEST_NAME = 200
_END_OF_HEAD = re.compile(r"[;,]| of | for | in | that ")


@lru_cache(maxsize=8)
def default_class_names(num_classes: int) -> tuple[str, ...]:
    """Return one distinct name for each class: ImageNet's short names for 1000 classes, else ``"class 0"`` and so on.

    Source: WordNet's lemmas and definitions of the ImageNet-1k synsets, as timm carries them.
    """
    if num_classes != 1000:
        return tuple(f"class {index}" for index in range(num_classes))
    info = ImageNetInfo("imagenet-1k")
    lemmas = [description.split(", ") for description in info.label_descriptions()]
    definitions = [description.split(": ", 1)[1] for description in info.label_descriptions(detailed=True)]
    holders = Counter(names[0].lower() for names in lemmas)
    return tuple(
        names[0] if holders[names[0].lower()] == 1 else f"{names[0]} ({_distinction(names, definition)})"
        for names, definition in zip(lemmas, definitions, strict=True)
    )


def checked_class_names(names: Sequence[str] | None, num_classes: int) -> tuple[str, ...]:
    """Return the names of a model's classes, the default ones for None.

    Raises:
        SettingError: there is not one name for each class, or one is no line of 1 to 200 characters.
    """
    if names is None:
        return default_class_names(num_classes)
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise SettingError(f"Class names are a list of texts; got {names!r:.80}.")
    if len(names) != num_classes:
        raise SettingError(f"Give one name for each of the {num_classes} classes; got {len(names)} names.")
    for name in names:
        if not isinstance(name, str) or not 1 <= len(name) <= _LONGEST_NAME or any(map(_is_control, name)):
            raise SettingError(f"A class name is a line of 1 to {_LONGEST_NAME} characters; got {name!r:.80}.")
    return tuple(names)


def name_classes(folders: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the classes that folders stand for, in the order of the class indices.

    Numbers are ordered by value and words as text. WordNet ids become ImageNet's short names, in ImageNet's order.
    """
    names = set(folders)
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    if names <= _wordnet_ids().keys():
        return tuple(_imagenet_name(name) for name in sorted(names))
    return tuple(sorted(map(_normalised, names)))


def find_class(text: str, names: Sequence[str]) -> int | None:
    """Return the index of the class that a folder or a table means; None when it is none of them.

    Args:
        text: the name of a class, an ImageNet WordNet id (``n01440764``), or, unless classes are named by numbers, a
            class index.
        names: of the classes.
    """
    places = _places(tuple(names))
    text = _normalised(text)
    if text in places:
        return places[text]
    if text in _wordnet_ids():
        return places.get(_imagenet_name(text))
    if text.isdecimal() and len(text) < 10 and not any(name.isdecimal() for name in places):
        return int(text) if int(text) < len(names) else None
    return None


@lru_cache(maxsize=8)
def _places(names: tuple[str, ...]) -> dict[str, int]:
    """Return the first index of each name."""
    return {_normalised(name): index for index, name in reversed(list(enumerate(names)))}


@lru_cache(maxsize=1)
def _wordnet_ids() -> dict[str, int]:
    return {name: index for index, name in enumerate(ImageNetInfo("imagenet-1k").label_names())}


def _imagenet_name(wordnet_id: str) -> str:
    return default_class_names(1000)[_wordnet_ids()[wordnet_id]]


def _normalised(name: str) -> str:
    """Return a name in one spelling: file systems store accents joined to their letters or apart."""
    return unicodedata.normalize("NFC", name)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs")


def _distinction(lemmas: list[str], definition: str) -> str:
    """Say which of several classes of one name is meant: by its next name, else by the head of its definition."""
    return lemmas[1] if len(lemmas) > 1 else _END_OF_HEAD.split(definition)[0]
