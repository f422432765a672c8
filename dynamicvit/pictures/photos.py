"""Labelled and unlabelled photos in tar files, folders and CSV tables, still compressed."""

from __future__ import annotations

import csv
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from timm.data import ImageNetInfo

from dynamicvit.errors import ImageError

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True)
class Photo:
    """One photo: its name, its file's bytes or where they are, and its class index if it has one."""

    name: str
    source: bytes | Path
    label: int | None

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
            raise ImageError(f"The picture {self.source} cannot be opened: {error.strerror or error}.") from None


def read_photos(path: Path, labels: Mapping[str, int] | None = None) -> list[Photo]:
    """Give the photos of a folder, a CSV table or a tar file; ``labels`` (photo name -> class index) come first.

    Raises:
        ImageError: as in :func:`read_folder`, :func:`read_table` and :func:`read_tar`.
    """
    if path.is_dir():
        return read_folder(path, labels)
    if path.suffix.lower() == ".csv":
        return read_table(path, labels)
    return read_tar(path, labels)


def read_folder(path: Path, labels: Mapping[str, int] | None = None) -> list[Photo]:
    """Give the photos below a folder in the order of their names, which are paths relative to it; none is opened yet.

    Labels come from ``labels``, else from sub-folders named by class index (``7``) or WordNet id (``n01440764``).

    Raises:
        ImageError: the folder holds no pictures.
    """
    known = labels or {}
    photos = []
    for file in sorted(path.rglob("*")):
        if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file():
            name = file.relative_to(path)
            folder_class = _class_index(name.parts[0]) if len(name.parts) > 1 else None
            photos.append(Photo(name.as_posix(), file, known.get(name.as_posix(), folder_class)))
    if not photos:
        raise ImageError(f"{path} holds no pictures; expected .jpg, .png or .webp files.")
    return photos


def read_table(path: Path, labels: Mapping[str, int] | None = None) -> list[Photo]:
    """Give the photos that a CSV file lists (see :func:`read_labels`); files are relative to it, none is opened yet.

    Raises:
        ImageError: the table cannot be read or is empty.
    """
    known = labels or {}
    photos = [Photo(file, path.parent / file, known.get(file, label)) for file, label in _read_rows(path)]
    if not photos:
        raise ImageError(f"{path} lists no pictures; give it a row with file and label for each.")
    return photos


def read_tar(path: Path, labels: Mapping[str, int] | None = None) -> list[Photo]:
    """Give the photos of a tar file in its order; their bytes are held in memory.

    Labels come from ``labels`` (file name -> class index), else from ``KEY.cls`` beside ``KEY.jpg`` in the tar.

    Raises:
        ImageError: the file is missing, is not a tar file, holds no photos or a ``.cls`` that is not a number.
    """
    pictures: dict[str, bytes] = {}
    classes: dict[str, int] = {}
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                stream = tar.extractfile(member)
                if stream is None:
                    continue
                name = PurePosixPath(member.name)
                if name.suffix.lower() in PICTURE_SUFFIXES:
                    pictures[member.name] = stream.read()
                elif name.suffix == ".cls":
                    classes[str(name.with_suffix(""))] = int(stream.read())
    except (OSError, ValueError, tarfile.TarError) as error:
        raise ImageError(f"Cannot read photos from {path}: {error}. Give a tar file of pictures.") from error
    if not pictures:
        raise ImageError(f"{path} holds no pictures; expected .jpg, .png or .webp files.")
    known = labels or {}
    return [
        Photo(name, data, known.get(name, classes.get(str(PurePosixPath(name).with_suffix("")))))
        for name, data in pictures.items()
    ]


def read_labels(path: Path) -> dict[str, int]:
    """Give file name -> class index from a CSV file with the columns ``file`` and ``label``.

    A label is a class index or an ImageNet-1k WordNet id; files whose label is empty are left out.

    Raises:
        ImageError: the file is missing, has no such columns, or a label is neither.
    """
    return {file: label for file, label in _read_rows(path) if label is not None}


def _read_rows(path: Path) -> list[tuple[str, int | None]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return [(row["file"] or "", _label(row["label"])) for row in csv.DictReader(stream)]
    except OSError as error:
        raise ImageError(f"Cannot read labels from {path}: {error.strerror or error}.") from error
    except (KeyError, ValueError, csv.Error) as error:
        raise ImageError(f"Cannot read labels from {path}: it needs the columns file and label ({error}).") from error


def _label(text: str | None) -> int | None:
    if not text:
        return None
    index = _class_index(text)
    if index is None:
        raise ValueError(f"{text!r} is neither a class index nor an ImageNet-1k WordNet id")
    return index


def _class_index(text: str) -> int | None:
    """Give the class that a class index or a WordNet id names; None when the text is neither."""
    return int(text) if text.isdecimal() else _wordnet_classes().get(text)


@lru_cache(maxsize=1)
def _wordnet_classes() -> dict[str, int]:
    return {name: index for index, name in enumerate(ImageNetInfo("imagenet-1k").label_names())}
