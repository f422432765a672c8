"""The mean of several runs' weights, in one model that costs no more than one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from dynamicvit.checkpoints.loading import load_checkpoint, load_model
from dynamicvit.checkpoints.reading import read_metadata
from dynamicvit.errors import CheckpointError
from dynamicvit.labels import default_class_names
from dynamicvit.models.registry import create_model
from dynamicvit.models.vit import DynamicVisionTransformer


@torch.no_grad()
def average_checkpoints(paths: Sequence[Path]) -> DynamicVisionTransformer:
    """Build the model whose every number is the mean over the files.

    This helps among runs that began at the same weights: what each of them learned by chance averages out.

    Args:
        paths: two or more weight files of one model.

    Raises:
        CheckpointError: fewer than two files are given, one cannot be read, or they are of different models.

    Source: Wortsman et al. 2022, "Model soups" (arXiv 2203.05482), section 2, the uniform soup.
    """
    if len(paths) < 2:
        raise CheckpointError("An average needs two weight files or more.")
    model = load_model(paths[0])
    sums = {name: tensor.double() for name, tensor in model.state_dict().items()}
    other = create_model(model.config)
    for path in paths[1:]:
        other.class_names = default_class_names(model.config.num_classes)
        load_checkpoint(other, path)
        if other.class_names != model.class_names:
            raise CheckpointError(f"{path.name} has other class names than {paths[0].name}; they cannot be averaged.")
        for name, tensor in other.state_dict().items():
            sums[name] += tensor
    mean = {name: (total / len(paths)).to(model.state_dict()[name].dtype) for name, total in sums.items()}
    model.load_state_dict(mean)
    return model


def joint_metadata(paths: Sequence[Path]) -> dict[str, str]:
    """Give what the headers of all files say alike, and the keep ratios that any of them was trained for."""
    headers = [read_metadata(path) for path in paths]
    joint = {key: value for key, value in headers[0].items() if all(other.get(key) == value for other in headers)}
    ratios = dict.fromkeys(header["keep_ratios"] for header in headers if "keep_ratios" in header)
    return joint | ({"keep_ratios": ", ".join(ratios)} if ratios else {})
