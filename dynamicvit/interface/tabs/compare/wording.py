"""From a comparison to what the tab shows of it, the same in every language."""

from __future__ import annotations

from typing import Any

from dynamicvit.analysis.comparison import Comparison, MethodResult
from dynamicvit.analysis.results import Classification
from dynamicvit.interface.wording import percent, probability


def describe_method(comparison: Comparison, dense: Classification) -> dict[str, Any]:
    """Give the card of the only method of a comparison."""
    (result,) = comparison.results
    best, macs = result.classification.top[0], result.classification.macs
    return {
        "grid": list(comparison.grid),
        "kept": list(result.stages[-1].kept_patches) if result.stages else None,
        "groups": _groups(result),
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
    """Give for each patch the number of the merged token that stands for it; None unless tokens were merged."""
    groups = result.stages[-1].groups if result.stages else None
    return None if groups is None else list(groups)


def _ratios(result: MethodResult) -> list[str]:
    """Give the base ratio or one for each stage; none where nothing is dropped or a share of scores decides."""
    if result.budget is None or result.budget.is_adaptive:
        return []
    return [f"{ratio:.3f}" for ratio in result.budget.numbers]
