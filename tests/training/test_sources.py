"""Photos come from folders, tar files and the hub, with the labels that are meant."""

import sys
from types import SimpleNamespace

import pytest
from training.examples import picture_bytes, write_folder, write_tar

from dynamicvit.errors import ImageError, SettingError
from dynamicvit.training.sources import PhotoSet, open_photos, training_labels


def test_sub_folders_are_classes_in_the_order_of_their_names(tmp_path):
    photos = open_photos([str(write_folder(tmp_path / "photos", 3))], 2)
    assert photos.class_names == ("blue", "red")
    assert photos.labels == (0, 0, 0, 1, 1, 1)
    assert photos.photos[3].data == picture_bytes(1, 0)


def test_validation_folders_have_the_classes_of_the_training(tmp_path):
    folder = write_folder(tmp_path / "photos", 1)
    assert open_photos([str(folder)], 3, class_names=("black", "blue", "red")).labels == (1, 2)
    with pytest.raises(ImageError, match="folder red"):
        open_photos([str(folder)], 2, class_names=("black", "blue"))


def test_class_indices_and_wordnet_ids_name_classes_of_a_larger_model(tmp_path):
    for name in ("7", "n01440764"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(picture_bytes(0, 0))
    assert open_photos([str(tmp_path)], 1000).labels == (7, 0)
    assert open_photos([str(tmp_path)], 2).labels == (0, 1)


def test_a_flat_folder_and_tar_files_have_no_labels_unless_a_table_gives_them(tmp_path):
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.png").write_bytes(picture_bytes(0, 0))
    assert open_photos([str(tmp_path / "flat")], 2).labels == (None,)
    assert open_photos([str(tmp_path / "flat")], 2, {"a.png": 1}).labels == (1,)
    tars = [str(write_tar(tmp_path / f"{index}.tar", 2)) for index in range(2)]
    assert len(open_photos(tars, 2)) == 4


def test_sources_that_do_not_go_together_are_refused(tmp_path):
    with pytest.raises(SettingError, match="Give one image folder"):
        open_photos([str(tmp_path), str(tmp_path)], 2)


def test_labels_are_of_all_photos_or_of_none_and_fit_the_model():
    photos = PhotoSet([], (0, None))
    with pytest.raises(SettingError, match="1 of 2 photos have no label"):
        training_labels(photos, 2, ignored=False)
    assert training_labels(photos, 2, ignored=True) == (None, None)
    with pytest.raises(SettingError, match="from 0 to 5, the model knows 2"):
        training_labels(PhotoSet([], (0, 5)), 2, ignored=False)
    with pytest.raises(SettingError, match="give --classes 3"):
        training_labels(PhotoSet([], (0, 1), ("a", "b", "c")), 1000, ignored=False)


def test_without_the_hubs_library_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SettingError, match="pip install datasets"):
        open_photos(["hf:some/set"], 2)


def test_a_hub_data_set_is_read_row_by_row(monkeypatch):
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

    library = SimpleNamespace(load_dataset=load_dataset, Image=lambda decode: None)
    monkeypatch.setitem(sys.modules, "datasets", library)
    photos = open_photos(["hf:some/set:test"], 2)
    assert photos.labels == (1, 0)
    assert photos.class_names == ("blue", "red")
    assert photos.photos[1].data == picture_bytes(1, 0)
    assert [photo.label for photo in photos.photos] == [1, 0]
