"""Multiply-adds of a forward pass in closed form: as many as :mod:`dynamicvit.costs.macs` counts, without running it.

Looking for the keep ratio at which a method costs a given number of multiply-adds takes hundreds of counts; this gives
one in microseconds. The token embedding, which no method changes, is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dynamicvit.models.config import HierarchicalConfig, ModelConfig, SwinConfig, TimmViTConfig
from dynamicvit.models.merging import matching_rounds

_CONVNEXT_KERNEL = 7 * 7


def pruned_macs(config: ModelConfig, grid: tuple[int, int], counts: Sequence[int], selector: str) -> int:
    """Return the multiply-adds of one picture after the embedding.

    Args:
        config: of the model.
        grid: rows and columns of the patch tokens before anything is dropped.
        counts: tokens that each stage keeps; empty for a dense pass.
        selector: name of the token selector.
    """
    if isinstance(config, HierarchicalConfig):
        return _hierarchical(config, grid, counts, selector)
    total, live = 0, grid[0] * grid[1]
    kept = dict(zip(config.prune_locations, counts, strict=False))
    for block in range(config.depth):
        if block in kept:
            total += _CHOICE.get(selector, _nothing)(config, block, live, kept[block])
            live = kept[block]
        total += _block(config, live + config.num_prefix_tokens)
    return total + _read_out(config, live)


def _block(config: ModelConfig, length: int) -> int:
    dim, hidden = config.embed_dim, int(config.embed_dim * config.mlp_ratio)
    return length * dim * (4 * dim + 2 * hidden) + 2 * length * length * dim


def _read_out(config: ModelConfig, live: int) -> int:
    heads = 2 if isinstance(config, TimmViTConfig) and config.distillation_token else 1
    return config.embed_dim * config.num_classes * (heads + live * config.has_aux_head)


def _predictor(config: ModelConfig, block: int, live: int, count: int) -> int:
    dim = config.embed_dim
    return live * (dim * dim + dim * (dim // 2) + (dim // 2) * (dim // 4) + (dim // 4) * 2)


def _class_attention(config: ModelConfig, block: int, live: int, count: int) -> int:
    return _look_ahead(config, block, live) + (live + config.num_prefix_tokens) * config.embed_dim


def _merging(config: ModelConfig, block: int, live: int, count: int) -> int:
    head_dim = config.embed_dim // config.num_heads
    products = sum((before - before // 2) * (before // 2) for before, _ in matching_rounds(live, count))
    return _look_ahead(config, block, live) + products * head_dim


def _diversity(config: ModelConfig, block: int, live: int, count: int) -> int:
    return _look_ahead(config, block, live) + live * live * (config.embed_dim // config.num_heads)


def _look_ahead(config: ModelConfig, block: int, live: int) -> int:
    """Before the first block there is no attention to look at, so that block's own is prepared for it."""
    return 3 * (live + config.num_prefix_tokens) * config.embed_dim**2 if block == 0 else 0


def _nothing(config: ModelConfig, block: int, live: int, count: int) -> int:
    return 0


_CHOICE: dict[str, Callable[[ModelConfig, int, int, int], int]] = {
    "predictor": _predictor,
    "class-attention": _class_attention,
    "merging": _merging,
    "diversity": _diversity,
}


def _hierarchical(config: HierarchicalConfig, grid: tuple[int, int], counts: Sequence[int], selector: str) -> int:
    """Third stage, merging of positions, fourth stage and head; counts are the positions in the slow path."""
    positions, dim, last_dim = grid[0] * grid[1], config.embed_dim, config.widths[3]
    slow, total = positions, 0
    divided = dict(zip(config.prune_locations, counts, strict=False))
    for block in range(config.depth):
        if block in divided:
            total += _predictor(config, block, positions, 0) if selector == "predictor" else 0
            slow = divided[block]
        total += _mix(config, 2, positions) + slow * _mlp(config, dim) + (positions - slow) * dim * dim
    last = (grid[0] // 2) * (grid[1] // 2)
    total += config.depths[3] * (_mix(config, 3, last) + last * _mlp(config, last_dim))
    return total + last * 4 * dim * last_dim + last_dim * config.num_classes


def _mix(config: HierarchicalConfig, stage: int, positions: int) -> int:
    """What a block computes at all positions: window attention or a depthwise convolution."""
    dim = config.widths[stage]
    if isinstance(config, SwinConfig):
        return positions * (4 * dim * dim + 2 * config.windows[stage] ** 2 * dim)
    return positions * _CONVNEXT_KERNEL * dim


def _mlp(config: ModelConfig, dim: int) -> int:
    return 2 * dim * int(dim * config.mlp_ratio)
