"""A file is whole under its name or not there, and what cannot be written is said in one sentence."""

import os

import pytest
from full_disk import room_for

from dynamicvit.errors import DynamicViTError, OutputError
from dynamicvit.writing import write_whole


def test_a_full_disk_leaves_the_old_content_and_nothing_else(tmp_path):
    path = tmp_path / "result.json"
    write_whole(path, b"old")
    with (
        room_for(1000),
        pytest.raises(OutputError, match=r"result\.json cannot be written \(File too large\)\. Make room"),
    ):
        write_whole(path, b"new" * 1000)
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(("name", "reason"), [("folder", "Is a directory"), ("file/inside", "Not a directory")])
def test_a_place_that_takes_no_file_is_named(tmp_path, name, reason):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(DynamicViTError, match=f"{name} cannot be written .{reason}."):
        write_whole(tmp_path / name, b"new")
    assert {path.name for path in tmp_path.rglob("*")} == {"folder", "file"}


def test_what_a_link_leads_to_is_replaced_and_a_pipe_is_written_to(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"
    reading, writing = os.pipe()
    write_whole(f"/dev/fd/{writing}", b"through")
    assert os.read(reading, 100) == b"through"
    os.close(reading)
    os.close(writing)
