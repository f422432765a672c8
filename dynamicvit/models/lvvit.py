"""LV-ViT: the same transformer on a convolutional stem, with an auxiliary head that reads every patch token.

Source: Jiang et al. 2021, "All Tokens Matter" (arXiv 2104.10858), as the authors of DynamicViT release it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from dynamicvit.models.config import ModelConfig
from dynamicvit.models.vit import DynamicVisionTransformer

AUX_WEIGHT = 0.5


class LVViTStem(nn.Module):
    """Three convolutions at half resolution, then patches of half the size."""

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
        """Return (B, C, rows, columns) for (B, 3, H, W) images."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.relu(self.bn3(self.conv3(x)))
        return self.proj(x)


class LVViT(DynamicVisionTransformer):
    """A dynamic LV-ViT; half of the patch tokens' best class scores are added to the class token's."""

    def __init__(self, config: ModelConfig, class_names: Sequence[str] | None = None) -> None:
        super().__init__(config, class_names)
        self.aux_head = nn.Linear(config.embed_dim, config.num_classes)
        self.aux_head.apply(self.initialise)

    def make_embedding(self) -> nn.Module:
        """Return the convolutional stem."""
        return LVViTStem(self.config.patch_size, self.config.embed_dim)

    def classify(self, tokens: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Return (B, classes) logits; the maximum over the patch tokens that are left is taken for each class."""
        return super().classify(tokens) + AUX_WEIGHT * self.aux_head(tokens[:, 1:]).amax(dim=1)

    def training_outputs(self, tokens: Tensor, keep_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the class token's logits alone and the auxiliary (B, N, classes) logits, as the losses take them."""
        return super().classify(tokens), self.aux_head(tokens[:, 1:])

    @property
    def read_out(self) -> list[nn.Module]:
        """The modules after the last block."""
        return [*super().read_out, self.aux_head]
