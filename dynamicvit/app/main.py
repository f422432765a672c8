"""Starting the page from the command line."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

# Before gradio is imported: it would look up other hosts at once.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from dynamicvit.app.state import AppState
from dynamicvit.app.temporary import TemporaryFiles
from dynamicvit.errors import DynamicViTError
from dynamicvit.precision import PRECISIONS, Precision
from dynamicvit.weights.available import fetch_with_progress

if importlib.util.find_spec("gradio") is None:  # said at once: it is imported only after the model began to load
    raise ModuleNotFoundError("No module named 'gradio'", name="gradio")

if TYPE_CHECKING:
    import gradio as gr

_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Options:
    """What the command line says; its ``--help`` explains each."""

    host: str | None
    port: int | None
    checkpoints: Path | None
    fetch: str | None
    precision: Precision
    mcp: bool


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, build the page and serve it until interrupted."""
    options = read_options(arguments)
    serve(page(options), options)


def read_options(arguments: Sequence[str] | None = None) -> Options:
    """Return the options of a command line; of this process's when none is given."""
    parser = argparse.ArgumentParser(prog="dynamicvit app", description="Watch DynamicViT drop image tokens.")
    parser.add_argument("--host", help="address to listen on; GRADIO_SERVER_NAME or 127.0.0.1 when not given")
    parser.add_argument("--port", type=int, help="port; GRADIO_SERVER_PORT or the first free one from 7860")
    parser.add_argument(
        "--checkpoints",
        type=Path,
        help="folder with weight files; default: DYNAMICVIT_CHECKPOINTS, or checkpoints in a clone, or the cache",
    )
    parser.add_argument(
        "--fetch",
        metavar="NAME",
        default=os.environ.get("DYNAMICVIT_FETCH"),
        help="published weights to download before the first page, which opens with them, such as "
        "dynamicvit_deit_small_patch16_224; DYNAMICVIT_FETCH when not given",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="of models on the CPU; auto: bfloat16 where it is faster here and gives the same answers",
    )
    parser.add_argument("--mcp", action="store_true", help="offer the endpoints as MCP tools too, at /gradio_api/mcp/")
    return Options(**vars(parser.parse_args(arguments)))


@cache  # Gradio's hot reload runs app.py again as soon as it serves: that finds the same page
def page(options: Options) -> gr.Blocks:
    """Return the page, built and not yet served; its first model is loaded meanwhile."""
    TemporaryFiles.own()  # before Gradio is told of any file
    state = AppState(options.checkpoints, example_folder(), first=fetched(options.fetch), precision=options.precision)
    threading.Thread(target=state.open_ahead, daemon=True).start()
    # Gradio takes seconds to import; meanwhile the model is loaded.
    from dynamicvit.app.layout import build

    return build(state)


def serve(page: gr.Blocks, options: Options) -> None:
    """Serve a page until interrupted; under Gradio's hot reload, which serves it already, return at once."""
    from dynamicvit.app.layout import launch_options

    with TemporaryFiles.own().kept_small():
        page.launch(server_name=options.host, server_port=options.port, mcp_server=options.mcp, **launch_options())


def fetched(name: str | None) -> str | None:
    """Return the key of the model of that name, downloaded if need be; None with one line where that fails."""
    if not name:
        return None
    try:
        return fetch_with_progress(name).name
    except DynamicViTError as error:
        sys.stderr.write(f"Starting without {name}. {error}\n")
        return None


def example_folder() -> Path:
    """Return where the example images lie: in a clone among its assets, installed inside the package."""
    installed = _PACKAGE / "examples"
    return installed if installed.is_dir() else _PACKAGE.parent / "assets" / "examples"
