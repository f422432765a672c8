"""A workbench on a model with random weights, in folders of its own, and the page on it in a real browser."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch
from browsing import CHROMIUM, HELD_ANSWERS, HISTORY, PATIENCE_MS, ROOT, Page, wait_for

from dynamicvit.app.state import AppState
from dynamicvit.models.registry import create_model
from dynamicvit.weights.io import save_model

# Before gradio is imported: it would look up other hosts at once.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

MODEL = "dynamicvit_lite0_small_patch16_224.safetensors"
EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one weight file."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    # A narrow transformer: the page is tested here, and every opening of it computes for a second or two.
    model = create_model("dynamicvit_deit_small_patch16_224", embed_dim=48, num_heads=3)
    with torch.no_grad():
        model.head.weight.mul_(8)  # random heads answer almost evenly: this gives first answers that can differ
        for block in model.blocks:  # and random blocks change little, so that dropping tokens would, too
            block.attn.proj.weight.mul_(3)
            block.mlp.fc2.weight.mul_(3)
    save_model(model, folder / MODEL, metadata={"keep_ratios": "0.7"})
    return folder


@pytest.fixture(scope="session")
def state(checkpoints: Path) -> AppState:
    """What one app shares, with the examples of the repository."""
    return AppState(checkpoints, EXAMPLES)


@pytest.fixture(scope="session")
def empty_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A download cache with nothing in it."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNAMICVIT_CACHE", str(empty_cache))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="session")
def address(checkpoints: Path, empty_cache: Path) -> Iterator[str]:
    """The app as a user starts it."""
    port = free_port()
    where = ["--host", "127.0.0.1", "--port", str(port), "--checkpoints", str(checkpoints)]
    command = [sys.executable, "app.py", *where, "--precision", "float32"]
    environment = os.environ | {"DYNAMICVIT_CACHE": str(empty_cache)}
    with subprocess.Popen(command, cwd=ROOT, env=environment) as app:
        try:
            wait_for(f"http://127.0.0.1:{port}/", app)
            yield f"http://127.0.0.1:{port}/"
        finally:
            app.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need the package playwright")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    quiet = ["--disable-component-update", "--disable-sync", "--no-first-run"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options + quiet)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def context(browser: Any) -> Iterator[Any]:
    """One visitor's browser for the tests of a module: it loads Gradio's scripts once."""
    context = browser.new_context()
    context.add_init_script(HELD_ANSWERS)
    yield context
    context.close()


@pytest.fixture
def open_page(context: Any, address: str) -> Iterator[Any]:
    """Opens pages of a size, with a query, and watches what they ask for."""
    hosts: set[str] = set()
    pages = []

    def open_one(width: int = 1440, height: int = 900, query: str = "?__theme=light") -> Page:
        page = context.new_page()
        pages.append(page)
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.set_default_timeout(PATIENCE_MS)
        page.set_viewport_size({"width": width, "height": height})
        page.goto(address + query)
        page.locator("[data-part=root][data-painted]").wait_for(state="attached")
        page.evaluate(HISTORY)
        return Page(page)

    yield open_one
    for page in pages:
        page.evaluate("localStorage.clear()")  # the language that it chose is not the next test's
        page.close()
    context.clear_permissions()
    assert hosts - {""} == {urlsplit(address).netloc}, "the page asked another host"


@pytest.fixture
def page(open_page: Any) -> Page:
    """The page on a desktop screen; it fails on a request to another host."""
    return open_page()
