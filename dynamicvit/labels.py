"""From a class index to a name that people read."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

from timm.data import ImageNetInfo

_END_OF_HEAD = re.compile(r"[;,]| of | for | in | that ")


@lru_cache(maxsize=8)
def class_names(num_classes: int) -> tuple[str, ...]:
    """Give one distinct name for each class: ImageNet's short names for 1000 classes, else ``"class 0"`` and so on.

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


def _distinction(lemmas: list[str], definition: str) -> str:
    """Say which of several classes of one name is meant: by its next name, else by the head of its definition."""
    return lemmas[1] if len(lemmas) > 1 else _END_OF_HEAD.split(definition)[0]
