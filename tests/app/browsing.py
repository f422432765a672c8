"""Driving the page in a real browser: what the browser tests share besides their fixtures."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(os.path.exists, ["/usr/bin/chromium", shutil.which("chromium") or ""]), None)
START_S = 120
PATIENCE_MS = 60_000  # a machine under load is slow, and that is no fault of the page

needs_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium at /usr/bin/chromium or on PATH"),
]

# Lets a test hold back the answer of a function, the next one or one after so many, until it lets it go.
HELD_ANSWERS = """
window.questions = 0;
window.answers = 0; // that were held back and came
window.hold = (name = "analyse", after = 0) => {
  window.held = { name, after, end: new Promise((letGo) => { window.letGo = letGo; }) };
};
const realFetch = window.fetch;
window.fetch = async (...args) => {
  const isAsked = String(args[0].url ?? args[0]).includes("component_server");
  const isOf = (name) => String(args[1]?.body).includes(`"fn_name":"${name}"`);
  if (!isAsked || isOf("place")) return realFetch(...args); // the place in the queue is asked while a question waits
  window.questions += 1;
  const held = window.held && isOf(window.held.name) && window.held.after-- === 0 ? window.held : null;
  if (held) window.held = null;
  const answer = await realFetch(...args);
  await held?.end;
  window.answers += Boolean(held);
  return answer;
};
"""
# Keeps what was shown, in order.
HISTORY = """
const root = document.querySelector("[data-part=root]");
window.shown = [];
new MutationObserver(() => window.shown.push(root.dataset.shown.split(" ").pop()))
  .observe(root, { attributeFilter: ["data-shown"] });
"""
SET_SLIDER = """(ratio) => {
  const slider = document.querySelector("[data-part=slider]");
  slider.value = ratio;
  slider.dispatchEvent(new Event("input"));
}"""
PIXEL = """([view, x, y]) => {
  const canvas = document.querySelectorAll("[data-part=canvas]")[view];
  const [column, row] = [x * canvas.width, y * canvas.height];
  return [...canvas.getContext("2d").getImageData(column, row, 1, 1).data.slice(0, 3)];
}"""


def wait_for(url: str, app: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and app.poll() is None:
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.3)
    pytest.fail("the app did not start")


class Page:
    """The page as a visitor sees it."""

    def __init__(self, page: Any) -> None:
        self.raw = page

    def text(self, part: str, index: int = 0) -> str:
        return self.raw.locator(f"[data-part={part}]").nth(index).inner_text()

    def counts(self) -> list[str]:
        return [self.text("count", stage) for stage in (1, 2, 3)]

    def shown(self) -> list[str]:
        """Image, model and ratio that are on the canvases."""
        return str(self.raw.locator("[data-part=root]").get_attribute("data-shown")).split(" ")

    def wait_for_ratio(self, ratio: str) -> None:
        self.raw.wait_for_function(
            "(ratio) => document.querySelector('[data-part=root]').dataset.shown.endsWith(' ' + ratio)", arg=ratio
        )

    def wait_for_other_image(self, image: str) -> None:
        self.raw.wait_for_function(
            "(image) => !document.querySelector('[data-part=root]').dataset.shown.startsWith(image + ' ')", arg=image
        )

    def upload(self, path: Path) -> None:
        """Give the upload control a file, in place of the image that it holds."""
        remove = self.raw.locator("#picture button[aria-label='Remove Image']")
        if remove.count():
            remove.click()
        self.raw.locator("#picture input[type=file]").set_input_files(path)

    def open_tab(self, name: str) -> Any:
        """Open a tab, from the menu where there is no room for its name, and give its panel."""
        button = self.raw.locator(f"#tab-{name}-button")
        if not button.is_visible():
            self.raw.locator("#tabs .overflow-menu > button").click()
            title = self.raw.evaluate("(key) => dynamicvit.say(key)", f"tab.{name}")
            button = self.raw.locator("#tabs .overflow-dropdown button", has_text=title)
        button.click()
        return self.raw.locator(f"#{name}")

    def pixel(self, view: int, x: float, y: float) -> list[int]:
        return self.raw.evaluate(PIXEL, [view, x, y])
