"""From slider to painted image in headless Chromium, outside the quick suite: ``python tests/slider_time.py``.

On each example the slider jumps to ratios that nobody asked for yet, after pauses in which the page may be measuring
milliseconds, and is then dragged over the others. docs/speed.md holds what this printed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from app.browsing import CHROMIUM
from playwright.sync_api import sync_playwright
from reliability import running_app

from dynamicvit.models.registry import create_model
from dynamicvit.weights.io import save_model

JUMPS = 10  # on each example
STEP_MS = 20  # between two ratios of a drag
PAUSES_MS = (100, 1000)

# Moves the slider over ratios; says how long the last one took to be painted, and how many images were seen until it.
MOVE = """async ([ratios, pause]) => {
  const root = document.querySelector("[data-part=root]");
  const slider = document.querySelector("[data-part=slider]");
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  let images = 0;
  let arrived;
  const last = new Promise((done) => (arrived = done));
  const observer = new MutationObserver(() => {
    images += 1;
    if (Number(root.dataset.shown.split(" ").pop()) === ratios.at(-1)) arrived();
  });
  observer.observe(root, { attributeFilter: ["data-shown"] });
  const begin = performance.now();
  for (const ratio of ratios) {
    if (ratio !== ratios[0]) await wait(pause);
    slider.value = ratio;
    slider.dispatchEvent(new Event("input"));
  }
  const released = performance.now();
  await last;
  observer.disconnect();
  await painted();
  return { images, dragged: released - begin, waited: performance.now() - released };
}"""


@contextmanager
def checkpoints(name: str | None) -> Iterator[list[str]]:
    """Give the options of the app for a model with fresh weights, none for the shipped one."""
    if name is None:
        yield []
        return
    with tempfile.TemporaryDirectory() as folder:
        save_model(create_model(name), Path(folder) / f"{name}.safetensors")
        yield ["--checkpoints", folder]


def move_everywhere(page: Any) -> tuple[list[float], list[float], list[float]]:
    """Return milliseconds after jumps and after drags, and images a second while dragging."""
    jumps, ends, rates, chance = [], [], [], random.Random(0)
    examples = page.locator(".examples button")
    for index in range(1, examples.count()):
        before = page.locator("[data-part=root]").get_attribute("data-shown")
        examples.nth(index).click()
        image = f"[data-part=root][data-shown]:not([data-shown^='{before.split(' ')[0]} '])"
        page.locator(image).wait_for(timeout=30_000)
        here = page.locator("[data-part=root]").get_attribute("data-shown").split(" ")[-1]
        ratios = [percent / 100 for percent in range(10, 100) if percent / 100 != float(here)]
        for ratio in chance.sample(ratios, JUMPS):
            page.wait_for_timeout(chance.uniform(*PAUSES_MS))
            jumps.append(page.evaluate(MOVE, [[ratio], 0])["waited"])
            ratios.remove(ratio)
        page.wait_for_timeout(PAUSES_MS[1])
        drag = page.evaluate(MOVE, [ratios, STEP_MS])
        ends.append(drag["waited"])
        rates.append(1e3 * (drag["pictures"] - 1) / drag["dragged"])
    return jumps, ends, rates


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="with fresh weights; the shipped one when not given")
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args()
    with (
        checkpoints(options.model) as where,
        running_app("--precision", options.precision, *where) as app,
        sync_playwright() as playwright,
    ):
        arguments = ["--headless", "--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(app.address)
        page.locator("[data-part=root][data-painted]").wait_for(timeout=30_000)
        page.wait_for_timeout(3000)
        jumps, ends, rates = move_everywhere(page)
        browser.close()
    for what, times in (("jump to paint", jumps), ("end of a drag to paint", ends)):
        high = quantiles(times, n=20, method="inclusive")[-1]
        sys.stdout.write(f"{what}: median {median(times):.0f} ms, 95 % {high:.0f} ms ({len(times)} times)\n")
    sys.stdout.write(f"while dragging: {median(rates):.1f} images a second (least {min(rates):.1f})\n")


if __name__ == "__main__":
    main()
