"""Compare: an image under several ways to reduce tokens; the browser asks method by method."""

from __future__ import annotations

from functools import partial
from typing import Any

from dynamicvit.analysis.comparison import Comparison, MethodResult
from dynamicvit.analysis.results import Classification
from dynamicvit.app.components import Payload, tab_component, user_errors
from dynamicvit.app.explorer import percent, probability
from dynamicvit.app.inputs import checked_budget, checked_seed
from dynamicvit.app.state import AppState
from dynamicvit.app.words import Labels


def fill(state: AppState, labels: Labels) -> None:
    """Fill the tab under construction; its component translates itself."""
    asked = {"compare_method": partial(method, state)}
    tab_component("compare", {}, scripts=["painting.js"], asked=asked, turns=state.turns)


@user_errors
def method(
    state: AppState, image: object, model: object, settings: object, name: str, basis: Any, seed: object
) -> Payload:
    """Return one card: the image under one method.

    Args:
        state: what the visitors share.
        image, model: keys.
        settings: of the predictors, as :func:`checked_budget` takes them.
        name: one of :data:`~dynamicvit.analysis.comparison.METHODS`.
        basis: ``"macs"`` or ``"ratio"``, what is equal for all methods.
        seed: of the random selection, a whole number from 0 to 2147483647.
    """
    loaded, budget, checked = state.load(model), checked_budget(settings), checked_seed(seed)
    prepared = state.prepared(state.image(image), loaded)
    comparison = state.run(lambda: prepared.compare(budget, [name], seed=checked, basis=basis))
    return describe_method(comparison, prepared.dense)


def describe_method(comparison: Comparison, dense: Classification) -> Payload:
    """Return the card of the only method of a comparison, the same in every language."""
    (result,) = comparison.results
    best, macs = result.classification.top[0], result.classification.macs
    return {
        "grid": list(comparison.grid),
        "kept": list(result.stages[-1].kept_patches) if result.stages else None,
        "groups": _groups(result),
        "has_fast_path": any(stage.has_fast_path for stage in result.stages),
        "label": best.label,
        "share": round(best.probability, 4),
        "percent": probability(best.probability),
        "agrees": result.agrees,
        "gmacs": f"{macs.gmacs:.3f}",
        "saved": percent(1.0 - macs.total / dense.macs.total),
        "budget": f"{comparison.equal_macs / 1e9:.3f}",
        "ratios": _ratios(result),
    }


def _groups(result: MethodResult) -> list[int] | None:
    """Return for each patch the number of the merged token that stands for it; None unless tokens were merged."""
    groups = result.stages[-1].groups if result.stages else None
    return None if groups is None else list(groups)


def _ratios(result: MethodResult) -> list[str]:
    """Return the base ratio or one for each stage; none where nothing is dropped or a share of scores decides."""
    if result.budget is None or result.budget.is_adaptive:
        return []
    return [f"{ratio:.3f}" for ratio in result.budget.numbers]
