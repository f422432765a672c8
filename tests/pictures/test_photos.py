"""Photos and labels come out of tar files, folders and CSV tables as they went in."""

import io
import tarfile

import pytest

from dynamicvit.errors import ImageError
from dynamicvit.pictures.photos import read_labels, read_photos, read_tar


def write_tar(path, files):
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def write_files(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def contents(photos):
    return [(photo.name, photo.data, photo.label) for photo in photos]


def test_labels_stand_beside_their_photos(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"x/1.jpg": b"one", "x/1.cls": b"7", "2.png": b"two", "notes.txt": b"no"})
    assert contents(read_photos(path)) == [("x/1.jpg", b"one", 7), ("2.png", b"two", None)]


def test_labels_from_a_table_win(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"one", "1.cls": b"7"})
    table = tmp_path / "labels.csv"
    table.write_text("file,label,author\n1.jpg,3,someone\n", encoding="utf-8")
    assert read_tar(path, read_labels(table))[0].label == 3


def test_folders_are_classes_by_index_or_wordnet_id(tmp_path):
    files = {"7/b.JPEG": b"b", "n01440764/deep/a.png": b"a", "cats/c.jpg": b"c", "d.webp": b"d", "7/notes.txt": b""}
    assert contents(read_photos(write_files(tmp_path, files))) == [
        ("7/b.JPEG", b"b", 7),
        ("cats/c.jpg", b"c", None),
        ("d.webp", b"d", None),
        ("n01440764/deep/a.png", b"a", 0),
    ]


def test_labels_for_a_folder_go_by_the_path_inside_it(tmp_path):
    write_files(tmp_path, {"1.jpg": b"", "2/1.jpg": b""})
    assert [photo.label for photo in read_photos(tmp_path, {"1.jpg": 5})] == [5, 2]
    assert [photo.label for photo in read_photos(tmp_path, {"2/1.jpg": 5})] == [None, 5]


def test_a_table_names_files_relative_to_itself(tmp_path):
    write_files(tmp_path, {"photos/1.jpg": b"one", "photos/2.jpg": b"two", "photos/3.jpg": b"three"})
    table = tmp_path / "list.csv"
    # As Excel writes it: with a byte order mark.
    table.write_text("label,file\n3,photos/1.jpg\n,photos/2.jpg\nn15075141,photos/3.jpg\n", encoding="utf-8-sig")
    assert contents(read_photos(table)) == [
        ("photos/1.jpg", b"one", 3),
        ("photos/2.jpg", b"two", None),
        ("photos/3.jpg", b"three", 999),
    ]
    assert read_labels(table) == {"photos/1.jpg": 3, "photos/3.jpg": 999}


def test_a_file_that_went_missing_is_reported_when_it_is_read(tmp_path):
    table = tmp_path / "list.csv"
    table.write_text("file,label\nmissing.jpg,3\n", encoding="utf-8")
    [photo] = read_photos(table)
    with pytest.raises(ImageError, match=r"missing\.jpg"):
        _ = photo.data


def test_files_that_hold_no_photos_are_refused(tmp_path):
    broken = tmp_path / "broken.tar"
    broken.write_bytes(b"not a tar file")
    empty = write_tar(tmp_path / "empty.tar", {"readme.txt": b"hello"})
    unlabelled = write_tar(tmp_path / "unlabelled.tar", {"1.jpg": b"", "1.cls": b"cat"})
    for path in (broken, empty, unlabelled, tmp_path / "missing.tar"):
        with pytest.raises(ImageError, match=r"\.tar"):
            read_photos(path)


def test_folders_and_tables_that_hold_no_photos_are_refused(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    table = tmp_path / "list.csv"
    table.write_text("file,label\n", encoding="utf-8")
    for path in (empty, table):
        with pytest.raises(ImageError, match="no pictures"):
            read_photos(path)


@pytest.mark.parametrize("text", ["name,class\na,1\n", "file,label\na.jpg,cat\n", "file,label\na.jpg,-1\n"])
def test_a_table_without_the_columns_or_with_other_labels_is_refused(tmp_path, text):
    table = tmp_path / "labels.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(ImageError, match="file and label"):
        read_labels(table)


def test_a_table_that_is_missing_or_no_text_is_refused(tmp_path):
    picture = tmp_path / "labels.csv"
    picture.write_bytes(b"\xff\xd8\xff")
    for path in (picture, tmp_path / "missing.csv"):
        with pytest.raises(ImageError, match=r"\.csv"):
            read_photos(path)
