"""Any image classifier of timm as a teacher: its logits, its pooled features, and its features by place."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor

from dynamicvit.errors import CheckpointError, SettingError
from dynamicvit.models.config import ModelConfig
from dynamicvit.training.objective import Teacher
from dynamicvit.weights.io import read_weights


class TimmTeacher(Teacher):
    """A frozen timm model that looks at the student's own crops; gives ``logits``, ``pooled`` and ``dense``.

    ``dense`` (B, N, Ct) has a row for each of the student's patch tokens, interpolated from the teacher's own map.

    Args:
        name: timm's name of the model.
        weights: a local file, else timm's pretrained weights are fetched.
        student: whose pictures it gets; they are normalised anew if the teacher's mean and standard deviation differ.

    Raises:
        SettingError: timm has no such model, or its features have no places.
        CheckpointError: the weights cannot be had or do not fit.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, name: str, weights: Path | None, student: ModelConfig) -> None:
        super().__init__()
        self.network = create_timm_network(name, weights, num_classes=student.num_classes)
        self.network.requires_grad_(False).eval()
        self.patch_size = student.patch_size
        own = self.network.pretrained_cfg
        mean, std = torch.tensor(own["mean"]), torch.tensor(own["std"])
        given = student.preprocessing
        student_mean, student_std = torch.tensor(given.mean), torch.tensor(given.std)
        self.register_buffer("scale", (student_std / std)[:, None, None])
        self.register_buffer("offset", ((student_mean - mean) / std)[:, None, None])

    @torch.no_grad()
    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Look at (B, 3, H, W) images, normalised for the student."""
        network = self.network
        output = network.forward_features(images * self.scale + self.offset)
        pooled = network.forward_head(output, pre_logits=True)
        rows, columns = (side // self.patch_size for side in images.shape[2:])
        dense = F.interpolate(self._feature_map(output), size=(rows, columns), mode="bilinear", antialias=True)
        return {
            "logits": network.forward_head(output),
            "pooled": pooled,
            "dense": dense.flatten(2).transpose(1, 2),
        }

    def _feature_map(self, output: Tensor) -> Tensor:
        """Bring timm's layouts to (B, C, rows, columns)."""
        if output.ndim == 3:
            output = output[:, getattr(self.network, "num_prefix_tokens", 0) :]
            side = math.isqrt(output.shape[1])
            return output.transpose(1, 2).unflatten(2, (side, -1))
        if output.ndim != 4:
            raise SettingError("This teacher's features have no places; choose a convolutional network or a ViT.")
        return output.permute(0, 3, 1, 2) if getattr(self.network, "output_fmt", "NCHW") == "NHWC" else output


def create_timm_network(name: str, weights: Path | None, num_classes: int | None = None) -> Any:
    """Build a timm model with a local file's weights, or with its pretrained ones from the network.

    Raises:
        SettingError: timm has no such model, or it has another number of classes than asked for.
        CheckpointError: the weights cannot be had or do not fit.
    """
    try:
        network = timm.create_model(name, pretrained=weights is None)
    except RuntimeError as error:
        if timm.is_model(name):
            raise CheckpointError(f"The weights of {name} cannot be had ({error}); give a local file.") from error
        raise SettingError(f"timm has no model {name!r}; list them with timm.list_models().") from error
    except Exception as error:  # whatever the network libraries below timm raise
        raise CheckpointError(f"The weights of {name} could not be fetched; give a local file.") from error
    if weights is not None:
        try:
            network.load_state_dict(read_weights(weights).tensors)
        except RuntimeError as error:
            raise CheckpointError(f"{weights.name} does not fit timm's {name}.") from error
    if num_classes is not None and network.num_classes != num_classes:
        raise SettingError(
            f"The teacher {name} knows {network.num_classes} classes, the student {num_classes}; "
            f"give --classes {network.num_classes}."
        )
    return network
