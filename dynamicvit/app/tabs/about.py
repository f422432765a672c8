"""About: the method in one figure, drawn from what Explore shows, and short explanations."""

from __future__ import annotations

from functools import partial

from dynamicvit.app.components import Payload, tab_component, user_errors
from dynamicvit.app.inputs import checked_budget, checked_scene
from dynamicvit.app.state import AppState
from dynamicvit.app.words import Labels, page_captions, words_in
from dynamicvit.figures.method import method_figure
from dynamicvit.figures.svg import to_svg


def fill(state: AppState, labels: Labels) -> None:
    """Fill the tab under construction; its component translates itself."""
    asked = {"draw_method": partial(draw_method, state)}
    tab_component("about", {}, asked=asked, turns=state.turns)


@user_errors
def draw_method(state: AppState, scene: object, language: object) -> Payload:
    """Return ``{svg: text}`` of what Explore shows, as :func:`checked_scene` takes it."""
    shown = checked_scene(scene)
    opened, loaded = state.image(shown["image"]), state.load(shown["model"])
    analysis = state.analysis(opened, loaded, checked_budget(shown["settings"]))
    crop, depth = state.prepared(opened, loaded).crop, loaded.model.config.depth
    with state.drawing:
        return {"svg": to_svg(method_figure(opened.image, crop, analysis, depth, page_captions(words_in(language))))}
