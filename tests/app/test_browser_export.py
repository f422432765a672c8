"""Export, links and the About tab in a real browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from browsing import Page, needs_browser
from PIL import Image

pytestmark = needs_browser

LINK = "?__theme=light&lang=en&example=corgis&ratios=0.6,0.5,0.2&stage=2&patch=90"
SCENE = "(({ image, settings, stage, patch }) => [image, settings, stage, patch])(dynamicvit.scene ?? {})"


def wait_for_scene(page: Page, *expected: Any) -> None:
    page.raw.wait_for_function(f"(wanted) => JSON.stringify({SCENE}) === wanted", arg=compact(expected))


def wait_for_address(page: Page, **expected: str | None) -> None:
    holds = "([name, value]) => new URL(location).searchParams.get(name) === value"
    for pair in expected.items():
        page.raw.wait_for_function(holds, arg=list(pair))


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def saved_file(page: Page, file_format: str) -> Path:
    """Press a button of the Export tab and give the file that the browser saves."""
    with page.raw.expect_download() as download:
        page.raw.locator(f"[data-format={file_format}]").press("Enter")
    path = Path(download.value.path())
    return path.rename(path.with_name(download.value.suggested_filename))


def test_a_link_reopens_picture_settings_view_and_patch(open_page: Any) -> None:
    page = open_page(query=LINK)
    wait_for_scene(page, "corgis", {"keep_ratio": [0.6, 0.5, 0.2]}, 2, 90)
    assert page.raw.locator("[data-part=link-note]").is_hidden()


def test_what_a_link_cannot_have_is_said_in_one_sentence(open_page: Any) -> None:
    page = open_page(query="?__theme=light&lang=en&example=<img src=x>&ratio=7&patch=3")
    page.raw.locator("[data-part=link-note]", has_text="left out: example, ratio.").wait_for()
    wait_for_scene(page, "butterfly", {"keep_ratio": 0.7}, 3, 3)


def test_back_goes_through_tabs_and_pictures_and_a_link_opens_a_tab(open_page: Any) -> None:
    page = open_page(query="?__theme=light&lang=en&tab=export&ratio=0.45")
    page.raw.locator("#export").wait_for()
    wait_for_scene(page, "butterfly", {"keep_ratio": 0.45}, 3, None)
    page.raw.get_by_role("button", name="Example: Espresso").click()
    wait_for_address(page, tab="export", example="espresso")
    page.raw.locator("#tab-explore-button").click()
    wait_for_address(page, tab=None, example="espresso")
    page.raw.locator("[data-part=slider]").press("ArrowLeft")  # no new entry
    wait_for_address(page, ratio="0.44")
    page.raw.go_back()
    page.raw.locator("#export").wait_for()
    page.raw.go_back()
    wait_for_scene(page, "butterfly", {"keep_ratio": 0.45}, 3, None)
    wait_for_address(page, tab="export", example="butterfly")
    page.raw.go_forward()
    wait_for_scene(page, "espresso", {"keep_ratio": 0.45}, 3, None)


def test_a_copied_link_opens_the_same_view(open_page: Any) -> None:
    page = open_page(query=LINK)
    wait_for_scene(page, "corgis", {"keep_ratio": [0.6, 0.5, 0.2]}, 2, 90)
    page.raw.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.open_tab("export")
    page.raw.get_by_role("button", name="Copy link").press("Enter")
    page.raw.get_by_text("Copied.").wait_for()
    link = page.raw.evaluate("navigator.clipboard.readText()")
    assert link == page.raw.get_by_role("textbox", name="Link to this view").input_value()
    again = open_page(query="?" + urlsplit(link).query)
    wait_for_scene(again, "corgis", {"keep_ratio": [0.6, 0.5, 0.2]}, 2, 90)
    again.raw.wait_for_function("location.href === dynamicvit.link.url")  # the address bar follows


def test_without_a_clipboard_the_link_is_there_to_copy_by_hand(page: Page) -> None:
    page.raw.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
    page.open_tab("export")
    page.raw.get_by_role("button", name="Copy link").click()
    page.raw.get_by_text("press Ctrl+C").wait_for()
    field = page.raw.get_by_role("textbox", name="Link to this view")
    page.raw.evaluate("dynamicvit.publishLink(dynamicvit.link)")  # as after a measurement
    assert field.evaluate("(node) => node.selectionEnd - node.selectionStart === node.value.length")
    assert page.raw.get_by_text("press Ctrl+C").is_visible()
    assert parse_qs(urlsplit(field.input_value()).query)["example"] == ["butterfly"]


def test_an_uploads_json_waits_for_its_picture_in_a_new_page(open_page: Any, tmp_path: Path) -> None:
    picture = tmp_path / "holiday.png"
    Image.linear_gradient("L").save(picture)
    page = open_page(query="?__theme=light&lang=en&ratio=0.45")
    wait_for_scene(page, "butterfly", {"keep_ratio": 0.45}, 3, None)
    page.upload(picture)
    page.wait_for_other_image("butterfly")
    page.open_tab("export")
    page.raw.get_by_text("cannot be in a link").wait_for()
    saved = saved_file(page, "json")
    assert saved.name == "holiday-keep0.45.json"

    new = open_page()
    new.open_tab("export")
    new.raw.locator("[data-part=file]").set_input_files(saved)
    new.raw.locator("[data-part=open-state]", has_text="holiday.png").wait_for()
    new.upload(picture)
    new.raw.locator("[data-part=open-state]", has_text="comes out the same").wait_for()
    new.wait_for_ratio("0.45")


def test_json_of_an_example_brings_its_view_back(open_page: Any) -> None:
    page = open_page(query=LINK)
    wait_for_scene(page, "corgis", {"keep_ratio": [0.6, 0.5, 0.2]}, 2, 90)
    page.open_tab("export")
    saved = saved_file(page, "json")
    assert saved.name == "corgis-keep0.60-0.50-0.20.json"
    page.raw.get_by_role("button", name="Example: Espresso").click()
    page.wait_for_other_image("corgis")
    page.raw.locator("[data-part=file]").set_input_files(saved)
    wait_for_scene(page, "corgis", {"keep_ratio": [0.6, 0.5, 0.2]}, 2, 90)


def test_a_file_that_is_no_analysis_changes_nothing(page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    page.open_tab("export")
    page.raw.locator("[data-part=file]").set_input_files(broken)
    page.raw.get_by_text("no analysis that the app saved").wait_for()
    assert page.shown()[0] == "butterfly"


def test_a_slide_is_saved_and_shown(page: Page) -> None:
    page.open_tab("export")
    saved = saved_file(page, "png")
    assert saved.name == "butterfly-keep0.70.png"
    with Image.open(saved) as picture:
        assert picture.size == (1920, 1080)
    assert page.raw.get_by_role("img", name="The saved file butterfly-keep0.70.png").is_visible()


def test_about_draws_the_method_in_the_pages_language(open_page: Any) -> None:
    page = open_page(width=390, height=844, query="?__theme=dark&lang=en")
    page.open_tab("about")
    page.raw.locator("#about svg", has_text="Predictor 1").wait_for()
    page.raw.get_by_text("中文").click()
    page.raw.locator("#about svg", has_text="预测模块 1").wait_for()
    assert page.raw.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_hint_says_what_a_word_means_by_keyboard_mouse_and_tap(page: Page) -> None:
    page.open_tab("about")
    page.raw.locator("#about svg").wait_for()
    hint = page.raw.get_by_role("button", name="What does “GMACs” mean?")
    bubble = page.raw.get_by_role("tooltip")
    hint.scroll_into_view_if_needed()
    page.raw.wait_for_timeout(200)
    hint.hover()
    bubble.wait_for()
    page.raw.mouse.move(5, 5)
    bubble.wait_for(state="hidden")
    hint.focus()
    bubble.get_by_text("thousand millions").wait_for()
    assert hint.get_attribute("aria-describedby") == bubble.get_attribute("id")
    page.raw.keyboard.press("Escape")
    bubble.wait_for(state="hidden")
    hint.click()
    bubble.wait_for()
