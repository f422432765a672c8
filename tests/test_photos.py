"""Photos and labels come out of tar and CSV files as they went in."""

import io
import tarfile

import pytest

from dynamicvit.errors import ImageError
from dynamicvit.photos import read_labels, read_tar


def write_tar(path, files):
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def test_labels_stand_beside_their_photos(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"x/1.jpg": b"one", "x/1.cls": b"7", "2.png": b"two", "notes.txt": b"no"})
    photos = read_tar(path)
    assert [(photo.name, photo.data, photo.label) for photo in photos] == [
        ("x/1.jpg", b"one", 7),
        ("2.png", b"two", None),
    ]


def test_labels_from_a_table_win(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"one", "1.cls": b"7"})
    table = tmp_path / "labels.csv"
    table.write_text("file,label,author\n1.jpg,3,someone\n", encoding="utf-8")
    assert read_tar(path, read_labels(table))[0].label == 3


def test_files_that_hold_no_photos_are_refused(tmp_path):
    broken = tmp_path / "broken.tar"
    broken.write_bytes(b"not a tar file")
    empty = write_tar(tmp_path / "empty.tar", {"readme.txt": b"hello"})
    for path in (broken, empty, tmp_path / "missing.tar"):
        with pytest.raises(ImageError, match=r"\.tar"):
            read_tar(path)


def test_a_table_without_the_columns_is_refused(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("name,class\na,1\n", encoding="utf-8")
    with pytest.raises(ImageError, match="file and label"):
        read_labels(table)
