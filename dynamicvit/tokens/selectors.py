"""How a stage chooses: the scores of the model's own predictors, or something to compare them with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from dynamicvit.errors import SettingError
from dynamicvit.tokens.merging import Merge, merge_similar


@dataclass(frozen=True)
class SelectionContext:
    """What a selector may look at when a stage asks which tokens to keep.

    Attributes:
        stage: 0-based number of the stage.
        tokens: (B, n, C) live patch tokens of the residual stream, class token excluded.
        live_patches: (B, n) original patch index of each live token.
        grid: rows and columns of the original patch grid.
        predict: the stage's own predictor, (B, n, C) -> (B, n, 2) log-probabilities, channel 0 "keep".
        class_attention: gives (B, n) weights, mean over heads, of the class token's attention to the live patch tokens
            in the block just before the stage. Before the first block nothing has attended yet: a stage there looks at
            the attention that this block would pay to all tokens.
        keys: gives (B, n, d) keys of the live patch tokens in the same block, mean over heads.
        sizes: (B, n) number of patches that each live token stands for; 1 unless tokens are merged.
    """

    stage: int
    tokens: Tensor
    live_patches: Tensor
    grid: tuple[int, int]
    predict: Callable[[Tensor], Tensor]
    class_attention: Callable[[], Tensor]
    keys: Callable[[], Tensor]
    sizes: Tensor


class TokenSelector(Protocol):
    """Anything that scores the live tokens of a stage; it holds no state, so one can serve many calls."""

    def __call__(self, context: SelectionContext) -> Tensor:
        """Give (B, n) scores, higher means keep."""
        ...


@dataclass(frozen=True)
class PredictorSelector:
    """The method itself: the keep log-probability of the stage's prediction module."""

    def __call__(self, context: SelectionContext) -> Tensor:
        return context.predict(context.tokens)[..., 0]


@dataclass(frozen=True)
class RandomSelector:
    """Uniformly random scores, the same for the same seed, batch shape and stage."""

    seed: int = 0

    def __call__(self, context: SelectionContext) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + context.stage)
        rows, columns = context.grid
        scores = torch.rand(context.tokens.shape[0], rows * columns, generator=generator)
        return scores.to(context.tokens.device).gather(1, context.live_patches)


@dataclass(frozen=True)
class GridSelector:
    """A fixed, evenly spread subset: patches in the order of a two-dimensional low-discrepancy sequence.

    Any prefix of the order covers the picture evenly, so the sets of successive stages are nested.
    """

    def __call__(self, context: SelectionContext) -> Tensor:
        order = even_order(*context.grid).to(context.tokens.device)
        return -order[context.live_patches].to(context.tokens.dtype)


@dataclass(frozen=True)
class ClassAttentionSelector:
    """How much the class token attends to each patch; it needs no training.

    Source: Liang et al. 2022, "Not All Patches are What You Need" (EViT, arXiv 2202.07800), section 3.
    """

    def __call__(self, context: SelectionContext) -> Tensor:
        return context.class_attention()


@dataclass(frozen=True)
class TokenMerger:
    """Merges the tokens with the most similar keys where selectors drop some, down to the same number.

    Source: Bolya et al. 2023, "Token Merging" (ToMe, arXiv 2210.09461), section 3. There some tokens are merged inside
    every block; here between the same blocks at which DynamicViT drops, so that both can be compared.
    """

    def merge(self, context: SelectionContext, count: int) -> Merge:
        """Say which live tokens go together so that ``count`` are left."""
        return merge_similar(context.keys(), context.sizes, count)


SELECTORS: dict[str, Callable[[], TokenSelector | TokenMerger]] = {
    "predictor": PredictorSelector,
    "random": RandomSelector,
    "grid": GridSelector,
    "class-attention": ClassAttentionSelector,
    "merging": TokenMerger,
}


def create_selector(name: str, *, seed: int = 0) -> TokenSelector | TokenMerger:
    """Give the selector of that name, or what merges tokens instead; ``seed`` matters to ``"random"`` alone.

    Raises:
        SettingError: no selector has that name.
    """
    if name not in SELECTORS:
        raise SettingError(f"There is no token selector {name!r}; choose one of {', '.join(SELECTORS)}.")
    return RandomSelector(seed) if name == "random" else SELECTORS[name]()


@lru_cache(maxsize=16)
def even_order(rows: int, columns: int) -> Tensor:
    """Give each cell of a grid its place (0 first) in an order whose every prefix is spread evenly."""
    # The R2 sequence: steps of 1/g and 1/g^2 with g the plastic number, the 2-D relative of the golden ratio.
    plastic = 1.32471795724474602596
    place = [-1] * (rows * columns)
    filled, step = 0, 0
    while filled < rows * columns:
        y, x = (0.5 + step / plastic) % 1.0, (0.5 + step / plastic**2) % 1.0
        cell = int(y * rows) * columns + int(x * columns)
        if place[cell] < 0:
            place[cell] = filled
            filled += 1
        step += 1
    return torch.tensor(place)
