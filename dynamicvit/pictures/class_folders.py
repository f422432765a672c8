"""Where the classes lie in a folder of photos, when they are not the sub-folders that were looked at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from dynamicvit.pictures.photos import Photo, is_image

_PARTS = {"train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval"}


def are_parts_of_a_data_set(photos: Sequence[Photo]) -> bool:
    """Return whether the sub-folders are called train, val and the like and hold folders themselves."""
    return all(photo.name.count("/") > 1 and photo.name.split("/")[0].lower() in _PARTS for photo in photos)


def where_classes_lie(folder: Path, photos: Sequence[Photo]) -> str:
    """Return the part of a sentence that says where the classes of a folder's photos seem to lie.

    Empty when the sub-folders look like classes.
    """
    below: dict[str, set[str]] = defaultdict(set)
    for photo in photos:
        parts = photo.name.split("/")
        below[parts[0]].add(parts[1] if len(parts) > 2 else "")
    if all("" not in folders for folders in below.values()):
        deeper = max(below, key=lambda name: (name.lower().startswith("train"), len(below[name])))
        return f"the classes seem to be the {len(below[deeper])} folders in {folder / deeper}"
    is_flat = all("/" not in photo.name for photo in photos)
    siblings = [place for place in folder.resolve().parent.iterdir() if is_flat and _holds_images(place)]
    if len(siblings) > 1:
        return f"the classes seem to be the {len(siblings)} folders in {folder.resolve().parent}, one of them this"
    return ""


def _holds_images(place: Path) -> bool:
    try:
        return place.is_dir() and any(is_image(file.name) for file in place.iterdir())
    except OSError:  # a folder of another user
        return False
