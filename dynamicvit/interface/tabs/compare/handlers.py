"""What the tab asks for: a picture under one method, and the pixels to draw it on."""

from __future__ import annotations

from typing import Any

from dynamicvit.analysis.comparison import compare
from dynamicvit.errors import SettingError
from dynamicvit.interface.handlers import Payload, Workbench
from dynamicvit.interface.settings import settings_from
from dynamicvit.interface.tabs.compare.wording import describe_method

MAX_SEED = 2**31 - 1


class CompareHandlers:
    """The tab's questions.

    Args:
        bench: what the visitors share.
    """

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def crop(self, image: str, model: str) -> Payload:
        """Give the part of the picture that the model sees, as a data URL."""
        return self._bench.guarded(
            lambda: {"picture": self._bench.view(self._bench.picture(image), self._bench.load(model)).crop_url}
        )

    def method(self, image: str, model: str, settings: object, method: str, basis: Any, seed: object) -> Payload:
        """Give one card: the picture under one method.

        Args:
            image, model: keys.
            settings: of the predictors, as :func:`settings_from` takes them.
            method: one of :data:`~dynamicvit.analysis.comparison.METHODS`.
            basis: ``"macs"`` or ``"ratio"``, what is equal for all methods.
            seed: of the random selection, a whole number from 0 to 2147483647.
        """

        def answer() -> Payload:
            loaded, budget, checked = self._bench.load(model), settings_from(settings).budget, _checked_seed(seed)
            view = self._bench.view(self._bench.picture(image), loaded)
            comparison = self._bench.run(
                lambda: compare(
                    loaded.model, view.tensor, [method], budget, seed=checked, basis=basis, dense=view.dense
                )
            )
            return describe_method(comparison, view.dense)

        return self._bench.guarded(answer)


def _checked_seed(seed: object) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise SettingError(f"The seed must be a whole number from 0 to {MAX_SEED}; got {seed!r:.40}.")
    return seed
