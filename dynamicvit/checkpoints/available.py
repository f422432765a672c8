"""The models that can be offered right now: the files at hand, then what could be downloaded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from dynamicvit.checkpoints.catalogue import PUBLISHED, PublishedCheckpoint
from dynamicvit.checkpoints.files import cache_dir
from dynamicvit.checkpoints.identification import IdentifiedModel, identify_config
from dynamicvit.checkpoints.loading import described_config, different_fields
from dynamicvit.checkpoints.reading import WEIGHT_SUFFIXES, read_metadata, read_shapes
from dynamicvit.errors import CheckpointError
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.registry import list_models, model_config

CHECKPOINT_FOLDER = Path(__file__).resolve().parents[2] / "checkpoints"
SHIPPED_FILE = "dynamicvit_lite0_256_patch16_224.safetensors"
SHIPPED_TITLE = "DynamicViT-Lite0-256"

TrainedRatio = float | tuple[float, float]
_NUMBER = r"(\d+(?:\.\d+)?)"
_RATIO_OR_RANGE = re.compile(rf"{_NUMBER}(?:\s*:\s*{_NUMBER})?")


@dataclass(frozen=True)
class AvailableModel:
    """One entry of the model list.

    Attributes:
        key: its file name; the same before and after a download, so links may hold it.
        title: what to show.
        path: the weight file; None while it is only published.
        published: where it came or would come from; None for a file of one's own.
        model: name in the registry, or for a model of one's own that of the file without its suffix.
        keep_ratios: base keep ratios that it was trained for, a range of them as (lowest, highest); empty when nobody
            says, or for a dense model.
    """

    key: str
    title: str
    path: Path | None
    published: PublishedCheckpoint | None
    model: str
    keep_ratios: tuple[TrainedRatio, ...]

    @property
    def is_local(self) -> bool:
        """Whether it can be loaded without a download."""
        return self.path is not None


@dataclass(frozen=True)
class _Inspection:
    """What a look at one weight file found; exactly one of the two is given."""

    model: AvailableModel | None = None
    problem: str | None = None


def list_available(folder: Path = CHECKPOINT_FOLDER, cache: Path | None = None) -> list[AvailableModel]:
    """List the models to choose from, the one that ships first, then other files, then published ones not yet here.

    Files that cannot be used are left out; :func:`list_problems` names them. The folders are looked at on every
    call, so a file appears as soon as it is there; each file is only opened once.

    Args:
        folder: where users put weights; it wins over the cache where both have a file of one name.
        cache: where downloads go; :func:`~dynamicvit.checkpoints.files.cache_dir` when not given.
    """
    found: dict[str, AvailableModel] = {}
    for inspection in _inspect_folders(folder, cache):
        if inspection.model is not None:
            found.setdefault(inspection.model.key, inspection.model)
    local = sorted(found.values(), key=lambda model: model.key != SHIPPED_FILE)
    return local + [_not_downloaded(published) for published in PUBLISHED if published.file_name not in found]


def list_problems(folder: Path = CHECKPOINT_FOLDER, cache: Path | None = None) -> tuple[str, ...]:
    """Give one sentence for each weight file that :func:`list_available` leaves out."""
    return tuple(inspection.problem for inspection in _inspect_folders(folder, cache) if inspection.problem is not None)


def _inspect_folders(folder: Path, cache: Path | None) -> Iterator[_Inspection]:
    for path in [*_weight_files(folder), *_weight_files(cache or cache_dir())]:
        try:
            status = path.stat()
        # It was there a moment ago; the next call will not see it.
        except FileNotFoundError:
            continue
        yield _inspect(path, status.st_mtime_ns, status.st_size)


def _weight_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    names = (path for path in folder.iterdir() if path.suffix in WEIGHT_SUFFIXES and not path.name.startswith("."))
    return sorted(path for path in names if path.is_file())


@lru_cache(maxsize=256)
def _inspect(path: Path, mtime_ns: int, size_bytes: int) -> _Inspection:
    """Find out what a file is; its time and size are there so that a changed file is looked at again."""
    try:
        shapes, metadata = read_shapes(path), read_metadata(path)
        described = described_config(metadata, path.name)
        identified = IdentifiedModel(_name_of(described, path), described) if described else None
        return _Inspection(model=_describe(path, identified or identify_config(shapes, path.name), metadata))
    except CheckpointError as error:
        return _Inspection(problem=str(error))


def _name_of(config: ModelConfig, path: Path) -> str:
    for name in list_models():
        sized = replace(model_config(name), image_size=config.image_size, num_classes=config.num_classes)
        if not different_fields(sized, config):
            return name
    return path.stem


def _describe(path: Path, identified: IdentifiedModel, metadata: dict[str, str]) -> AvailableModel:
    published = next((known for known in PUBLISHED if known.file_name == path.name), None)
    if published is not None and published.model == identified.name:
        return AvailableModel(path.name, published.title, path, published, published.model, (published.keep_ratio,))
    title = SHIPPED_TITLE if path.name == SHIPPED_FILE else path.stem
    ratios = _keep_ratios(metadata) or identified.config.trained_keep_ratios
    return AvailableModel(path.name, title, path, None, identified.name, ratios)


def _keep_ratios(metadata: dict[str, str]) -> tuple[TrainedRatio, ...]:
    """Read base keep ratios however they are separated: ``0.7``, ``0.5, 0.7``, ``[0.5, 0.7]``, a range ``0.3:0.9``."""
    pairs = [(float(low), float(high or low)) for low, high in _RATIO_OR_RANGE.findall(metadata.get("keep_ratios", ""))]
    return tuple(low if low == high else (low, high) for low, high in pairs if 0 < low <= high <= 1)


def _not_downloaded(published: PublishedCheckpoint) -> AvailableModel:
    return AvailableModel(
        published.file_name, published.title, None, published, published.model, (published.keep_ratio,)
    )
