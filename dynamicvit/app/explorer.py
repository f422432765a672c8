"""Explore: what is shown of an image with a model, and what the browser asks about it; callable without a page."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gradio as gr
from PIL import Image, ImageOps

from dynamicvit.analysis.comparison import methods_of
from dynamicvit.analysis.results import Analysis, Classification, Prediction, StageView
from dynamicvit.app.components import Payload, component, user_errors
from dynamicvit.app.inputs import checked_budget
from dynamicvit.app.state import DEFAULT_KEEP_RATIO, DISPLAY_SIDE, AppState, OpenImage, crop_url, split_key
from dynamicvit.app.uploads import Upload
from dynamicvit.app.words import DEFAULT_LANGUAGE, Words, words_in
from dynamicvit.budget import Budget, Schedule
from dynamicvit.costs.benchmark import PairTiming
from dynamicvit.errors import ImageError
from dynamicvit.figures.saving import data_url
from dynamicvit.images import CropBox, decode
from dynamicvit.models.config import ModelConfig
from dynamicvit.weights.available import TrainedRatio
from dynamicvit.weights.published import download

SCRIPTS = ["painting.js", *(f"explorer/{name}.js" for name in ("budget", "patch", "views", "results", "story"))]
THUMBNAIL_SIDE = 120
FRAME_SIDE = 360  # of the image in which the crop is moved
SHOWN_BY_BROWSERS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP")
MEASURING_BUDGET_MS = 1500
SPACE = "\N{NO-BREAK SPACE}"
LOW_CONFIDENCE = 0.3
SHOWN_STEP = 0.005  # ratios are shown with two digits: closer ones look the same
SCORE_UNITS = 10_000  # scores go to the browser as whole numbers of this unit


_serials = itertools.count(1)  # in every scene, so that no two are equal: an equal one would not reach the browser


def token_explorer(state: AppState, scene: Payload) -> gr.HTML:
    """Return the component that shows a scene and lets the visitor say how many tokens are kept.

    What depends on the settings is asked for by the browser itself, past Gradio's queue.

    Args:
        state: what the visitors share.
        scene: the one to open with: ``{serial, image, model, picture[, answer]}`` or ``{serial, problem}``.
    """
    asked = {"analyse": partial(analyse, state), "measure": partial(measure, state)}
    return component("explorer", scene, scripts=SCRIPTS, asked=asked, turns=state.turns, elem_id="explorer")


# Scenes: an image and a model, ready to be explored ------------------------------------------------------------------


def first_scene(state: AppState, language: str = DEFAULT_LANGUAGE) -> Payload:
    """Return the scene with which the page opens, analysed; a problem when there is no model or no example."""
    names, model, words = list(state.examples), state.first_model(), words_in(language)
    if model is None:
        return problem_scene(words("model.none"))
    if not names:
        return problem_scene(words("model.no_picture"))
    scene = open_example(state, names[0], model)
    if "problem" not in scene:
        scene["answer"] = analyse(state, scene["image"], model, {"keep_ratio": DEFAULT_KEEP_RATIO}, language)
    return scene


def open_file(state: AppState, upload: Upload | None, model: str | None) -> Payload:
    """Decode an uploaded file and return its scene."""

    def opened() -> OpenImage:
        if upload is None:
            raise ImageError("There is no image now: add one or choose an example. The last result stays below.")
        return state.add_image(decode(upload.read()), upload.name)

    return _scene(state, opened, model)


def open_example(state: AppState, name: str, model: str | None) -> Payload:
    """Return the scene of an example."""
    return _scene(state, lambda: state.example(name), model)


def change_model(state: AppState, image: str, model: str | None) -> Payload:
    """Return the scene of an image that was opened before, for another model."""
    return _scene(state, lambda: state.image(image), model)


def problem_scene(sentence: str) -> Payload:
    """Return what puts a problem on the page, or with an empty one takes it off, and leaves the rest as it is."""
    return {"problem": sentence, "serial": next(_serials)}


def _scene(state: AppState, opened: Callable[[], OpenImage], model: str | None) -> Payload:
    @user_errors
    def scene() -> Payload:
        image, loaded = opened(), state.load(model)
        prepared = state.prepared(image, loaded)
        return {
            "image": image.key,
            "model": loaded.entry.key,
            "picture": crop_url(prepared),
            "frame": _frame(image, prepared.crop),
            "is_shown_by_browsers": image.image.source_format in SHOWN_BY_BROWSERS,
        }

    return scene() | {"serial": next(_serials)}


def _frame(opened: OpenImage, crop: CropBox) -> Payload:
    """Return the whole image, small, and where the crop lies in it: its place, and its box in shares of the image."""
    height, width = opened.image.pixels.shape[:2]
    box = [crop.left / width, crop.top / height, (crop.right - crop.left) / width, (crop.bottom - crop.top) / height]
    small = Image.fromarray(opened.image.pixels)
    small.thumbnail((FRAME_SIDE, FRAME_SIDE))
    return {"whole": data_url(small), "image": split_key(opened.key)[0], "at": opened.crop_at, "box": box}


def preview(state: AppState, key: str) -> Image.Image:
    """Return an image, whole and small, for browsers that cannot show its file."""
    small = Image.fromarray(state.image(key).image.pixels)
    small.thumbnail((DISPLAY_SIDE, DISPLAY_SIDE))
    return small


def thumbnails(state: AppState) -> list[Payload]:
    """Return name, title and a small square data URL of each example."""
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    shown = [(example, Image.fromarray(example.image.pixels)) for example in map(state.example, state.examples)]
    return [{"name": it.key, "title": it.title, "url": data_url(ImageOps.fit(image, side))} for it, image in shown]


def fetch(state: AppState, model: str, progress: Callable[[int, int | None], None]) -> None:
    """Download a published model.

    Raises:
        DynamicViTError: it is in no list, or the download failed.
    """
    entry = state.entry(model)
    if entry.published is not None and not entry.is_local:
        download(entry.published, progress=progress)


# Answers about a scene -----------------------------------------------------------------------------------------------


@user_errors
def analyse(
    state: AppState, image: object, model: object, settings: object, language: object = DEFAULT_LANGUAGE
) -> Payload:
    """Return what the explorer shows of an image under settings as :func:`checked_budget` takes them."""
    opened, loaded, budget, words = state.image(image), state.load(model), checked_budget(settings), words_in(language)
    title = opened.title or words("picture.yours")
    analysis, prepared = state.analysis(opened, loaded, budget), state.prepared(opened, loaded)
    described = describe_analysis(analysis, title, loaded.model.config, loaded.entry.keep_ratios, words)
    notes = [
        words("model.left_gpu") if state.left_gpu else "",
        words("picture.small") if prepared.caution else "",
        words("model.not_learned") if analysis.settings.selector != "predictor" else "",
        described["note"],
    ]
    asked = {"image": opened.key, "model": loaded.entry.key, "settings": budget.to_json(), "language": words.language}
    methods, alike = methods_of(loaded.model), state.alike(opened, loaded, analysis)
    return {**asked, **described, "methods": methods, "alike": alike, "note": " ".join(filter(None, notes))}


@user_errors
def measure(
    state: AppState, image: object, model: object, settings: object, language: object = DEFAULT_LANGUAGE
) -> Payload:
    """Time the dense and the pruned model on an image, in turn with whatever other visitors ask."""
    opened, loaded, budget = state.image(image), state.load(model), checked_budget(settings)
    saved = state.analysis(opened, loaded, budget).saved_share
    prepared = state.prepared(opened, loaded)
    timing = prepared.time(budget, budget_ms=MEASURING_BUDGET_MS, execute=state.run)
    return describe_timing(timing, saved, words_in(language))


# From results to what is shown: numbers with their units, sentences, short lists; ready for JSON ---------------------


def describe_analysis(
    analysis: Analysis, title: str, config: ModelConfig, trained: Sequence[TrainedRatio], words: Words
) -> dict[str, Any]:
    """Return everything that the explorer shows of one analysis.

    Args:
        analysis: of the image.
        title: of the image.
        config: of the model.
        trained: base keep ratios and ranges of them that the checkpoint was trained for; empty when unknown.
        words: of the visitor's language.
    """
    rows, columns = analysis.grid
    budget, schedule = analysis.settings.budget, config.schedule
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
        "stages": [_stage(stage, analysis.num_patches, config.depth, words) for stage in analysis.stages],
        "dense": [_prediction(prediction, words) for prediction in analysis.dense.top],
        "pruned": [_prediction(prediction, words) for prediction in analysis.pruned.top],
        "pruned_aside": _budget_aside(budget, words),
        "all": analysis.num_patches,
        "dropped": analysis.num_patches - len(analysis.stages[-1].kept_patches),
        "has_fast_path": analysis.stages[-1].has_fast_path,
        "terms": schedule.terms,
        "ratio_step": schedule.step,
        "agrees": analysis.agrees,
        "verdict": words("prediction.same" if analysis.agrees else "prediction.different"),
        "confidence": _confidence(analysis.dense, analysis.pruned, words),
        "macs": _macs(analysis),
        "note": budget_note(budget, schedule, trained, words),
        "summary": _summary(analysis, title, words),
    }


def describe_timing(timing: PairTiming, saved_share: float, words: Words) -> dict[str, Any]:
    """Return what the explorer shows of a measurement.

    Args:
        timing: dense and pruned model, measured in turn.
        saved_share: share of the multiply-adds that pruning saves, to explain a pruned model that is slower.
        words: of the visitor's language.
    """
    dense, pruned = timing.dense.median_ms, timing.pruned.median_ms
    is_slower = pruned > dense
    how = words("cost.how", rounds=timing.dense.rounds, device=words.device(timing.device))
    return {
        "dense": milliseconds(dense),
        "pruned": milliseconds(pruned),
        "saved": percent(1.0 - pruned / dense),
        "is_slower": is_slower,
        "note": f"{_why_slower(dense, pruned, saved_share, words)} {how}" if is_slower else how,
    }


def budget_note(budget: Budget, schedule: Schedule, trained: Sequence[TrainedRatio], words: Words) -> str:
    """Say what the settings mean for a model; empty when nobody knows what it was trained for."""
    if budget.kind == "ratio":
        return ratio_note(budget.numbers[0], trained, words)
    if budget.kind == "stages":
        return words("ratio.own_stages", terms=words.listed(schedule.terms)) if trained else ""
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
    """Return a probability in percent, with one digit."""
    return f"{100 * share:.1f}{SPACE}%" if share >= 0.001 else f"< 0.1{SPACE}%"


def milliseconds(value: float) -> str:
    """Return a time in milliseconds; with a digit after the point where there are fewer than three before it."""
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def percent(share: float) -> str:
    """Return a share in whole percent, with a true minus sign."""
    return f"{round(100 * share):d}{SPACE}%".replace("-", "\N{MINUS SIGN}")


def _stage(stage: StageView, num_patches: int, depth: int, words: Words) -> dict[str, Any]:
    kept = len(stage.kept_patches)
    return {
        "name": words("explore.stage", number=stage.number),
        "percent": percent(kept / num_patches),
        "count": _say(words, stage, "explore.stage_count", kept=kept, all=num_patches),
        "detail": words("explore.stage_detail", block=stage.block, depth=depth),
        "share": kept / num_patches,
        "label": _say(words, stage, "explore.stage_alt", number=stage.number, kept=kept, all=num_patches),
        "kept": list(stage.kept_patches),
        "live": stage.live_count,
        "scores": [None if score is None else _in_units(score) for score in stage.keep_scores],
        "ranks": list(stage.ranks),
        "cut": None if stage.cut_score is None else _in_units(stage.cut_score),
    }


def _say(words: Words, stage: StageView, key: str, **values: object) -> str:
    """Return a text about what a stage does: where there is a fast path nothing is dropped, and it says so."""
    return words(f"{key}_fast" if stage.has_fast_path else key, **values)


def _in_units(score: float) -> int:
    return round(score * SCORE_UNITS)


def _prediction(prediction: Prediction, words: Words) -> dict[str, Any]:
    share = prediction.probability
    return {"label": words.class_name(prediction.label), "share": round(share, 4), "percent": probability(share)}


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
    return _say(
        words,
        analysis.stages[-1],
        "explore.summary_same" if analysis.agrees else "explore.summary_different",
        title=title,
        counts=words.listed([str(len(stage.kept_patches)) for stage in analysis.stages]),
        all=analysis.num_patches,
        dense=words.class_name(analysis.dense.top[0].label),
        pruned=words.class_name(analysis.pruned.top[0].label),
        saved=percent(analysis.saved_share),
    )


def _why_slower(dense_ms: float, pruned_ms: float, saved_share: float, words: Words) -> str:
    key = "cost.slower_few" if saved_share < 0.05 else "cost.slower_single"
    return words(key, pruned=milliseconds(pruned_ms), dense=milliseconds(dense_ms))
