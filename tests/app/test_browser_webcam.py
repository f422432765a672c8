"""A single shot of the webcam, in a browser whose camera shows a test image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browsing import CHROMIUM, PATIENCE_MS, Page, needs_browser

pytestmark = needs_browser


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need the package playwright")
    options = ["--headless", "--no-sandbox", "--disable-gpu"]
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_api.sync_playwright() as playwright:
        browser: Any = playwright.chromium.launch(executable_path=CHROMIUM, args=options + camera)
        raw = browser.new_page()
        raw.set_default_timeout(PATIENCE_MS)
        raw.goto(address + "?__theme=light")
        raw.locator("[data-part=root][data-painted]").wait_for()
        yield Page(raw)
        browser.close()


def test_shot_is_analysed_at_once(page: Page) -> None:
    before = page.shown()[0]
    page.raw.get_by_role("button", name="Remove Image").click()
    page.raw.get_by_role("button", name="Capture from camera").click()
    page.raw.get_by_text("Click to Access Webcam").click()
    page.raw.wait_for_function("document.querySelector('#picture video')?.currentTime > 0.2")
    page.raw.get_by_role("button", name="capture photo").click()
    page.wait_for_other_image(before)
    assert page.raw.locator("[data-part=problem]").first.is_hidden()
