"""axe-core on every tab, light and dark: nothing but what Gradio itself owns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browsing import Page, needs_browser

from dynamicvit.app.tabs import TABS
from dynamicvit.app.words import words_in

pytestmark = needs_browser

AXE = Path(__file__).parents[1] / "vendor" / "axe-core" / "axe.min.js"
# Rule and place of what Gradio draws and offers no way to change.
GRADIOS_OWN = {
    # The buttons of upload boxes are named "Click to upload or drop files", whatever words stand in them.
    ("label-content-name-mismatch", "button[aria-dropeffect]"),
}
VIOLATIONS = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations.flatMap(({ id, nodes }) => nodes.map(({ target, html }) => [id, target.join(" "), html]));
}"""


def violations(page: Page) -> set[tuple[str, str, str]]:
    return {(rule, place, html[:200]) for rule, place, html in page.raw.evaluate(VIOLATIONS)}


def is_gradios_own(page: Page, rule: str, place: str) -> bool:
    return any(
        rule == known and page.raw.locator(place).first.evaluate(f"(node) => Boolean(node.closest('{home}'))")
        for known, home in GRADIOS_OWN
    )


def test_tabs_are_one_stop_with_arrow_keys_and_a_link_skips_to_them(page: Page) -> None:
    keys, focused = page.raw.keyboard, "document.activeElement.id"
    page.raw.wait_for_function("document.querySelectorAll('#tabs [role=tab][tabindex=\"0\"]').length === 1")
    keys.press("Tab")
    keys.press("Enter")
    assert page.raw.evaluate(focused) == "tab-explore-button"
    keys.press("ArrowLeft")
    page.raw.locator("#tab-about-button[aria-selected=true][tabindex='0']").wait_for()
    assert page.raw.evaluate(focused) == "tab-about-button"
    keys.press("Home")
    page.raw.locator("#tab-explore-button[aria-selected=true]").wait_for()
    keys.press("Tab")
    assert not page.raw.evaluate(focused).startswith("tab-")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_tab_has_a_violation_of_ours(open_page: Any, theme: str) -> None:
    page = open_page(query=f"?__theme={theme}&lang=en")
    page.raw.evaluate(AXE.read_text(encoding="utf-8"))
    ours = {}
    for name in ["explore", *TABS]:
        page.raw.get_by_role("tab", name=words_in("en")(f"tab.{name}"), exact=True).click()
        if name == "about":
            page.raw.locator("#about svg").wait_for()
        page.raw.wait_for_timeout(400)  # transitions of colours have ended
        ours[name] = [found for found in violations(page) if not is_gradios_own(page, found[0], found[1])]
    assert {name: found for name, found in ours.items() if found} == {}
