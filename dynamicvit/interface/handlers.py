"""What the page asks for: input is checked, the library called, the answer shaped; callable without a page."""

from __future__ import annotations

import base64
import io
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps

from dynamicvit.analysis.results import Analysis, AnalysisSettings, Classification, analyze, classify_dense
from dynamicvit.budget import BaseRatio
from dynamicvit.costs.benchmark import time_pair
from dynamicvit.errors import DynamicViTError, ImageError, SettingError
from dynamicvit.images import DecodedImage, caution, decode, display_crop, prepare, read
from dynamicvit.interface.sessions import BoundedCache, ModelThread, Picture, PictureStore
from dynamicvit.interface.settings import checked_ratio, settings_from, settings_payload
from dynamicvit.interface.uploads import Upload
from dynamicvit.interface.wording import describe_analysis, describe_timing
from dynamicvit.interface.words import DEFAULT_LANGUAGE, words_in
from dynamicvit.models.base import DynamicModel
from dynamicvit.weights.available import (
    AvailableModel,
    checkpoint_folder,
    list_available,
    list_problems,
)
from dynamicvit.weights.io import load_file
from dynamicvit.weights.published import download

Payload = dict[str, Any]
Identity = tuple[Path, int]

FIRST_RATIO = 0.7
DISPLAY_SIDE = 640  # pixels of the crop that the browser draws from
THUMBNAIL_SIDE = 120
MAX_MODELS = 3
MAX_VIEWS = 64
MAX_ANALYSES = 256
SHOWN_BY_BROWSERS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP")
MEASURING_BUDGET_MS = 1500


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready to run.

    Attributes:
        entry: where it came from, in the model list.
        identity: of the file's content: path and time of the last change.
    """

    entry: AvailableModel
    identity: Identity
    model: DynamicModel


@dataclass(frozen=True, eq=False)
class View:
    """A picture as one model sees it, with what does not depend on the keep ratio.

    It refers to neither picture nor model, so that they can be forgotten before it.

    Attributes:
        tensor: (1, 3, S, S), on the model's device.
        crop_url: the part of the picture that the model sees, as a data URL for the browser.
        dense: the result with nothing dropped.
    """

    tensor: torch.Tensor
    crop_url: str
    dense: Classification


def or_problem(handler: Callable[..., Payload]) -> Callable[..., Payload]:
    """Turn an error that the user can mend into ``{"problem": sentence}``; the page then keeps what it shows."""

    @wraps(handler)
    def checked(self: Workbench, *args: Any) -> Payload:
        return self.guarded(lambda: handler(self, *args))

    return checked


class Workbench:
    """Everything that the visitors of one running app share: models, pictures in memory, one thread for the models.

    Args:
        checkpoints: folder with weight files; :func:`~dynamicvit.weights.available.checkpoint_folder` when not given.
        examples: folder with example pictures.
    """

    def __init__(self, checkpoints: Path | None = None, examples: Path | None = None) -> None:
        self.checkpoints = checkpoints or checkpoint_folder()
        self.examples = examples
        self._examples = {path.stem: path for path in sorted(examples.glob("*.jpg"))} if examples else {}
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._pictures = PictureStore()
        self._example_pictures: dict[str, Picture] = {}
        self._models: BoundedCache[Identity, LoadedModel] = BoundedCache(MAX_MODELS)
        self._views: BoundedCache[tuple[str, Identity], View] = BoundedCache(MAX_VIEWS)
        self._analyses: BoundedCache[tuple[str, Identity, AnalysisSettings], Analysis] = BoundedCache(MAX_ANALYSES)
        self._loading = threading.Lock()
        self.run = ModelThread()
        # In every message to the page, so that no two are equal: an equal one would not reach the explorer.
        self._serials = itertools.count(1)

    # The lists to choose from

    def entries(self) -> list[AvailableModel]:
        """Look at the folders again and list the models, the ones that need no download first."""
        return list_available(self.checkpoints)

    def entry(self, key: str) -> AvailableModel:
        """Give the model of a key.

        Raises:
            SettingError: no model in the list has it.
        """
        found = next((entry for entry in self.entries() if entry.key == key), None)
        if found is None:
            raise SettingError("This model is no longer in the list; reload the page and choose another one.")
        return found

    def first_model(self) -> str | None:
        """Give the key of the model to start with; None when there is none without a download."""
        return next((entry.key for entry in self.entries() if entry.is_local), None)

    def unusable_files(self) -> str:
        """Say which weight files are left out of the list and why; empty when none is."""
        return " ".join(list_problems(self.checkpoints))

    def example_names(self) -> list[str]:
        """Give the names of the example pictures."""
        return list(self._examples)

    def thumbnails(self) -> list[Payload]:
        """Give name, title and a small square data URL of each example."""
        return [
            {"name": name, "title": _title(name), "url": _data_url(_thumbnail(self._example(name).image))}
            for name in self._examples
        ]

    # Scenes: a picture and a model, ready to be explored

    def first_scene(self, language: str = DEFAULT_LANGUAGE) -> Payload:
        """Give the scene with which the page opens, analysed; a problem when there is no model or no example."""
        names, model, words = self.example_names(), self.first_model(), words_in(language)
        if model is None:
            return self._problem(words("model.none"))
        if not names:
            return self._problem(words("model.no_picture"))
        scene = self.open_example(names[0], model)
        if "problem" not in scene:
            scene["answer"] = self.analyse(scene["image"], model, {"keep_ratio": FIRST_RATIO}, language)
        return scene

    @or_problem
    def open_file(self, upload: Upload | None, model: str | None) -> Payload:
        """Decode an uploaded file and give its scene."""
        if upload is None:
            raise ImageError("There is no picture now: add one or choose an example. The last result stays below.")
        return self._scene(self._pictures.add(decode(upload.read()), "", upload.name), model)

    @or_problem
    def open_example(self, name: str, model: str | None) -> Payload:
        """Give the scene of an example."""
        return self._scene(self._example(name), model)

    @or_problem
    def change_model(self, image: str, model: str | None) -> Payload:
        """Give the scene of a picture that was opened before, for another model."""
        return self._scene(self.picture(image), model)

    def preview(self, image: str) -> Image.Image:
        """Give a picture, whole and small, for browsers that cannot show its file."""
        small = Image.fromarray(self.picture(image).image.pixels)
        small.thumbnail((DISPLAY_SIDE, DISPLAY_SIDE))
        return small

    # Answers about a scene

    @or_problem
    def analyse(self, image: str, model: str, settings: Payload, language: str = DEFAULT_LANGUAGE) -> Payload:
        """Give what the explorer shows of a picture under settings as :func:`settings_from` takes them."""
        picture, loaded, checked = self.picture(image), self.load(model), settings_from(settings)
        analysis = self.analysis(picture, loaded, checked)
        words = words_in(language)
        title = picture.title or words("picture.yours")
        described = describe_analysis(analysis, title, loaded.model.config.depth, loaded.entry.keep_ratios, words)
        if caution(picture.image, loaded.model.config):
            described["note"] = " ".join(filter(None, [words("picture.small"), described["note"]]))
        asked = {"image": image, "model": model, "settings": settings_payload(checked), "language": language}
        return {**asked, **described}

    @or_problem
    def measure(self, image: str, model: str, settings: Payload, language: str = DEFAULT_LANGUAGE) -> Payload:
        """Time the dense and the pruned model on a picture, in turn with whatever other visitors ask."""
        picture, loaded, checked = self.picture(image), self.load(model), settings_from(settings)
        saved = self.analysis(picture, loaded, checked).saved_share
        tensor = self.view(picture, loaded).tensor
        budget = checked.budget
        timing = time_pair(loaded.model, tensor, budget, budget_ms=MEASURING_BUDGET_MS, execute=self.run)
        return describe_timing(timing, saved, words_in(language))

    def analyze_file(self, upload: Upload, ratio: float, model: str | None) -> Payload:
        """Analyse an uploaded picture for callers without a page.

        Raises:
            DynamicViTError: the picture, the ratio or the model cannot be used.
        """
        settings = AnalysisSettings(BaseRatio(checked_ratio(ratio)))
        image, loaded = decode(upload.read()), self.load(model)
        tensor = self.run(lambda: prepare(image, loaded.model.config).tensor)
        analysis = self.run(lambda: analyze(loaded.model, tensor, settings))
        return {**_plain(analysis, loaded.entry), "caution": caution(image, loaded.model.config)}

    @or_problem
    def fetch(self, model: str, progress: Callable[[int, int | None], None]) -> Payload:
        """Download a published model; gives a problem or nothing."""
        entry = self.entry(model)
        if entry.published is not None and not entry.is_local:
            download(entry.published, progress=progress)
        return {}

    def no_problem(self) -> Payload:
        """Give what takes an old problem off the page and leaves the rest as it is."""
        return self._problem("")

    def guarded(self, work: Callable[[], Payload]) -> Payload:
        """Give what ``work`` gives, or its error that the user can mend as ``{"problem": sentence}``."""
        try:
            return work()
        except DynamicViTError as error:
            return self._problem(str(error))

    def _problem(self, sentence: str) -> Payload:
        return {"problem": sentence, "serial": next(self._serials)}

    def _scene(self, picture: Picture, model: str | None) -> Payload:
        loaded = self.load(model)
        return {
            "serial": next(self._serials),
            "image": picture.key,
            "model": loaded.entry.key,
            "picture": self.view(picture, loaded).crop_url,
            "is_shown_by_browsers": picture.image.source_format in SHOWN_BY_BROWSERS,
        }

    def picture(self, key: str) -> Picture:
        """Give a picture that was opened before, or an example, by its key.

        Raises:
            ImageError: it is not in memory.
        """
        return self._example(key) if key in self._examples else self._pictures.get(key)

    def _example(self, name: str) -> Picture:
        if name not in self._examples:
            raise ImageError("There is no such example; choose one of the row.")
        if name not in self._example_pictures:
            path = self._examples[name]
            self._example_pictures[name] = Picture(name, _title(name), read(path), path.name)
        return self._example_pictures[name]

    def load(self, key: str | None) -> LoadedModel:
        """Give the model of a key, from memory or from its file; None means the one to start with.

        Raises:
            DynamicViTError: it is not here, cannot be read or has no pruning stages.
        """
        key = key or self.first_model()
        if key is None:
            raise SettingError("No model is here yet; choose one in the list and download it.")
        entry = self.entry(key)
        if entry.path is None:
            raise SettingError(f"{entry.title} is not on this machine yet; download it first.")
        identity = (entry.path, entry.path.stat().st_mtime_ns)
        with self._loading:
            loaded = self._models.get(identity)
            if loaded is None:
                path = entry.path
                loaded = LoadedModel(entry, identity, self.run(lambda: load_file(path).to(self.device)))
                self._models.put(identity, loaded)
        if not loaded.model.config.num_stages:
            raise SettingError(f"{entry.title} has no pruning stages, so nothing can be seen; choose another model.")
        return loaded

    def stages_and_patches(self, key: str) -> tuple[int, int]:
        """Give the number of pruning stages of a model, and that of its patches."""
        config = self.load(key).model.config
        return config.num_stages, (config.image_size // config.patch_size) ** 2

    def view(self, picture: Picture, loaded: LoadedModel) -> View:
        """Give a picture as a model sees it, and the dense result."""
        key = (picture.key, loaded.identity)
        view = self._views.get(key)
        if view is None:
            model_input = self.run(lambda: prepare(picture.image, loaded.model.config))
            crop = Image.fromarray(display_crop(picture.image, model_input.crop, DISPLAY_SIDE))
            tensor = model_input.tensor.to(self.device)
            dense = self.run(lambda: classify_dense(loaded.model, tensor))
            view = View(tensor, _data_url(crop), dense)
            self._views.put(key, view)
        return view

    def analysis(self, picture: Picture, loaded: LoadedModel, settings: AnalysisSettings) -> Analysis:
        """Give the analysis of a picture under settings, from memory or new."""
        key = (picture.key, loaded.identity, settings)
        analysis = self._analyses.get(key)
        if analysis is None:
            view = self.view(picture, loaded)
            analysis = self.run(lambda: analyze(loaded.model, view.tensor, settings, dense=view.dense))
            self._analyses.put(key, analysis)
        return analysis


def _title(name: str) -> str:
    return name.replace("-", " ").capitalize()


def _thumbnail(image: DecodedImage) -> Image.Image:
    return ImageOps.fit(Image.fromarray(image.pixels), (THUMBNAIL_SIDE, THUMBNAIL_SIDE))


def _data_url(picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")


def _plain(analysis: Analysis, entry: AvailableModel) -> Payload:
    """Give an analysis as plain numbers for programs."""
    return {
        "model": entry.key,
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
