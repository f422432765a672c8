"""What goes wrong around the programs, outside the quick suite: ``python tests/faults.py``, some minutes.

The disk is full, a folder is read-only, a path is taken, the process is killed. As root the disk is a small tmpfs that
is really full; otherwise no file may grow beyond a limit (RLIMIT_FSIZE), and what needs a mount is left out and said.
docs/reliability.md holds one run; the exit status is 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from reliability import ROOT, Visitor, running_app
from training.examples import TINY_OPTIONS, write_dense_weights, write_folder

from dynamicvit.app.tabs.many import CSV_NAME
from dynamicvit.app.uploads import NO_ROOM

IS_ROOT = os.geteuid() == 0
EXAMPLES = ROOT / "assets" / "examples"
LIMIT = 60_000  # bytes of a file, where the disk cannot be made full
PATIENCE_S = 120
DOWNLOAD = """
import sys
from dataclasses import replace
from pathlib import Path
from dynamicvit.errors import DownloadError
from dynamicvit.weights.published import PUBLISHED, download
try:
    download(replace(PUBLISHED[0], urls=(sys.argv[1],)), Path(sys.argv[2]))
except DownloadError as error:
    sys.exit(str(error))
"""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    fault: str
    done: str
    seen: str
    is_right: bool


@dataclass(frozen=True)
class Disk:
    """A folder that can be made full and read-only, and what a program that writes there has to bear."""

    folder: Path

    def fill(self, spare: int = 0) -> None:
        """Leave no room but a spare one, in bytes."""
        if IS_ROOT:
            with (self.folder / "filler").open("wb", buffering=0) as filler:
                try:
                    while filler.write(bytes(4096)):
                        pass
                except OSError:
                    pass
            os.truncate(self.folder / "filler", (self.folder / "filler").stat().st_size - spare)

    def empty(self) -> None:
        """Make room again."""
        (self.folder / "filler").unlink(missing_ok=True)

    def run(self, *command: str, full: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command of the package to its end."""
        limit = None if IS_ROOT or not full else partial(resource.setrlimit, resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
        return subprocess.run(
            program(*command), cwd=ROOT, text=True, capture_output=True, timeout=200, preexec_fn=limit
        )


@contextmanager
def disk(megabytes: int, folder: Path | None = None) -> Iterator[Disk]:
    """Give a small disk, for root a real one."""
    with tempfile.TemporaryDirectory() as made:
        folder = folder or Path(made)
        if IS_ROOT:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
        try:
            yield Disk(folder)
        finally:
            if IS_ROOT:
                subprocess.run(["umount", "-l", folder], check=True)


def program(*command: str) -> list[str]:
    return [sys.executable, *(command if command[0] == "-c" else ["-m", "dynamicvit", *command])]


def ends_in_a_sentence(done: subprocess.CompletedProcess[str]) -> bool:
    """Return whether a program said what is wrong as it should: a line, no traceback, status 1 or 2."""
    sentence = done.stderr.strip().splitlines()[-1:]
    is_said = bool(sentence) and sentence[0].endswith(".") and "Traceback" not in done.stderr
    return done.returncode in (1, 2) and is_said


def told(done: subprocess.CompletedProcess[str], *more: str) -> str:
    last = (done.stderr.strip().splitlines() or [""])[-1]
    return "; ".join([f"status {done.returncode}: {Path(last).name if last.startswith('/') else last}", *more])


def whole_results(folder: Path) -> int:
    """Return how many images have all three results, each of which can be read.

    Raises:
        Exception: a file is not whole.
    """
    for path in [*folder.glob("*.png"), *folder.glob("*.gif")]:
        with Image.open(path) as image:
            image.load()
    for path in folder.glob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
        assert path.with_suffix(".png").exists()
        assert path.with_suffix(".gif").exists()
    return len([*folder.glob("*.json")])


def until(condition: Callable[[], bool]) -> None:
    """Wait for something to be so.

    Raises:
        TimeoutError: it is not so after a time in which even a machine under load gets there.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.005)


def kill_when(condition: Callable[[], bool], *command: str) -> bool:
    """Start a command, kill -9 it when something is so, and return whether it was still under way."""
    process = subprocess.Popen(program(*command), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: process.poll() is not None or condition())
    process.send_signal(signal.SIGKILL)
    return process.wait(30) == -signal.SIGKILL


# The faults ----------------------------------------------------------------------------------------------------------


class Weights(BaseHTTPRequestHandler):
    """Gives eight megabytes."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(8 << 20))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(bytes(8 << 20))

    def log_message(self, *arguments: object) -> None:
        pass


def download_without_room() -> Iterator[Row]:
    server = HTTPServer(("127.0.0.1", 0), Weights)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with disk(1) as small:
        target = small.folder / "cache" / "weights.pth"
        done = small.run("-c", DOWNLOAD, f"http://127.0.0.1:{server.server_port}/", str(target), full=True)
        left = [path.name for path in target.parent.iterdir()]
    server.shutdown()
    yield Row("full disk", "download weights to the cache", told(done), ends_in_a_sentence(done) and not left)


def analysis_without_room_or_killed() -> Iterator[Row]:
    images = [str(path) for path in sorted(EXAMPLES.glob("*.jpg"))[:3]]
    with disk(16) as small:
        out = small.folder / "out"
        command = ["analyze", *images, "--out", str(out)]
        was_killed = kill_when(lambda: len([*out.glob("*.json")]) == 1, *command)
        before = whole_results(out)
        small.fill()
        done = small.run(*command, full=True)
        kept = whole_results(out)
        small.empty()
        after = small.run(*command)
        is_whole = before == 1 == kept and after.returncode == 0 and whole_results(out) == 3
        seen = "1 of 3 images done, all of its files whole; the same command did the other 2"
        yield Row("kill -9", "analyze of 3 images, after the first", seen, was_killed and is_whole)
        seen = told(done, "the image that was done is kept")
        yield Row("full disk", "analyze --out", seen, ends_in_a_sentence(done) and is_whole)


def files_without_room(weights: Path) -> Iterator[Row]:
    with disk(1) as small:
        small.fill()
        for name, command in {
            "export to .pt2": ["export", "--checkpoint", str(weights), "--dense", "--output", "model.pt2"],
            "average --output": ["average", str(weights), str(weights), "--output", "mean.safetensors"],
        }.items():
            target = small.folder / command[-1]
            done = small.run(*command[:-1], str(target), full=True)
            left = [path.name for path in small.folder.iterdir() if path.name != "filler"]
            yield Row("full disk", name, told(done), ends_in_a_sentence(done) and not left)


def places_that_take_no_file(weights: Path) -> Iterator[Row]:
    image = str(next(EXAMPLES.glob("*.jpg")))
    with disk(16) as small:
        taken, folder, read_only = (small.folder / name for name in ("taken", "model.pt2", "read-only"))
        taken.write_text("mine", encoding="utf-8")
        folder.mkdir()
        read_only.mkdir(mode=0o555)
        if IS_ROOT:  # permissions do not hold root back
            subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", read_only], check=True)
        export = ["export", "--checkpoint", str(weights), "--dense", "--output"]
        for fault, command in {
            "a file where a folder is wanted": ["analyze", image, "--out", str(taken)],
            "a folder where a file is wanted": [*export, str(folder)],
            "a folder that is read-only": ["analyze", image, "--out", str(read_only)],
            "a folder that is  read-only": [*export, str(read_only / "model.pt2")],
        }.items():
            done = small.run(*command)
            is_kept = taken.read_text(encoding="utf-8") == "mine" and not [*folder.iterdir(), *read_only.iterdir()]
            yield Row(" ".join(fault.split()), command[0], told(done), ends_in_a_sentence(done) and is_kept)
        if IS_ROOT:
            subprocess.run(["umount", read_only], check=True)


def training_without_room_or_killed(folder: Path, weights: Path) -> Iterator[Row]:
    data = write_folder(folder / "photos")
    command = ["train", "sparsify", "--data", str(data), "--start", str(weights), *TINY_OPTIONS, "--batch", "8"]
    command += ["--epochs", "6", "--workers", "0", "--log-every", "1", "--save-every", "2", "--output"]
    with disk(16) as small:
        whole, stopped = small.folder / "whole", small.folder / "stopped"
        assert small.run(*command, str(whole)).returncode == 0
        was_killed = kill_when(
            lambda: (stopped / "log.jsonl").exists() and has_steps(stopped, 5), *command, str(stopped)
        )
        begun = state_of(stopped)["step"]
        small.fill(spare=65536)  # options and log find room, the weights do not
        done = small.run(*command, str(stopped), full=True)
        kept = state_of(stopped)["step"]
        small.empty()
        is_resumed = small.run(*command, str(stopped)).returncode == 0 and same_weights(whole, stopped)
        seen = f"went on after step {begun} of 12; weights and their average bit for bit as without"
        yield Row("kill -9", "training", seen, was_killed and 0 < begun < 12 and is_resumed)
        seen = told(done, f"the state of step {kept} is kept, and goes on to the same weights")
        yield Row(
            "full disk", "a checkpoint is written", seen, ends_in_a_sentence(done) and kept == begun and is_resumed
        )


def has_steps(folder: Path, steps: int) -> bool:
    return (folder / "log.jsonl").read_bytes().count(b"\n") >= steps


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "state.pt", weights_only=True)


def same_weights(*folders: Path) -> bool:
    one, other = map(state_of, folders)
    return all(
        torch.equal(one[part][name], other[part][name]) for part in ("objective", "averaged") for name in one[part]
    )


def page_without_room_or_killed() -> Iterator[Row]:
    with running_app() as app, disk(2, app.files) as small:
        visitor = Visitor(app.address, 1)
        small.fill()
        upload = visitor.client.post("/gradio_api/upload", files={"files": ("mine.png", os.urandom(3 << 20))})
        seen = f"HTTP {upload.status_code}: {upload.text}"
        yield Row("full disk", "an image is uploaded to the page", seen, upload.text == NO_ROOM)
        answer = survey(visitor)
        problems, images = answer[1]["problems"], answer[1]["pictures"]
        is_right = [one["sentence"] for one in problems] == [NO_ROOM] and int(images) == len([*EXAMPLES.glob("*.jpg")])
        seen = f"{images} images shown; {CSV_NAME}: {problems[0]['sentence'] if problems else 'nothing said'}"
        yield Row("full disk", "the CSV of Many images is written", seen, is_right)
        small.empty()
        for left in small.folder.rglob("tmp*"):
            left.unlink()
        answer = survey(visitor)
        yield Row("full disk, then room", "Many images again", "the CSV is offered", not answer[1]["problems"])
        threading.Thread(target=lambda: quietly(survey, visitor), daemon=True).start()
        written = {*small.folder.rglob(CSV_NAME)}
        until(lambda: bool({*small.folder.rglob(CSV_NAME)} - written))
        app.process.kill()
        app.process.wait(30)
        lengths = {len({len(row) for row in rows_of(path)}) for path in small.folder.rglob(CSV_NAME)}
        yield Row("kill -9", "the app, in Many images", "each CSV on disk is whole", lengths == {1})


def quietly(work: Callable[[Visitor], object], visitor: Visitor) -> None:
    try:
        work(visitor)
    except Exception:  # the server is killed meanwhile
        return


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def survey(visitor: Visitor) -> list[Any]:
    """Press "Use the examples" in Many images, and return what is shown in the end."""
    config = visitor.client.get("/config").json()
    button = next(one["id"] for one in config["components"] if one["props"].get("elem_id") == "many-examples")
    event = next(one["id"] for one in config["dependencies"] if [button, "click"] in one["targets"])
    session = f"{visitor.session}-{time.monotonic()}"
    wish = {"fn_index": event, "data": [None, {}, None], "trigger_id": button, "session_hash": session}
    visitor.client.post("/gradio_api/queue/join", json=wish).raise_for_status()
    with visitor.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            message = json.loads(line.removeprefix("data:") or "{}")
            if message.get("msg") == "process_completed":
                return message["output"]["data"]
    raise RuntimeError("the app ended before its answer")


def main() -> None:
    """Do what is asked for, print the table, and end with status 1 when anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", help="download, files, places, analysis, training, page; default: all")
    asked = parser.parse_args().what
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = write_dense_weights(folder / "dense.safetensors")
        groups = {
            "download": download_without_room(),
            "files": files_without_room(weights),
            "places": places_that_take_no_file(weights),
            "analysis": analysis_without_room_or_killed(),
            "training": training_without_room_or_killed(folder, weights),
            **({"page": page_without_room_or_killed()} if IS_ROOT else {}),
        }
        for row in itertools.chain.from_iterable(groups[name] for name in asked or groups):
            rows.append(row)
            sys.stderr.write(f"{row.fault}, {row.done}: {'right' if row.is_right else 'WRONG'}\n")
    lines = ["| fault | what was done | what was seen | |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.fault} | {row.done} | {row.seen} | {'right' if row.is_right else 'WRONG'} |" for row in rows]
    how = (
        "a tmpfs that is full"
        if IS_ROOT
        else f"RLIMIT_FSIZE of {LIMIT} bytes; without root nothing of the page was tried"
    )
    sys.stdout.write(
        "\n".join([*lines, "", f"The full disk is {how}. Wrong: {sum(not row.is_right for row in rows)}."])
    )
    sys.exit(not all(row.is_right for row in rows))


if __name__ == "__main__":
    main()
