"""The tabs Sweep, Compare and Compute in a real browser, by mouse and by keyboard."""

from __future__ import annotations

import re
from typing import Any

from browsing import SET_SLIDER, Page, needs_browser

pytestmark = needs_browser

IS_EMPTY_SWEEP_OF = """(title) => {
  const tab = document.querySelector("#sweep");
  return tab.querySelector("[data-part=title]").textContent.includes(title) && !tab.querySelector("tr[data-ratio]");
}"""
IS_TIMED_ANEW = """() => window.questions >= 2
  && document.querySelector("[data-part=time-note]").textContent.includes("Median of")
  && !document.querySelector("[data-part=time-row]").classList.contains("is-stale")"""


def open_tab(page: Page, name: str) -> Any:
    """Open a tab that is about an image, and give it when it shows Explore's."""
    tab = page.open_tab(name)
    tab.locator("[data-part=title]", has_text="Butterfly").wait_for()
    return tab


def fits_a_phone_too(page: Page) -> bool:
    fits = []
    for width in (1440, 390):
        page.raw.set_viewport_size({"width": width, "height": 844})
        page.raw.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        fits.append(page.raw.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))
    return all(fits)


def test_sweep_can_be_stopped_keeps_its_rows_and_leads_back_to_the_explorer(page: Page) -> None:
    page.raw.evaluate("hold('sweep_point', 2)")
    tab = open_tab(page, "sweep")
    tab.locator("[data-ratio='0.95'] td").first.wait_for()
    tab.locator("[data-part=stop]").focus()
    page.raw.keyboard.press("Enter")
    page.raw.evaluate("letGo()")
    tab.locator("[data-part=verdict]", has_text="0.9").wait_for()
    rows = tab.locator("tr[data-ratio]")
    assert 2 <= rows.count() <= 3
    assert page.raw.evaluate("document.activeElement.dataset.part") == "start"

    tab.locator("svg [role=button][data-ratio='1.00']").focus()
    page.raw.keyboard.press("ArrowLeft")
    page.raw.keyboard.press("Enter")
    tab.locator("[data-part=jumped]", has_text="keep ratio 0.95").wait_for()
    tab.locator("tr[data-ratio='0.95'].is-current").wait_for()
    tab.locator("tr[data-ratio='1.00'] button").click()
    tab.locator("svg [data-ratio='1.00'].is-current").wait_for()
    page.raw.locator("#tabs button[role=tab]").first.click()
    assert page.text("ratio") == "1.00"


def test_sweep_of_another_picture_starts_anew_and_the_first_one_stays_known(page: Page) -> None:
    tab = open_tab(page, "sweep")
    tab.locator("tr[data-ratio='1.00']").wait_for()
    page.raw.get_by_role("button", name="Example: Espresso").click()
    page.raw.wait_for_function(IS_EMPTY_SWEEP_OF, arg="Espresso")
    page.raw.get_by_role("button", name="Example: Butterfly").click()
    tab.locator("tr[data-ratio='1.00']").wait_for()


def test_methods_are_compared_card_by_card(page: Page) -> None:
    tab = open_tab(page, "compare")
    tab.locator(".card[data-method=none]").wait_for()
    assert tab.locator(".card").count() == 7
    assert tab.get_by_role("img", name="DynamicViT: 67 of 196 patches").count() == 1
    assert fits_a_phone_too(page)

    tab.get_by_role("radio", name="equal GMACs").focus()
    page.raw.keyboard.press("ArrowRight")
    tab.locator(".card").first.wait_for(state="detached")
    tab.locator(".card[data-method=none]").wait_for()
    assert tab.locator(".card[data-method=grid]", has_text="keep ratio 0.700").count() == 1

    tab.locator("[data-part=seed]").fill("-1")
    tab.locator("[data-part=message]", has_text="whole number").wait_for()


def test_compute_is_measured_when_the_tab_is_seen_and_follows_the_slider(page: Page) -> None:
    tab = open_tab(page, "compute")
    tab.locator("svg").wait_for()
    assert tab.locator("tbody tr", has_text="Block 12").locator("td").nth(1).inner_text() == "67"
    assert "no pruning reaches it" in tab.locator("[data-part=explanation]").inner_text()
    page.raw.evaluate(SET_SLIDER, "0.50")
    tab.locator("[data-part=title]", has_text="0.50").wait_for()
    tab.locator("tbody tr", has_text="Block 12").locator("td", has_text=re.compile("^24$")).wait_for()
    assert fits_a_phone_too(page)
    page.raw.evaluate("hold('compute_profile')")
    tab.get_by_role("button", name="Run again").click()
    tab.get_by_role("button", name="Cancel").click()
    page.raw.evaluate("letGo()")
    tab.get_by_role("button", name="Go on").wait_for()


def test_tab_that_was_left_asks_nothing(page: Page) -> None:
    page.raw.wait_for_function("document.querySelector('[data-part=time-note]').textContent.includes('Median of')")
    tab = open_tab(page, "sweep")
    tab.locator("[data-ratio='0.95'] td").first.wait_for()
    page.raw.locator("#tabs button[role=tab]").first.click()
    tab.locator("[data-part=stop]").wait_for(state="hidden")
    page.raw.evaluate("window.questions = 0")
    page.raw.evaluate(SET_SLIDER, "0.50")
    page.wait_for_ratio("0.50")
    page.raw.wait_for_function(IS_TIMED_ANEW)
    assert page.raw.evaluate("window.questions") == 2  # the answer and its time
    open_tab(page, "sweep").locator("[data-ratio='0.90'] td").first.wait_for()  # goes on
