"""Multiply-adds of a forward pass in closed form: as many as :mod:`dynamicvit.costs.macs` counts, without running it.

Looking for the keep ratio at which a method costs a given number of multiply-adds takes hundreds of counts; this gives
one in microseconds. The token embedding, which no method changes, is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

from dynamicvit.models.config import ModelConfig
from dynamicvit.models.merging import matching_rounds


def pruned_macs(config: ModelConfig, grid: tuple[int, int], counts: Sequence[int], selector: str) -> int:
    """Return the multiply-adds of one picture after the embedding.

    Args:
        config: of the model.
        grid: rows and columns of the patch tokens before anything is dropped.
        counts: tokens that each stage keeps; empty for a dense pass.
        selector: name of the token selector.
    """
    total, live = 0, grid[0] * grid[1]
    kept = dict(zip(config.prune_locations, counts, strict=False))
    for block in range(config.depth):
        if block in kept:
            total += _CHOICE.get(selector, _nothing)(config, block, live, kept[block])
            live = kept[block]
        total += _block(config, live + 1)
    if kept and selector == "predictor" and config.candidate_classes:
        total += _first_answer(config, grid)
    return total + _read_out(config, live)


def _block(config: ModelConfig, length: int) -> int:
    dim, hidden = config.embed_dim, int(config.embed_dim * config.mlp_ratio)
    return length * dim * (4 * dim + 2 * hidden) + 2 * length * length * dim


def _read_out(config: ModelConfig, live: int) -> int:
    dim, width, classes = config.embed_dim, config.token_features, config.num_classes
    token_readout = live * (dim + dim * width + width) + width * classes if width else 0
    return dim * classes + token_readout + live * dim * classes * config.has_aux_head


def _predictor(config: ModelConfig, block: int, live: int, count: int) -> int:
    dim = config.embed_dim
    if config.candidate_classes:
        return live * dim * (1 + min(config.candidate_classes, config.num_classes))
    return live * (dim * dim + dim * (dim // 2) + (dim // 2) * (dim // 4) + (dim // 4) * 2)


def _first_answer(config: ModelConfig, grid: tuple[int, int]) -> int:
    read = ceil(grid[0] / 2) * ceil(grid[1] / 2)
    return config.token_features * (read * config.embed_dim + config.num_classes)


def _class_attention(config: ModelConfig, block: int, live: int, count: int) -> int:
    return _look_ahead(config, block, live) + (live + 1) * config.embed_dim


def _merging(config: ModelConfig, block: int, live: int, count: int) -> int:
    head_dim = config.embed_dim // config.num_heads
    products = sum((before - before // 2) * (before // 2) for before, _ in matching_rounds(live, count))
    return _look_ahead(config, block, live) + products * head_dim


def _look_ahead(config: ModelConfig, block: int, live: int) -> int:
    """Before the first block there is no attention to look at, so that block's own is prepared for it."""
    return 3 * (live + 1) * config.embed_dim**2 if block == 0 else 0


def _nothing(config: ModelConfig, block: int, live: int, count: int) -> int:
    return 0


_CHOICE: dict[str, Callable[[ModelConfig, int, int, int], int]] = {
    "predictor": _predictor,
    "class-attention": _class_attention,
    "merging": _merging,
}
