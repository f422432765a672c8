"""Starting the app with published weights, whatever the server does."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import EXAMPLES

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


class Page:
    """A page that is closed at once."""

    def launch(self, **options: object) -> None:
        """Serve nothing."""
