"""Average the weights of several runs: ``python -m dynamicvit.average A.safetensors B.safetensors --output FILE``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dynamicvit.checkpoints.averaging import average_checkpoints, joint_metadata
from dynamicvit.checkpoints.loading import save_model
from dynamicvit.errors import DynamicViTError


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the mean of the weight files."""
    parser = argparse.ArgumentParser(
        prog="python -m dynamicvit.average", description="Write the mean of weight files of one model (a model soup)."
    )
    parser.add_argument("weights", type=Path, nargs="+", metavar="FILE", help="weights of runs with the same start")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the .safetensors file to write")
    options = parser.parse_args(arguments)
    try:
        model = average_checkpoints(options.weights)
        save_model(model, options.output, metadata=joint_metadata(options.weights))
    except DynamicViTError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
