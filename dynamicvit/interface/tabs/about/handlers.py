"""What the About tab asks for: the method in one figure, drawn from what is shown."""

from __future__ import annotations

import threading

from dynamicvit.figures.method import method_figure
from dynamicvit.figures.svg import to_svg
from dynamicvit.images import prepare
from dynamicvit.interface.captions.captions import page_captions
from dynamicvit.interface.handlers import Payload, Workbench
from dynamicvit.interface.settings import settings_from
from dynamicvit.interface.words import words_in


class MethodDesk:
    """Draws the figure.

    Args:
        bench: what the visitors share.
    """

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._drawing = threading.Lock()

    def draw_method(self, scene: Payload, language: str) -> Payload:
        """Give ``{svg: text}`` for a scene, or a problem."""
        return self._bench.guarded(lambda: {"svg": self._svg(scene, language)})

    def _svg(self, scene: Payload, language: str) -> str:
        picture, loaded = self._bench.picture(str(scene.get("image"))), self._bench.load(str(scene.get("model")))
        analysis = self._bench.analysis(picture, loaded, settings_from(scene.get("settings")))
        config = loaded.model.config
        crop = self._bench.run(lambda: prepare(picture.image, config).crop)
        with self._drawing:
            return to_svg(method_figure(picture.image, crop, analysis, config.depth, page_captions(words_in(language))))
