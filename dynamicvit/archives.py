"""Files and ZIP archives -> images, opened one at a time and bounded in number and size."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from dynamicvit.errors import ImageError
from dynamicvit.images import DecodedImage, decode, read

MAX_IMAGES = 500
MAX_ENTRY_BYTES = 50 * 2**20
MAX_ARCHIVE_BYTES = 2**30  # of all images of an archive, unpacked
MAX_DIRECTORY_BYTES = 4 * 2**20  # of an archive's table of contents, which is read as a whole

_END_RECORD, _END_RECORD_64 = b"PK\x05\x06", b"PK\x06\x07"
_END_RECORD_REACH = 22 + 2**16  # the record and the longest comment behind it
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others unpack in steps of any size


@dataclass(frozen=True)
class ImageSource:
    """An image that can be opened when its turn comes.

    Attributes:
        name: for the visitor.
        open: decodes it; raises ImageError when it is none.
    """

    name: str
    open: Callable[[], DecodedImage]


def list_images(name: str, path: Path, files: ExitStack) -> list[ImageSource]:
    """Return the image of a file, or the images of a ZIP archive without folders and hidden files.

    Args:
        name: under which the visitor knows the file.
        path: where it is.
        files: keeps an archive open; close it when the images have been read.

    Raises:
        ImageError: the file is a ZIP archive that is damaged, holds no file or too many.
    """
    if not zipfile.is_zipfile(path):
        return [ImageSource(name, partial(read, path))]
    archive = _open_archive(name, path, files)
    entries = [entry for entry in archive.infolist() if not entry.is_dir() and not is_hidden(entry.filename)]
    _check_size(name, entries)
    return [ImageSource(entry.filename, partial(_read_entry, archive, entry)) for entry in entries]


def _open_archive(name: str, path: Path, files: ExitStack) -> zipfile.ZipFile:
    _check_directory(name, path)
    try:
        return files.enter_context(zipfile.ZipFile(path))
    except Exception as error:  # on damaged archives zipfile raises whatever it stumbles upon
        raise ImageError(f"The archive {name} is damaged; pack it anew.") from error


def _check_directory(name: str, path: Path) -> None:
    """Refuse an archive with a huge table of contents before zipfile makes an object of every entry."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _END_RECORD_REACH))
        tail = file.read()
    at = tail.rfind(_END_RECORD)
    size = int.from_bytes(tail[at + 12 : at + 16], "little")
    if _END_RECORD_64 in tail or size > MAX_DIRECTORY_BYTES:
        raise ImageError(f"The archive {name} has too many entries; take at most {MAX_IMAGES} images.")


def _check_size(name: str, entries: list[zipfile.ZipInfo]) -> None:
    if not entries:
        raise ImageError(f"The archive {name} holds no files; put some images in it.")
    if len(entries) > MAX_IMAGES:
        raise ImageError(f"The archive {name} holds {len(entries)} files; take at most {MAX_IMAGES} at a time.")
    if sum(entry.file_size for entry in entries) > MAX_ARCHIVE_BYTES:
        raise ImageError(f"The archive {name} unpacks to more than {MAX_ARCHIVE_BYTES >> 20} MB; make a smaller one.")


def is_hidden(name: str) -> bool:
    """Say whether a file or one of its folders is a dotfile or one of the twins that macOS packs along."""
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") and part not in (".", "..") for part in parts) or "__MACOSX" in parts


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> DecodedImage:
    """Decode an entry in memory; zipfile never gives more than the size that the entry declares."""
    if entry.file_size > MAX_ENTRY_BYTES:
        raise ImageError(f"The image file is larger than {MAX_ENTRY_BYTES >> 20} MB; scale it down.")
    if entry.flag_bits & 1:
        raise ImageError("The image is encrypted; pack it without a password.")
    if entry.compress_type not in _COMPRESSIONS:
        raise ImageError("The image is packed in an unusual way; pack it as a plain ZIP (deflate).")
    try:
        data = archive.read(entry)
    except Exception as error:  # on damaged entries zipfile and zlib raise whatever they stumble upon
        raise ImageError("This part of the archive is damaged; pack it anew.") from error
    return decode(data)
