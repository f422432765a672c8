"""The paper's transformer on EfficientNet-Lite0: its whole frozen trunk, then a linear map, embeds the tokens."""

from __future__ import annotations

from collections import OrderedDict
from typing import Self

import timm
import torch
from torch import Tensor, nn

from dynamicvit.models.vit import DynamicVisionTransformer

LITE0 = "tf_efficientnet_lite0"
CHANNELS = 1280
_TRUNK = ("conv_stem", "bn1", "blocks", "conv_head", "bn2")


class Lite0Embedding(nn.Module):
    """EfficientNet-Lite0 at output stride 16 up to its last activation, then a linear map to the tokens.

    The trunk is frozen and always in evaluation mode: its batch norms keep the statistics that they came with. Its
    modules keep timm's names.
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        network = timm.create_model(LITE0, pretrained=False, output_stride=16)
        self.trunk = nn.Sequential(OrderedDict((name, getattr(network, name)) for name in _TRUNK))
        # Depthwise convolutions take half the time in this layout.
        self.trunk.requires_grad_(False).eval().to(memory_format=torch.channels_last)
        self.proj = nn.Conv2d(CHANNELS, embed_dim, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, C, rows, columns) for (B, 3, H, W) images."""
        return self.proj(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """Return the trunk's (B, 1280, rows, columns) features, which :attr:`proj` maps to the tokens."""
        return self.trunk(images.contiguous(memory_format=torch.channels_last))

    def train(self, mode: bool = True) -> Self:
        """Put all but the trunk into training or evaluation mode."""
        super().train(mode)
        self.trunk.eval()
        return self


class Lite0ViT(DynamicVisionTransformer):
    """A dynamic transformer whose tokens are the places of EfficientNet-Lite0's last feature map."""

    def make_embedding(self) -> nn.Module:
        """Return the trunk with its map to the tokens."""
        return Lite0Embedding(self.config.embed_dim)
