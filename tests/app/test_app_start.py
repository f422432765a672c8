"""Starting the app with published weights, whatever the server does."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import pytest
from browsing import ROOT, wait_for
from conftest import EXAMPLES, free_port

from dynamicvit.app import main as module
from dynamicvit.app.main import fetched
from dynamicvit.app.state import AppState
from dynamicvit.models.registry import create_model
from dynamicvit.weights import available
from dynamicvit.weights.io import save_model
from dynamicvit.weights.published import PUBLISHED

NAME = "dynamicvit_deit_256_patch16_224"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the address of the published weights leads to, and a cache of its own."""
    served = tmp_path / "served.safetensors"
    known = next(one for one in PUBLISHED if one.model == NAME)
    moved = replace(known, urls=(served.as_uri(),), file_name="fetched.safetensors")
    monkeypatch.setattr(available, "PUBLISHED", (moved,))
    monkeypatch.setenv("DYNAMICVIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DYNAMICVIT_CHECKPOINTS", str(tmp_path / "none"))
    return served


def test_fetched_weights_are_the_first_of_the_list(
    site: Path, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(create_model(NAME), site)
    monkeypatch.setattr("dynamicvit.weights.published._mismatch", lambda path, checkpoint: None)
    key = fetched(NAME)
    assert key == "fetched.safetensors"
    assert (AppState(checkpoints, EXAMPLES).first_model(), AppState(checkpoints, first=key).first_model()) == (
        "dynamicvit_lite0_small_patch16_224.safetensors",
        "fetched.safetensors",
    )


@pytest.mark.parametrize("content", [None, b"cut off"])
def test_where_fetching_fails_one_line_says_so_and_the_app_starts(
    site: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        site.write_bytes(content)
    assert fetched(NAME) is None
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.match(f"Starting without {NAME}. .* could not be downloaded", said)


def test_a_name_that_nothing_has_is_said_too(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetched("resnet50_of_mine") is None
    assert "no file and no model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "environment", "name"), [(["--fetch", "a"], "b", "a"), ([], "b", "b"), ([], "", "")]
)
def test_option_and_environment_name_what_to_fetch(
    options: list[str], environment: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str | None] = []
    monkeypatch.setenv("DYNAMICVIT_FETCH", environment)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(module, "fetched", asked.append)
    monkeypatch.setattr("dynamicvit.app.layout.build", lambda state: Page())
    module.main([*options, "--checkpoints", str(tmp_path)])
    assert asked == [name]


def test_the_page_is_the_global_demo_of_app_py_before_it_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(sys, "argv", ["app.py"])
    monkeypatch.setattr(module, "page", lambda options: Page())
    monkeypatch.setattr(module, "serve", lambda page, options: seen.append(sys.modules["__main__"].demo is page))
    runpy.run_path(str(ROOT / "app.py"), run_name="__main__")
    assert seen == [True]


def test_importing_app_py_builds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("read_options", "page", "serve"):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("an import started the page"))
    assert "demo" not in runpy.run_path(str(ROOT / "app.py"), run_name="app")


def test_running_app_py_again_in_one_process_finds_the_page_that_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr("dynamicvit.app.layout.build", lambda state: Page())
    arguments = ["--checkpoints", str(tmp_path)]
    first = module.page(module.read_options(arguments))
    assert module.page(module.read_options(arguments)) is first
    assert module.page(module.read_options([*arguments, "--precision", "auto"])) is not first


def test_gradios_hot_reload_shows_what_was_changed(checkpoints: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "dynamicvit", tmp_path / "dynamicvit")
    source = (ROOT / "app.py").read_text()
    (tmp_path / "app.py").write_text(source)
    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    options = ["--host", "127.0.0.1", "--port", str(port), "--checkpoints", str(checkpoints)]
    command = [sys.executable, "-c", "from gradio.cli import cli; cli()", "app.py", "--", *options]
    with subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, start_new_session=True
    ) as gradio:
        try:
            wait_for(address, gradio)
            for _ in range(60):  # the first changes may come before Gradio has begun to look
                (tmp_path / "app.py").write_text(f"{source}    demo.title = 'Changed'\n")
                if is_called("Changed", address):
                    break
            assert is_called("Changed", address)
        finally:
            os.killpg(gradio.pid, signal.SIGTERM)


def is_called(title: str, address: str, patience_s: float = 2) -> bool:
    """Whether the page that is served has that title, or gets it soon."""
    deadline = time.monotonic() + patience_s
    while True:
        with urlopen(f"{address}config", timeout=60) as config:
            if json.load(config)["title"] == title:
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)


class Page:
    """A page that is closed at once."""

    def launch(self, **options: object) -> None:
        """Serve nothing."""
