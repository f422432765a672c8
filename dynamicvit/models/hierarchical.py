"""Slow and fast path: what ConvNeXt and Swin share when they compute less without dropping anything.

A network of four stages mixes neighbouring positions in every block, so no position can leave the map. In the blocks of
the third stage each position takes the slow path, the block's own MLP, or the fast path, a single linear layer.

Source: Rao et al. 2022, "Dynamic Spatial Sparsification" (arXiv 2207.01580), as the authors release it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice

import torch
from timm.layers import DropPath, trunc_normal_
from torch import Tensor, nn

from dynamicvit.errors import SettingError
from dynamicvit.models.base import (
    Choice,
    DynamicModel,
    KeepRatio,
    PartKind,
    SparseOutput,
    StageDecision,
    Start,
    TrainingOutput,
)
from dynamicvit.models.config import HierarchicalConfig
from dynamicvit.models.live_tokens import LiveTokens
from dynamicvit.models.selectors import (
    AttentionRecord,
    PredictorSelector,
    SelectionContext,
    TokenMerger,
    TokenSelector,
    create_selector,
)
from dynamicvit.models.vit import gumbel_choice

Grid = tuple[int, int]
Paths = tuple[Tensor, Tensor]
"""(B, K) and (B, N - K) int64: the positions that take the slow and the fast path."""


class PathBlock(nn.Module, ABC):
    """A residual block over (B, N, C) positions, row by row: it mixes them all, then each takes one of two paths."""

    def __init__(self, drop_path: float) -> None:
        super().__init__()
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    @abstractmethod
    def mix(self, x: Tensor, grid: Grid) -> Tensor:
        """Return what the paths work on, from all positions of the map."""

    @abstractmethod
    def base(self, before: Tensor, mixed: Tensor) -> Tensor:
        """Return what the paths add to: the positions as they were, or as they are mixed."""

    @abstractmethod
    def slow(self, mixed: Tensor) -> Tensor:
        """Return what the slow path adds to (B, K, C) positions."""

    @abstractmethod
    def fast(self, mixed: Tensor) -> Tensor:
        """Return what the fast path adds to (B, K, C) positions."""

    def forward(self, x: Tensor, grid: Grid, paths: Paths | None = None) -> Tensor:
        """Return the transformed positions (B, N, C); without ``paths`` all take the slow one."""
        mixed = self.mix(x, grid)
        base = self.base(x, mixed)
        if paths is None:
            return base + self.slow(mixed)
        slow, fast = (positions.unsqueeze(-1).expand(-1, -1, mixed.shape[-1]) for positions in paths)
        added = torch.cat([self.slow(mixed.gather(1, slow)), self.fast(mixed.gather(1, fast))], dim=1)
        return base + added.new_zeros(base.shape).scatter(1, torch.cat([slow, fast], dim=1), added)

    def forward_both(self, slow: Tensor, fast: Tensor, is_slow: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """Return all positions on both paths, as training needs them.

        Args:
            slow, fast: (B, N, C), the positions had they taken that path.
            is_slow: (B, N, 1) decisions, 1 for the slow path, with gradient.
        """
        mixed = self.mix(choose_path(is_slow, slow, fast), grid)
        # Where a position takes the other path it keeps what this path made of it before.
        slow_input, fast_input = choose_path(is_slow, mixed, slow), choose_path(is_slow, fast, mixed)
        return self.base(slow, mixed) + self.slow(slow_input), self.base(fast, mixed) + self.fast(fast_input)


class HierarchicalModel(DynamicModel):
    """Four stages; predictors divide the positions of the third before given blocks, each time all of them anew."""

    config: HierarchicalConfig

    @property
    @abstractmethod
    def path_blocks(self) -> list[PathBlock]:
        """The blocks of the third stage; from the first location on they have a fast path."""

    @property
    @abstractmethod
    def predictors(self) -> nn.ModuleList:
        """A prediction module for each location, (B, N, C) -> (B, N, 2) log-probabilities."""

    @property
    @abstractmethod
    def stem(self) -> list[nn.Module]:
        """All modules before the third stage's blocks."""

    @property
    @abstractmethod
    def read_out(self) -> list[nn.Module]:
        """All modules after the third stage's blocks."""

    @abstractmethod
    def embed(self, images: Tensor) -> tuple[Tensor, Grid]:
        """Return (B, 3, H, W) images as the (B, N, C) positions of the third stage, and the map's rows and columns.

        Raises:
            ImageError: the images have a shape or type that the model cannot take.
        """

    @abstractmethod
    def classify(self, positions: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """Return (B, classes) logits and the (B, N / 4, C) final-norm map from (B, N, C) of the third stage."""

    def start(self, images: Tensor) -> Start:
        """Return the positions that reach the third part."""
        return Start(*self.embed(images), attention=None)

    def forward_stages(
        self,
        images: Tensor | Start,
        keep_ratio: KeepRatio | None = None,
        selector: TokenSelector | TokenMerger | None = None,
    ) -> SparseOutput:
        """Return the prediction and which positions take the slow path after every stage's decision."""
        budget = self.checked_budget(keep_ratio)
        locations = () if budget is None else self.config.prune_locations
        selector = selector or create_selector(self.selectors[0])
        if isinstance(selector, TokenMerger):
            raise _not_for_paths("merge tokens")
        start = images if isinstance(images, Start) else self.start(images)
        positions, grid = start.tokens, start.grid
        stages, paths = list[StageDecision](), None
        for index, block in enumerate(self.path_blocks):
            if budget is not None and index in locations:
                stage = len(stages)
                context = SelectionContext(
                    stage=stage,
                    live=LiveTokens.all_of(positions, num_prefix=0),
                    grid=grid,
                    predict=self.predictors[stage],
                    attention=_refuse_attention,
                    has_class_token=False,
                )
                scores = selector(context)
                asked = scores if isinstance(selector, PredictorSelector) else None
                count = budget.count(stage, self.config.schedule, grid[0] * grid[1], asked)
                paths = _divide(scores, count)
                stages.append(StageDecision(index, context.live.patches, scores, paths[0], fast_patches=paths[1]))
            positions = block(positions, grid, paths if paths and paths[1].shape[1] else None)
        logits, final_map = self.classify(positions, grid)
        return SparseOutput(logits, tuple(stages), grid, final_map)

    def forward_training(self, images: Tensor, choose: Choice = gumbel_choice) -> TrainingOutput:
        """Return what the losses need: all positions go along both paths, and decisions mix them.

        A decision does not depend on the ones before it: ``choose`` is told that every position may be chosen.
        """
        positions, grid = self.embed(images)
        slow = fast = positions
        everything = torch.ones_like(positions[..., 0])
        is_slow = everything.unsqueeze(-1)
        decisions: list[Tensor] = []
        for index, block in enumerate(self.path_blocks):
            if index in self.config.prune_locations:
                log_probs = self.predictors[len(decisions)](choose_path(is_slow, slow, fast))
                decisions.append(choose(len(decisions), log_probs, everything))
                is_slow = decisions[-1].unsqueeze(-1)
            if decisions:
                slow, fast = block.forward_both(slow, fast, is_slow, grid)
            else:
                slow = fast = block(slow, grid)
        return TrainingOutput(*self.classify(choose_path(is_slow, slow, fast), grid), tuple(decisions))

    def parts(self) -> Iterator[tuple[PartKind, int | None, nn.Module]]:
        """Yield each part that costs something; the blocks are those of the third stage."""
        yield from (("stem", None, module) for module in self.stem)
        yield from (("predictor", stage, module) for stage, module in enumerate(self.predictors, 1))
        yield from (("block", index, module) for index, module in enumerate(self.path_blocks))
        yield from (("read-out", None, module) for module in self.read_out)

    @property
    def selectors(self) -> tuple[str, ...]:
        """Names of the selectors that this model can be asked by, its default first."""
        return ("predictor", "random", "grid")

    @staticmethod
    def initialise(module: nn.Module) -> None:
        """Set a linear layer or a convolution to fresh weights as the authors do; other modules keep PyTorch's."""
        if isinstance(module, nn.Linear | nn.Conv2d):
            trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def choose_path(is_slow: Tensor, slow: Tensor, fast: Tensor) -> Tensor:
    """Return (B, N, C) values, of the slow path where (B, N, 1) ``is_slow`` is 1 and of the fast one where it is 0."""
    return slow * is_slow + fast * (1 - is_slow)


def drop_path_rates(config: HierarchicalConfig) -> list[list[float]]:
    """Return the drop-path rate of each block of each stage: it rises linearly over all blocks."""
    rates = iter(torch.linspace(0, config.drop_path_rate, sum(config.depths), device="cpu").tolist())
    return [list(islice(rates, depth)) for depth in config.depths]


def has_fast_path(config: HierarchicalConfig, stage: int, index: int) -> bool:
    """Return whether a block of a stage, both 0-based, has a fast path."""
    return stage == 2 and bool(config.prune_locations) and index >= config.prune_locations[0]


def _divide(scores: Tensor, count: int) -> Paths:
    """Return the ``count`` positions with the highest (B, N) scores and the others, each best first."""
    order = scores.argsort(dim=1, descending=True)
    return order[:, :count], order[:, count:]


def _refuse_attention() -> AttentionRecord:
    raise _not_for_paths("look at attention between all tokens")


def _not_for_paths(what: str) -> SettingError:
    return SettingError(
        f"A ConvNeXt or Swin cannot {what}: it has a slow and a fast path. "
        "Choose the selector predictor, random or grid."
    )
