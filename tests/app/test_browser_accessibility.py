"""axe-core on every tab, light and dark: nothing but what Gradio itself owns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browsing import PATIENCE_MS, Page, needs_browser

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


# Name and size of each target that is smaller: what can be hit is the element with its "::after", or its label.
SMALL_TARGETS = """(least) => {
  const isSeen = (node) => node.checkVisibility({ opacityProperty: true, visibilityProperty: true })
    && !node.closest(".visually-hidden"); // Gradio's copies of the tabs, by which it measures
  const side = (node) => {
    const { width, height } = node.getBoundingClientRect();
    const more = getComputedStyle(node, "::after");
    const own = Math.min(width, height);
    if (more.content === "none" || more.position !== "absolute") return own;
    const [left, right, top, bottom] = [more.left, more.right, more.top, more.bottom].map(parseFloat);
    return Math.max(own, Math.min(width - left - right, height - top - bottom));
  };
  const homeOf = (node) => node.closest("label, #model .wrap") ?? node;
  return [...document.querySelectorAll("button, a[href], input, summary, [role=tab]")]
    .filter(isSeen)
    .map((node) => [node.ariaLabel ?? node.innerText, Math.max(side(node), side(homeOf(node)))])
    .filter(([, size]) => size < least);
}"""


@pytest.mark.parametrize(("is_touch", "least"), [(True, 44), (False, 24)])
def test_every_target_is_large_enough_for_a_finger_or_a_mouse(
    browser: Any, address: str, is_touch: bool, least: int
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=is_touch)
    context.set_default_timeout(PATIENCE_MS)
    page = Page(context.new_page())
    page.raw.goto(address + "?__theme=light&lang=en")
    page.raw.locator("[data-part=root][data-painted]").wait_for(state="attached")
    last_to_come = {
        "sweep": "tr[data-ratio] button",
        "compare": ".card[data-method=none]",
        "about": "#about svg",
    }
    small = {}
    for name in ["explore", *TABS]:
        page.open_tab(name)
        page.raw.locator(f"#tab-{name}-button[aria-selected=true]").wait_for(state="attached")
        if name in last_to_come:
            page.raw.locator(last_to_come[name]).first.wait_for()
        small[name] = page.raw.evaluate(SMALL_TARGETS, least)
    context.close()
    assert {name: found for name, found in small.items() if found} == {}
