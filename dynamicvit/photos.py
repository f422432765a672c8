"""Labelled and unlabelled photos in tar files, still compressed."""

from __future__ import annotations

import csv
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dynamicvit.errors import ImageError

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True)
class Photo:
    """One photo: its name, its file's bytes, and its class index if it has one."""

    name: str
    data: bytes
    label: int | None


def read_tar(path: Path, labels: Mapping[str, int] | None = None) -> list[Photo]:
    """Give the photos of a tar file in its order.

    Labels come from ``labels`` (file name -> class index), else from ``KEY.cls`` beside ``KEY.jpg`` in the tar.

    Raises:
        ImageError: the file is missing, is not a tar file or holds no photos.
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
    except (OSError, tarfile.TarError) as error:
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

    Raises:
        ImageError: the file is missing or has no such columns.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return {row["file"]: int(row["label"]) for row in csv.DictReader(stream)}
    except (OSError, KeyError, ValueError) as error:
        raise ImageError(f"Cannot read labels from {path}: it needs the columns file and label.") from error
