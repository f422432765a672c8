"""Starting the page from the command line."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

# Before gradio is imported: it would look up other hosts at once.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from dynamicvit.app.state import AppState
from dynamicvit.app.temporary import TemporaryFiles
from dynamicvit.errors import DynamicViTError
from dynamicvit.precision import PRECISIONS
from dynamicvit.weights.available import fetch_with_progress

if importlib.util.find_spec("gradio") is None:  # said at once: it is imported only after the model began to load
    raise ModuleNotFoundError("No module named 'gradio'", name="gradio")

_PACKAGE = Path(__file__).resolve().parents[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, build the page and serve it until interrupted."""
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
    options = parser.parse_args(arguments)
    files = TemporaryFiles.own()
    first, precision = fetched(options.fetch), options.precision
    state = AppState(options.checkpoints, example_folder(), first=first, precision=precision)
    threading.Thread(target=state.open_ahead, daemon=True).start()
    # Gradio takes seconds to import; meanwhile the model is loaded.
    from dynamicvit.app.layout import build, launch_options

    page = build(state)
    with files.kept_small():
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
