"""Files and archives as images, hostile ones among them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image

from dynamicvit import archives
from dynamicvit.archives import ImageSource, list_images
from dynamicvit.errors import ImageError


def png(color: str = "red") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 6), color).save(data, "PNG")
    return data.getvalue()


def pack(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def files() -> Iterator[ExitStack]:
    """What keeps archives open until the test is over."""
    with ExitStack() as stack:
        yield stack


def names(sources: list[ImageSource]) -> list[str]:
    return [source.name for source in sources]


def test_single_file_goes_by_the_name_of_the_visitor(tmp_path: Path, files: ExitStack) -> None:
    path = tmp_path / "stored-under-another-name"
    path.write_bytes(png())
    (source,) = list_images("mine.png", path, files)
    assert source.name == "mine.png"
    assert source.open().pixels.shape == (6, 8, 3)


def test_archive_gives_its_pictures_without_folders_and_hidden_files(tmp_path: Path, files: ExitStack) -> None:
    entries = dict.fromkeys(
        ["a.png", "in/b.png", "in/", ".DS_Store", "in/.hidden.png", ".git/c.png", "__MACOSX/._a.png", "./d.png"], png()
    )
    sources = list_images("a.zip", pack(tmp_path / "a.zip", entries), files)
    assert names(sources) == ["a.png", "in/b.png", "./d.png"]
    assert all(source.open().pixels.shape == (6, 8, 3) for source in sources)


def test_nothing_is_unpacked_to_the_disk(tmp_path: Path, files: ExitStack) -> None:
    path = pack(tmp_path / "a.zip", {"../../outside.png": png(), "/absolute.png": png()})
    for source in list_images("a.zip", path, files):
        source.open()
    assert list(tmp_path.rglob("*")) == [path]


def test_one_bad_entry_has_its_own_error_when_it_is_opened(tmp_path: Path, files: ExitStack) -> None:
    path = pack(tmp_path / "a.zip", {"notes.txt": b"no image", "inner.zip": b"PK\3\4", "good.png": png()})
    sources = list_images("a.zip", path, files)
    for source in sources[:2]:
        with pytest.raises(ImageError, match="save it as"):
            source.open()
    assert sources[2].open().pixels.shape == (6, 8, 3)


def test_bomb_is_refused_before_anything_is_unpacked(
    tmp_path: Path, files: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_ARCHIVE_BYTES", 5 * 2**20)
    path = pack(tmp_path / "a.zip", {f"{number}.png": bytes(2**20) for number in range(6)})
    assert path.stat().st_size < 2**16
    with pytest.raises(ImageError, match="unpacks to more than 5 MB"):
        list_images("a.zip", path, files)


def test_entry_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, files: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_ENTRY_BYTES", 2**20)
    (source,) = list_images("a.zip", pack(tmp_path / "a.zip", {"a.png": bytes(2**20 + 1)}), files)
    with pytest.raises(ImageError, match="larger than 1 MB"):
        source.open()


def test_entry_that_lies_about_its_size_gives_no_more_than_it_declares(tmp_path: Path, files: ExitStack) -> None:
    path = pack(tmp_path / "a.zip", {"a.png": bytes(10 * 2**20)})
    data = path.read_bytes()
    path.write_bytes(data.replace((10 * 2**20).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    (source,) = list_images("a.zip", path, files)
    with pytest.raises(ImageError, match="damaged"):
        source.open()


def test_too_many_entries_are_refused(tmp_path: Path, files: ExitStack) -> None:
    path = pack(tmp_path / "a.zip", {f"{number}.png": b"" for number in range(archives.MAX_IMAGES + 1)})
    with pytest.raises(ImageError, match="holds 501 files"):
        list_images("a.zip", path, files)


def test_huge_table_of_contents_is_refused_unread(
    tmp_path: Path, files: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(tmp_path / "a.zip", {f"{number}.png": b"" for number in range(100)})
    monkeypatch.setattr(archives, "MAX_DIRECTORY_BYTES", 1000)
    monkeypatch.setattr(zipfile, "ZipFile", lambda path: pytest.fail("the table of contents was read"))
    with pytest.raises(ImageError, match="too many entries"):
        list_images("a.zip", path, files)


def test_unusual_compression_is_refused(tmp_path: Path, files: ExitStack) -> None:
    (source,) = list_images("a.zip", pack(tmp_path / "a.zip", {"a.png": png()}, zipfile.ZIP_LZMA), files)
    with pytest.raises(ImageError, match="unusual way"):
        source.open()


def test_encrypted_entry_says_so(tmp_path: Path, files: ExitStack) -> None:
    path = pack(tmp_path / "a.zip", {"a.png": png()})
    data = bytearray(path.read_bytes())
    for start, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(start) + at] |= 1
    path.write_bytes(data)
    (source,) = list_images("a.zip", path, files)
    with pytest.raises(ImageError, match="without a password"):
        source.open()


@pytest.mark.parametrize("damage", ["no files", "table"])
def test_unusable_archive_is_named(tmp_path: Path, files: ExitStack, damage: str) -> None:
    path = pack(tmp_path / "x.zip", {} if damage == "no files" else {"a.png": png()})
    data = path.read_bytes()
    if damage == "table":
        path.write_bytes(data.replace(b"PK\1\2", b"XXXX"))
    with pytest.raises(ImageError, match="holiday"):
        list_images("holiday.zip", path, files)


def test_damaged_entry_does_not_spoil_the_others(tmp_path: Path, files: ExitStack) -> None:
    path = pack(tmp_path / "a.zip", {"a.png": png(), "b.png": png()})
    data = path.read_bytes()
    path.write_bytes(data.replace(b"PK\3\4", b"XXXX", 1))
    first, second = list_images("a.zip", path, files)
    with pytest.raises(ImageError, match="damaged"):
        first.open()
    assert second.open().pixels.shape == (6, 8, 3)
