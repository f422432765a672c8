"""How long the dense and the pruned model take, side by side on the machine at hand."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from dynamicvit.models.base import DynamicModel, KeepRatio
from dynamicvit.models.selectors import TokenMerger, TokenSelector

MIN_ROUNDS = 3
Execute = Callable[[Callable[[], Any]], Any]
"""Calls a function somewhere, for example on the one thread that computes for everybody, and gives what it gives."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Timing:
    """Time of one forward pass of the whole batch, over all rounds."""

    median_ms: float
    p10_ms: float
    p90_ms: float
    rounds: int


@dataclass(frozen=True)
class PairTiming:
    """The dense and the pruned model, timed in turn on the same images.

    Attributes:
        dense, pruned: time of each.
        speedup: median over the rounds of dense time / pruned time; a slow moment of the machine hits both of a round.
        device: what they ran on, for people to read, with the precision if that is not float32.
        batch_size: images in each forward pass.
    """

    dense: Timing
    pruned: Timing
    speedup: float
    device: str
    batch_size: int

    @property
    def is_faster(self) -> bool:
        """Whether pruning saved time."""
        return self.speedup > 1.0


def time_pair(
    model: DynamicModel,
    images: Tensor,
    keep_ratio: KeepRatio,
    selector: TokenSelector | TokenMerger | None = None,
    *,
    max_rounds: int = 15,
    budget_ms: float = 800.0,
    execute: Execute | None = None,
) -> PairTiming:
    """Time the model dense and pruned, in turn, after one warm-up of each.

    Args:
        model: in evaluation mode, with pruning stages.
        images: (B, 3, H, W), normalised, on the model's device.
        keep_ratio, selector: of the pruned model.
        max_rounds, budget_ms, execute: as in :func:`take_turns`.

    Raises:
        ImageError: the images have a shape that the model cannot take.
        SettingError: the keep ratio is not valid, or the model has no pruning stages.
    """
    run_dense = partial(_timed_forward, model, images, None, None)
    run_pruned = partial(_timed_forward, model, images, keep_ratio, selector)
    rounds = take_turns([run_dense, run_pruned], max_rounds=max_rounds, budget_ms=budget_ms, execute=execute)
    dense_ms, pruned_ms = map(list, zip(*rounds, strict=True))
    speedup = float(np.median(np.divide(dense_ms, pruned_ms)))
    return PairTiming(_timing(dense_ms), _timing(pruned_ms), speedup, runs_on(model), len(images))


def take_turns(
    tasks: Sequence[Callable[[], Result]],
    *,
    max_rounds: int,
    budget_ms: float,
    execute: Execute | None = None,
) -> list[tuple[Result, ...]]:
    """Return what each of several functions gave in each round, after one warm-up of each.

    Every round calls all of them, so that what slows the machine down hits all alike, in an order that changes from
    round to round: none always runs with what the same other one left in the caches.

    Args:
        tasks: what is to be compared.
        max_rounds: stop after so many rounds, at least 3.
        budget_ms: start no further round once so much time has passed since the first, waiting included; 3 rounds are
            always run.
        execute: runs the warm-up and each round: other work then waits for one round at most. Run at once when not
            given.
    """
    execute = execute or at_once
    rounds: list[tuple[Result, ...]] = []

    def run(order: Sequence[int]) -> tuple[Result, ...]:
        results = {index: tasks[index]() for index in order}
        return tuple(results[index] for index in range(len(tasks)))

    forwards = range(len(tasks))
    execute(partial(run, forwards))
    start = time.perf_counter()
    for finished in range(max(MIN_ROUNDS, max_rounds)):
        if finished >= MIN_ROUNDS and (time.perf_counter() - start) * 1e3 >= budget_ms:
            break
        turn = finished // 2 % len(tasks)
        order = [*forwards[turn:], *forwards[:turn]]
        rounds.append(execute(partial(run, order[::-1] if finished % 2 else order)))
    return rounds


def at_once(run: Callable[[], Any]) -> Any:
    """Call a function here and now: the way to execute when no other is given."""
    return run()


def synchronize(device: torch.device) -> None:
    """Wait for a GPU, whose work returns before it is done. Only its CPU side has been run by us: no GPU at hand."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def device_name(device: torch.device | str) -> str:
    """Return a device's name for people, for example ``"Intel Xeon Processor, 2 threads"`` or ``"NVIDIA H100"``."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"{_processor_name()}, {threads} thread{'s' if threads != 1 else ''}"
    return str(device)


def runs_on(model: DynamicModel) -> str:
    """Return a model's device for people, with the precision if that is not float32."""
    name = device_name(model.device)
    return name if model.precision == "float32" else f"{name}, {model.precision}"


@torch.inference_mode()
def _timed_forward(
    model: DynamicModel,
    images: Tensor,
    keep_ratio: KeepRatio | None,
    selector: TokenSelector | TokenMerger | None,
) -> float:
    """Return the milliseconds of one forward pass."""
    synchronize(images.device)
    start = time.perf_counter()
    model.forward_stages(images, keep_ratio, selector)
    synchronize(images.device)
    return (time.perf_counter() - start) * 1e3


def _timing(times_ms: list[float]) -> Timing:
    p10, median, p90 = (float(value) for value in np.percentile(times_ms, (10, 50, 90)))
    return Timing(median, p10, p90, len(times_ms))


def _processor_name() -> str:
    """Return the processor's name; Python itself knows it only on some systems."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine() or "CPU"
