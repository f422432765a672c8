"""The app under load and over time, outside the quick suite: ``python tests/reliability.py load`` or ``soak``.

Each starts the app as a user does, takes under ten minutes and ends with a table; docs/reliability.md holds one run.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
METHODS = ("predictor", "class-attention", "random")
LARGE = (2000, 1500)  # pixels of 9 MB
FILLING = 80  # of which the app remembers fewer
Answer = dict[str, Any]


@dataclass
class App:
    """The running app."""

    address: str
    process: subprocess.Popen[bytes]
    files: Path

    @property
    def resident_mb(self) -> float:
        """Memory of its process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(status.split("VmRSS:")[1].split()[0]) / 1000

    def files_left(self) -> int:
        """Return how many files of visitors are on disk."""
        return sum(path.is_file() for path in self.files.rglob("*"))


@contextmanager
def running_app(*options: str) -> Iterator[App]:
    """Start the app and stop it in the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "app.py", "--host", "127.0.0.1", "--port", str(port), *options]
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"GRADIO_TEMP_DIR": folder})
        address = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                try:
                    httpx.get(address, timeout=5).raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.2)
            yield App(address, process, Path(folder))
        finally:
            process.terminate()
            process.wait(30)


@dataclass
class Visitor:
    """A visitor with an image of its own, who notes how long each answer took and what went wrong."""

    address: str
    number: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.address, timeout=300)
        self.session = f"visitor-{self.number}-{os.getpid()}"
        config = self.client.get("/config").json()
        self.events = {one["api_name"]: one["id"] for one in config["dependencies"] if one.get("api_name")}
        ids = {one["props"].get("elem_id"): one["id"] for one in config["components"]}
        self.functions = {
            "analyse": ids["explorer"],
            "measure": ids["explorer"],
            "sweep_point": ids["sweep"],
            "compare_method": ids["compare"],
            "compute_profile": ids["compute"],
        }

    def open_picture(self, size: tuple[int, int] = (300, 260)) -> None:
        """Upload an image that nobody else has."""
        pixels = np.random.default_rng(self.number).integers(0, 255, (9, 9, 3), np.uint8)
        data = io.BytesIO()
        Image.fromarray(pixels).resize(size).save(data, "PNG")
        (path,) = self.client.post("/gradio_api/upload", files={"files": ("mine.png", data.getvalue())}).json()
        event = next(number for name, number in self.events.items() if name.startswith("add_image"))
        wish = {"fn_index": event, "data": [{"path": path}, None], "session_hash": self.session}
        self.client.post("/gradio_api/queue/join", json=wish).raise_for_status()
        with self.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data:") or "{}")
                if message.get("msg") == "process_completed":
                    scene = message["output"]["data"][0]
                    self.image, self.model = scene["image"], scene["model"]
                    return

    def ask(self, name: str, *arguments: Any) -> Answer:
        """Return the answer of a function that the browser calls."""
        body = {"session_hash": self.session, "component_id": self.functions[name], "fn_name": name}
        begin = time.perf_counter()
        answer: Answer = {}
        try:
            response = self.client.post("/gradio_api/component_server", json=body | {"data": list(arguments)})
            answer = response.raise_for_status().json()
        except httpx.HTTPError as error:
            self.failures.append(f"{name}: {error!r}")
        self.seconds.setdefault(name, []).append(time.perf_counter() - begin)
        if "problem" in answer or "busy" in answer:
            self.failures.append(f"{name}: {answer}")
        return answer

    def look_around(self) -> None:
        """Move the slider, sweep, compare and profile, as eight people in a lecture do."""
        chance = random.Random(self.number)
        self.open_picture()
        for step in range(40):
            answer = self.ask("analyse", self.image, self.model, {"keep_ratio": chance.randint(10, 100) / 100}, "en")
            if answer.get("image") not in (None, self.image):
                self.failures.append("an answer about another visitor's image")
            if step % 8 == 0:
                self.ask("sweep_point", self.image, self.model, chance.choice([0.9, 0.5, 0.3]))
            if step % 13 == 0:
                self.ask("compare_method", self.image, self.model, {"keep_ratio": 0.7}, METHODS[step % 3], "macs", 0)
        self.ask("compute_profile", self.image, self.model, {"keep_ratio": 0.7}, 600, "en")


def load(visitors: int) -> list[str]:
    """Let some visitors in at once, each with an image of its own, and return what was seen."""
    with running_app() as app:
        crowd = [Visitor(app.address, number) for number in range(visitors)]
        begin, page, ends = time.perf_counter(), [], threading.Event()

        def watch_page() -> None:
            with httpx.Client(base_url=app.address, timeout=300) as client:
                while not ends.wait(0.25):
                    asked = time.perf_counter()
                    client.get("/config").raise_for_status()
                    page.append(time.perf_counter() - asked)

        watcher = threading.Thread(target=watch_page)
        watcher.start()
        with ThreadPoolExecutor(visitors) as threads:
            list(threads.map(Visitor.look_around, crowd))
        ends.set()
        watcher.join()
        took = time.perf_counter() - begin
    lines = ["| what | times | median s | 95 % s | longest s |", "| --- | ---: | ---: | ---: | ---: |"]
    names = sorted({name for one in crowd for name in one.seconds})
    series = {name: [second for one in crowd for second in one.seconds.get(name, [])] for name in names}
    for name, seconds in (series | {"the page's /config beside it": page}).items():
        high = quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else seconds[0]
        lines.append(f"| {name} | {len(seconds)} | {median(seconds):.2f} | {high:.2f} | {max(seconds):.2f} |")
    failures = [failure for one in crowd for failure in one.failures]
    slowest = max(sum(sum(one.seconds[name]) for name in one.seconds) for one in crowd)
    quickest = min(sum(sum(one.seconds[name]) for name in one.seconds) for one in crowd)
    lines += ["", f"{visitors} visitors, {took:.0f} s, failed or refused: {len(failures)} {failures[:3] or ''}"]
    lines.append(
        f"The visitor who waited longest waited {slowest / quickest:.2f} times as long as the one who waited least."
    )
    return lines


def soak(requests: int) -> list[str]:
    """Ask for a long time, with a new image every 50 questions, and return what is left of it.

    First the images that the app remembers become as many as it allows, so that each new one pushes out an old one.
    """
    with running_app() as app:
        failures, seconds, memory = [], [], []
        for number in range(FILLING):
            visitor = Visitor(app.address, requests + number)
            visitor.open_picture(LARGE)
            visitor.ask("analyse", visitor.image, visitor.model, {"keep_ratio": 0.7}, "en")
            visitor.client.close()
        for start in range(0, requests, 50):
            visitor = Visitor(app.address, start)
            visitor.open_picture(LARGE)
            for number in range(50):
                visitor.ask(
                    "analyse", visitor.image, visitor.model, {"keep_ratio": (10 + (number * 7) % 90) / 100}, "en"
                )
            failures += visitor.failures
            seconds += visitor.seconds["analyse"]
            visitor.client.close()
            memory.append(app.resident_mb)
        third = len(memory) // 3
        # Medians, as a single moment may be one in which an image is decoded.
        middle, last = median(memory[third:-third]), median(memory[-third:])
        return [
            f"{len(seconds)} questions, {len(memory)} images, failed: {len(failures)}",
            f"Median {1e3 * median(seconds):.0f} ms; memory {middle:.0f} MB in the second third, {last:.0f} MB "
            f"in the last ({100 * (last / middle - 1):+.1f} %)",
            f"Files on disk: {app.files_left()}, each deleted after an hour",
        ]


def main() -> None:
    """Run one of the two and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["load", "soak"])
    parser.add_argument("--visitors", type=int, default=8)
    parser.add_argument("--requests", type=int, default=3000)
    options = parser.parse_args()
    sys.stdout.write("\n".join(load(options.visitors) if options.what == "load" else soak(options.requests)) + "\n")


if __name__ == "__main__":
    main()
