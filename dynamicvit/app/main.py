"""Starting the page from the command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

# Before gradio is imported: it would look up other hosts at once.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from dynamicvit.app.layout import build, launch_options
from dynamicvit.app.state import AppState

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
    options = parser.parse_args(arguments)
    page = build(AppState(options.checkpoints, example_folder()))
    page.launch(server_name=options.host, server_port=options.port, **launch_options())


def example_folder() -> Path:
    """Return where the example images lie: in a clone among its assets, installed inside the package."""
    installed = _PACKAGE / "examples"
    return installed if installed.is_dir() else _PACKAGE.parent / "assets" / "examples"
