"""The app as a service: endpoints for programs, found on the page's "Use via API", and as MCP tools with ``--mcp``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr

from dynamicvit.analysis.prepared import PreparedImage
from dynamicvit.analysis.results import Analysis, Classification
from dynamicvit.app.components import Payload
from dynamicvit.app.inputs import checked_budget, checked_seed
from dynamicvit.app.state import DEFAULT_KEEP_RATIO, AppState
from dynamicvit.app.uploads import uploaded_file
from dynamicvit.errors import DynamicViTError
from dynamicvit.images import decode


def offer_api(state: AppState) -> None:
    """Add the endpoints ``/analyze``, ``/compare``, ``/sweep`` and ``/models`` to the Blocks under construction."""

    def analyze(
        picture: gr.FileData,
        keep_ratio: float = DEFAULT_KEEP_RATIO,
        model: str = "",
        stage_ratios: list[float] | None = None,
        keep_mass: float | None = None,
        selector: str = "",
    ) -> dict[str, Any]:
        """Classify an image dense and pruned, and say which patches each stage keeps.

        Args:
            picture: an uploaded image file, as gradio_client's handle_file gives it for a file; over MCP a data URL.
            keep_ratio: share of the tokens that the first stage keeps, 0.1 to 1.0.
            model: file name of a model of the page's list; the first of the list when empty.
            stage_ratios: one ratio for each stage, non-increasing, instead of keep_ratio.
            keep_mass: share of the keep probability that each stage holds, 0.1 to 1.0, instead of keep_ratio.
            selector: way to choose tokens, such as "random"; the model's own when empty.

        Returns:
            The model, the patch grid, kept patches of each stage, top classes and GMACs of both, whether they agree.
        """
        settings = {"keep_ratio": stage_ratios or keep_ratio} if keep_mass is None else {"keep_mass": keep_mass}
        return _told(lambda: analyze_bytes(state, _content(picture), settings, model, selector))

    def compare(
        picture: gr.FileData, keep_ratio: float = DEFAULT_KEEP_RATIO, model: str = "", seed: int = 0
    ) -> dict[str, Any]:
        """Classify an image with tokens chosen or merged in several ways, at equal multiply-adds.

        Args:
            picture: an uploaded image file; over MCP a data URL.
            keep_ratio: share of the tokens that the first stage keeps, 0.1 to 1.0.
            model: file name of a model of the page's list; the first of the list when empty.
            seed: of the random choice.

        Returns:
            For each method its top classes, GMACs, whether it agrees with the dense model, and the kept patches.
        """
        return _told(lambda: _compare(state, _content(picture), keep_ratio, model, seed))

    def sweep(picture: gr.FileData, model: str = "") -> dict[str, Any]:
        """Classify an image at every keep ratio from 1.00 to 0.10.

        Args:
            picture: an uploaded image file; over MCP a data URL.
            model: file name of a model of the page's list; the first of the list when empty.

        Returns:
            For each keep ratio the first class, its probability, GMACs, and whether it is the dense model's.
        """
        return _told(lambda: _sweep(state, _content(picture), model))

    def models() -> list[dict[str, Any]]:
        """List the models of the page.

        Returns:
            For each its file name, title, whether it is here, and the keep ratios that it was trained for.
        """
        return [
            {"model": it.key, "title": it.title, "is_here": it.is_local, "keep_ratios": list(it.keep_ratios)}
            for it in state.entries()
        ]

    for endpoint in (analyze, compare, sweep, models):
        gr.api(endpoint, api_name=endpoint.__name__)


def analyze_bytes(
    state: AppState, content: bytes, settings: object, model: str | None = None, selector: str | None = None
) -> Payload:
    """Return the analysis of an image file's content as plain numbers for programs.

    Args:
        state: what the visitors share.
        content: of the file.
        settings: as :func:`checked_budget` takes them.
        model: its key; the first one when not given.
        selector: name of the token selector; the model's own when not given.

    Raises:
        DynamicViTError: the image, the settings or the model cannot be used.
    """
    budget = checked_budget(settings)
    key, prepared = _prepared(state, content, model)
    analysis = state.run(lambda: prepared.analyze(budget, selector or None))
    return {"model": key, **_plain(analysis), "caution": prepared.caution}


def _compare(state: AppState, content: bytes, keep_ratio: object, model: str | None, seed: object) -> Payload:
    budget, checked = checked_budget({"keep_ratio": keep_ratio}), checked_seed(seed)
    key, prepared = _prepared(state, content, model)
    comparison = state.run(lambda: prepared.compare(budget, seed=checked))
    methods = {
        one.method: {
            **_plain_classification(one.classification),
            "agrees": one.agrees,
            "kept_patches": list(one.stages[-1].kept_patches) if one.stages else None,
        }
        for one in comparison.results
    }
    return {"model": key, "grid": list(comparison.grid), "methods": methods}


def _sweep(state: AppState, content: bytes, model: str | None) -> Payload:
    key, prepared = _prepared(state, content, model)
    points = [
        {
            "keep_ratio": point.keep_ratio,
            "label": point.answer.label,
            "probability": point.answer.probability,
            "gmacs": point.macs / 1e9,
            "agrees": point.agrees,
        }
        for point in state.run(prepared.sweep)
    ]
    return {"model": key, "points": points}


def _prepared(state: AppState, content: bytes, model: str | None) -> tuple[str, PreparedImage]:
    image, loaded = decode(content), state.load(model or None)
    return loaded.entry.key, state.run(partial(PreparedImage, loaded.model, image))


def _content(picture: object) -> bytes:
    return uploaded_file(picture).read()


def _told(answer: Callable[[], Payload]) -> Payload:
    """Return an answer, or tell the caller what it can mend."""
    try:
        return answer()
    except DynamicViTError as error:
        raise gr.Error(str(error), print_exception=False) from error


def _plain(analysis: Analysis) -> Payload:
    return {
        **analysis.settings.budget.to_json(),
        "grid": list(analysis.grid),
        "stages": [
            {"stage": stage.number, "block": stage.block, "kept_patches": list(stage.kept_patches)}
            for stage in analysis.stages
        ],
        "dense": _plain_classification(analysis.dense),
        "pruned": _plain_classification(analysis.pruned),
        "agrees": analysis.agrees,
        "saved_share": analysis.saved_share,
    }


def _plain_classification(result: Classification) -> Payload:
    top = [{"index": best.index, "label": best.label, "probability": best.probability} for best in result.top]
    return {"top": top, "gmacs": result.macs.gmacs, "predictor_gmacs": result.macs.predictors / 1e9}
