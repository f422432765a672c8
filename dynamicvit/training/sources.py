"""Where training photos come from: a folder, tar files, tables, or a data set of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

from dynamicvit.errors import ImageError, SettingError
from dynamicvit.pictures.photos import Photo, read_folder, read_photos

HUB = "hf:"


@dataclass(frozen=True)
class PhotoSet:
    """Photos, read when asked for unless they come from a tar file, and what is known without reading them.

    Attributes:
        labels: class index of each photo, None where it has none.
        class_names: of the class indices, where the source names them.
    """

    photos: Sequence[Photo]
    labels: tuple[int | None, ...]
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


class HubPhotos(Sequence[Photo]):
    """The rows of a data set of the hub as photos."""

    def __init__(self, rows: Any, labels: Sequence[int | None]) -> None:
        self.rows, self.labels = rows, labels

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> Photo: ...
    @overload
    def __getitem__(self, index: slice) -> list[Photo]: ...
    def __getitem__(self, index: int | slice) -> Photo | list[Photo]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        picture = self.rows[index]["image"]
        return Photo(str(index), picture["bytes"] or Path(picture["path"]), self.labels[index])

    def __iter__(self) -> Iterator[Photo]:
        return (self[index] for index in range(len(self)))


def open_photos(
    sources: Sequence[str],
    num_classes: int,
    labels: Mapping[str, int] | None = None,
    class_names: Sequence[str] = (),
) -> PhotoSet:
    """Open one ``hf:NAME`` or ``hf:NAME:SPLIT``, one folder, or any number of tar files and CSV tables.

    A folder's sub-folders are its classes, in the order of their names. Where they are fewer than the model's classes
    but all named by class index or WordNet id, those name the class.

    Args:
        num_classes: of the model.
        labels: photo name -> class index, of a CSV file; before what the source itself says.
        class_names: sub-folders that a folder may have, in the order of the classes; its own when not given.

    Raises:
        ImageError: there is nothing to read, or a sub-folder is of no known class.
        SettingError: sources that do not go together, or the library for the hub is missing.
    """
    if len(sources) == 1 and sources[0].startswith(HUB):
        return _from_hub(sources[0].removeprefix(HUB))
    if len(sources) == 1 and Path(sources[0]).is_dir():
        return _from_folder(Path(sources[0]), num_classes, labels or {}, tuple(class_names))
    if any(source.startswith(HUB) or Path(source).is_dir() for source in sources):
        raise SettingError("Give one image folder, one hf:NAME, or any number of tar files.")
    photos = [photo for source in sources for photo in read_photos(Path(source), labels)]
    return PhotoSet(photos, tuple(photo.label for photo in photos))


def training_labels(photos: PhotoSet, num_classes: int, *, ignored: bool) -> tuple[int | None, ...]:
    """Give the labels to train on: those of all photos, or of none.

    Raises:
        SettingError: only some photos have a label, or a label is of no class of the model.
    """
    known = [label for label in photos.labels if label is not None]
    if ignored or not known:
        return (None,) * len(photos)
    if len(known) < len(photos):
        raise SettingError(
            f"{len(photos) - len(known)} of {len(photos)} photos have no label; "
            "give one to each, or train with --ignore-labels."
        )
    if photos.class_names and len(photos.class_names) != num_classes:
        raise SettingError(
            f"The photos are of {len(photos.class_names)} classes, the model knows {num_classes}; "
            f"give --classes {len(photos.class_names)}, or --ignore-labels."
        )
    if not 0 <= min(known) <= max(known) < num_classes:
        raise SettingError(
            f"The labels go from {min(known)} to {max(known)}, the model knows {num_classes} classes; give --classes."
        )
    return photos.labels


def _from_folder(folder: Path, num_classes: int, labels: Mapping[str, int], class_names: tuple[str, ...]) -> PhotoSet:
    photos = read_folder(folder, labels)
    parents = [Path(photo.name).parts[0] for photo in photos if "/" in photo.name]
    found = sorted(set(parents))
    names = class_names or tuple(found)
    own = tuple(photo.label for photo in photos)
    if labels or len(parents) < len(photos) or (len(names) != num_classes and None not in own):
        return PhotoSet(photos, own)
    unknown = set(found) - set(names)
    if unknown:
        raise ImageError(f"{folder} has a folder {min(unknown)}, which is none of the classes that are trained.")
    index = {name: number for number, name in enumerate(names)}
    numbered = [replace(photo, label=index[parent]) for photo, parent in zip(photos, parents, strict=True)]
    return PhotoSet(numbered, tuple(photo.label for photo in numbered), names)


def _from_hub(name: str) -> PhotoSet:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise SettingError(f"{HUB}{name} needs the package datasets; install it: pip install datasets") from error
    name, _, split = name.partition(":")
    try:
        rows = datasets.load_dataset(name, split=split or "train")
        rows = rows.cast_column("image", datasets.Image(decode=False))
    except Exception as error:  # whatever the hub's client raises for a wrong name, split or column, or without network
        raise ImageError(f"{HUB}{name} cannot be used: {error}. It needs a column 'image'.") from error
    has_labels = "label" in rows.column_names
    labels: tuple[int | None, ...] = tuple(rows["label"]) if has_labels else (None,) * len(rows)
    class_names = tuple(getattr(rows.features["label"], "names", ())) if has_labels else ()
    return PhotoSet(HubPhotos(rows, labels), labels, class_names)
