"""A convolutional classifier of timm as a teacher that is read at every place, and attended to where it counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynamicvit.errors import CheckpointError, SettingError
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.lite0 import LITE0, Lite0Embedding
from dynamicvit.training.objective import Teacher, TeacherView
from dynamicvit.weights.io import read_weights

ATTENDED = "attended"
NORM_POWER = 3.0


class AttendedTeacher(Teacher):
    """A frozen timm network with global pooling and a linear head, at output stride 16.

    Its answer is not that of the mean of all places, but of a mean that is attended to (:func:`attend`).

    Args:
        name: timm's name of the network.
        weights: a local file, else timm's pretrained weights are fetched.
        student: whose images it gets; they are normalised anew if the network's mean and standard deviation differ.
        beta: sharpness of the attention.

    Raises:
        SettingError: timm has no such network, or it is of another kind or for other classes.
        CheckpointError: the weights cannot be had or do not fit.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, name: str, weights: Path | None, student: ModelConfig, beta: float) -> None:
        super().__init__()
        self.network = create_timm_network(name, weights, student.num_classes, output_stride=16)
        self.classifier = self.network.get_classifier()
        self.requires_grad_(False).eval()
        if not _reads_the_mean(self.network, self.classifier):
            raise SettingError(f"The teacher {name} has no linear head after global pooling; choose another one.")
        self.to(memory_format=torch.channels_last)
        self.patch_size, self.beta = student.patch_size, beta
        self.shares_trunk = student.embedding == "lite0" and name.partition(".")[0] == LITE0
        own, given = self.network.pretrained_cfg, student.preprocessing
        mean, std, student_mean, student_std = map(torch.tensor, (own["mean"], own["std"], given.mean, given.std))
        self.register_buffer("scale", (student_std / std)[:, None, None])
        self.register_buffer("offset", ((student_mean - mean) / std)[:, None, None])

    @torch.no_grad()
    def forward(self, images: Tensor, features: Tensor | None) -> TeacherView:
        """Return the attended answer and where it comes from; a trunk that the student has too is not run again."""
        if features is None or not self.shares_trunk:
            images = (images * self.scale + self.offset).contiguous(memory_format=torch.channels_last)
            features = self.network.forward_features(images)
            grid = images.shape[2] // self.patch_size, images.shape[3] // self.patch_size
            if features.shape[2:] != grid:
                features = F.interpolate(features, size=grid, mode="bilinear", antialias=True)
        places = self.classifier(features.flatten(2).transpose(1, 2))
        with torch.autocast(places.device.type, enabled=False):
            return TeacherView(*attend(places.float(), self.beta))

    def give_trunk(self, embedding: Lite0Embedding) -> None:
        """Copy the network below the classifier into a student's trunk."""
        own = self.network.state_dict()
        embedding.trunk.load_state_dict({name: own[name] for name in embedding.trunk.state_dict()})


def attend(places: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Return the attended answer (B, classes) and the weights (B, N) of places with (B, N, classes) logits.

    A place weighs (probability that it names what the mean of all names * the cube of the norm of its logits)^beta:
    places that agree with the whole and are sure of it. Logits are centred over the classes.
    """
    places = places - places.mean(dim=-1, keepdim=True)
    whole = places.mean(dim=1).softmax(dim=-1)
    names = (places.softmax(dim=-1) @ whole.unsqueeze(-1)).squeeze(-1).clamp_min(1e-12).log()
    worth = names + NORM_POWER * places.norm(dim=-1).clamp_min(1e-3).log()
    weights = (beta * worth).softmax(dim=1)
    return (weights.unsqueeze(1) @ places).squeeze(1), weights


def _reads_the_mean(network: Any, classifier: nn.Module) -> bool:
    """Return whether a network's answer is its classifier's for the mean of its last map."""
    if not isinstance(classifier, nn.Linear) or classifier.in_features != network.num_features:
        return False
    probe = torch.randn(1, network.num_features, 2, 2)
    return torch.allclose(network.forward_head(probe), classifier(probe.mean(dim=(2, 3))), atol=1e-3)


def create_timm_network(name: str, weights: Path | None, num_classes: int | None = None, **changes: Any) -> Any:
    """Return a timm network with a local file's weights, or with its pretrained ones from the network.

    A file whose tensors have other names, but in order the same shapes, is taken to be of the same network.

    Raises:
        SettingError: timm has no such network, it cannot be changed so, or it has another number of classes.
        CheckpointError: the weights cannot be had or do not fit.
    """
    try:
        network = timm.create_model(name, pretrained=weights is None, **changes)
    except TypeError as error:
        raise SettingError(f"The teacher {name} is no convolutional network with {', '.join(changes)}.") from error
    except RuntimeError as error:
        if timm.is_model(name):
            raise CheckpointError(f"The weights of {name} cannot be had ({error}); give a local file.") from error
        raise SettingError(f"timm has no model {name!r}; list them with timm.list_models().") from error
    except Exception as error:  # whatever the network libraries below timm raise
        raise CheckpointError(f"The weights of {name} could not be fetched; give a local file.") from error
    if weights is not None:
        _load(network, name, weights)
    if num_classes is not None and network.num_classes != num_classes:
        raise SettingError(
            f"The teacher {name} knows {network.num_classes} classes, the student {num_classes}; "
            f"give --classes {network.num_classes}."
        )
    return network


def _load(network: nn.Module, name: str, weights: Path) -> None:
    found, expected = read_weights(weights).tensors, network.state_dict()
    if found.keys() != expected.keys() and len(found) == len(expected):
        found = dict(zip(expected, found.values(), strict=True))
    try:
        network.load_state_dict(found)
    except RuntimeError as error:
        raise CheckpointError(f"{weights.name} does not fit timm's {name}.") from error
