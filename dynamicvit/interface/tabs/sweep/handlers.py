"""What the tab asks for: one keep ratio of a picture, and the chart of those that are known."""

from __future__ import annotations

from dataclasses import dataclass

from dynamicvit.analysis.sweep import SWEPT_RATIOS, SweepPoint, sweep_point
from dynamicvit.costs.benchmark import PairTiming, time_pair
from dynamicvit.errors import SettingError
from dynamicvit.figures.svg import to_svg
from dynamicvit.figures.sweep_chart import draw_sweep
from dynamicvit.interface.handlers import Identity, LoadedModel, Payload, Workbench
from dynamicvit.interface.sessions import BoundedCache, Picture
from dynamicvit.interface.tabs.sweep.wording import describe_dense, describe_point, measured, verdict
from dynamicvit.interface.tabs.width import checked_width
from dynamicvit.interface.words import DEFAULT_LANGUAGE, words_in

MAX_POINTS = 100 * len(SWEPT_RATIOS)
MEASURING_ROUNDS = 5
MEASURING_BUDGET_MS = 300.0


@dataclass(frozen=True, eq=False)
class TimedPoint:
    """One keep ratio of a sweep, with its time beside that of the dense model."""

    point: SweepPoint
    timing: PairTiming


class SweepHandlers:
    """The tab's questions; what was computed is remembered for each picture and model.

    Args:
        bench: what the visitors share.
    """

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._points: BoundedCache[tuple[str, Identity, float], TimedPoint] = BoundedCache(MAX_POINTS)

    def point(self, image: str, model: str, ratio: object) -> Payload:
        """Give one row of the table: a picture at one of the swept keep ratios."""

        def answer() -> Payload:
            timed = self._timed(self._bench.picture(image), self._bench.load(model), _swept(ratio))
            return describe_point(timed.point, timed.timing)

        return self._bench.guarded(answer)

    def chart(self, image: str, model: str, ratios: object, width: object, language: str = DEFAULT_LANGUAGE) -> Payload:
        """Give chart and verdict of some of the swept keep ratios, beside the dense model.

        Args:
            image, model: keys.
            ratios: list of at least one.
            width: of the chart, in pixels.
            language: of the words.
        """

        def answer() -> Payload:
            picture, loaded, words = self._bench.picture(image), self._bench.load(model), words_in(language)
            timed = [self._timed(picture, loaded, ratio) for ratio in _swept_list(ratios)]
            points, timings = [one.point for one in timed], [one.timing for one in timed]
            dense = self._bench.view(picture, loaded).dense
            y_title = words("sweep.confidence_in", label=dense.top[0].label)
            figure = draw_sweep(points, dense, width=checked_width(width), x_title=words("cost.gmacs"), y_title=y_title)
            return {
                "svg": to_svg(figure),
                "verdict": verdict(points, dense, words),
                "dense": describe_dense(dense, timings),
                "how": measured(timings, words),
            }

        return self._bench.guarded(answer)

    def _timed(self, picture: Picture, loaded: LoadedModel, ratio: float) -> TimedPoint:
        """Give one keep ratio, from memory or new."""
        key = (picture.key, loaded.identity, ratio)
        timed = self._points.get(key)
        if timed is None:
            view, run = self._bench.view(picture, loaded), self._bench.run
            timed = TimedPoint(
                run(lambda: sweep_point(loaded.model, view.tensor, ratio, view.dense)),
                time_pair(
                    loaded.model,
                    view.tensor,
                    ratio,
                    max_rounds=MEASURING_ROUNDS,
                    budget_ms=MEASURING_BUDGET_MS,
                    execute=run,
                ),
            )
            self._points.put(key, timed)
        return timed


def _swept(ratio: object) -> float:
    for swept in SWEPT_RATIOS:
        if ratio == swept:
            return swept
    raise SettingError(f"The sweep asks for ratios from 1.00 to 0.10 in steps of 0.05, not {ratio!r:.40}.")


def _swept_list(ratios: object) -> list[float]:
    if not isinstance(ratios, list) or not 0 < len(ratios) <= len(SWEPT_RATIOS):
        raise SettingError("The chart of a sweep needs at least one keep ratio; start the sweep first.")
    return [_swept(ratio) for ratio in ratios]
