"""Multiply-adds of a forward pass in closed form: as many as :mod:`dynamicvit.costs.macs` counts, without running it.

Looking for the keep ratio at which a method costs a given number of multiply-adds takes hundreds of counts; this gives
one in microseconds. The token embedding, which no method changes, is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from dynamicvit.models.config import HierarchicalConfig, ModelConfig, SwinConfig, TimmViTConfig
from dynamicvit.models.merging import matching_rounds

_CONVNEXT_KERNEL = 7 * 7


def pruned_macs(config: ModelConfig, grid: tuple[int, int], counts: Sequence[int], selector: str) -> int:
    """Return the multiply-adds of one image after the embedding.

    Args:
        config: of the model.
        grid: rows and columns of the patch tokens before anything is dropped.
        counts: tokens that each stage keeps; empty for a dense pass.
        selector: name of the token selector.
    """
    if isinstance(config, HierarchicalConfig):
        return _hierarchical(config, grid, counts, selector)
    return sum(macs for _, macs in token_model_macs(config, grid, counts, selector))


def token_model_macs(
    config: ModelConfig, grid: tuple[int, int], counts: Sequence[int], selector: str
) -> Iterator[tuple[str, int]]:
    """Yield the multiply-adds of one image after the embedding, by module as in a :class:`~.macs.MacReport`.

    A module can come twice. Arguments as in :func:`pruned_macs`, of a model that drops or merges tokens.
    """
    live, dim, hidden = grid[0] * grid[1], config.embed_dim, int(config.embed_dim * config.mlp_ratio)
    kept = dict(zip(config.prune_locations, counts, strict=False))
    for block in range(config.depth):
        if block in kept:
            stage = config.prune_locations.index(block)
            if selector == "predictor":
                yield from _predictor_modules(config, stage, live)
            elif selector in _CHOICE:
                # Before the first block there is no attention to look at, so that block's own is prepared for it.
                if block == 0:
                    yield "blocks.0.attn.qkv", 3 * (live + config.num_prefix_tokens) * dim * dim
                yield "", _CHOICE[selector](config, live, kept[block])
            live = kept[block]
        length, name = live + config.num_prefix_tokens, f"blocks.{block}"
        yield f"{name}.attn.qkv", 3 * length * dim * dim
        yield f"{name}.attn", 2 * length * length * dim
        yield f"{name}.attn.proj", length * dim * dim
        yield f"{name}.mlp.fc1", length * dim * hidden
        yield f"{name}.mlp.fc2", length * dim * hidden
    yield "head", dim * config.num_classes
    if isinstance(config, TimmViTConfig) and config.distillation_token:
        yield "head_dist", dim * config.num_classes
    if config.has_aux_head:
        yield "aux_head", live * dim * config.num_classes


def _predictor_modules(config: ModelConfig, stage: int, live: int) -> Iterator[tuple[str, int]]:
    dim, name = config.embed_dim, f"score_predictor.{stage}"
    yield f"{name}.in_conv.1", live * dim * dim
    yield f"{name}.out_conv.0", live * dim * (dim // 2)
    yield f"{name}.out_conv.2", live * (dim // 2) * (dim // 4)
    yield f"{name}.out_conv.4", live * (dim // 4) * 2


def _class_attention(config: ModelConfig, live: int, count: int) -> int:
    return (live + config.num_prefix_tokens) * config.embed_dim


def _merging(config: ModelConfig, live: int, count: int) -> int:
    products = sum((before - before // 2) * (before // 2) for before, _ in matching_rounds(live, count))
    return products * (config.embed_dim // config.num_heads)


def _diversity(config: ModelConfig, live: int, count: int) -> int:
    return live * live * (config.embed_dim // config.num_heads)


_CHOICE: dict[str, Callable[[ModelConfig, int, int], int]] = {
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
            if selector == "predictor":
                total += sum(macs for _, macs in _predictor_modules(config, 0, positions))
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
