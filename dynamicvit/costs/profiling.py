"""Where the compute goes: multiply-adds, milliseconds and live tokens of each part of a forward pass."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from dynamicvit.costs.benchmark import Execute, at_once, runs_on, synchronize, take_turns
from dynamicvit.costs.macs import MacCounter
from dynamicvit.costs.watching import watch_modules
from dynamicvit.models.base import DynamicModel, KeepRatio, PartKind
from dynamicvit.models.selectors import TokenMerger, TokenSelector

Kind = PartKind | Literal["other"]
PartKey = tuple[Kind, int | None]


@dataclass(frozen=True)
class Part:
    """One part of a forward pass.

    Attributes:
        kind: what it is; "other" is all outside the modules: choosing, gathering and merging tokens, the class token.
        number: of the block, 0-based, or of the predictor's stage, 1 for the first; None for the others.
        tokens: patch tokens that it works on, the class token not counted.
        macs: its multiply-adds, of the whole batch.
        median_ms: its time for the whole batch, median over the rounds.
    """

    kind: Kind
    number: int | None
    tokens: int
    macs: int
    median_ms: float


@dataclass(frozen=True)
class PassProfile:
    """One forward pass in its parts, in the order in which they run, "other" last.

    Attributes:
        parts: their multiply-adds add up to the whole; medians of their times do so only nearly.
        median_ms: time of the whole pass, median over the rounds.
    """

    parts: tuple[Part, ...]
    median_ms: float

    @property
    def macs(self) -> int:
        """Multiply-adds of the whole pass."""
        return sum(part.macs for part in self.parts)


@dataclass(frozen=True)
class Profile:
    """The dense and the pruned model in their parts, measured in turn on the same images.

    Attributes:
        dense, pruned: each of them; the dense one has no predictors.
        rounds: how often each was timed.
        device: what they ran on, for people to read, with the precision if that is not float32.
        batch_size: images in each forward pass.
    """

    dense: PassProfile
    pruned: PassProfile
    rounds: int
    device: str
    batch_size: int


def profile(
    model: DynamicModel,
    images: Tensor,
    keep_ratio: KeepRatio,
    selector: TokenSelector | TokenMerger | None = None,
    *,
    max_rounds: int = 15,
    budget_ms: float = 1500.0,
    execute: Execute | None = None,
) -> Profile:
    """Measure each part of the dense and of the pruned model.

    Timing the parts takes time itself, on a GPU a lot, because it waits for each part to finish: take the shares from
    here and the speedup from :func:`dynamicvit.costs.benchmark.time_pair`.

    Args:
        model: in evaluation mode, with pruning stages.
        images: (B, 3, H, W), normalised, on the model's device.
        keep_ratio, selector: of the pruned model.
        max_rounds, budget_ms, execute: as in :func:`dynamicvit.costs.benchmark.take_turns`.

    Raises:
        ImageError: the images have a shape that the model cannot take.
        SettingError: the keep ratio is not valid, or the model has no pruning stages.
    """
    execute = execute or at_once
    count_dense = partial(_counted_parts, model, images, None, None)
    count_pruned = partial(_counted_parts, model, images, keep_ratio, selector)
    outlines = execute(lambda: (count_dense(), count_pruned()))
    rounds = take_turns(
        [
            partial(_timed_parts, model, images, None, None),
            partial(_timed_parts, model, images, keep_ratio, selector),
        ],
        max_rounds=max_rounds,
        budget_ms=budget_ms,
        execute=execute,
    )
    dense, pruned = map(_pass_profile, outlines, zip(*rounds, strict=True))
    return Profile(dense, pruned, len(rounds), runs_on(model), len(images))


@dataclass(frozen=True)
class _Outline:
    """A part before it is timed."""

    kind: Kind
    number: int | None
    tokens: int
    macs: int


@torch.inference_mode()
def _counted_parts(
    model: DynamicModel,
    images: Tensor,
    keep_ratio: KeepRatio | None,
    selector: TokenSelector | TokenMerger | None,
) -> list[_Outline]:
    """Return the parts of one forward pass, in the order in which they run, with their tokens and multiply-adds."""
    with MacCounter(model) as counter:
        output = model.forward_stages(images, keep_ratio, selector)
    macs: dict[PartKey, int] = defaultdict(int)
    names = {module: name for name, module in model.named_modules()}
    for kind, number, module in model.parts():
        macs[kind, number] += counter.report().within(names[module])
    all_tokens = output.grid[0] * output.grid[1]
    live, outlines = all_tokens, [_Outline("stem", None, all_tokens, macs["stem", None])]
    stages = {stage.block: (number, stage) for number, stage in enumerate(output.stages, 1)}
    for block in range(model.config.depth):
        if block in stages:
            number, stage = stages[block]
            if macs["predictor", number]:  # other ways to choose do not run it
                outlines.append(_Outline("predictor", number, live, macs["predictor", number]))
            live = stage.kept_patches.shape[1]
        outlines.append(_Outline("block", block, live, macs["block", block]))
    outlines.append(_Outline("read-out", None, live, macs["read-out", None]))
    rest = counter.report().total - sum(macs.values())
    return [*outlines, _Outline("other", None, all_tokens, rest)]


@torch.inference_mode()
def _timed_parts(
    model: DynamicModel,
    images: Tensor,
    keep_ratio: KeepRatio | None,
    selector: TokenSelector | TokenMerger | None,
) -> tuple[dict[PartKey, float], float]:
    """Return the milliseconds of each part of one forward pass, and of the whole."""
    keys: dict[nn.Module, PartKey] = {module: (kind, number) for kind, number, module in model.parts()}
    times: dict[PartKey, float] = defaultdict(float)

    def now() -> float:
        synchronize(images.device)
        return time.perf_counter() * 1e3

    def started(key: PartKey) -> None:
        times[key] -= now()

    def ended(key: PartKey) -> None:
        times[key] += now()

    with watch_modules(keys, started, ended):
        start = now()
        model.forward_stages(images, keep_ratio, selector)
        whole = now() - start
    times["other", None] = whole - sum(times.values())
    return times, whole


def _pass_profile(outlines: list[_Outline], rounds: Sequence[tuple[dict[PartKey, float], float]]) -> PassProfile:
    def part(outline: _Outline) -> Part:
        times = [parts[outline.kind, outline.number] for parts, _ in rounds]
        return Part(outline.kind, outline.number, outline.tokens, outline.macs, float(np.median(times)))

    return PassProfile(tuple(map(part, outlines)), float(np.median([whole for _, whole in rounds])))
