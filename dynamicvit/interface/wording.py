"""From results to what the page shows: numbers with their units, sentences, short lists; ready for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dynamicvit.analysis import Analysis, Classification, Prediction, StageView
from dynamicvit.benchmark import PairTiming
from dynamicvit.checkpoints.available import TrainedRatio

SPACE = "\N{NO-BREAK SPACE}"
TIMES = "\N{MULTIPLICATION SIGN}"
LOW_CONFIDENCE = 0.3
SHOWN_STEP = 0.005  # ratios are shown with two digits: closer ones look the same


def describe_analysis(analysis: Analysis, title: str, depth: int, trained: Sequence[TrainedRatio]) -> dict[str, Any]:
    """Give everything that the explorer shows of one analysis.

    Args:
        analysis: made with one base keep ratio.
        title: of the picture.
        depth: number of blocks of the model.
        trained: base keep ratios and ranges of them that the checkpoint was trained for; empty when unknown.
    """
    rows, columns = analysis.grid
    ratio = analysis.settings.keep_ratio
    if isinstance(ratio, tuple):
        raise TypeError("the explorer shows one base keep ratio")
    return {
        "ratio": f"{ratio:.2f}",
        "grid": [rows, columns],
        "input": {
            "name": "Input:",
            "count": f"{analysis.num_patches} tokens",
            "detail": f"centre crop, {rows} {TIMES} {columns}",
            "share": 1.0,
            "label": f"{title}, as the model sees it",
        },
        "stages": [_stage(stage, analysis.num_patches, depth) for stage in analysis.stages],
        "dense": [_prediction(prediction) for prediction in analysis.dense.top],
        "pruned": [_prediction(prediction) for prediction in analysis.pruned.top],
        "pruned_aside": f"ratio {ratio:.2f}",
        "agrees": analysis.agrees,
        "verdict": "Same answer" if analysis.agrees else "Different answers",
        "confidence": _confidence(analysis.dense, analysis.pruned),
        "macs": _macs(analysis),
        "note": ratio_note(ratio, trained),
        "summary": _summary(analysis, title),
    }


def describe_timing(timing: PairTiming, saved_share: float) -> dict[str, Any]:
    """Give what the explorer shows of a measurement.

    Args:
        timing: dense and pruned model, measured in turn.
        saved_share: share of the multiply-adds that pruning saves, to explain a pruned model that is slower.
    """
    dense, pruned = timing.dense.median_ms, timing.pruned.median_ms
    is_slower = pruned > dense
    how = f"Median of {timing.dense.rounds} runs each, in turn, one picture at a time, on {timing.device}."
    return {
        "dense": f"{dense:.1f}",
        "pruned": f"{pruned:.1f}",
        "saved": _percent(1.0 - pruned / dense),
        "is_slower": is_slower,
        "note": f"{_why_slower(dense, pruned, saved_share)} {how}" if is_slower else how,
    }


def ratio_note(ratio: float, trained: Sequence[TrainedRatio]) -> str:
    """Say whether a model was trained for a keep ratio; empty when nobody knows."""
    if not trained:
        return ""
    ranges = [known if isinstance(known, tuple) else (known, known) for known in trained]
    if any(low - SHOWN_STEP < ratio < high + SHOWN_STEP for low, high in ranges):
        return "The model was trained for this ratio."
    names = [f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}" for low, high in ranges]
    return f"Trained for {_listed(names)}, not for this ratio."


def _stage(stage: StageView, num_patches: int, depth: int) -> dict[str, Any]:
    kept = len(stage.kept_patches)
    return {
        "name": f"Stage {stage.number}:",
        "count": f"{kept} of {num_patches} tokens",
        "detail": f"{_percent(kept / num_patches)}, after block {stage.block} of {depth}",
        "share": kept / num_patches,
        "label": f"Stage {stage.number} keeps {kept} of {num_patches} patches; the dropped ones are faded",
        "kept": list(stage.kept_patches),
    }


def _prediction(prediction: Prediction) -> dict[str, Any]:
    share = prediction.probability
    return {"label": prediction.label, "share": round(share, 4), "percent": _probability(share)}


def _probability(share: float) -> str:
    return f"{100 * share:.1f}{SPACE}%" if share >= 0.001 else f"< 0.1{SPACE}%"


def _confidence(dense: Classification, pruned: Classification) -> str:
    """Say which first answers are little more than a guess; empty when none is."""
    shares = {"dense": dense.top[0].probability, "pruned": pruned.top[0].probability}
    low = [f"{_probability(share)} ({name})" for name, share in shares.items() if share < LOW_CONFIDENCE]
    return f"Low confidence: the first answer has only {_listed(low)}." if low else ""


def _macs(analysis: Analysis) -> dict[str, str]:
    digits = 3 if analysis.dense.macs.gmacs < 10 else 2
    return {
        "dense": f"{analysis.dense.macs.gmacs:.{digits}f}",
        "pruned": f"{analysis.pruned.macs.gmacs:.{digits}f}",
        "predictors": f"{analysis.pruned.macs.predictors / 1e9:.{digits}f}",
        "saved": _percent(analysis.saved_share),
    }


def _summary(analysis: Analysis, title: str) -> str:
    counts = _listed([str(len(stage.kept_patches)) for stage in analysis.stages])
    dense, pruned = analysis.dense.top[0].label, analysis.pruned.top[0].label
    answers = (
        f"dense and pruned model both answer “{dense}”"
        if analysis.agrees
        else f"the dense model answers “{dense}”, the pruned one “{pruned}”"
    )
    return (
        f"{title}: the stages keep {counts} of {analysis.num_patches} tokens; {answers}; "
        f"{_percent(analysis.saved_share)} of the multiply-adds are saved."
    )


def _why_slower(dense_ms: float, pruned_ms: float, saved_share: float) -> str:
    reason = (
        "hardly anything is dropped at this ratio, so the predictors cost more than pruning saves"
        if saved_share < 0.05
        else "with a single picture, choosing and moving tokens takes longer than the multiply-adds that it avoids"
    )
    return f"Pruning is slower here: {pruned_ms:.1f} ms against {dense_ms:.1f} ms, because {reason}."


def _percent(share: float) -> str:
    """Give a share in whole percent, with a true minus sign."""
    return f"{round(100 * share):d}{SPACE}%".replace("-", "\N{MINUS SIGN}")


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
