"""ConvNeXt with a slow and a fast path (the authors call it DynamicCNN).

Source: Liu et al. 2022, "A ConvNet for the 2020s" (arXiv 2201.03545), with the paths of arXiv 2207.01580.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from dynamicvit.errors import ImageError
from dynamicvit.models.config import ConvNeXtConfig
from dynamicvit.models.hierarchical import Grid, HierarchicalModel, PathBlock, drop_path_rates, has_fast_path
from dynamicvit.models.vit import TokenPredictor

GAMMA = 1e-6
"""What the scale of each residual branch starts from."""


class ConvNeXtBlock(PathBlock):
    """A depthwise convolution, then for each position an MLP or, on the fast path, one linear layer."""

    def __init__(self, width: int, mlp_ratio: float, norm_eps: float, drop_path: float, *, has_fast_path: bool) -> None:
        super().__init__(drop_path)
        self.dwconv = nn.Conv2d(width, width, kernel_size=7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.pwconv1 = nn.Linear(width, int(width * mlp_ratio))
        self.pwconv2 = nn.Linear(int(width * mlp_ratio), width)
        self.gamma = nn.Parameter(GAMMA * torch.ones(width))
        if has_fast_path:
            self.fast_path = nn.Sequential(nn.LayerNorm(width, eps=norm_eps), nn.Linear(width, width))
            self.fast_path_gamma = nn.Parameter(GAMMA * torch.ones(width))

    def mix(self, x: Tensor, grid: Grid) -> Tensor:
        """Return each position's neighbourhood."""
        return to_positions(self.dwconv(to_map(x, grid)))

    def base(self, before: Tensor, mixed: Tensor) -> Tensor:
        """Return the positions as they were."""
        return before

    def slow(self, mixed: Tensor) -> Tensor:
        """Return what the MLP adds to (B, K, C) positions."""
        return self.drop_path(self.gamma * self.pwconv2(F.gelu(self.pwconv1(self.norm(mixed)))))

    def fast(self, mixed: Tensor) -> Tensor:
        """Return what the linear layer adds to (B, K, C) positions."""
        return self.drop_path(self.fast_path_gamma * self.fast_path(mixed))


class PointwiseConv(nn.Conv2d):
    """A 1 x 1 convolution over (B, N, C) positions: a linear layer, with the weight's shape in the authors' files."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, N, out_features)."""
        return F.linear(x, self.weight.flatten(1), self.bias)


class ConvNeXtPredictor(TokenPredictor):
    """The paper's prediction module, as 1 x 1 convolutions and with the backbone's epsilon."""

    def __init__(self, dim: int, norm_eps: float) -> None:
        super().__init__(dim)
        self.in_conv[0] = nn.LayerNorm(dim, eps=norm_eps)
        for layers in (self.in_conv, self.out_conv):
            for index, layer in enumerate(layers):
                if isinstance(layer, nn.Linear):
                    layers[index] = PointwiseConv(layer.in_features, layer.out_features)


class ConvNeXt(HierarchicalModel):
    """A dynamic ConvNeXt; with no location the plain one."""

    def __init__(self, config: ConvNeXtConfig, class_names: Sequence[str] | None = None) -> None:
        super().__init__(config, class_names)
        eps, rates = config.norm_eps, drop_path_rates(config)
        first = nn.Sequential(
            nn.Conv2d(3, config.widths[0], kernel_size=4, stride=4), LayerNorm2d(config.widths[0], eps=eps)
        )
        later = (
            nn.Sequential(LayerNorm2d(before, eps=eps), nn.Conv2d(before, after, kernel_size=2, stride=2))
            for before, after in zip(config.widths, config.widths[1:], strict=False)
        )
        self.downsample_layers = nn.ModuleList([first, *later])
        self.stages = nn.ModuleList(
            nn.ModuleList(
                ConvNeXtBlock(width, config.mlp_ratio, eps, rate, has_fast_path=has_fast_path(config, stage, index))
                for index, rate in enumerate(rates[stage])
            )
            for stage, width in enumerate(config.widths)
        )
        self.norm = nn.LayerNorm(config.widths[3], eps=eps)
        self.head = nn.Linear(config.widths[3], config.num_classes)
        self.score_predictor = nn.ModuleList(ConvNeXtPredictor(config.embed_dim, eps) for _ in config.prune_locations)
        self.apply(self.initialise)

    def embed(self, images: Tensor) -> tuple[Tensor, Grid]:
        """Return (B, 3, H, W) images as the (B, N, C) positions of the third stage, and the map's rows and columns."""
        self.check_images(images)
        if min(images.shape[2:]) < 2 * self.config.patch_size:
            raise ImageError(f"Images must have at least 32 x 32 pixels; got {images.shape[2]} x {images.shape[3]}.")
        # In this layout rows of positions are contiguous, and depthwise convolutions fast on a CPU.
        feature_map = images.contiguous(memory_format=torch.channels_last)
        for stage in (0, 1):
            feature_map = self._run_stage(stage, self.downsample_layers[stage](feature_map))
        feature_map = self.downsample_layers[2](feature_map)
        return to_positions(feature_map), (feature_map.shape[2], feature_map.shape[3])

    def classify(self, positions: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """Return (B, classes) logits, of the mean position, and the (B, N / 4, C) final-norm map.

        The fourth stage leaves out the last row, or column, of an odd number.
        """
        last = to_positions(self._run_stage(3, self.downsample_layers[3](to_map(positions, grid))))
        return self.head(self.norm(last.mean(dim=1))), self.norm(last)

    def _run_stage(self, stage: int, feature_map: Tensor) -> Tensor:
        """Return a (B, C, rows, columns) map after all blocks of a stage, none of which has paths."""
        grid = (feature_map.shape[2], feature_map.shape[3])
        positions = to_positions(feature_map)
        for block in self._blocks(stage):
            positions = block(positions, grid)
        return to_map(positions, grid)

    def _blocks(self, stage: int) -> list[PathBlock]:
        return cast(list[PathBlock], list(cast(nn.ModuleList, self.stages[stage])))

    @property
    def path_blocks(self) -> list[PathBlock]:
        """The blocks of the third stage."""
        return self._blocks(2)

    @property
    def predictors(self) -> nn.ModuleList:
        """The prediction modules."""
        return self.score_predictor

    @property
    def stem(self) -> list[nn.Module]:
        """All modules before the third stage's blocks."""
        return [*list(self.downsample_layers)[:3], *self._blocks(0), *self._blocks(1)]

    @property
    def read_out(self) -> list[nn.Module]:
        """All modules after the third stage's blocks."""
        return [self.downsample_layers[3], *self._blocks(3), self.norm, self.head]


def to_positions(feature_map: Tensor) -> Tensor:
    """Return a (B, C, rows, columns) map as (B, rows * columns, C), row by row."""
    return feature_map.flatten(2).transpose(1, 2)


def to_map(positions: Tensor, grid: Grid) -> Tensor:
    """Return (B, rows * columns, C) positions as a (B, C, rows, columns) map."""
    return positions.transpose(1, 2).reshape(positions.shape[0], positions.shape[2], *grid)
