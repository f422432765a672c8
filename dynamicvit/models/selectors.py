"""How a stage chooses tokens: by the scores of the model's own predictors, or by something to compare them with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from dynamicvit.errors import SettingError
from dynamicvit.models.live_tokens import LiveTokens
from dynamicvit.models.merging import Merge, merge_similar


@dataclass(frozen=True)
class AttentionRecord:
    """What one block's attention was computed from, class token and other prefix tokens first.

    Fused attention never forms the weights; from this the few that somebody asks for are computed apart, and
    not in bfloat16, in which too many would be equal.

    Attributes:
        query, key: (B, H, T, d).
    """

    query: Tensor
    key: Tensor

    def class_weights(self, num_prefix: int = 1) -> Tensor:
        """Return (B, T - P) weights of the class token's attention to the patch tokens, mean over heads."""
        query, key = _exact(self.query[:, :, :1]), _exact(self.key)
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        weights: Tensor = scores.softmax(dim=-1)
        return weights[:, :, 0, num_prefix:].mean(dim=1)

    def patch_keys(self, num_prefix: int = 1) -> Tensor:
        """Return (B, T - P, d) keys of the patch tokens, mean over heads."""
        return _exact(self.key[:, :, num_prefix:]).mean(dim=1)


def _exact(numbers: Tensor) -> Tensor:
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))


Observer = Callable[[AttentionRecord], None]


@dataclass(frozen=True)
class SelectionContext:
    """What a selector may look at when a stage asks which tokens to keep.

    Attributes:
        stage: 0-based number of the stage.
        live: the tokens that reached the stage, n patch tokens each, and the patches that they stand for.
        grid: rows and columns of the original patch grid.
        predict: the stage's own predictor, (B, n, C) -> (B, n, 2) log-probabilities, channel 0 "keep".
        attention: returns queries and keys of the block just before the stage. Before the first block nothing has
            attended yet: a stage there looks at the attention that this block would pay to all tokens.
        has_class_token: whether the first token is one.
    """

    stage: int
    live: LiveTokens
    grid: tuple[int, int]
    predict: Callable[[Tensor], Tensor]
    attention: Callable[[], AttentionRecord]
    has_class_token: bool = True

    @property
    def patches(self) -> Tensor:
        """(B, n, C) live patch tokens of the residual stream."""
        return self.live.patch_tokens

    @property
    def keys(self) -> Tensor:
        """(B, n, d) keys of the live patch tokens in the block just before the stage, mean over heads."""
        return self.attention().patch_keys(self.live.num_prefix)


class TokenSelector(Protocol):
    """Anything that scores the live tokens of a stage; it holds no state, so one can serve many calls."""

    def __call__(self, context: SelectionContext) -> Tensor:
        """Return (B, n) scores, higher means keep."""
        ...


@dataclass(frozen=True)
class PredictorSelector:
    """The method itself: the keep log-probability of the stage's prediction module."""

    def __call__(self, context: SelectionContext) -> Tensor:
        return context.predict(context.patches)[..., 0]


@dataclass(frozen=True)
class RandomSelector:
    """Uniformly random scores, the same for the same seed, batch shape and stage."""

    seed: int = 0

    def __call__(self, context: SelectionContext) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + context.stage)
        rows, columns = context.grid
        patches = context.live.patches
        scores = torch.rand(patches.shape[0], rows * columns, generator=generator)
        return scores.to(patches.device).gather(1, patches)


@dataclass(frozen=True)
class GridSelector:
    """A fixed, evenly spread subset: patches in the order of a two-dimensional low-discrepancy sequence.

    Any prefix of the order covers the image evenly, so the sets of successive stages are nested.
    """

    def __call__(self, context: SelectionContext) -> Tensor:
        patches = context.live.patches
        return -even_order(*context.grid).to(patches.device)[patches].float()


@dataclass(frozen=True)
class ClassAttentionSelector:
    """How much the class token attends to each patch; it needs no training.

    Source: Liang et al. 2022, "Not All Patches are What You Need" (EViT, arXiv 2202.07800), section 3.
    """

    def __call__(self, context: SelectionContext) -> Tensor:
        if not context.has_class_token:
            raise SettingError("This model has no class token to attend; choose the selector diversity or merging.")
        return context.attention().class_weights(context.live.num_prefix)


@dataclass(frozen=True)
class DiversitySelector:
    """The tokens that differ most from each other: it needs neither training nor a class token.

    Farthest-point choice: first the token with the longest key, then again and again the one whose key is least like
    the nearest of those already chosen. Near-duplicates come last; any prefix of the order covers what the image shows.

    Source: the idea of Wen et al. 2025 (DART, arXiv 2502.11494), that duplicates are what can go and that the length of
    keys gives the pivots, and of Zhang et al. 2025 (CDPruner, arXiv 2506.10967), to add greedily what is most diverse.
    Both drop tokens of language models; this is neither of them to the letter.
    """

    def __call__(self, context: SelectionContext) -> Tensor:
        return -farthest_point_order(context.keys).float()


@dataclass(frozen=True)
class TokenMerger:
    """Merges the tokens with the most similar keys where selectors drop some, down to the same number.

    Source: Bolya et al. 2023, "Token Merging" (ToMe, arXiv 2210.09461), section 3. There some tokens are merged inside
    every block; here between the same blocks at which DynamicViT drops, so that both can be compared.
    """

    def merge(self, context: SelectionContext, count: int) -> Merge:
        """Return which live tokens go together so that ``count`` are left."""
        return merge_similar(context.keys, context.live.patch_sizes, count)


def reduce_tokens(
    context: SelectionContext, selector: TokenSelector | TokenMerger, count: Callable[[Tensor | None], int]
) -> tuple[LiveTokens, Tensor]:
    """Return the tokens that a stage leaves, and (B, n) scores of those that reached it.

    The scores are what the selector gave, or for merging the share that each token has in the one that it goes into.

    Args:
        count: returns the number of tokens to keep, for the (B, n) predicted log-probabilities or for None.

    Raises:
        SettingError: the image is to decide how many tokens stay, without predictors or for several images.
    """
    live = context.live
    if isinstance(selector, TokenMerger):
        merge = selector.merge(context, count(None))
        after = live.merge(merge)
        return after, live.patch_sizes / after.patch_sizes.gather(1, merge.groups)
    scores = selector(context)
    return live.keep(scores, count(scores if isinstance(selector, PredictorSelector) else None)), scores


SELECTORS: dict[str, Callable[[], TokenSelector | TokenMerger]] = {
    "predictor": PredictorSelector,
    "random": RandomSelector,
    "grid": GridSelector,
    "class-attention": ClassAttentionSelector,
    "merging": TokenMerger,
    "diversity": DiversitySelector,
}


def create_selector(name: str, *, seed: int = 0) -> TokenSelector | TokenMerger:
    """Return the selector of that name, or what merges tokens instead; ``seed`` matters to ``"random"`` alone.

    Raises:
        SettingError: no selector has that name.
    """
    if name not in SELECTORS:
        raise SettingError(f"There is no token selector {name!r}; choose one of {', '.join(SELECTORS)}.")
    return RandomSelector(seed) if name == "random" else SELECTORS[name]()


def farthest_point_order(keys: Tensor) -> Tensor:
    """Return (B, n) int64: the place of each token, 0 first, in an order that starts with the most different ones.

    Each token that is added has the least cosine similarity to its most similar predecessor; the first one has the
    longest key. Among equals the first in the sequence goes first.

    Args:
        keys: (B, n, d).
    """
    batch, live = keys.shape[:2]
    unit = F.normalize(keys.float(), dim=-1)
    similarity = unit @ unit.transpose(1, 2)
    places = torch.zeros(batch, live, dtype=torch.int64, device=keys.device)
    chosen = keys.float().norm(dim=-1).argmax(dim=1, keepdim=True)
    nearest = torch.full_like(similarity[:, 0], -torch.inf)  # similarity to the nearest token chosen so far
    for place in range(live):
        places = places.scatter(1, chosen, place)
        row = similarity.gather(1, chosen.unsqueeze(-1).expand(-1, -1, live)).squeeze(1)
        nearest = torch.maximum(nearest, row).scatter(1, chosen, torch.inf)
        chosen = nearest.argmin(dim=1, keepdim=True)
    return places


def even_order(rows: int, columns: int) -> Tensor:
    """Return for each cell of a grid its place (0 first) in an order whose every prefix is spread evenly."""
    return torch.tensor(_even_places(rows, columns))


@lru_cache(maxsize=16)
def _even_places(rows: int, columns: int) -> tuple[int, ...]:
    """Return numbers, not a tensor: one that is made while a model is traced must not outlive it."""
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
    return tuple(place)
