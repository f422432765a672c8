"""From results to what the page shows: numbers with their units, sentences, short lists; ready for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dynamicvit.analysis.results import Analysis, Classification, Prediction, StageView
from dynamicvit.budget import Budget
from dynamicvit.costs.benchmark import PairTiming
from dynamicvit.interface.words import Words
from dynamicvit.weights.available import TrainedRatio

SPACE = "\N{NO-BREAK SPACE}"
LOW_CONFIDENCE = 0.3
SHOWN_STEP = 0.005  # ratios are shown with two digits: closer ones look the same
SCORE_UNITS = 10_000  # scores go to the browser as whole numbers of this unit


def describe_analysis(
    analysis: Analysis, title: str, depth: int, trained: Sequence[TrainedRatio], words: Words
) -> dict[str, Any]:
    """Give everything that the explorer shows of one analysis.

    Args:
        analysis: of the picture.
        title: of the picture.
        depth: number of blocks of the model.
        trained: base keep ratios and ranges of them that the checkpoint was trained for; empty when unknown.
        words: of the visitor's language.
    """
    rows, columns = analysis.grid
    budget = analysis.settings.budget
    return {
        "title": title,
        "grid": [rows, columns],
        "input": {
            "name": words("explore.input"),
            "percent": "",
            "count": words("explore.input_count", count=analysis.num_patches),
            "detail": words("explore.input_detail", rows=rows, columns=columns),
            "share": 1.0,
            "label": words("explore.input_alt", title=title),
        },
        "stages": [_stage(stage, analysis.num_patches, depth, words) for stage in analysis.stages],
        "dense": [_prediction(prediction) for prediction in analysis.dense.top],
        "pruned": [_prediction(prediction) for prediction in analysis.pruned.top],
        "pruned_aside": _budget_aside(budget, words),
        "agrees": analysis.agrees,
        "verdict": words("prediction.same" if analysis.agrees else "prediction.different"),
        "confidence": _confidence(analysis.dense, analysis.pruned, words),
        "macs": _macs(analysis),
        "note": budget_note(budget, trained, words),
        "summary": _summary(analysis, title, words),
    }


def describe_timing(timing: PairTiming, saved_share: float, words: Words) -> dict[str, Any]:
    """Give what the explorer shows of a measurement.

    Args:
        timing: dense and pruned model, measured in turn.
        saved_share: share of the multiply-adds that pruning saves, to explain a pruned model that is slower.
        words: of the visitor's language.
    """
    dense, pruned = timing.dense.median_ms, timing.pruned.median_ms
    is_slower = pruned > dense
    how = words("cost.how", rounds=timing.dense.rounds, device=timing.device)
    return {
        "dense": f"{dense:.1f}",
        "pruned": f"{pruned:.1f}",
        "saved": percent(1.0 - pruned / dense),
        "is_slower": is_slower,
        "note": f"{_why_slower(dense, pruned, saved_share, words)} {how}" if is_slower else how,
    }


def budget_note(budget: Budget, trained: Sequence[TrainedRatio], words: Words) -> str:
    """Say what the settings mean for a model; empty when nobody knows what it was trained for."""
    if budget.kind == "ratio":
        return ratio_note(budget.numbers[0], trained, words)
    if budget.kind == "stages":
        return words("ratio.own_stages")
    return words("ratio.adaptive", share=percent(budget.numbers[0]))


def ratio_note(ratio: float, trained: Sequence[TrainedRatio], words: Words) -> str:
    """Say whether a model was trained for a base keep ratio; empty when nobody knows."""
    if not trained:
        return ""
    ranges = [known if isinstance(known, tuple) else (known, known) for known in trained]
    if any(low - SHOWN_STEP < ratio < high + SHOWN_STEP for low, high in ranges):
        return words("ratio.trained")
    names = [
        f"{low:.2f}" if low == high else words("ratio.range", low=f"{low:.2f}", high=f"{high:.2f}")
        for low, high in ranges
    ]
    return words("ratio.untrained", ratios=words.listed(names))


def probability(share: float) -> str:
    """Give a probability in percent, with one digit."""
    return f"{100 * share:.1f}{SPACE}%" if share >= 0.001 else f"< 0.1{SPACE}%"


def percent(share: float) -> str:
    """Give a share in whole percent, with a true minus sign."""
    return f"{round(100 * share):d}{SPACE}%".replace("-", "\N{MINUS SIGN}")


def _stage(stage: StageView, num_patches: int, depth: int, words: Words) -> dict[str, Any]:
    kept = len(stage.kept_patches)
    return {
        "name": words("explore.stage", number=stage.number),
        "percent": percent(kept / num_patches),
        "count": words("explore.stage_count", kept=kept, all=num_patches),
        "detail": words("explore.stage_detail", block=stage.block, depth=depth),
        "share": kept / num_patches,
        "label": words("explore.stage_alt", number=stage.number, kept=kept, all=num_patches),
        "kept": list(stage.kept_patches),
        "live": stage.live_count,
        "scores": [None if score is None else _in_units(score) for score in stage.keep_scores],
        "ranks": list(stage.ranks),
        "cut": None if stage.cut_score is None else _in_units(stage.cut_score),
    }


def _in_units(score: float) -> int:
    return round(score * SCORE_UNITS)


def _prediction(prediction: Prediction) -> dict[str, Any]:
    share = prediction.probability
    return {"label": prediction.label, "share": round(share, 4), "percent": probability(share)}


def _confidence(dense: Classification, pruned: Classification, words: Words) -> str:
    """Say which first answers are little more than a guess; empty when none is."""
    shares = {"prediction.low_dense": dense.top[0].probability, "prediction.low_pruned": pruned.top[0].probability}
    low = [words(key, share=probability(share)) for key, share in shares.items() if share < LOW_CONFIDENCE]
    return words("prediction.low", shares=words.listed(low)) if low else ""


def _budget_aside(budget: Budget, words: Words) -> str:
    if budget.kind == "mass":
        return words("prediction.adaptive_aside", share=percent(budget.numbers[0]))
    numbers = " · ".join(f"{number:.2f}" for number in budget.numbers)
    if budget.kind == "stages":
        return words("prediction.stages_aside", ratios=numbers)
    return words("prediction.pruned_aside", ratio=numbers)


def _macs(analysis: Analysis) -> dict[str, Any]:
    digits = 3 if analysis.dense.macs.gmacs < 10 else 2
    return {
        "dense": f"{analysis.dense.macs.gmacs:.{digits}f}",
        "pruned": f"{analysis.pruned.macs.gmacs:.{digits}f}",
        "predictors": f"{analysis.pruned.macs.predictors / 1e9:.{digits}f}",
        "saved": percent(analysis.saved_share),
        "is_loss": analysis.saved_share < 0,
    }


def _summary(analysis: Analysis, title: str, words: Words) -> str:
    return words(
        "explore.summary_same" if analysis.agrees else "explore.summary_different",
        title=title,
        counts=words.listed([str(len(stage.kept_patches)) for stage in analysis.stages]),
        all=analysis.num_patches,
        dense=analysis.dense.top[0].label,
        pruned=analysis.pruned.top[0].label,
        saved=percent(analysis.saved_share),
    )


def _why_slower(dense_ms: float, pruned_ms: float, saved_share: float, words: Words) -> str:
    key = "cost.slower_few" if saved_share < 0.05 else "cost.slower_single"
    return words(key, pruned=f"{pruned_ms:.1f}", dense=f"{dense_ms:.1f}")
