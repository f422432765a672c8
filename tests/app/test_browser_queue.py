"""The page while others are served first, on an app in this process, whose turns a test holds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from browsing import SET_SLIDER, Page, needs_browser

from dynamicvit.app.layout import build, launch_options
from dynamicvit.app.state import AppState
from dynamicvit.app.turns import PLACES
from dynamicvit.app.words import words_in

# Gradio uses what its own dependencies call deprecated; as errors these would end its threads.
pytestmark = [*needs_browser, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def address(state: AppState) -> Iterator[str]:
    page = build(state)
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield address
    page.close()


async def stays() -> bool:
    return False


@contextmanager
def others_first(state: AppState, count: int) -> Iterator[None]:
    """Hold so many questions of other visitors under way or waiting, until the block ends."""
    let_go = threading.Event()
    with ThreadPoolExecutor(count) as threads:
        for number in range(count):
            question = state.turns.ask(f"other {number}", "a", let_go.wait, stays)
            threads.submit(asyncio.run, question)
        try:
            yield
        finally:
            let_go.set()


def until_at_rest(page: Page) -> None:
    """Wait for the last thing that the page asks for by itself."""
    page.raw.wait_for_function("Number(document.querySelector('[data-part=time-dense]').textContent) > 0")


def until_said(page: Page, part: str, sentence: str) -> None:
    page.raw.wait_for_function(
        "([part, said]) => document.querySelector(`[data-part=${part}]`).textContent === said", arg=[part, sentence]
    )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_long_wait_says_its_place_in_the_queue(open_page: Any, state: AppState, language: str) -> None:
    page = open_page(query=f"?__theme=light&lang={language}")
    until_at_rest(page)
    with others_first(state, PLACES + 1):
        page.raw.evaluate(SET_SLIDER, "0.31" if language == "en" else "0.32")
        until_said(page, "waiting-note", words_in(language)("page.place", place=2))
        assert page.raw.locator("[data-part=waiting-note]").get_attribute("role") == "status"
    until_said(page, "waiting-note", "")
    assert page.shown()[-1] in ("0.31", "0.32")


def test_a_tab_that_waits_says_its_place_too_until_it_is_stopped(page: Page, state: AppState) -> None:
    until_at_rest(page)
    with others_first(state, PLACES):
        page.raw.get_by_role("tab", name="Compute").click()
        place = page.raw.locator("#compute [data-part=place]")
        place.get_by_text(words_in("en")("page.place", place=1)).wait_for()
        page.raw.locator("#compute [data-part=stop]").click()
        assert place.inner_text() == ""


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_full_queue_of_events_is_told_in_the_language_of_the_page(open_page: Any, language: str) -> None:
    page = open_page(query=f"?__theme=light&lang={language}")
    page.raw.route("**/queue/join*", lambda route: route.fulfill(status=503, json={"detail": "Queue is full."}))
    page.raw.locator("[data-part=row] button").nth(1).click()
    page.raw.get_by_text(words_in(language)("page.full")).wait_for()
