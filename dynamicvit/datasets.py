"""Images to learn from or to be measured on: folders, archives and tables, their labels, and batches of model input."""

from __future__ import annotations

import csv
import os
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dynamicvit.archives import is_hidden
from dynamicvit.decoding.files import SUFFIXES
from dynamicvit.errors import ImageError
from dynamicvit.images import CropBox, decode, prepare
from dynamicvit.labels import find_class
from dynamicvit.models.config import ModelConfig

_NAMES_SHOWN = 3


@dataclass(frozen=True)
class Photo:
    """One photo.

    Attributes:
        name: of its file; below a folder the path relative to it.
        source: its file's bytes, or where they are.
        label: its class index; None where it has none.
        class_folder: name of the sub-folder that it lies in; None elsewhere.
    """

    name: str
    source: bytes | Path
    label: int | None
    class_folder: str | None = None

    @property
    def data(self) -> bytes:
        """The bytes of the photo's file.

        Raises:
            ImageError: the file cannot be opened.
        """
        if isinstance(self.source, bytes):
            return self.source
        try:
            return self.source.read_bytes()
        except OSError as error:
            raise ImageError(f"The image {self.source} cannot be opened: {error.strerror or error}.") from None


@dataclass(frozen=True)
class PhotoListing:
    """What was found in a folder, a table or a tar file.

    Attributes:
        photos: in order.
        left_out: names of the files that are hidden, or no images by their names.
        empty_folders: sub-folders beside those of the photos that hold no photo.
    """

    photos: list[Photo]
    left_out: list[str] = field(default_factory=list)
    empty_folders: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """Sentences that count and name what is not among the photos."""
        notes = []
        if self.left_out:
            count = "1 file is" if len(self.left_out) == 1 else f"{len(self.left_out)} files are"
            notes.append(f"{count} left out, hidden or no image that can be read: {listed(self.left_out)}.")
        if self.empty_folders:
            notes.append(f"No photos are in {listed(self.empty_folders)}.")
        return notes


def join(listings: Sequence[PhotoListing]) -> PhotoListing:
    """Return one listing of several sources."""
    return PhotoListing(
        [photo for listing in listings for photo in listing.photos],
        [name for listing in listings for name in listing.left_out],
        [name for listing in listings for name in listing.empty_folders],
    )


def read_photos(path: Path, class_names: Sequence[str], labels: Mapping[str, int] | None = None) -> PhotoListing:
    """Return the photos of a folder, a CSV table or a tar file.

    Args:
        class_names: of the model, for the classes that sub-folders and tables name.
        labels: photo name -> class index; before what the source itself says.

    Raises:
        ImageError: as in :func:`read_folder`, :func:`read_table` and :func:`read_tar`.
    """
    if path.is_dir():
        listing = read_folder(path, labels)
        return replace(listing, photos=label_by_folder(listing.photos, class_names))
    if path.suffix.lower() == ".csv":
        return read_table(path, class_names, labels)
    return read_tar(path, labels)


def read_folder(path: Path, labels: Mapping[str, int] | None = None) -> PhotoListing:
    """Return the photos below a folder in the order of their names; none is opened yet.

    Labels are those of ``labels`` (photo name -> class index); :func:`label_by_folder` gives others.

    Raises:
        ImageError: the folder holds no images.
    """
    known = labels or {}
    photos, left_out = [], []
    for name in sorted(_files_below(path), key=lambda name: name.split("/")):
        if is_image(name):
            photos.append(Photo(name, path / name, known.get(name), name.split("/")[0] if "/" in name else None))
        else:
            left_out.append(name)
    if not photos:
        raise ImageError(f"{path} holds no images; expected .jpg, .png or .webp files.")
    used = {photo.class_folder for photo in photos}
    others = [place.name for place in sorted(path.iterdir()) if place.is_dir() and not is_hidden(place.name)]
    return PhotoListing(photos, left_out, [] if used == {None} else [name for name in others if name not in used])


def label_by_folder(photos: Iterable[Photo], class_names: Sequence[str]) -> list[Photo]:
    """Label photos that have no label by the sub-folder that they lie in, if that names one of the classes."""
    label_of = cache(lambda folder: find_class(folder, class_names))

    def labelled(photo: Photo) -> Photo:
        if photo.label is not None or photo.class_folder is None:
            return photo
        return replace(photo, label=label_of(photo.class_folder))

    return [labelled(photo) for photo in photos]


def read_table(path: Path, class_names: Sequence[str], labels: Mapping[str, int] | None = None) -> PhotoListing:
    """Return the photos that a CSV file lists (see :func:`read_labels`); files are relative to it, none is opened yet.

    Raises:
        ImageError: the table cannot be read or is empty.
    """
    known = labels or {}
    rows = _read_rows(path, class_names)
    photos = [Photo(file, path.parent / file, known.get(file, label)) for file, label in rows]
    if not photos:
        raise ImageError(f"{path} lists no images; give it a row with file and label for each.")
    return PhotoListing(photos)


def read_tar(path: Path, labels: Mapping[str, int] | None = None) -> PhotoListing:
    """Return the photos of a tar file in its order; their bytes are held in memory.

    Labels come from ``labels`` (file name -> class index), else from ``KEY.cls`` beside ``KEY.jpg`` in the tar.

    Raises:
        ImageError: the file is missing, is not a tar file, holds no photos or a ``.cls`` that is not a number.
    """
    ready: dict[str, bytes] = {}
    classes: dict[str, int] = {}
    left_out = []
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                stream = tar.extractfile(member)
                if stream is None:
                    continue
                name = PurePosixPath(member.name)
                if is_image(member.name):
                    ready[member.name] = stream.read()
                elif name.suffix == ".cls" and not is_hidden(member.name):
                    classes[str(name.with_suffix(""))] = int(stream.read())
                else:
                    left_out.append(member.name)
    except (OSError, ValueError, tarfile.TarError) as error:
        raise ImageError(f"Cannot read photos from {path}: {error}. Give a tar file of images.") from error
    if not ready:
        raise ImageError(f"{path} holds no images; expected .jpg, .png or .webp files.")
    known = labels or {}
    photos = [
        Photo(name, data, known.get(name, classes.get(str(PurePosixPath(name).with_suffix("")))))
        for name, data in ready.items()
    ]
    return PhotoListing(photos, left_out)


def read_labels(path: Path, class_names: Sequence[str]) -> dict[str, int]:
    """Return file name -> class index from a CSV file with the columns ``file`` and ``label``.

    A label is a class index, the name of a class or an ImageNet-1k WordNet id; files whose label is empty are left out.

    Raises:
        ImageError: the file is missing, has no such columns, or a label is none of the classes.
    """
    return {file: label for file, label in _read_rows(path, class_names) if label is not None}


def is_image(name: str) -> bool:
    """Return whether a file is an image by its name: not hidden, and of a format that can be decoded."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES and not is_hidden(name)


def listed(names: Sequence[str]) -> str:
    """Return the first few names, with dots where there are more."""
    return ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")


def _files_below(folder: Path) -> Iterable[str]:
    """Return the files below a folder, also behind links, relative to it; a folder that contains itself once."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        if os.path.realpath(place) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        below = Path(place).relative_to(folder)
        yield from ((below / file).as_posix() for file in files)


def _read_rows(path: Path, class_names: Sequence[str]) -> list[tuple[str, int | None]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [(row["file"] or "", row["label"] or "") for row in csv.DictReader(stream)]
    except OSError as error:
        raise ImageError(f"Cannot read labels from {path}: {error.strerror or error}.") from error
    except (KeyError, ValueError, csv.Error) as error:
        raise ImageError(f"Cannot read labels from {path}: it needs the columns file and label ({error}).") from error
    indices = {text: find_class(text, class_names) for _, text in rows if text}
    for file, text in rows:
        if text and indices[text] is None:
            raise ImageError(
                f"{path} gives {file} the label {text!r:.80}, which is none of the model's {len(class_names)} classes; "
                "a label is a class index, the name of a class or an ImageNet WordNet id."
            )
    return [(file, indices.get(text)) for file, text in rows]


# Where the classes lie


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


# Batches


@dataclass(frozen=True)
class UnreadablePhoto:
    """A photo that could not be read, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Share:
    """The part of the batches that one of several processes takes: every ``count``-th one, from ``index`` on."""

    index: int = 0
    count: int = 1


@dataclass(frozen=True, eq=False)
class Batch:
    """Some photos as model input.

    Attributes:
        number: of the batch among all batches, 0-based.
        images: (B, 3, S, S) float32, normalised; B may be 0.
        photos: the B photos.
        crops: the part of each image that the model sees, in pixels of the decoded image.
        sizes: width and height of each decoded image in pixels.
        unreadable: the photos that belong to this batch but could not be read.
    """

    number: int
    images: Tensor
    photos: tuple[Photo, ...]
    crops: tuple[CropBox, ...]
    sizes: tuple[tuple[int, int], ...]
    unreadable: tuple[UnreadablePhoto, ...]


@dataclass(frozen=True, eq=False)
class _PreparedPhoto:
    index: int
    image: Tensor
    crop: CropBox
    size: tuple[int, int]


class _PreparedPhotos(Dataset["_PreparedPhoto | UnreadablePhoto"]):
    def __init__(self, photos: Sequence[Photo], config: ModelConfig) -> None:
        self.photos = photos
        self.config = config

    def __getitem__(self, index: int) -> _PreparedPhoto | UnreadablePhoto:
        try:
            image = decode(self.photos[index].data)
        except ImageError as error:
            return UnreadablePhoto(self.photos[index].name, str(error))
        model_input = prepare(image, self.config)
        height, width = image.pixels.shape[:2]
        return _PreparedPhoto(index, model_input.tensor, model_input.crop, (width, height))


def read_batches(
    photos: Sequence[Photo], config: ModelConfig, size: int, *, share: Share | None = None, workers: int = 0
) -> Iterator[Batch]:
    """Return a process's share of the batches of ``size`` photos each.

    A photo is in the same batch however many processes there are, and an unreadable one leaves its batch smaller.

    Args:
        workers: processes that read ahead; with 0 a batch is read when it is asked for.
    """
    share = share or Share()
    indices = list(range(len(photos)))
    numbers = range(share.index, -(-len(photos) // size), share.count)
    plan = [indices[number * size : (number + 1) * size] for number in numbers]
    loader = DataLoader(_PreparedPhotos(photos, config), batch_sampler=plan, collate_fn=list, num_workers=workers)
    for number, entries in zip(numbers, loader, strict=True):
        ready = [entry for entry in entries if isinstance(entry, _PreparedPhoto)]
        side = config.image_size
        yield Batch(
            number,
            torch.cat([one.image for one in ready]) if ready else torch.empty(0, 3, side, side),
            tuple(photos[one.index] for one in ready),
            tuple(one.crop for one in ready),
            tuple(one.size for one in ready),
            tuple(entry for entry in entries if isinstance(entry, UnreadablePhoto)),
        )
