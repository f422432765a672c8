"""Where the classes of a folder of photos lie is found when the folder is one too high or too low."""

import pytest

from dynamicvit.datasets import are_parts_of_a_data_set, read_folder, where_classes_lie


def folder_of(path, *names):
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"")
    return path


def lies(folder):
    return where_classes_lie(folder, read_folder(folder).photos)


@pytest.mark.parametrize("parts", [["train"], ["train", "val"], ["test", "train", "val"]])
def test_one_folder_too_high_the_training_part_is_named(tmp_path, parts):
    folder_of(tmp_path, *[f"{part}/{name}/a.png" for part in parts for name in ("blue", "red")])
    assert lies(tmp_path) == f"the classes seem to be the 2 folders in {tmp_path / 'train'}"
    assert are_parts_of_a_data_set(read_folder(tmp_path).photos)


def test_without_such_a_name_the_part_with_the_most_folders_is_named(tmp_path):
    folder_of(tmp_path, "a/blue/1.png", "b/blue/1.png", "b/red/1.png", "b/green/1.png")
    assert lies(tmp_path) == f"the classes seem to be the 3 folders in {tmp_path / 'b'}"
    assert not are_parts_of_a_data_set(read_folder(tmp_path).photos)


def test_one_folder_too_low_the_folder_above_is_named(tmp_path):
    folder_of(tmp_path, "train/blue/1.png", "train/red/1.bmp", "train/notes.txt", "train/empty/a.txt")
    assert (
        lies(tmp_path / "train" / "blue")
        == f"the classes seem to be the 2 folders in {tmp_path / 'train'}, one of them this"
    )


def test_nothing_is_said_of_folders_that_look_like_classes_or_stand_alone(tmp_path):
    folder_of(tmp_path, "photos/blue/1.png", "photos/red/deep/1.png", "alone/1.png")
    assert lies(tmp_path / "photos") == lies(tmp_path / "alone") == ""
    assert not are_parts_of_a_data_set(read_folder(tmp_path / "photos").photos)
