"""Export: files of what Explore shows, and what to show for a saved analysis."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dynamicvit.analysis.report import (
    ImageIdentity,
    Report,
    identify_checkpoint,
    identify_image,
    is_same,
    read_report,
    to_json,
)
from dynamicvit.app.components import Payload, tab_component, user_errors
from dynamicvit.app.inputs import checked_budget, checked_scene
from dynamicvit.app.state import AppState, LoadedModel, OpenImage, cropped_key, split_key
from dynamicvit.app.words import Labels, file_captions, words_in
from dynamicvit.budget import Budget
from dynamicvit.errors import ImageError, SettingError
from dynamicvit.figures.animation import animation_bytes, stage_frames
from dynamicvit.figures.captions import Captions
from dynamicvit.figures.paper import paper_figure
from dynamicvit.figures.saving import figure_bytes
from dynamicvit.figures.sheet import slide_sheet
from dynamicvit.images import CropBox

MAX_JSON_CHARACTERS = 4_000_000
MAX_IMAGES_LOOKED_AT = 100
MEDIA_TYPES = {
    "png": "image/png",
    "pdf": "application/pdf",
    "svg": "image/svg+xml",
    "gif": "image/gif",
    "webp": "image/webp",
    "json": "application/json",
}


@dataclass(frozen=True, eq=False)
class Exported:
    """What is shown, with all that a file of it needs."""

    opened: OpenImage
    crop: CropBox
    report: Report
    title: str
    captions: Captions
    view: Payload


def fill(state: AppState, labels: Labels) -> None:
    """Fill the tab under construction; its component translates itself."""
    asked = {"export": partial(export, state), "open_analysis": partial(open_analysis, state)}
    tab_component("export", {}, asked=asked, turns=state.turns)


@user_errors
def export(state: AppState, file_format: object, scene: object, language: object) -> Payload:
    """Return a file of what Explore shows as ``{name, type, data, note}``, its bytes in base64."""
    if not isinstance(file_format, str) or file_format not in MEDIA_TYPES:
        raise SettingError(f"There is no export as {file_format!r:.40}; choose one of {', '.join(MEDIA_TYPES)}.")
    words = words_in(language)
    captions, is_in_language = file_captions(words)
    exported = _exported(state, checked_scene(scene), captions, words("picture.yours"))
    with state.drawing:
        data = WRITERS[file_format](exported)
    return {
        "name": file_name(exported.opened, exported.report.analysis.settings.budget, file_format),
        "type": MEDIA_TYPES[file_format],
        "data": base64.b64encode(data).decode("ascii"),
        "note": "" if is_in_language or file_format == "json" else words("export.english"),
    }


@user_errors
def open_analysis(state: AppState, text: object, images: object, language: object) -> Payload:
    """Say what to show for a saved analysis.

    Args:
        state: what the visitors share.
        text: of the JSON file.
        images: keys of the images that were shown on this page.
        language: of the sentences.

    Returns:
        ``{open: what the page has to show, note}``, or ``{note}`` that asks for the image.
    """
    words = words_in(language)
    if not isinstance(text, str) or len(text) > MAX_JSON_CHARACTERS:
        raise SettingError("This file is too large to be a saved analysis; choose a .json file from this tab.")
    report = read_report(text.encode(errors="replace"))
    budget = checked_budget(report.analysis.settings.budget.to_json())
    loaded = state.load(report.model.file)
    if report.analysis.settings.selector != loaded.model.selectors[0]:
        raise SettingError("This analysis was made with another selector than the model's predictors; see Compare.")
    opened = _find(state, report.image, images)
    if opened is None:
        asked = words("export.wanted", name=report.image.name, hash=report.image.sha256[:16])
        return {"note": asked, "waits": True}
    again = state.analysis(opened, loaded, budget)
    view = json.loads(text).get("view")
    view = view if isinstance(view, dict) else {}
    return {
        "open": {
            "image": opened.key,
            "model": report.model.file,
            "settings": budget.to_json(),
            "stage": view.get("stage"),
            "patch": view.get("patch"),
        },
        "note": words(_verdict(report, loaded, is_same(report.analysis, again))),
    }


def _exported(state: AppState, shown: Payload, captions: Captions, title: str) -> Exported:
    opened, loaded = state.image(shown["image"]), state.load(shown["model"])
    analysis = state.analysis(opened, loaded, checked_budget(shown["settings"]))
    report = Report(identify_image(opened.image, opened.file_name, opened.crop_at), _identity(loaded), analysis)
    view = {name: shown[name] for name in ("stage", "patch")}
    return Exported(opened, state.prepared(opened, loaded).crop, report, opened.title or title, captions, view)


def _find(state: AppState, wanted: ImageIdentity, images: object) -> OpenImage | None:
    """Return the image of that hash among the examples and those that the page has shown, cropped alike."""
    shown = images[:MAX_IMAGES_LOOKED_AT] if isinstance(images, list) else []
    for key in [*state.examples, *shown]:
        try:
            opened = state.image(key)
        except ImageError:  # forgotten since
            continue
        if opened.image.sha256 == wanted.sha256:
            return state.image(cropped_key(split_key(opened.key)[0], wanted.crop_at))
    return None


def file_name(opened: OpenImage, budget: Budget, file_format: str) -> str:
    """Return a file name that says what is in it, such as ``butterfly-keep0.70.png``."""
    stem = re.sub(r"[^\w]+", "-", Path(opened.file_name).stem).strip("-")[:60] or "picture"
    kind = "mass" if budget.is_adaptive else "keep"
    return f"{stem}-{kind}{'-'.join(f'{number:.2f}' for number in budget.numbers)}.{file_format}"


def _identity(loaded: LoadedModel) -> Any:
    path, _ = loaded.version
    return identify_checkpoint(path, loaded.entry.model)


def _verdict(report: Report, loaded: LoadedModel, same: bool) -> str:
    if same:
        return "export.same"
    is_same_file = _identity(loaded).sha256_prefix == report.model.sha256_prefix
    return "export.differs" if is_same_file else "export.other_weights"


def _slide(exported: Exported, file_format: str) -> bytes:
    image = exported.opened.image
    sheet = slide_sheet(image, exported.crop, exported.report, exported.title, exported.captions)
    return figure_bytes(sheet, file_format)


def _paper(exported: Exported, file_format: str) -> bytes:
    figure = paper_figure(exported.opened.image, exported.crop, exported.report.analysis, exported.captions)
    return figure_bytes(figure, file_format)


def _animation(exported: Exported, file_format: str) -> bytes:
    frames = stage_frames(exported.opened.image, exported.crop, exported.report.analysis, exported.captions)
    return animation_bytes(frames, file_format)


def _json(exported: Exported) -> bytes:
    return json.dumps(to_json(exported.report) | {"view": exported.view}, indent=1, ensure_ascii=False).encode()


WRITERS: dict[str, Callable[[Exported], bytes]] = {
    "png": partial(_slide, file_format="png"),
    "pdf": partial(_paper, file_format="pdf"),
    "svg": partial(_paper, file_format="svg"),
    "gif": partial(_animation, file_format="gif"),
    "webp": partial(_animation, file_format="webp"),
    "json": _json,
}
