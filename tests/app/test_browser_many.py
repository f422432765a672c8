"""The tabs with many images and with clips, in a real browser."""

from __future__ import annotations

import csv
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from browsing import ROOT, Page, needs_browser

from dynamicvit.video import ClipWriter

pytestmark = needs_browser

EXAMPLES = ROOT / "assets" / "examples"
MANY = 500  # so many images that no machine is done with them before Stop is pressed
HOSTILE = "<img src=x onerror=alert(1)>.png"
PLAYS = """() => {
  const clip = document.querySelector("#video-shown video");
  return clip && clip.videoWidth > 0 && clip.currentTime > 0 && !clip.error;
}"""


def line(page: Page, tab: str) -> Any:
    return page.raw.locator(f"#{tab}-progress [data-part=line-text]")


def start_many(page: Page, folder: Path) -> None:
    """Start a survey of MANY images, and wait until the first were looked at."""
    archive = folder / "pictures.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(MANY):
            file.write(EXAMPLES / "cat.jpg", f"{number}.jpg")
    page.open_tab("many")
    page.raw.locator("#many-files input[type=file]").set_input_files(archive)
    page.raw.locator("#many-files", has_text="pictures.zip").wait_for()
    page.raw.get_by_role("button", name="Analyse these").click()
    line(page, "many").filter(has_text=re.compile(rf"[1-9]\d* of {MANY}")).wait_for()


def test_archive_gives_maps_a_table_and_a_file(page: Page, tmp_path: Path) -> None:
    archive = tmp_path / "pictures.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(EXAMPLES / "cat.jpg", "in/cat.jpg")
        file.writestr(HOSTILE, b"no image")
    page.open_tab("many")
    page.raw.locator("#many-files input[type=file]").set_input_files([archive, EXAMPLES / "pagoda.jpg"])
    page.raw.locator("#many-files", has_text="pagoda").wait_for()
    page.raw.get_by_role("button", name="Analyse these").press("Enter")
    line(page, "many").filter(has_text="Done: 3 files").wait_for()
    assert page.text("pictures") == "2"
    assert page.raw.get_by_role("img", name="Average keep maps. Stage 1: 70").locator("svg").count() == 1
    assert page.text("problems").startswith(HOSTILE)
    page.raw.locator("#many-table").get_by_text("in/cat.jpg").filter(visible=True).first.wait_for()
    with page.raw.expect_download() as download:
        page.raw.get_by_text("Download as CSV").click()
    rows = list(csv.DictReader(Path(download.value.path()).read_text(encoding="utf-8-sig").splitlines()))
    assert [row["picture"] for row in rows] == ["in/cat.jpg", "pagoda.jpg"]
    page.raw.get_by_text("中文").click()
    page.raw.locator("#many-table").get_by_text("稠密模型的答案").filter(visible=True).first.wait_for()
    assert line(page, "many").inner_text().endswith("共 3 个文件。")


def test_survey_can_be_stopped_and_keeps_what_it_has(page: Page, tmp_path: Path) -> None:
    start_many(page, tmp_path)
    with page.raw.expect_response("**/reset"):  # the run is cancelled
        page.raw.locator("#many-stop").click()
    deadline = time.monotonic() + 60
    while line(page, "many").filter(has_text="Stopped after").count() == 0 and time.monotonic() < deadline:
        # A result that was on its way may come after the first press and show the button again.
        page.raw.evaluate("document.querySelector('#many-stop')?.click()")
        page.raw.wait_for_timeout(200)
    line(page, "many").filter(has_text="Stopped after").wait_for()
    looked_at = int(line(page, "many").inner_text().split()[2])
    assert 1 <= looked_at < MANY
    page.raw.locator("#many-stop").wait_for(state="hidden")
    page.raw.wait_for_function("(n) => document.querySelector('[data-part=pictures]').textContent == n", arg=looked_at)


def test_survey_that_is_started_right_after_stop_is_not_stopped_with_the_old_one(page: Page, tmp_path: Path) -> None:
    start_many(page, tmp_path)
    page.raw.locator("#many-stop").click()
    deadline = time.monotonic() + 60
    examples = page.raw.get_by_role("button", name="Analyse the examples")
    while line(page, "many").filter(has_text="8 files").count() == 0 and time.monotonic() < deadline:
        examples.click()  # has no effect while the page still cancels
        page.raw.wait_for_timeout(200)
    line(page, "many").filter(has_text="Done: 8 files").wait_for()


def test_clip_is_played_with_its_stages(page: Page, tmp_path: Path) -> None:
    with ClipWriter(tmp_path / "clip", 8.0) as writer:
        for step in range(8):
            writer.write(np.full((120, 160, 3), 25 * step, np.uint8))
    page.open_tab("video")
    page.raw.locator("#video-clip input[type=file]").set_input_files(writer.path)
    page.raw.locator("#video-clip video").wait_for()
    assert page.raw.locator("#video-clip [aria-label^=Trim]").is_hidden()  # it would ask another host
    page.raw.get_by_role("button", name="Show the stages").press("Enter")
    line(page, "video").filter(has_text="The whole clip: 1.0 s").wait_for()
    page.raw.wait_for_function(PLAYS)


def test_example_clip_is_shown_with_one_press(page: Page) -> None:
    page.open_tab("video")
    page.raw.get_by_role("button", name="Use the example clip").click()
    line(page, "video").filter(has_text="3.0 s").wait_for()
    page.raw.wait_for_function(PLAYS)


def test_file_that_is_no_clip_is_refused_in_a_sentence(page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"this is no clip")
    page.open_tab("video")
    page.raw.locator("#video-clip input[type=file]").set_input_files(broken)
    page.raw.locator("#video-clip video").wait_for(state="attached")
    page.raw.get_by_role("button", name="Show the stages").click()
    page.raw.get_by_role("alert").get_by_text("save it as MP4").wait_for()
