"""The disk does not fill up, whatever visitors leave behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from gradio.utils import get_upload_folder

from dynamicvit.app import temporary
from dynamicvit.app.temporary import MAX_AGE_S, TemporaryFiles


def write(folder: Path, name: str, age_s: float, size: int = 10) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_what_is_older_than_an_hour_goes_with_its_folder(tmp_path: Path) -> None:
    old = write(tmp_path, "hash/old.png", MAX_AGE_S + 60)
    new = write(tmp_path, "other/new.png", MAX_AGE_S - 60)
    TemporaryFiles(tmp_path).clean_up()
    assert not old.parent.exists()
    assert new.exists()


def test_of_too_many_bytes_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary, "MAX_BYTES", 250)
    files = [write(tmp_path, f"{age}.png", age, 100) for age in (400, 300, 200, 100)]
    TemporaryFiles(tmp_path).clean_up()
    assert [file.exists() for file in files] == [False, False, True, True]


def test_links_are_not_followed(tmp_path: Path) -> None:
    elsewhere = write(tmp_path, "elsewhere/kept.png", MAX_AGE_S + 60)
    folder = tmp_path / "uploads"
    folder.mkdir()
    (folder / "link.png").symlink_to(elsewhere)
    (folder / "folder").symlink_to(elsewhere.parent)
    TemporaryFiles(folder).clean_up(time.time() + 2 * MAX_AGE_S)
    assert elsewhere.exists()
    assert not (folder / "link.png").is_symlink()


def test_a_folder_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    TemporaryFiles(tmp_path / "none").clean_up()


def test_the_folder_is_the_apps_alone_and_the_one_that_gradio_uses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    folder = TemporaryFiles.own().folder
    assert folder.parent == tmp_path
    assert get_upload_folder() == str(folder)
    assert TemporaryFiles.own().folder == folder, "each reload would go a folder deeper"


def test_cleaning_begins_at_the_start(tmp_path: Path) -> None:
    old = write(tmp_path, "left-by-a-killed-app.png", MAX_AGE_S + 60)
    with TemporaryFiles(tmp_path).kept_small():
        deadline = time.monotonic() + 30
        while old.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert not old.exists()
