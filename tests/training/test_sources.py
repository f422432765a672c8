"""Photos come from folders, tar files and the hub, with the labels that are meant."""

import io
import sys
import tarfile
from types import SimpleNamespace

import pytest
from training.examples import picture_bytes, write_folder, write_tar

from dynamicvit.datasets import read_photos
from dynamicvit.errors import ImageError, SettingError
from dynamicvit.training.sources import open_photos, open_validation


def write_classes(folder, *names, suffix="png"):
    """A photo in each of the sub-folders."""
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / f"a.{suffix}").write_bytes(picture_bytes(0, 0))
    return str(folder)


def test_sub_folders_are_classes_in_the_order_of_their_names(tmp_path):
    photos = open_photos([str(write_folder(tmp_path / "photos", 3))], 2)
    assert photos.class_names == ("blue", "red")
    assert photos.labels == (0, 0, 0, 1, 1, 1)
    assert photos.photos[3].data == picture_bytes(1, 0)
    assert photos.photos[3].label == 1


def test_sub_folders_named_by_numbers_are_the_same_classes_in_training_and_evaluation(tmp_path):
    folder = write_classes(tmp_path, *map(str, range(11)))
    photos = open_photos([folder], 11)
    assert photos.class_names == tuple(map(str, range(11)))
    for found in (photos, open_validation([folder], photos.class_names)):
        assert {int(photo.class_folder): label for photo, label in zip(found.photos, found.labels, strict=True)} == {
            number: number for number in range(11)
        }
    evaluated = read_photos(tmp_path, photos.class_names).photos
    assert tuple(photo.label for photo in evaluated) == photos.labels


def test_validation_folders_have_the_classes_of_the_training(tmp_path):
    folder = write_folder(tmp_path / "photos", 1)
    assert open_validation([str(folder)], ("red", "black", "blue")).labels == (2, 0)
    with pytest.raises(SettingError, match="none of the classes that are trained: red; the classes are black, blue"):
        open_validation([str(folder)], ("black", "blue"))


def test_class_indices_and_wordnet_ids_name_classes_of_a_larger_model(tmp_path):
    folder = write_classes(tmp_path, "7", "n01440764")
    assert open_photos([folder], 1000).labels == (7, 0)
    assert open_photos([folder], 1000).class_names[0] == "tench"
    assert open_photos([folder], 2).labels == (0, 1)


def test_start_weights_say_which_class_is_which(tmp_path):
    folder = write_classes(tmp_path, "blue", "red")
    photos = open_photos([folder], 3, known_names=("red", "green", "blue"))
    assert (photos.labels, photos.class_names) == ((2, 0), ("red", "green", "blue"))
    photos = open_photos([folder], 2, known_names=("cat", "dog"))
    assert (photos.labels, photos.class_names) == ((0, 1), ("blue", "red"))


def test_a_class_of_another_format_is_read_and_what_is_left_out_is_said(tmp_path):
    write_classes(tmp_path, "blue")
    write_classes(tmp_path, "red", suffix="bmp")
    write_classes(tmp_path, ".ipynb_checkpoints")
    photos = open_photos([str(tmp_path)], 2)
    assert photos.class_names == ("blue", "red")
    assert photos.notes == ("1 file is left out, hidden or no image that can be read: .ipynb_checkpoints/a.png.",)


def test_other_numbers_of_classes_are_refused_with_what_to_give(tmp_path):
    folder = write_classes(tmp_path, "blue", "red")
    with pytest.raises(SettingError, match=r"would be 2 classes \(blue, red\), the model knows 1000; give --classes 2"):
        open_photos([folder], 1000)
    assert open_photos([folder], 1000, ignore_labels=True).labels == (None, None)


@pytest.mark.parametrize("num_classes", [1000, 1, 2])
def test_one_folder_too_high_the_place_of_the_classes_is_said(tmp_path, num_classes):
    write_classes(tmp_path, "train/blue", "train/red", *(["val/blue", "val/red"] if num_classes > 1 else []))
    with pytest.raises(SettingError, match=r"the 2 folders in \S*train: give that folder to --data"):
        open_photos([str(tmp_path)], num_classes)
    with pytest.raises(SettingError, match=r"none of the classes that are trained: train.* folders in \S*train"):
        open_validation([str(tmp_path)], ("blue", "red"))


def test_one_folder_too_low_the_place_of_the_classes_is_said(tmp_path):
    write_classes(tmp_path, "blue", "red")
    photos = open_photos([str(tmp_path / "blue")], 2)
    assert photos.labels == (None,)
    assert f"have no labels; the classes seem to be the 2 folders in {tmp_path}" in photos.notes[0]
    assert open_validation([str(tmp_path / "red")], ("blue", "red")).notes[0].startswith("The photos of")


def test_photos_beside_the_class_folders_are_named(tmp_path):
    write_classes(tmp_path, "blue", "red")
    (tmp_path / "stray.png").write_bytes(picture_bytes(0, 0))
    with pytest.raises(SettingError, match=r"lie beside the sub-folders of the classes: 1 \(stray\.png\)"):
        open_photos([str(tmp_path)], 2)


def test_a_flat_folder_and_tar_files_have_no_labels_unless_a_table_gives_them(tmp_path):
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.png").write_bytes(picture_bytes(0, 0))
    assert open_photos([str(tmp_path / "flat")], 2).labels == (None,)
    (tmp_path / "labels.csv").write_text("file,label\na.png,1\n")
    assert open_photos([str(tmp_path / "flat")], 2, labels=tmp_path / "labels.csv").labels == (1,)
    tars = [str(write_tar(tmp_path / f"{index}.tar", 2)) for index in range(2)]
    assert len(open_photos(tars, 2)) == 4


def test_sources_that_do_not_go_together_are_refused(tmp_path):
    with pytest.raises(SettingError, match="Give one image folder"):
        open_photos([str(tmp_path), str(tmp_path)], 2)


def test_labels_are_of_all_photos_or_of_none_and_fit_the_model(tmp_path):
    source = [str(write_tar(tmp_path / "photos.tar", 2))]
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\n0.png,1\n1.png,\n")
    with pytest.raises(SettingError, match="1 of 2 photos have no label"):
        open_photos(source, 2, labels=labels)
    assert open_photos(source, 2, labels=labels, ignore_labels=True).labels == (None, None)
    labels.write_text("file,label\n0.png,0\n1.png,5\n")
    with pytest.raises(ImageError, match="none of the model's 2 classes"):
        open_photos(source, 2, labels=labels)


def test_class_indices_in_a_tar_fit_the_model(tmp_path):
    path = tmp_path / "labelled.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in (("a.png", picture_bytes(0, 0)), ("a.cls", b"5")):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    for open_source in (open_photos, lambda sources, count: open_validation(sources, ("a",) * count)):
        with pytest.raises(SettingError, match="from 5 to 5, the model knows 2"):
            open_source([str(path)], 2)


def test_without_the_hubs_library_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SettingError, match="pip install datasets"):
        open_photos(["hf:some/set"], 2)


@pytest.fixture
def hub(monkeypatch):
    """A library for the hub with one data set, of a red and a blue image."""

    class Rows:
        column_names = ("image", "label")

        def __init__(self):
            self.features = {"label": SimpleNamespace(names=["blue", "red"])}

        def __len__(self):
            return 2

        def __getitem__(self, key):
            return [1, 0] if key == "label" else {"image": {"bytes": picture_bytes(key, 0), "path": None}}

        def cast_column(self, name, kind):
            return self

    def load_dataset(name, split):
        assert (name, split) == ("some/set", "test")
        return Rows()

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset, Image=lambda decode: None))
    return ["hf:some/set:test"]


def test_a_hub_data_set_is_read_row_by_row(hub):
    photos = open_photos(hub, 2)
    assert photos.labels == (1, 0)
    assert photos.class_names == ("blue", "red")
    assert photos.photos[1].data == picture_bytes(1, 0)
    assert [photo.label for photo in photos.photos] == [1, 0]
    with pytest.raises(SettingError, match="give --classes 2"):
        open_photos(hub, 1000)


def test_a_hub_data_set_gets_the_models_numbers_of_its_classes(hub):
    for photos in (
        open_photos(hub, 3, known_names=("red", "green", "blue")),
        open_validation(hub, ("red", "green", "blue")),
    ):
        assert photos.labels == tuple(photo.label for photo in photos.photos) == (0, 2)
    assert open_validation(hub, ("class 0", "class 1")).labels == (1, 0)
    assert open_photos(hub, 2, known_names=("cat", "dog")).class_names == ("blue", "red")
    with pytest.raises(SettingError, match="none of those that are trained: blue"):
        open_validation(hub, ("red", "green"))
