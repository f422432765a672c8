"""One program for everything: ``dynamicvit`` or ``python -m dynamicvit``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from dynamicvit import __version__

# Name -> the function that takes the arguments, and what it does. Modules are imported when they are asked for: most
# need torch, and the app needs gradio.
COMMANDS = {
    "app": ("app.main:main", "open the page in the browser"),
    "analyze": ("analyze:main", "which tokens are dropped in images: a sheet, an animation and JSON of each"),
    "models": ("weights.available:main", "list the models that are here and the published ones"),
    "fetch": ("weights.available:fetch", "download published models into the cache"),
    "evaluate": ("evaluate:main", "accuracy, agreement, GMACs and speed of a checkpoint on photos"),
    "train": ("training.loop:command", "train a model that drops tokens"),
    "benchmark": ("benchmark:main", "how long models take, dense and pruned, beside timm"),
    "export": ("export:main", "write a pruned model as ONNX, or for torch without this package"),
    "average": ("average:main", "write the mean of several weight files"),
}
EXAMPLES = """examples:
  dynamicvit app --port 7860
  dynamicvit analyze cat.jpg holiday/ --keep-ratio 0.5 --out results
  dynamicvit fetch dynamicvit_deit_small_patch16_224
  dynamicvit evaluate --checkpoint weights.safetensors --photos val/ --keep-ratio 0.7 0.5
  dynamicvit train sparsify --help"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the first argument names on the rest of them."""
    name, *rest = [*(sys.argv[1:] if arguments is None else arguments), ""]
    if name in COMMANDS:
        run(name, rest[:-1])
    elif name == "--version":
        sys.stdout.write(f"dynamicvit {__version__}\n")
    elif name in ("", "-h", "--help"):
        sys.stdout.write(usage())
    else:
        sys.exit(f"dynamicvit has no command {name!r:.40}; choose one of {', '.join(COMMANDS)}.")


def run(name: str, arguments: Sequence[str]) -> None:
    """Run one command; a library that is not installed ends it with what to install."""
    module_name, _, function = COMMANDS[name][0].partition(":")
    try:
        module = import_module(f"dynamicvit.{module_name}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("dynamicvit"):
            raise
        sys.exit(f"dynamicvit {name} needs {error.name}; install it: pip install 'dynamicvit[app,train]'")
    getattr(module, function)(arguments)


def usage() -> str:
    """Return what --help says."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {what}" for name, (_, what) in COMMANDS.items())
    return f"usage: dynamicvit COMMAND ...\n\n{commands}\n\n{EXAMPLES}\n\nEach command explains itself with --help.\n"


if __name__ == "__main__":
    main()
