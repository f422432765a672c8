"""Where training photos come from: a folder, tar files, tables, or a data set of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

from dynamicvit.datasets import (
    Photo,
    PhotoListing,
    are_parts_of_a_data_set,
    join,
    label_by_folder,
    listed,
    read_folder,
    read_labels,
    read_photos,
    where_classes_lie,
)
from dynamicvit.errors import ImageError, SettingError
from dynamicvit.labels import default_class_names, find_class, name_classes

HUB = "hf:"


@dataclass(frozen=True)
class PhotoSet:
    """Photos, read when asked for unless they come from a tar file, and what is known without reading them.

    Attributes:
        photos: with the same labels.
        labels: class index of each photo; None of all where they have none.
        counts: number of photos of each source, which come one after the other.
        class_names: of the class indices, where the source names them.
        notes: sentences about what is not among the photos, or is not as it seems to be meant.
    """

    photos: Sequence[Photo]
    labels: tuple[int | None, ...]
    counts: tuple[int, ...]
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

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
    *,
    labels: Path | None = None,
    known_names: Sequence[str] | None = None,
    ignore_labels: bool = False,
) -> PhotoSet:
    """Open photos to train on: one ``hf:NAME`` or ``hf:NAME:SPLIT``, one folder, or tar files and CSV tables.

    A folder's sub-folders are its classes (:func:`~dynamicvit.labels.name_classes`). Where they are fewer than the
    model's classes but all name one of them, those are meant.

    Args:
        num_classes: of the model.
        labels: a CSV file (:func:`~dynamicvit.datasets.read_labels`); before what the source itself says.
        known_names: what the start weights call their classes.
        ignore_labels: whether to pass all labels over.

    Raises:
        ImageError: there is nothing to read.
        SettingError: sources that do not go together, labels of some photos only or of no class of the model, or the
            library for the hub is missing.
    """
    if _is_hub(sources):
        photos = _from_hub(sources[0].removeprefix(HUB), known_names, must_know=False)
    elif len(sources) == 1 and Path(sources[0]).is_dir() and not (labels or ignore_labels):
        photos = _of_class_folders(Path(sources[0]), num_classes, known_names)
    else:
        photos = _as_set(*_list(sources, known_names or default_class_names(num_classes), labels))
    if ignore_labels:
        return replace(photos, labels=(None,) * len(photos), class_names=())
    _check_labels(photos, num_classes)
    return photos


def open_validation(sources: Sequence[str], class_names: Sequence[str], labels: Path | None = None) -> PhotoSet:
    """Open photos to evaluate on, as :func:`open_photos` does, for a model with classes of these names.

    Raises:
        ImageError: there is nothing to read.
        SettingError: sources that do not go together, or a class that the model does not have.
    """
    if _is_hub(sources):
        has_usual_names = tuple(class_names) == default_class_names(len(class_names))
        photos = _from_hub(sources[0].removeprefix(HUB), None if has_usual_names else class_names, must_know=True)
    else:
        listings = _list(sources, class_names, labels)
        listing = join(listings)
        _refuse_unknown_folders(sources, listing, class_names)
        photos = _as_set(*listings)
        if photos.labels.count(None) == len(photos) and Path(sources[0]).is_dir():
            photos = replace(photos, notes=(*photos.notes, _without_classes(Path(sources[0]), listing)))
    known = [label for label in photos.labels if label is not None]
    _check_range(known, len(class_names))
    return photos


def _is_hub(sources: Sequence[str]) -> bool:
    return len(sources) == 1 and sources[0].startswith(HUB)


def _list(sources: Sequence[str], class_names: Sequence[str], labels: Path | None) -> list[PhotoListing]:
    """List the photos of a folder, or of each tar file and table, with the labels that a model of these classes has."""
    if len(sources) > 1 and any(source.startswith(HUB) or Path(source).is_dir() for source in sources):
        raise SettingError("Give one image folder, one hf:NAME, or any number of tar files.")
    known = read_labels(labels, class_names) if labels else None
    return [read_photos(Path(source), class_names, known) for source in sources]


def _as_set(*listings: PhotoListing, class_names: tuple[str, ...] = ()) -> PhotoSet:
    listing = join(listings)
    labels = tuple(photo.label for photo in listing.photos)
    counts = tuple(len(one.photos) for one in listings)
    return PhotoSet(listing.photos, labels, counts, class_names, tuple(listing.notes))


def _of_class_folders(folder: Path, num_classes: int, known_names: Sequence[str] | None) -> PhotoSet:
    """Label the photos of a folder by its sub-folders; none has a label where it has no sub-folders."""
    listing = read_folder(folder)
    beside = [photo.name for photo in listing.photos if photo.class_folder is None]
    if len(beside) == len(listing.photos):
        return replace(_as_set(listing), notes=(*listing.notes, _without_classes(folder, listing)))
    if beside:
        raise SettingError(
            f"Photos of {folder} lie beside the sub-folders of the classes: {len(beside)} ({listed(beside)}). "
            "Move them into one, or train with --ignore-labels."
        )
    folders = sorted({photo.class_folder for photo in listing.photos if photo.class_folder is not None})
    names = _names_of(folders, num_classes, known_names)
    if names is None or are_parts_of_a_data_set(listing.photos):
        count = "1 class" if len(folders) == 1 else f"{len(folders)} classes"
        lie = where_classes_lie(folder, listing.photos)
        raise SettingError(
            f"The sub-folders of {folder} would be {count} ({listed(folders)}), the model knows {num_classes}; "
            + (f"{lie}: give that folder to --data." if lie else f"give --classes {len(folders)}, or --ignore-labels.")
        )
    return _as_set(replace(listing, photos=label_by_folder(listing.photos, names)), class_names=names)


def _names_of(folders: Sequence[str], num_classes: int, known_names: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the names of a model's classes that sub-folders stand for; None where they are no such classes."""

    def all_in(names: Sequence[str]) -> bool:
        return all(find_class(folder, names) is not None for folder in folders)

    own, usual = name_classes(folders), default_class_names(num_classes)
    if known_names is not None and all_in(known_names):
        return tuple(known_names)
    if len(own) == num_classes:
        return own
    return usual if all_in(usual) else None


def _without_classes(folder: Path, listing: PhotoListing) -> str:
    lie = where_classes_lie(folder, listing.photos)
    return f"The photos of {folder} have no labels{f'; {lie}' if lie else ''}."


def _refuse_unknown_folders(sources: Sequence[str], listing: PhotoListing, class_names: Sequence[str]) -> None:
    unknown = sorted({photo.class_folder for photo in listing.photos if photo.class_folder and photo.label is None})
    if unknown:
        lie = where_classes_lie(Path(sources[0]), listing.photos)
        raise SettingError(
            f"{sources[0]} has sub-folders that are none of the classes that are trained: {listed(unknown)}; "
            + (f"{lie}." if lie else f"the classes are {listed(class_names)}.")
        )


def _check_labels(photos: PhotoSet, num_classes: int) -> None:
    """Make sure that all photos have a label of the model, or none has one."""
    known = [label for label in photos.labels if label is not None]
    if known and len(known) < len(photos):
        raise SettingError(
            f"{len(photos) - len(known)} of {len(photos)} photos have no label; "
            "give one to each, or train with --ignore-labels."
        )
    if photos.class_names and len(photos.class_names) != num_classes:
        raise SettingError(
            f"The photos are of {len(photos.class_names)} classes, the model knows {num_classes}; "
            f"give --classes {len(photos.class_names)}, or --ignore-labels."
        )
    _check_range(known, num_classes)


def _check_range(labels: Sequence[int], num_classes: int) -> None:
    if labels and not 0 <= min(labels) <= max(labels) < num_classes:
        raise SettingError(
            f"The labels go from {min(labels)} to {max(labels)}, the model knows {num_classes} classes; give --classes."
        )


def _from_hub(name: str, wanted: Sequence[str] | None, *, must_know: bool) -> PhotoSet:
    """Open a data set of the hub, which names and numbers its classes itself.

    Args:
        wanted: names whose numbers the labels get, if they are the same classes.
        must_know: whether a class that is not among these is an error.
    """
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
    if wanted is not None and class_names and class_names != tuple(wanted):
        numbers = [find_class(name, wanted) for name in class_names]
        unknown = [name for name, number in zip(class_names, numbers, strict=True) if number is None]
        if unknown and must_know:
            raise SettingError(f"{HUB}{name} has classes that are none of those that are trained: {listed(unknown)}.")
        if not unknown:
            labels, class_names = tuple(None if label is None else numbers[label] for label in labels), tuple(wanted)
    return PhotoSet(HubPhotos(rows, labels), labels, (len(labels),), class_names)
