"""Starts the page: ``python app.py``, then open the address that it prints."""

import os

# Before gradio is imported: it would look up other hosts at once.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import argparse
from pathlib import Path

from dynamicvit.interface.handlers import Workbench
from dynamicvit.interface.layout import build, launch_options

EXAMPLES = Path(__file__).resolve().parent / "assets" / "examples"


def main() -> None:
    """Read the options, build the page and serve it until interrupted."""
    parser = argparse.ArgumentParser(description="Watch DynamicViT drop image tokens, in the browser.")
    parser.add_argument("--host", help="address to listen on; GRADIO_SERVER_NAME or 127.0.0.1 when not given")
    parser.add_argument("--port", type=int, help="port; GRADIO_SERVER_PORT or the first free one from 7860")
    parser.add_argument("--checkpoints", type=Path, help="folder with weight files; default: checkpoints beside app.py")
    options = parser.parse_args()
    page = build(Workbench(options.checkpoints, EXAMPLES))
    page.launch(server_name=options.host, server_port=options.port, **launch_options())


if __name__ == "__main__":
    main()
