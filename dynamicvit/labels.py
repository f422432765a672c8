"""From a class index to a name that people read.

A model carries the names of its own classes (``model.class_names``); here is what they are when nobody gives them.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
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
    if isinstance(names, str) or len(names) != num_classes:
        count = "one text" if isinstance(names, str) else f"{len(names)} names"
        raise SettingError(f"Give one name for each of the {num_classes} classes; got {count}.")
    for name in names:
        if not isinstance(name, str) or not 1 <= len(name) <= _LONGEST_NAME or any(map(_is_control, name)):
            raise SettingError(f"A class name is a line of 1 to {_LONGEST_NAME} characters; got {name!r:.80}.")
    return tuple(names)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs")


def _distinction(lemmas: list[str], definition: str) -> str:
    """Say which of several classes of one name is meant: by its next name, else by the head of its definition."""
    return lemmas[1] if len(lemmas) > 1 else _END_OF_HEAD.split(definition)[0]
