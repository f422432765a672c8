"""Sweep: an image at every keep ratio from 1.00 to 0.10; the browser asks ratio by ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from dynamicvit.analysis.results import Analysis, Classification
from dynamicvit.analysis.sweep import SWEPT_RATIOS, StableRange, SweepPoint, find_stable_range
from dynamicvit.app.components import Payload, tab_component, user_errors
from dynamicvit.app.explorer import LOW_CONFIDENCE, percent, probability
from dynamicvit.app.inputs import checked_width
from dynamicvit.app.state import AppState, LoadedModel, OpenImage
from dynamicvit.app.words import DEFAULT_LANGUAGE, Labels, Words, words_in
from dynamicvit.budget import BaseRatio
from dynamicvit.costs.benchmark import PairTiming
from dynamicvit.errors import SettingError
from dynamicvit.figures.svg import to_svg
from dynamicvit.figures.sweep_chart import draw_sweep

MEASURING_ROUNDS = 5
MEASURING_BUDGET_MS = 300.0


@dataclass(frozen=True, eq=False)
class TimedPoint:
    """One keep ratio of a sweep, with what its last stage leaves and its time beside that of the dense model."""

    point: SweepPoint
    analysis: Analysis
    timing: PairTiming


def fill(state: AppState, labels: Labels) -> None:
    """Fill the tab under construction; its component translates itself."""
    ratios = [f"{ratio:.2f}" for ratio in SWEPT_RATIOS]
    asked = {"sweep_point": partial(point, state), "sweep_chart": partial(chart, state)}
    tab_component("sweep", ratios, scripts=["painting.js"], asked=asked, turns=state.turns)


@user_errors
def point(state: AppState, image: object, model: object, ratio: object, anew: object = False) -> Payload:
    """Return one row of the table: an image at one of the swept keep ratios, measured again where asked for."""
    timed = _timed(state, state.image(image), state.load(model), _swept(ratio), anew=anew is True)
    return describe_point(timed)


@user_errors
def chart(
    state: AppState, image: object, model: object, ratios: object, width: object, language: object = DEFAULT_LANGUAGE
) -> Payload:
    """Return chart and verdict of some of the swept keep ratios, beside the dense model.

    Args:
        state: what the visitors share.
        image, model: keys.
        ratios: list of at least one.
        width: of the chart, in pixels.
        language: of the words.
    """
    opened, loaded, words = state.image(image), state.load(model), words_in(language)
    timed = [_timed(state, opened, loaded, ratio) for ratio in _swept_list(ratios)]
    points, timings = [one.point for one in timed], [one.timing for one in timed]
    dense = state.prepared(opened, loaded).dense
    y_title = words("sweep.confidence_in", label=words.class_name(dense.top[0].label))
    figure = draw_sweep(points, dense, width=checked_width(width), x_title=words("sweep.ratio"), y_title=y_title)
    return {
        "svg": to_svg(figure),
        "verdict": verdict(points, dense, words),
        "dense": describe_dense(dense),
        "how": measured(timings, words),
    }


def _timed(state: AppState, opened: OpenImage, loaded: LoadedModel, ratio: float, *, anew: bool = False) -> TimedPoint:
    """Return one keep ratio, from memory or new."""
    prepared = state.prepared(opened, loaded)

    def measure() -> TimedPoint:
        (swept,) = state.run(lambda: prepared.sweep([ratio]))
        limits: dict[str, Any] = {"max_rounds": MEASURING_ROUNDS, "budget_ms": MEASURING_BUDGET_MS}
        analysis = state.analysis(opened, loaded, BaseRatio(ratio))  # Explore asks for it, too, when a point is chosen
        return TimedPoint(swept, analysis, prepared.time(ratio, execute=state.run, **limits))

    return state.remembered(("sweep", opened.key, loaded.version, ratio), measure, anew=anew)


def _swept(ratio: object) -> float:
    for swept in SWEPT_RATIOS:
        if ratio == swept:
            return swept
    raise SettingError(f"The sweep asks for ratios from 1.00 to 0.10 in steps of 0.05, not {ratio!r:.40}.")


def _swept_list(ratios: object) -> list[float]:
    if not isinstance(ratios, list) or not 0 < len(ratios) <= len(SWEPT_RATIOS):
        raise SettingError("The chart of a sweep needs at least one keep ratio; start the sweep first.")
    return [_swept(ratio) for ratio in ratios]


def describe_point(timed: TimedPoint) -> dict[str, Any]:
    """Return one row of the table and the view of the last stage, the same in every language."""
    point, last = timed.point, timed.analysis.stages[-1]
    return {
        "ratio": f"{point.keep_ratio:.2f}",
        "confidence": probability(point.confidence),
        "gmacs": f"{point.macs / 1e9:.3f}",
        "saved": percent(point.saved_share),
        "time": percent(1.0 / timed.timing.speedup),
        "agrees": point.agrees,
        "answer": point.answer.label,
        "grid": list(timed.analysis.grid),
        "kept": list(last.kept_patches),
        "groups": None if last.groups is None else list(last.groups),
    }


def describe_dense(dense: Classification) -> dict[str, str]:
    """Return the row of the dense model, which was timed beside every point."""
    return {
        "confidence": probability(dense.top[0].probability),
        "gmacs": f"{dense.macs.gmacs:.3f}",
        "time": percent(1.0),
        "answer": dense.top[0].label,
    }


def measured(timings: Sequence[PairTiming], words: Words) -> str:
    """Say what the shares of time are shares of, and how they were measured."""
    fewest = min(timing.pruned.rounds for timing in timings)
    milliseconds = f"{median(timing.dense.median_ms for timing in timings):.1f}"
    return words("sweep.how", rounds=fewest, milliseconds=milliseconds, device=words.device(timings[0].device))


def verdict(points: Sequence[SweepPoint], dense: Classification, words: Words) -> str:
    """Say down to which keep ratio the prediction holds, and what speaks against leaning on that."""
    stable = find_stable_range(points)
    sentences = [_holds(stable, len(points) == len(SWEPT_RATIOS), words)]
    if stable.returns:
        ratios = words.listed([f"{point.keep_ratio:.2f}" for point in stable.returns])
        sentences.append(words("sweep.returns", ratios=ratios))
    best = dense.top[0]
    if best.probability < LOW_CONFIDENCE:
        sentences.append(words("sweep.unsure", label=words.class_name(best.label), share=probability(best.probability)))
    return " ".join(sentences)


def _holds(stable: StableRange, is_complete: bool, words: Words) -> str:
    last, flip = stable.last, stable.flip
    if flip is None:
        assert last is not None
        key = "sweep.everywhere" if is_complete else "sweep.so_far"
        return words(key, ratio=f"{last.keep_ratio:.2f}", saved=percent(last.saved_share))
    changed = {"flip": f"{flip.keep_ratio:.2f}", "answer": words.class_name(flip.answer.label)}
    if last is None or not stable.drops_tokens:
        return words("sweep.never", **changed)
    return words("sweep.holds", ratio=f"{last.keep_ratio:.2f}", saved=percent(last.saved_share), **changed)
