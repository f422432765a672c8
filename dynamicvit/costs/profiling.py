"""Where the compute goes: multiply-adds, milliseconds and live tokens of each part of a forward pass."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from dynamicvit.costs.benchmark import Execute, at_once, device_name, synchronize, take_turns
from dynamicvit.costs.macs import FIRST_ANSWER, PREDICTORS, MacCounter, MacReport
from dynamicvit.models.vit import DynamicVisionTransformer, SparseOutput
from dynamicvit.tokens.schedule import TokenBudget
from dynamicvit.tokens.selectors import TokenMerger, TokenSelector

Kind = Literal["stem", "predictor", "block", "read-out", "other"]
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
    """The dense and the pruned model in their parts, measured in turn on the same pictures.

    Attributes:
        dense, pruned: each of them; the dense one has no predictors.
        rounds: how often each was timed.
        device: what they ran on, for people to read.
        batch_size: pictures in each forward pass.
    """

    dense: PassProfile
    pruned: PassProfile
    rounds: int
    device: str
    batch_size: int


def profile(
    model: DynamicVisionTransformer,
    images: Tensor,
    keep_ratio: TokenBudget,
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
        partial(_timed_parts, model, images, None, None),
        partial(_timed_parts, model, images, keep_ratio, selector),
        max_rounds=max_rounds,
        budget_ms=budget_ms,
        execute=execute,
    )
    dense, pruned = map(_pass_profile, outlines, zip(*rounds, strict=True))
    return Profile(dense, pruned, len(rounds), device_name(images.device), len(images))


@dataclass(frozen=True)
class _Outline:
    """A part before it is timed."""

    kind: Kind
    number: int | None
    tokens: int
    macs: int


_READ_OUT = ("norm", "head", "token_readout", "aux_head")


@torch.inference_mode()
def _counted_parts(
    model: DynamicVisionTransformer,
    images: Tensor,
    keep_ratio: TokenBudget | None,
    selector: TokenSelector | TokenMerger | None,
) -> list[_Outline]:
    """Run one forward pass and give its parts with their tokens and multiply-adds."""
    with MacCounter(model) as counter:
        output = model.forward_stages(images, keep_ratio, selector)
    report = counter.report()
    parts = list(_parts_in_order(output, report, model.config.depth))
    rest = report.total - sum(part.macs for part in parts)
    return [*parts, _Outline("other", None, output.grid[0] * output.grid[1], rest)]


def _parts_in_order(output: SparseOutput, report: MacReport, depth: int) -> Iterator[_Outline]:
    live = output.grid[0] * output.grid[1]
    stages = {stage.block: (number, stage) for number, stage in enumerate(output.stages, 1)}
    yield _Outline("stem", None, live, report.within("patch_embed"))
    for block in range(depth):
        if block in stages:
            number, stage = stages[block]
            first_answer = report.within(FIRST_ANSWER) if number == 1 else 0
            if macs := report.within(f"{PREDICTORS}.{number - 1}") + first_answer:
                yield _Outline("predictor", number, live, macs)
            live = stage.kept_patches.shape[1]
        yield _Outline("block", block, live, report.within(f"blocks.{block}"))
    yield _Outline("read-out", None, live, sum(report.within(name) for name in _READ_OUT))


@torch.inference_mode()
def _timed_parts(
    model: DynamicVisionTransformer,
    images: Tensor,
    keep_ratio: TokenBudget | None,
    selector: TokenSelector | TokenMerger | None,
) -> tuple[dict[PartKey, float], float]:
    """Give the milliseconds of each part of one forward pass, and of the whole."""
    with _PartTimer(model, images.device) as timer:
        synchronize(images.device)
        start = time.perf_counter()
        model.forward_stages(images, keep_ratio, selector)
        synchronize(images.device)
        whole = (time.perf_counter() - start) * 1e3
    timer.times["other", None] = whole - sum(timer.times.values())
    return timer.times, whole


def _pass_profile(outlines: list[_Outline], rounds: Sequence[tuple[dict[PartKey, float], float]]) -> PassProfile:
    def part(outline: _Outline) -> Part:
        times = [parts[outline.kind, outline.number] for parts, _ in rounds]
        return Part(outline.kind, outline.number, outline.tokens, outline.macs, float(np.median(times)))

    return PassProfile(tuple(map(part, outlines)), float(np.median([whole for _, whole in rounds])))


class _PartTimer:
    """Times the parts of a model inside a ``with`` block, on the calling thread alone.

    Like :class:`~dynamicvit.costs.macs.MacCounter` it leaves the model as it is, which other threads may be using.

    Attributes:
        times: milliseconds of each part that ran.
    """

    def __init__(self, model: DynamicVisionTransformer, device: torch.device) -> None:
        self.times: dict[PartKey, float] = defaultdict(float)
        self._keys = _modules_of_parts(model)
        self._device = device
        self._stack = ExitStack()
        self._start = 0.0

    def __enter__(self) -> Self:
        self._thread = threading.get_ident()
        self._stack.callback(register_module_forward_pre_hook(self._enter_module).remove)
        self._stack.callback(register_module_forward_hook(self._leave_module).remove)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _enter_module(self, module: nn.Module, args: Any) -> None:
        if threading.get_ident() == self._thread and module in self._keys:
            synchronize(self._device)
            self._start = time.perf_counter()

    def _leave_module(self, module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() == self._thread and module in self._keys:
            synchronize(self._device)
            self.times[self._keys[module]] += (time.perf_counter() - self._start) * 1e3


def _modules_of_parts(model: DynamicVisionTransformer) -> dict[nn.Module, PartKey]:
    keys: dict[nn.Module, PartKey] = {model.patch_embed: ("stem", None)}
    keys |= {block: ("block", index) for index, block in enumerate(model.blocks)}
    if model.first_answer is not None:
        keys[model.first_answer] = ("predictor", 1)
    keys |= {predictor: ("predictor", stage) for stage, predictor in enumerate(model.score_predictor, 1)}
    return keys | {getattr(model, name): ("read-out", None) for name in _READ_OUT if getattr(model, name) is not None}
