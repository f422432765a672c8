"""What the Export tab asks for: files of what is shown, and what to show for a saved analysis."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dynamicvit.analysis.report import Report, identify_checkpoint, identify_picture, is_same, read_report, to_json
from dynamicvit.analysis.results import AnalysisSettings
from dynamicvit.errors import ImageError, SettingError
from dynamicvit.figures.animation import animation_bytes, stage_frames
from dynamicvit.figures.captions import Captions
from dynamicvit.figures.paper import paper_figure
from dynamicvit.figures.saving import figure_bytes
from dynamicvit.figures.sheet import slide_sheet
from dynamicvit.images import CropBox, prepare
from dynamicvit.interface.captions.captions import file_captions
from dynamicvit.interface.handlers import LoadedModel, Payload, Workbench
from dynamicvit.interface.sessions import Picture
from dynamicvit.interface.settings import settings_from, settings_payload
from dynamicvit.interface.words import words_in

MAX_JSON_CHARACTERS = 4_000_000
MAX_PICTURES_LOOKED_AT = 100
MEDIA_TYPES = {
    "png": "image/png",
    "pdf": "application/pdf",
    "svg": "image/svg+xml",
    "gif": "image/gif",
    "webp": "image/webp",
    "json": "application/json",
}


@dataclass(frozen=True, eq=False)
class Exhibit:
    """What is shown, with all that a file of it needs."""

    picture: Picture
    crop: CropBox
    report: Report
    title: str
    captions: Captions
    view: Payload


class ExportDesk:
    """Makes the files and reads them again.

    Args:
        bench: what the visitors share.
    """

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._drawing = threading.Lock()  # one file at a time: two would each take twice as long

    def export(self, file_format: str, scene: Payload, language: str) -> Payload:
        """Give a file of a scene as ``{name, type, data, note}``, its bytes in base64, or a problem."""
        return self._bench.guarded(lambda: self._file(file_format, scene, language))

    def open_analysis(self, text: str, images: list[str], language: str) -> Payload:
        """Say what to show for a saved analysis.

        Args:
            text: of the JSON file.
            images: keys of the pictures that were shown on this page.
            language: of the sentences.

        Returns:
            ``{open: what the page has to show, note}``, ``{note}`` that asks for the picture, or a problem.
        """
        return self._bench.guarded(lambda: self._wanted(text, images, language))

    def _file(self, file_format: str, scene: Payload, language: str) -> Payload:
        if file_format not in MEDIA_TYPES:
            raise SettingError(f"There is no export as {file_format!r:.40}; choose one of {', '.join(MEDIA_TYPES)}.")
        words = words_in(language)
        captions, is_in_language = file_captions(words)
        exhibit = self._exhibit(scene, captions, words("picture.yours"))
        with self._drawing:
            data = WRITERS[file_format](exhibit)
        return {
            "name": file_name(exhibit.picture, exhibit.report.analysis.settings, file_format),
            "type": MEDIA_TYPES[file_format],
            "data": base64.b64encode(data).decode("ascii"),
            "note": "" if is_in_language or file_format == "json" else words("export.english"),
        }

    def _exhibit(self, scene: Payload, captions: Captions, title: str) -> Exhibit:
        image, model = str(scene.get("image")), str(scene.get("model"))
        picture, loaded = self._bench.picture(image), self._bench.load(model)
        analysis = self._bench.analysis(picture, loaded, settings_from(scene.get("settings")))
        crop = self._bench.run(lambda: prepare(picture.image, loaded.model.config).crop)
        report = Report(identify_picture(picture.image, picture.file_name), _identity(loaded), analysis)
        view = {name: scene.get(name) for name in ("stage", "patch")}
        return Exhibit(picture, crop, report, picture.title or title, captions, view)

    def _wanted(self, text: str, images: list[str], language: str) -> Payload:
        words = words_in(language)
        if not isinstance(text, str) or len(text) > MAX_JSON_CHARACTERS:
            raise SettingError("This file is too large to be a saved analysis; choose a .json file from this tab.")
        report = read_report(text.encode(errors="replace"))
        if report.analysis.settings.selector != "predictor":
            raise SettingError("This analysis was made with another selector than the model's predictors; see Compare.")
        settings = settings_from(settings_payload(report.analysis.settings))
        loaded = self._bench.load(report.model.file)
        picture = self._find(report.picture.sha256, images)
        if picture is None:
            asked = words("export.wanted", name=report.picture.name, hash=report.picture.sha256[:16])
            return {"note": asked, "waits": True}
        again = self._bench.analysis(picture, loaded, settings)
        view = json.loads(text).get("view")
        view = view if isinstance(view, dict) else {}
        return {
            "open": {
                "image": picture.key,
                "model": report.model.file,
                "settings": settings_payload(settings),
                "stage": view.get("stage"),
                "patch": view.get("patch"),
            },
            "note": words(_verdict(report, loaded, is_same(report.analysis, again))),
        }

    def _find(self, sha256: str, images: list[str]) -> Picture | None:
        """Give the picture of that hash among the examples and those that the page has shown."""
        for key in [*self._bench.example_names(), *images[:MAX_PICTURES_LOOKED_AT]]:
            try:
                picture = self._bench.picture(str(key))
            except ImageError:  # forgotten since
                continue
            if picture.image.sha256 == sha256:
                return picture
        return None


def file_name(picture: Picture, settings: AnalysisSettings, file_format: str) -> str:
    """Give a file a name that says what is in it, such as ``butterfly-keep0.70.png``."""
    stem = re.sub(r"[^\w]+", "-", Path(picture.file_name).stem).strip("-")[:60] or "picture"
    kind = "mass" if settings.budget.is_adaptive else "keep"
    return f"{stem}-{kind}{'-'.join(f'{number:.2f}' for number in settings.budget.numbers)}.{file_format}"


def _identity(loaded: LoadedModel) -> Any:
    path, _ = loaded.identity
    return identify_checkpoint(path, loaded.entry.model)


def _verdict(report: Report, loaded: LoadedModel, same: bool) -> str:
    if same:
        return "export.same"
    is_same_file = _identity(loaded).sha256_prefix == report.model.sha256_prefix
    return "export.differs" if is_same_file else "export.other_weights"


def _slide(exhibit: Exhibit, file_format: str) -> bytes:
    image = exhibit.picture.image
    sheet = slide_sheet(image, exhibit.crop, exhibit.report, exhibit.title, exhibit.captions)
    return figure_bytes(sheet, file_format)


def _paper(exhibit: Exhibit, file_format: str) -> bytes:
    figure = paper_figure(exhibit.picture.image, exhibit.crop, exhibit.report.analysis, exhibit.captions)
    return figure_bytes(figure, file_format)


def _animation(exhibit: Exhibit, file_format: str) -> bytes:
    frames = stage_frames(exhibit.picture.image, exhibit.crop, exhibit.report.analysis, exhibit.captions)
    return animation_bytes(frames, file_format)


def _json(exhibit: Exhibit) -> bytes:
    return json.dumps(to_json(exhibit.report) | {"view": exhibit.view}, indent=1, ensure_ascii=False).encode()


WRITERS: dict[str, Callable[[Exhibit], bytes]] = {
    "png": partial(_slide, file_format="png"),
    "pdf": partial(_paper, file_format="pdf"),
    "svg": partial(_paper, file_format="svg"),
    "gif": partial(_animation, file_format="gif"),
    "webp": partial(_animation, file_format="webp"),
    "json": _json,
}
