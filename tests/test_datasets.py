"""Photos and labels come out of tar files, folders and CSV tables as they went in."""

import io
import os
import tarfile

import pytest

from dynamicvit.datasets import is_image, read_labels, read_photos, read_tar
from dynamicvit.errors import ImageError
from dynamicvit.labels import default_class_names

IMAGENET = default_class_names(1000)


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


def contents(listing):
    return [(photo.name, photo.data, photo.label) for photo in listing.photos]


def test_labels_stand_beside_their_photos(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"x/1.jpg": b"one", "x/1.cls": b"7", "2.png": b"two", "notes.txt": b"no"})
    assert contents(read_photos(path, IMAGENET)) == [("x/1.jpg", b"one", 7), ("2.png", b"two", None)]


def test_labels_from_a_table_win(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"one", "1.cls": b"7"})
    table = tmp_path / "labels.csv"
    table.write_text("file,label,author\n1.jpg,3,someone\n", encoding="utf-8")
    assert read_tar(path, read_labels(table, IMAGENET)).photos[0].label == 3


def test_folders_are_classes_by_index_or_wordnet_id(tmp_path):
    files = {"7/b.JPEG": b"b", "n01440764/deep/a.png": b"a", "cats/c.jpg": b"c", "d.webp": b"d", "7/notes.txt": b""}
    assert contents(read_photos(write_files(tmp_path, files), IMAGENET)) == [
        ("7/b.JPEG", b"b", 7),
        ("cats/c.jpg", b"c", None),
        ("d.webp", b"d", None),
        ("n01440764/deep/a.png", b"a", 0),
    ]


def test_labels_for_a_folder_go_by_the_path_inside_it(tmp_path):
    write_files(tmp_path, {"1.jpg": b"", "2/1.jpg": b""})
    assert [photo.label for photo in read_photos(tmp_path, IMAGENET, {"1.jpg": 5}).photos] == [5, 2]
    assert [photo.label for photo in read_photos(tmp_path, IMAGENET, {"2/1.jpg": 5}).photos] == [None, 5]


def test_a_table_names_files_relative_to_itself(tmp_path):
    write_files(tmp_path, {"photos/1.jpg": b"one", "photos/2.jpg": b"two", "photos/3.jpg": b"three"})
    table = tmp_path / "list.csv"
    # As Excel writes it: with a byte order mark.
    table.write_text("label,file\n3,photos/1.jpg\n,photos/2.jpg\nn15075141,photos/3.jpg\n", encoding="utf-8-sig")
    assert contents(read_photos(table, IMAGENET)) == [
        ("photos/1.jpg", b"one", 3),
        ("photos/2.jpg", b"two", None),
        ("photos/3.jpg", b"three", 999),
    ]
    assert read_labels(table, IMAGENET) == {"photos/1.jpg": 3, "photos/3.jpg": 999}


def test_a_file_that_went_missing_is_reported_when_it_is_read(tmp_path):
    table = tmp_path / "list.csv"
    table.write_text("file,label\nmissing.jpg,3\n", encoding="utf-8")
    [photo] = read_photos(table, IMAGENET).photos
    with pytest.raises(ImageError, match=r"missing\.jpg"):
        _ = photo.data


def test_files_that_hold_no_photos_are_refused(tmp_path):
    broken = tmp_path / "broken.tar"
    broken.write_bytes(b"not a tar file")
    empty = write_tar(tmp_path / "empty.tar", {"readme.txt": b"hello"})
    unlabelled = write_tar(tmp_path / "unlabelled.tar", {"1.jpg": b"", "1.cls": b"cat"})
    for path in (broken, empty, unlabelled, tmp_path / "missing.tar"):
        with pytest.raises(ImageError, match=r"\.tar"):
            read_photos(path, IMAGENET)


def test_folders_and_tables_that_hold_no_photos_are_refused(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    table = tmp_path / "list.csv"
    table.write_text("file,label\n", encoding="utf-8")
    for path in (empty, table):
        with pytest.raises(ImageError, match="no images"):
            read_photos(path, IMAGENET)


def test_a_table_without_the_columns_is_refused(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("name,class\na,1\n", encoding="utf-8")
    with pytest.raises(ImageError, match="file and label"):
        read_labels(table, IMAGENET)


@pytest.mark.parametrize("label", ["cats", "-1", "1000", "9" * 5000])
def test_a_label_that_is_no_class_is_refused_with_its_file(tmp_path, label):
    table = tmp_path / "labels.csv"
    table.write_text(f"file,label\nb.jpg,3\na.jpg,{label}\n", encoding="utf-8")
    with pytest.raises(ImageError, match=r"labels\.csv gives a\.jpg the label .* none of the model's 1000 classes"):
        read_labels(table, IMAGENET)


def test_a_table_may_name_classes(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("file,label\na.jpg,red\nb.jpg,0\n", encoding="utf-8")
    assert read_labels(table, ("blue", "red")) == {"a.jpg": 1, "b.jpg": 0}


def test_folders_are_the_classes_that_the_model_calls_so(tmp_path):
    write_files(tmp_path, {"red/1.jpg": b"", "blue/1.jpg": b"", "green/1.jpg": b"", "1/1.jpg": b""})
    listing = read_photos(tmp_path, ("red", "blue"))
    assert {photo.name: photo.label for photo in listing.photos} == {
        "red/1.jpg": 0,
        "blue/1.jpg": 1,
        "green/1.jpg": None,
        "1/1.jpg": 1,
    }


def test_hidden_copies_and_files_of_other_kinds_are_left_out_counted_and_named(tmp_path):
    hidden = ["blue/.ipynb_checkpoints/a-checkpoint.png", "blue/._a.png", ".DS_Store", "__MACOSX/blue/a.png"]
    others = ["blue/Thumbs.db", "blue/a.txt", "heic/b.heic"]
    write_files(tmp_path, dict.fromkeys(["blue/a.png", *hidden, *others], b"x"))
    (tmp_path / "empty").mkdir()
    listing = read_photos(tmp_path, IMAGENET)
    assert [photo.name for photo in listing.photos] == ["blue/a.png"]
    assert sorted(listing.left_out) == sorted([*hidden, *others])
    assert listing.empty_folders == ["empty", "heic"]
    count, empty = listing.notes
    assert count.startswith("7 files are left out")
    assert ".DS_Store, __MACOSX/blue/a.png, " in count
    assert empty == "No photos are in empty, heic."


def test_hidden_files_in_a_tar_are_left_out(tmp_path):
    files = {"1.jpg": b"one", "1.cls": b"7", "._1.jpg": b"x", "._1.cls": b"x", "1.json": b"{}"}
    listing = read_photos(write_tar(tmp_path / "a.tar", files), IMAGENET)
    assert contents(listing) == [("1.jpg", b"one", 7)]
    assert listing.left_out == ["._1.jpg", "._1.cls", "1.json"]


@pytest.mark.parametrize(
    "suffix", ["jpg", "JPEG", "png", "webp", "avif", "gif", "bmp", "tif", "TIFF", "ppm", "jp2", "jfif"]
)
def test_every_format_that_can_be_decoded_is_taken(suffix):
    assert is_image(f"class/photo.{suffix}")


@pytest.mark.parametrize("name", ["photo", "photo.svg", "photo.eps", "photo.jpg.txt", ".jpg", "._photo.jpg"])
def test_other_files_are_not(name):
    assert not is_image(name)


def test_class_folders_behind_links_are_read_and_a_loop_ends(tmp_path):
    write_files(tmp_path, {"elsewhere/a.png": b"a", "photos/blue/b.png": b"b"})
    os.symlink(tmp_path / "elsewhere", tmp_path / "photos" / "red")
    os.symlink(tmp_path / "photos", tmp_path / "photos" / "blue" / "again")
    listing = read_photos(tmp_path / "photos", ("blue", "red"))
    assert [(photo.name, photo.label) for photo in listing.photos] == [("blue/b.png", 0), ("red/a.png", 1)]


def test_a_table_that_is_missing_or_no_text_is_refused(tmp_path):
    picture = tmp_path / "labels.csv"
    picture.write_bytes(b"\xff\xd8\xff")
    for path in (picture, tmp_path / "missing.csv"):
        with pytest.raises(ImageError, match=r"\.csv"):
            read_photos(path, IMAGENET)
