"""The ways an image becomes a grid of tokens: (B, 3, H, W) -> (B, C, rows, columns)."""

from __future__ import annotations

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynamicvit.models.config import ModelConfig

LITE0_CHANNELS = 320


class PatchEmbedding(nn.Module):
    """One convolution whose kernel is the patch (ViT, DeiT)."""

    def __init__(self, patch_size: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images)


class LVViTStem(nn.Module):
    """LV-ViT's stem: three convolutions at half resolution, then patches of half the size.

    Source: Jiang et al. 2021, "All Tokens Matter" (arXiv 2104.10858), as released.
    """

    def __init__(self, patch_size: int, embed_dim: int, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.proj = nn.Conv2d(width, embed_dim, kernel_size=patch_size // 2, stride=patch_size // 2)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.relu(self.bn3(self.conv3(x)))
        return self.proj(x)


class Lite0Stem(nn.Module):
    """All seven stages of EfficientNet-Lite0 at output stride 16, then a linear map to the tokens.

    Modules keep timm's names, so the weights of ``tf_efficientnet_lite0`` load into them by key.
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        network = timm.create_model("tf_efficientnet_lite0", pretrained=False, output_stride=16)
        self.conv_stem = network.conv_stem
        self.bn1 = network.bn1
        self.blocks = network.blocks
        self.proj = nn.Conv2d(LITE0_CHANNELS, embed_dim, kernel_size=1)

    def features(self, images: Tensor) -> Tensor:
        """Give the stem's own feature map, (B, 320, rows, columns), before it becomes tokens."""
        # On a CPU its depthwise convolutions take half the time in this layout.
        images = images.contiguous(memory_format=torch.channels_last)
        return self.blocks(self.bn1(self.conv_stem(images)))

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(self.features(images))


def undilated_places(patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """Take every second row and column of patch tokens: all that Lite0's stem would compute at its own stride of 32.

    A quarter of the tokens, and as they are what its weights were trained for, their mean answers as well as that of
    all. With "same" padding they are the odd rows of an even number and the even ones of an odd number.

    Args:
        patches: (B, N, C).
        grid: rows and columns of the N patches.
    """
    rows, columns = grid
    return patches.unflatten(1, grid)[:, 1 - rows % 2 :: 2, 1 - columns % 2 :: 2].flatten(1, 2)


def create_embedding(config: ModelConfig) -> nn.Module:
    """Build the token embedding that the description names."""
    if config.embedding == "lvvit":
        return LVViTStem(config.patch_size, config.embed_dim)
    if config.embedding == "lite0":
        return Lite0Stem(config.embed_dim)
    return PatchEmbedding(config.patch_size, config.embed_dim)
