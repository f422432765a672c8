"""Swin transformer with a slow and a fast path.

Source: Liu et al. 2021, "Swin Transformer" (arXiv 2103.14030), with the paths of arXiv 2207.01580.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from timm.layers import Mlp
from torch import Tensor, nn

from dynamicvit.models.config import SwinConfig
from dynamicvit.models.hierarchical import Grid, HierarchicalModel, PathBlock, drop_path_rates, has_fast_path
from dynamicvit.models.vit import TokenPredictor

FORBIDDEN = -100.0
"""Added to the score of two positions that share a window only because the shifted map wraps around."""


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, with a learned bias for each relative position."""

    def __init__(self, dim: int, num_heads: int, window: int, *, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, num_heads))
        self.relative_position_index: Tensor
        self.register_buffer("relative_position_index", relative_position_index(window))
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the mixed positions (B * W, T, C) of W windows an image.

        Args:
            mask: (W, T, T), added to the scaled dot products; None for nothing.
        """
        query, key, value = self.qkv(x).reshape(*x.shape[:2], 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        scores = (query * self.scale) @ key.transpose(-2, -1)
        scores = scores + self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        if mask is not None:
            by_image = scores.reshape(-1, mask.shape[0], *scores.shape[1:])
            scores = (by_image + mask.unsqueeze(1)).reshape(scores.shape)
        return self.proj((scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2))


class FastMlp(nn.Module):
    """The fast path: a norm and one linear layer."""

    def __init__(self, dim: int, norm_eps: float) -> None:
        super().__init__()
        self.fc1 = nn.Sequential(nn.LayerNorm(dim, eps=norm_eps), nn.Linear(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, K, C)."""
        return self.fc1(x)


class SwinBlock(PathBlock):
    """Window attention, then for each position an MLP or, on the fast path, one linear layer."""

    def __init__(
        self, config: SwinConfig, stage: int, drop_path: float, *, is_shifted: bool, has_fast_path: bool
    ) -> None:
        super().__init__(drop_path)
        dim, side, window = config.widths[stage], config.sides[stage], config.windows[stage]
        self.window = window
        self.shift = config.window_size // 2 if is_shifted and side > config.window_size else 0
        norm = partial(nn.LayerNorm, eps=config.norm_eps)
        self.norm1 = norm(dim)
        self.attn = WindowAttention(dim, config.heads[stage], window, qkv_bias=config.qkv_bias)
        self.norm2 = norm(dim)
        self.mlp = Mlp(dim, int(dim * config.mlp_ratio))
        if has_fast_path:
            self.fastmlp = FastMlp(dim, config.norm_eps)
        self.attn_mask: Tensor | None
        self.register_buffer("attn_mask", shift_mask((side, side), window, self.shift) if self.shift else None)
        self._mask_grid = (side, side)

    def mix(self, x: Tensor, grid: Grid) -> Tensor:
        """Return the positions after attention within their windows."""
        feature_map = self.norm1(x).reshape(x.shape[0], *grid, x.shape[-1])
        shifted = feature_map.roll((-self.shift, -self.shift), dims=(1, 2)) if self.shift else feature_map
        attended = from_windows(self.attn(to_windows(shifted, self.window), self._mask(grid)), grid, self.window)
        restored = attended.roll((self.shift, self.shift), dims=(1, 2)) if self.shift else attended
        return x + self.drop_path(restored.flatten(1, 2))

    def _mask(self, grid: Grid) -> Tensor | None:
        """Return which positions of each window may see each other, where the map wraps around."""
        if self.attn_mask is None or grid == self._mask_grid:
            return self.attn_mask
        return shift_mask(grid, self.window, self.shift).to(self.attn_mask)

    def base(self, before: Tensor, mixed: Tensor) -> Tensor:
        """Return the positions after attention."""
        return mixed

    def slow(self, mixed: Tensor) -> Tensor:
        """Return what the MLP adds to (B, K, C) positions."""
        return self.drop_path(self.mlp(self.norm2(mixed)))

    def fast(self, mixed: Tensor) -> Tensor:
        """Return what the linear layer adds to (B, K, C) positions."""
        return self.drop_path(self.fastmlp(mixed))


class PatchMerging(nn.Module):
    """Four neighbouring positions become one of twice the width."""

    def __init__(self, dim: int, norm_eps: float) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim, eps=norm_eps)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Return (B, N / 4, 2 C) for (B, N, C) positions of a map with an even number of rows and columns."""
        rows = x.reshape(x.shape[0], *grid, x.shape[-1])
        quarters = [rows[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(quarters, dim=-1).flatten(1, 2)))


class SwinStage(nn.Module):
    """The blocks of one stage, what merges its positions for the next one, and in the third the predictors."""

    def __init__(self, config: SwinConfig, stage: int, drop_path: list[float]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(
                config,
                stage,
                rate,
                is_shifted=index % 2 == 1,
                has_fast_path=has_fast_path(config, stage, index),
            )
            for index, rate in enumerate(drop_path)
        )
        self.downsample = PatchMerging(config.widths[stage], config.norm_eps) if stage < 3 else None
        if stage == 2:
            self.score_predictor = nn.ModuleList(TokenPredictor(config.embed_dim) for _ in config.prune_locations)


class PatchEmbedding(nn.Module):
    """A convolution over patches of 4 x 4 pixels, and a norm."""

    def __init__(self, embed_dim: int, norm_eps: float) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, kernel_size=4, stride=4)
        self.norm = nn.LayerNorm(embed_dim, eps=norm_eps)

    def forward(self, images: Tensor) -> tuple[Tensor, Grid]:
        """Return (B, N, C) positions of (B, 3, H, W) images, and the map's rows and columns."""
        feature_map = self.proj(images)
        grid = (feature_map.shape[2], feature_map.shape[3])
        return self.norm(feature_map.flatten(2).transpose(1, 2)), grid


class Swin(HierarchicalModel):
    """A dynamic Swin transformer; with no location the plain one."""

    def __init__(self, config: SwinConfig, class_names: Sequence[str] | None = None) -> None:
        super().__init__(config, class_names)
        self.patch_embed = PatchEmbedding(config.widths[0], config.norm_eps)
        rates = drop_path_rates(config)
        self.layers = nn.ModuleList(SwinStage(config, stage, rates[stage]) for stage in range(4))
        self.norm = nn.LayerNorm(config.widths[3], eps=config.norm_eps)
        self.head = nn.Linear(config.widths[3], config.num_classes)
        self.apply(self.initialise)
        for block in self.modules():
            if isinstance(block, WindowAttention):
                nn.init.trunc_normal_(block.relative_position_bias_table, std=0.02)

    def embed(self, images: Tensor) -> tuple[Tensor, Grid]:
        """Return (B, 3, H, W) images as the (B, N, C) positions of the third stage, and the map's rows and columns."""
        self.check_images(images)
        positions, grid = self.patch_embed(images)
        for stage in self._stages[:2]:
            for block in stage.blocks:
                positions = block(positions, grid)
            positions, grid = _merge(stage, positions, grid)
        return positions, grid

    def classify(self, positions: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """Return (B, classes) logits, of the mean, and the (B, N / 4, C) final-norm map that it is the mean of."""
        positions, grid = _merge(self._stages[2], positions, grid)
        for block in self._stages[3].blocks:
            positions = block(positions, grid)
        final_map: Tensor = self.norm(positions)
        return self.head(final_map.mean(dim=1)), final_map

    @property
    def _stages(self) -> list[SwinStage]:
        return cast(list[SwinStage], list(self.layers))

    @property
    def path_blocks(self) -> list[PathBlock]:
        """The blocks of the third stage."""
        return cast(list[PathBlock], list(self._stages[2].blocks))

    @property
    def predictors(self) -> nn.ModuleList:
        """The prediction modules."""
        return self._stages[2].score_predictor

    @property
    def stem(self) -> list[nn.Module]:
        """All modules before the third stage's blocks."""
        return [self.patch_embed, *(part for stage in self._stages[:2] for part in (*stage.blocks, stage.downsample))]

    @property
    def read_out(self) -> list[nn.Module]:
        """All modules after the third stage's blocks."""
        return [self._stages[2].downsample, *self._stages[3].blocks, self.norm, self.head]


def _merge(stage: SwinStage, positions: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
    """Return a stage's positions merged four by four, and the rows and columns of the smaller map."""
    return cast(PatchMerging, stage.downsample)(positions, grid), (grid[0] // 2, grid[1] // 2)


def to_windows(feature_map: Tensor, window: int) -> Tensor:
    """Return a (B, rows, columns, C) map as (B * W, window * window, C), W windows an image, row by row."""
    batch, rows, columns, dim = feature_map.shape
    windows = feature_map.reshape(batch, rows // window, window, columns // window, window, dim)
    return windows.transpose(2, 3).reshape(-1, window * window, dim)


def from_windows(windows: Tensor, grid: Grid, window: int) -> Tensor:
    """Return (B * W, window * window, C) windows as the (B, rows, columns, C) map that they are cut from."""
    rows, columns = grid
    parts = windows.reshape(-1, rows // window, columns // window, window, window, windows.shape[-1])
    return parts.transpose(2, 3).reshape(-1, rows, columns, windows.shape[-1])


def relative_position_index(window: int) -> Tensor:
    """Return (T, T) int64, T = window * window: the row of the bias table for each pair of query and key."""
    places = torch.arange(window)
    rows, columns = places.repeat_interleave(window), places.repeat(window)
    row_offset = rows[:, None] - rows[None, :] + window - 1
    column_offset = columns[:, None] - columns[None, :] + window - 1
    return row_offset * (2 * window - 1) + column_offset


def shift_mask(grid: Grid, window: int, shift: int) -> Tensor:
    """Return (W, T, T) with 0 for two positions of a window that are neighbours in the map, else ``FORBIDDEN``.

    After the roll by ``shift`` the last windows hold what was at the map's two opposite borders.
    """
    row_label, column_label = (_border_labels(side, window, shift) for side in grid)
    labels = to_windows((3 * row_label[:, None] + column_label[None, :])[None, :, :, None], window).squeeze(-1)
    return torch.where(labels.unsqueeze(1) == labels.unsqueeze(2), 0.0, FORBIDDEN)


def _border_labels(side: int, window: int, shift: int) -> Tensor:
    """Return for each row, or column, of the rolled map which of three parts it belongs to."""
    places = torch.arange(side)
    return (places >= side - window).long() + (places >= side - shift).long()
