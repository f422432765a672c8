"""What all visitors of one running app share: models, images in bounded memory, one thread that computes."""

from __future__ import annotations

import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from PIL import Image

from dynamicvit.analysis.prepared import PreparedImage
from dynamicvit.analysis.results import Analysis
from dynamicvit.app.turns import Turns
from dynamicvit.budget import Budget, as_budget
from dynamicvit.errors import DynamicViTError, ImageError, SettingError
from dynamicvit.figures.saving import data_url
from dynamicvit.images import CENTRE, CropPlace, DecodedImage, display_crop, read
from dynamicvit.models.base import DynamicModel
from dynamicvit.models.folding import fold_batch_norms
from dynamicvit.precision import Precision, with_precision
from dynamicvit.weights.available import AvailableModel, checkpoint_folder, list_available, list_problems
from dynamicvit.weights.io import load_file

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
FileVersion = tuple[Path, int]  # path and time of the last change

DEFAULT_KEEP_RATIO = 0.7
DISPLAY_SIDE = 640  # pixels of the crop that the browser draws from
MAX_MODELS = 3
MAX_RESULTS = 512
MAX_IMAGE_BYTES = 512 * 2**20
_KEY = re.compile(r"([^@]+)(?:@(0\.\d\d|1\.00),(0\.\d\d|1\.00))?", re.ASCII)


class BoundedCache(Generic[K, V]):
    """A mapping for several threads that forgets what was used least recently.

    Args:
        budget: what all entries together may cost; the newest entry stays even if it costs more alone.
        cost: of one value; 1 when not given, so that the budget is a number of entries.
    """

    def __init__(self, budget: int, cost: Callable[[V], int] = lambda value: 1) -> None:
        self._budget = budget
        self._cost = cost
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """Return the value of a key, None when it is unknown or forgotten."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key]

    def put(self, key: K, value: V) -> list[K]:
        """Remember a value, forget the oldest ones until the budget is kept, and return their keys."""
        forgotten = []
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            excess = sum(map(self._cost, self._entries.values())) - self._budget
            while excess > 0 and len(self._entries) > 1:
                oldest, cost = next((key, self._cost(value)) for key, value in self._entries.items())
                del self._entries[oldest]
                forgotten.append(oldest)
                excess -= cost
        return forgotten

    def values(self) -> list[V]:
        """Return all values, the least recently used first."""
        with self._lock:
            return list(self._entries.values())

    def forget(self, is_meant: Callable[[K], bool]) -> None:
        """Forget the entries with keys of a kind."""
        with self._lock:
            for key in [key for key in self._entries if is_meant(key)]:
                del self._entries[key]


class ModelThread:
    """Runs all that the models compute on one thread, first come, first served.

    A lock around several threads would not do: OpenMP keeps a team of workers for every thread that ever computed, and
    two teams get in each other's way; a forward pass then takes twice as long (measured on two cores).

    Args:
        when_full: makes room, on the same thread, when the memory of a GPU was not enough; the work is then done anew.
    """

    def __init__(self, when_full: Callable[[], None] = lambda: None) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._when_full = when_full

    def __call__(self, work: Callable[[], V]) -> V:
        """Wait for one's turn, run ``work`` and return what it returns or raise what it raises."""
        try:
            return self._executor.submit(work).result()
        except torch.OutOfMemoryError:
            self._executor.submit(self._when_full).result()
            return self._executor.submit(work).result()


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready to run.

    Attributes:
        entry: where it came from, in the model list.
        version: of its file.
    """

    entry: AvailableModel
    version: FileVersion
    model: DynamicModel


@dataclass(frozen=True, eq=False)
class OpenImage:
    """An image that a visitor opened, under a key that nobody can guess, or an example under its name.

    Attributes:
        key: with the place of the crop, unless that is the middle; as :func:`split_key` reads it.
        title: empty for an upload.
        crop_at: where the part that a model sees lies in it.
    """

    key: str
    title: str
    image: DecodedImage
    file_name: str = ""
    crop_at: CropPlace = CENTRE


def split_key(key: str) -> tuple[str, CropPlace]:
    """Return the key of a whole image and the place of the crop: ``cat`` lies in the middle, ``cat@0.20,0.50`` left.

    Raises:
        ImageError: it is no key.
    """
    parts = _KEY.fullmatch(key)
    if parts is None:
        raise ImageError("There is no such image; add it again, or choose an example.")
    return parts[1], CENTRE if parts[2] is None else (float(parts[2]), float(parts[3]))


def cropped_key(key: str, crop_at: CropPlace) -> str:
    """Return the key of a whole image with the place of a crop, rounded to what a pointer can tell apart."""
    return key if crop_at == CENTRE else f"{key}@{crop_at[0]:.2f},{crop_at[1]:.2f}"


class AppState:
    """Models and images of one running app; what was computed is remembered for all visitors.

    Attributes:
        run: runs work on the one thread of the models.
        turns: the order in which visitors' questions are answered.
        drawing: held while a figure is drawn.
        left_gpu: whether the models compute on the CPU because the memory of the GPU was not enough.

    Args:
        checkpoints: folder with weight files; :func:`~dynamicvit.weights.available.checkpoint_folder` when not given.
        examples: folder with example images.
        first: key of the model to start with, if it is here.
        precision: of the models; "auto" measures it with the example images.
        image_bytes: that the images in memory may take together; larger ones than an eighth of it take as much again.
    """

    def __init__(
        self,
        checkpoints: Path | None = None,
        examples: Path | None = None,
        *,
        first: str | None = None,
        precision: Precision = "float32",
        image_bytes: int = MAX_IMAGE_BYTES,
    ) -> None:
        self._first = first
        self._precision: Precision = precision
        self.checkpoints = checkpoints or checkpoint_folder()
        self.examples = {path.stem: path for path in sorted(examples.glob("*.jpg"))} if examples else {}
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.left_gpu = False
        self.run = ModelThread(self._leave_gpu)
        self.turns = Turns()
        self._models: BoundedCache[FileVersion, LoadedModel] = BoundedCache(MAX_MODELS)
        self._large = image_bytes // 8
        # Large images push out each other alone, so that one visitor's do not cost the others theirs.
        self._images, self._large_images = (
            BoundedCache[str, OpenImage](image_bytes, lambda it: it.image.pixels.nbytes) for _ in range(2)
        )
        self._open_examples: dict[str, OpenImage] = {}
        self._prepared: BoundedCache[tuple[str, FileVersion], PreparedImage] = BoundedCache(
            image_bytes, lambda it: it.image.pixels.nbytes + it.tensor.nbytes + it.begun.nbytes
        )
        self._results: BoundedCache[tuple[Hashable, ...], Any] = BoundedCache(MAX_RESULTS)
        self._loading = threading.Lock()
        self.drawing = threading.Lock()  # of figures: one at a time, two would each take twice as long

    # Models

    def entries(self) -> list[AvailableModel]:
        """Look at the folders again and return the models, the ones that need no download first."""
        return sorted(list_available(self.checkpoints), key=lambda entry: entry.key != self._first)

    def entry(self, key: object) -> AvailableModel:
        """Return the model of a key.

        Raises:
            SettingError: no model in the list has it.
        """
        found = next((entry for entry in self.entries() if entry.key == key), None)
        if found is None:
            raise SettingError("This model is no longer in the list; reload the page and choose another one.")
        return found

    def first_model(self) -> str | None:
        """Return the key of the model to start with; None when there is none without a download."""
        return next((entry.key for entry in self.entries() if entry.is_local), None)

    def unusable_files(self) -> tuple[str, ...]:
        """Say which weight files are left out of the list and why, a sentence for each."""
        return list_problems(self.checkpoints)

    def load(self, key: object) -> LoadedModel:
        """Return the model of a key, from memory or from its file; None means the one to start with.

        Raises:
            DynamicViTError: it is not here, cannot be read or has no pruning stages.
        """
        key = key or self.first_model()
        if key is None:
            raise SettingError("No model is here yet; choose one in the list and download it.")
        entry = self.entry(key)
        if entry.path is None:
            raise SettingError(f"{entry.title} is not on this machine yet; download it first.")
        path = entry.path
        version = (path, path.stat().st_mtime_ns)
        with self._loading:
            loaded = self._models.get(version)
            if loaded is None:
                model = self.run(lambda: self._ready(load_file(path)))
                loaded = LoadedModel(entry, version, model)
                forgotten = self._models.put(version, loaded)
                self._prepared.forget(lambda pair: pair[1] in forgotten)
        if not loaded.model.config.num_stages:
            raise SettingError(f"{entry.title} has no pruning stages, so nothing can be seen; choose another model.")
        return loaded

    def open_ahead(self) -> None:
        """Load the first model and analyse the first example, with which the page opens, before they are asked for."""
        with suppress(DynamicViTError):  # the page says what is wrong
            loaded = self.load(None)
            for name in list(self.examples)[:1]:
                opened = self.example(name)
                self.alike(opened, loaded, self.analysis(opened, loaded, as_budget(DEFAULT_KEEP_RATIO)))

    def _ready(self, model: DynamicModel) -> DynamicModel:
        model = fold_batch_norms(model).to(self.device)
        examples = map(self.example, self.examples)
        return with_precision(model, self._precision, (PreparedImage(model, it.image).tensor for it in examples))

    def _leave_gpu(self) -> None:
        """Compute on the CPU from now on: what fills the GPU's memory is not known here, so it is not tried again."""
        self.device, self.left_gpu = torch.device("cpu"), True
        for loaded in self._models.values():
            loaded.model.to(self.device)

    # Images

    def add_image(self, image: DecodedImage, file_name: str = "") -> OpenImage:
        """Keep a visitor's image under a new key."""
        opened = OpenImage(secrets.token_urlsafe(16), "", image, file_name)
        is_large = image.pixels.nbytes > self._large
        forgotten = (self._large_images if is_large else self._images).put(opened.key, opened)
        self._prepared.forget(lambda pair: split_key(pair[0])[0] in forgotten)
        return opened

    def image(self, key: object) -> OpenImage:
        """Return an image that was opened before, or an example, by its key, cropped where the key says.

        Raises:
            ImageError: it is not in memory.
        """
        opened, crop_at = None, CENTRE
        if isinstance(key, str):
            whole, crop_at = split_key(key)
            kept = self._images.get(whole) or self._large_images.get(whole)
            opened = self.example(whole) if whole in self.examples else kept
        if opened is None:
            raise ImageError("This image is no longer in the app's memory; add it again.")
        return replace(opened, key=cropped_key(opened.key, crop_at), crop_at=crop_at)

    def example(self, name: str) -> OpenImage:
        """Return an example image; any number of visitors share one copy.

        Raises:
            ImageError: there is none of that name.
        """
        if name not in self.examples:
            raise ImageError("There is no such example; choose one of the row.")
        if name not in self._open_examples:
            path = self.examples[name]
            self._open_examples[name] = OpenImage(name, name.replace("-", " ").capitalize(), read(path), path.name)
        return self._open_examples[name]

    # What models make of images

    def prepared(self, opened: OpenImage, loaded: LoadedModel) -> PreparedImage:
        """Return an image as a model sees it, from memory or new, its dense result computed."""
        key = (opened.key, loaded.version)
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = self.run(lambda: PreparedImage(loaded.model, opened.image, crop_at=opened.crop_at))
            self.run(lambda: prepared.dense)
            self._prepared.put(key, prepared)
        return prepared

    def analysis(self, opened: OpenImage, loaded: LoadedModel, budget: Budget) -> Analysis:
        """Return the analysis of an image by the model's own selector, from memory or new."""
        key = ("analysis", opened.key, loaded.version, budget)
        return self.remembered(key, lambda: self._analyze(self.prepared(opened, loaded), budget))

    def _analyze(self, prepared: PreparedImage, budget: Budget) -> Analysis:
        # Remembered results hold no images: those have bounds of their own.
        return replace(self.run(lambda: prepared.analyze(budget)), seen=None)

    def alike(self, opened: OpenImage, loaded: LoadedModel, analysis: Analysis) -> tuple[tuple[int, ...], ...]:
        """Return for each patch the kept ones most like it, from memory or new, on the thread of the models."""
        key = ("alike", opened.key, loaded.version, analysis.settings.budget)
        prepared = self.prepared(opened, loaded)
        return self.remembered(key, lambda: self.run(lambda: prepared.most_alike(analysis)))

    def remembered(self, key: tuple[Hashable, ...], make: Callable[[], V], *, anew: bool = False) -> V:
        """Return what was made for a key before, or what is made of it now, also if there is something already."""
        found: V | None = None if anew else self._results.get(key)
        if found is None:
            found = make()
            self._results.put(key, found)
        return found


def crop_url(prepared: PreparedImage) -> str:
    """Return the part of an image that the model sees, as a data URL for the browser."""
    return data_url(Image.fromarray(display_crop(prepared.image, prepared.crop, DISPLAY_SIDE)))
