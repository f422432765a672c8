"""What the tab asks for: the parts of the dense and the pruned model, counted and timed."""

from __future__ import annotations

from dynamicvit.costs.profiling import Profile, profile
from dynamicvit.figures.profile_chart import draw_profile
from dynamicvit.figures.svg import to_svg
from dynamicvit.interface.handlers import MEASURING_BUDGET_MS, Payload, Workbench
from dynamicvit.interface.settings import settings_from
from dynamicvit.interface.tabs.compute.wording import chart_columns, describe_rows, explain, measured
from dynamicvit.interface.tabs.width import checked_width
from dynamicvit.interface.words import DEFAULT_LANGUAGE, words_in


class ComputeHandlers:
    """The tab's question.

    Args:
        bench: what the visitors share.
    """

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def profile(
        self, image: str, model: str, settings: object, width: object, language: str = DEFAULT_LANGUAGE
    ) -> Payload:
        """Give chart, table and explanation of where the compute goes.

        Args:
            image, model: keys.
            settings: as :func:`settings_from` takes them.
            width: of the chart, in pixels.
            language: of the words.
        """

        def answer() -> Payload:
            result, words = self._measure(image, model, settings), words_in(language)
            titles = words("compute.tokens_title"), words("compute.gmacs_title"), words("compute.milliseconds_title")
            figure = draw_profile(chart_columns(result, words), width=checked_width(width), titles=titles)
            return {
                "svg": to_svg(figure),
                "rows": describe_rows(result, words),
                "explanation": explain(result, words),
                "how": measured(result, words),
            }

        return self._bench.guarded(answer)

    def _measure(self, image: str, model: str, settings: object) -> Profile:
        picture, loaded = self._bench.picture(image), self._bench.load(model)
        tensor, budget = self._bench.view(picture, loaded).tensor, settings_from(settings).budget
        return profile(loaded.model, tensor, budget, budget_ms=MEASURING_BUDGET_MS, execute=self._bench.run)
