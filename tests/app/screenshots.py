"""Images of every tab, for people to look at: ``python -m tests.app.screenshots DIR [TAB ...]``.

Starts the app with the weights of the repository; needs Chromium and the package playwright.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.app.browsing import CHROMIUM, ROOT, wait_for

# Width, height, theme, language.
LOOKS = {
    "desktop": (1440, 900, "light", "en"),
    "projector": (1280, 720, "light", "en"),
    "phone": (390, 844, "light", "en"),
    "dark": (1440, 900, "dark", "en"),
    "chinese": (1440, 900, "light", "zh"),
}
# What is there when a tab shows all that it has; for some what has to be pressed before.
READY = {
    "explore": "[data-part=time-row]:not(.is-stale) [data-part=time-saved]:not(:empty)",
    "sweep": "#sweep [data-ratio='0.10'] td >> nth=0",
    "compare": "#compare [data-method=none]",
    "compute": "#compute svg",
    "many": "#many-download",
    "video": "#video-shown video",
    "export": "#export [data-format]",
    "about": "#about svg",
}
PRESSED = {"many": "#many-examples", "video": "#video-example"}
IS_DONE = """() => !document.querySelector("#tabs [data-part=progress-box]:not([hidden])")
  && !document.querySelector("#many-stop")?.offsetParent"""
TIMEOUT_MS = 180_000


def take(browser: Any, address: str, folder: Path, look: str, tab: str) -> None:
    """Save one image, of the whole length of the page."""
    width, height, theme, language = LOOKS[look]
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(f"{address}?__theme={theme}&lang={language}&tab={tab}")
    if tab in PRESSED:
        page.locator("[data-part=root][data-painted]").wait_for(state="attached")
        page.locator(PRESSED[tab]).click()
    page.locator(READY[tab]).first.wait_for()
    page.wait_for_function(IS_DONE)
    page.wait_for_timeout(1000)  # charts and fonts
    page.screenshot(path=folder / f"{tab}-{look}.png", full_page=True)
    page.close()


def main(folder: Path, tabs: list[str]) -> None:
    """Start the app and save the images."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/"
    command = [sys.executable, "app.py", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT) as app, sync_playwright() as playwright:
        try:
            wait_for(address, app)
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            for tab in tabs or READY:
                for look in LOOKS:
                    take(browser, address, folder, look, tab)
        finally:
            app.terminate()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
