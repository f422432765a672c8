"""From a sweep to what the tab shows of it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from dynamicvit.analysis.results import Classification
from dynamicvit.analysis.sweep import SWEPT_RATIOS, StableRange, SweepPoint, find_stable_range
from dynamicvit.costs.benchmark import PairTiming
from dynamicvit.interface.wording import LOW_CONFIDENCE, percent, probability
from dynamicvit.interface.words import Words


def describe_point(point: SweepPoint, timing: PairTiming) -> dict[str, Any]:
    """Give one row of the table, the same in every language."""
    return {
        "ratio": f"{point.keep_ratio:.2f}",
        "confidence": probability(point.confidence),
        "gmacs": f"{point.macs / 1e9:.3f}",
        "saved": percent(point.saved_share),
        "milliseconds": f"{timing.pruned.median_ms:.1f}",
        "agrees": point.agrees,
        "answer": point.answer.label,
    }


def describe_dense(dense: Classification, timings: Sequence[PairTiming]) -> dict[str, str]:
    """Give the row of the dense model, which was timed beside every point."""
    return {
        "confidence": probability(dense.top[0].probability),
        "gmacs": f"{dense.macs.gmacs:.3f}",
        "milliseconds": f"{median(timing.dense.median_ms for timing in timings):.1f}",
        "answer": dense.top[0].label,
    }


def measured(timings: Sequence[PairTiming], words: Words) -> str:
    """Say how the milliseconds were measured."""
    fewest = min(timing.pruned.rounds for timing in timings)
    return words("sweep.how", rounds=fewest, device=timings[0].device)


def verdict(points: Sequence[SweepPoint], dense: Classification, words: Words) -> str:
    """Say down to which keep ratio the prediction holds, and what speaks against leaning on that."""
    stable = find_stable_range(points)
    sentences = [_holds(stable, len(points) == len(SWEPT_RATIOS), words)]
    if stable.returns:
        ratios = words.listed([f"{point.keep_ratio:.2f}" for point in stable.returns])
        sentences.append(words("sweep.returns", ratios=ratios))
    best = dense.top[0]
    if best.probability < LOW_CONFIDENCE:
        sentences.append(words("sweep.unsure", label=best.label, share=probability(best.probability)))
    return " ".join(sentences)


def _holds(stable: StableRange, is_complete: bool, words: Words) -> str:
    last, flip = stable.last, stable.flip
    if flip is None:
        assert last is not None
        key = "sweep.everywhere" if is_complete else "sweep.so_far"
        return words(key, ratio=f"{last.keep_ratio:.2f}", saved=percent(last.saved_share))
    changed = {"flip": f"{flip.keep_ratio:.2f}", "answer": flip.answer.label}
    if last is None or not stable.drops_tokens:
        return words("sweep.never", **changed)
    return words("sweep.holds", ratio=f"{last.keep_ratio:.2f}", saved=percent(last.saved_share), **changed)
