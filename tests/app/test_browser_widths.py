"""From a small telephone to a wide screen nothing leaves the page, on any tab, in either language."""

from __future__ import annotations

from typing import Any

import pytest
from browsing import needs_browser

pytestmark = needs_browser

WIDTHS = (320, 360, 390, 480, 600, 768, 820, 821, 1024, 1280, 1440, 1920)
# What scrolls by itself, and what is only for screen readers, may be wider.
OUTSIDE = """() => {
  const width = document.documentElement.clientWidth;
  const found = document.documentElement.scrollWidth > width ? ["the page scrolls sideways"] : [];
  const page = document.querySelector("#page").getBoundingClientRect();
  if (Math.abs(page.left - (width - page.right)) > 2) found.push("the page stands at one side");
  for (const node of document.querySelectorAll("#head *, #page *")) {
    const box = node.getBoundingClientRect();
    const isShown = box.width && box.height && getComputedStyle(node).visibility !== "hidden";
    if (!isShown || node.closest(".scroll, .overflow-menu, .table-wrap, .visually-hidden, .sr-only, svg")) continue;
    if (box.right > width + 1 || box.left < -1) found.push(`${node.tagName}.${node.className}`);
  }
  return found;
}"""


@pytest.mark.parametrize("language", ["en", "zh"])
def test_nothing_leaves_the_page_at_any_width(open_page: Any, language: str) -> None:
    raw = open_page(query=f"?__theme=light&lang={language}").raw
    raw.wait_for_function("/[0-9]/.test(document.querySelector('[data-part=time-saved]').textContent)")
    tabs = raw.locator("#tabs button[role=tab]")
    outside = {}
    for tab in range(8):
        raw.set_viewport_size({"width": 1440, "height": 900})
        tabs.nth(tab).click()
        for width in WIDTHS:
            raw.set_viewport_size({"width": width, "height": 900})
            raw.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            outside[tab, width] = raw.evaluate(OUTSIDE)
    assert {where: found for where, found in outside.items() if found} == {}
