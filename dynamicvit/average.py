"""The mean of several runs' weights, in one model that costs no more than one of them.

``python -m dynamicvit.average A.safetensors B.safetensors --output FILE``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from dynamicvit.errors import CheckpointError, DynamicViTError
from dynamicvit.models.base import DynamicModel
from dynamicvit.weights.io import different_fields, load_file, read_shapes, save_model


@torch.no_grad()
def average_checkpoints(paths: Sequence[Path]) -> DynamicModel:
    """Return the model whose every number is the mean over the files.

    This helps among runs that began at the same weights: what each of them learned by chance averages out.

    Args:
        paths: two or more weight files of one model.

    Raises:
        CheckpointError: fewer than two files are given, one cannot be read, or they are of different models.

    Source: Wortsman et al. 2022, "Model soups" (arXiv 2203.05482), section 2, the uniform soup.
    """
    if len(paths) < 2:
        raise CheckpointError("An average needs two weight files or more.")
    model = load_file(paths[0])
    sums = {name: tensor.double() for name, tensor in model.state_dict().items()}
    for path in paths[1:]:
        other = load_file(path)
        different = different_fields(other.config, model.config)
        if other.class_names != model.class_names:
            different.append("class names")
        if different:
            raise CheckpointError(
                f"{path.name} does not fit the model of {paths[0].name}: it has another {' and '.join(different)}."
            )
        for name, tensor in other.state_dict().items():
            sums[name] += tensor
    mean = {name: (total / len(paths)).to(model.state_dict()[name].dtype) for name, total in sums.items()}
    model.load_state_dict(mean)
    return model


def joint_metadata(paths: Sequence[Path]) -> dict[str, str]:
    """Return what the headers of all files say alike, and the keep ratios that any of them was trained for."""
    headers = [read_shapes(path).metadata for path in paths]
    joint = {key: value for key, value in headers[0].items() if all(other.get(key) == value for other in headers)}
    ratios = dict.fromkeys(header["keep_ratios"] for header in headers if "keep_ratios" in header)
    return joint | ({"keep_ratios": ", ".join(ratios)} if ratios else {})


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
