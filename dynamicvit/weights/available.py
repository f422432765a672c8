"""The models that can be offered right now: the files at hand, then what could be downloaded."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE
from tqdm import tqdm

from dynamicvit.errors import CheckpointError, DynamicViTError, SettingError
from dynamicvit.models.base import DynamicModel
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.registry import list_models, model_config
from dynamicvit.models.timm_vit import describe_timm, from_timm, is_timm_name
from dynamicvit.weights.foreign import IdentifiedModel, identify_config
from dynamicvit.weights.io import WEIGHT_SUFFIXES, different_fields, load_file, read_shapes
from dynamicvit.weights.published import PUBLISHED, Progress, PublishedCheckpoint, cache_dir, download
from dynamicvit.weights.transformers import from_transformers, is_transformers_folder

SHIPPED_FILE = "dynamicvit_lite0_small_patch16_224.safetensors"
SHIPPED_TITLE = "DynamicViT-Lite0-S"

TIMM, HUB = "timm:", "hf-hub:"

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
        model: name in the registry or in timm, or for a model of one's own that of the file without its suffix.
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
    def names(self) -> tuple[str, ...]:
        """What it can be called; timm's models also without what follows the dot."""
        return self.key, self.title, self.model, self.model.partition(".")[0]

    @property
    def is_local(self) -> bool:
        """Whether it can be loaded without a download."""
        return self.path is not None


@dataclass(frozen=True)
class _Inspection:
    """What a look at one weight file found; exactly one of the two is given."""

    model: AvailableModel | None = None
    problem: str | None = None


def load_model(
    source: str | Path,
    name: str | None = None,
    *,
    prune_locations: Sequence[int] | None = None,
    fetch: bool = False,
) -> DynamicModel:
    """Return a model with its weights, in evaluation mode: from a file, by its name, or from timm.

    Args:
        source: a weight file; a folder of ``save_pretrained``, ours or of a ViT or DeiT of transformers; what is in the
            folder of weights or the cache: the name of a model (``"dynamicvit_deit_small_patch16_224"``), of a file or
            of a published checkpoint (``"DynamicViT-DeiT-S/0.7"``); or timm's pretrained model ``"timm:NAME"`` or
            ``"hf-hub:ORG/NAME"``, which timm downloads unless it has done so before.
        name: the model to build from a file, as in :func:`~dynamicvit.weights.io.load_file`.
        prune_locations: blocks before which a model without prediction modules drops tokens, 0-based, increasing; its
            own, or those after each quarter of its depth, when not given.
        fetch: download the published weights of that name where they are not there yet.

    Raises:
        CheckpointError: the weights cannot be read, contradict themselves, are of no known or of another model, or are
            not there; as DownloadError: they could not be fetched.
        SettingError: there is no model of that name, or the locations are not valid for the model.
    """
    text = str(source)
    if not text.startswith((TIMM, HUB)):
        path = Path(source)
        if name is None and is_transformers_folder(path):
            return from_transformers(path, prune_locations)
        if (path / SAFETENSORS_SINGLE_FILE).is_file():
            return load_file(path / SAFETENSORS_SINGLE_FILE, name, prune_locations=prune_locations)
        is_name = isinstance(source, str) and not path.is_file()
        return load_file(find_weights(text, fetch=fetch) if is_name else path, name, prune_locations=prune_locations)
    if name is not None:
        raise SettingError(f"{text} is a name already; leave {name!r} out.")
    return from_timm(text.removeprefix(TIMM), prune_locations, pretrained=True)


def find_weights(name: str, *, fetch: bool = False, progress: Progress | None = None) -> Path:
    """Return the weight file of that name, after a download if it may be fetched.

    Args:
        name: as in :func:`load_model`.
        fetch: download published weights that are not there yet.
        progress: as in :func:`~dynamicvit.weights.published.download`.

    Raises:
        CheckpointError: it is not there, or more than one file could be meant.
        SettingError: nothing has that name.
    """
    for folder in (checkpoint_folder(), cache_dir()):
        if (folder / name).is_file():
            return folder / name
    named = [model for model in list_available() if name in model.names]
    candidates = [model for model in named if model.is_local] or named
    if not candidates:
        raise _unknown(name)
    if len(candidates) > 1:
        raise CheckpointError(f"{name} may be any of {', '.join(model.key for model in candidates)}; name one of them.")
    (found,) = candidates
    if found.path is not None:
        return found.path
    published = found.published
    assert published is not None  # what is not here is published
    if fetch:
        return download(published, progress=progress)
    raise CheckpointError(
        f"The weights {published.title} are not here; load_model({name!r}, fetch=True) downloads them, or open "
        f"{' or '.join(published.pages)} in a browser and save the file as {checkpoint_folder() / published.file_name}."
    )


def _unknown(name: str) -> CheckpointError | SettingError:
    """Return what to say of a name that neither a file nor published weights have."""
    if is_timm_name(name):
        with suppress(SettingError):
            describe_timm(name)
            return CheckpointError(f"There are no weights of {name} here; load_model('{TIMM}{name}') takes timm's.")
    if name in list_models():
        return CheckpointError(f"There are no weights of {name} here, and none are published.")
    if "/" in name or os.sep in name or name.endswith(WEIGHT_SUFFIXES):
        return CheckpointError(f"There is no weight file {name}.")
    return SettingError(f"There is no file and no model {name!r}; choose one of {', '.join(list_models())}.")


def checkpoint_folder() -> Path:
    """Return the folder where users put weights.

    It is ``DYNAMICVIT_CHECKPOINTS`` if that is set, ``checkpoints`` beside the package in a clone of the repository,
    and else, where the package is installed, the cache.
    """
    chosen = os.environ.get("DYNAMICVIT_CHECKPOINTS")
    if chosen:
        return Path(chosen).expanduser()
    root = Path(__file__).resolve().parents[2]
    return root / "checkpoints" if (root / "pyproject.toml").is_file() else cache_dir()


def list_available(folder: Path | None = None, cache: Path | None = None) -> list[AvailableModel]:
    """List the models to choose from, the one that ships first, then other files, then published ones not yet here.

    Files that cannot be used are left out; :func:`list_problems` names them. The folders are looked at on every
    call, so a file appears as soon as it is there; each file is only opened once.

    Args:
        folder: where users put weights; it wins over the cache where both have a file of one name.
            :func:`checkpoint_folder` when not given.
        cache: where downloads go; :func:`~dynamicvit.weights.published.cache_dir` when not given.
    """
    found: dict[str, AvailableModel] = {}
    for inspection in _inspect_folders(folder, cache):
        if inspection.model is not None:
            found.setdefault(inspection.model.key, inspection.model)
    local = sorted(found.values(), key=lambda model: model.key != SHIPPED_FILE)
    return local + [_not_downloaded(published) for published in PUBLISHED if published.file_name not in found]


def list_problems(folder: Path | None = None, cache: Path | None = None) -> tuple[str, ...]:
    """Return one sentence for each weight file that :func:`list_available` leaves out."""
    return tuple(inspection.problem for inspection in _inspect_folders(folder, cache) if inspection.problem is not None)


def _inspect_folders(folder: Path | None, cache: Path | None) -> Iterator[_Inspection]:
    folders = dict.fromkeys([folder or checkpoint_folder(), cache or cache_dir()])
    for path in [file for place in folders for file in _weight_files(place)]:
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
        file = read_shapes(path)
        described = None if file.config is None else IdentifiedModel(_name_of(file.config, path), file.config)
        model = described or identify_config(file.tensors, path.name)
        return _Inspection(model=_describe(path, model, file.metadata))
    except CheckpointError as error:
        return _Inspection(problem=str(error))


def _name_of(config: ModelConfig, path: Path) -> str:
    for name in list_models():
        if set(different_fields(config, model_config(name))) <= {"image_size", "num_classes"}:
            return name
    return path.stem


def _describe(path: Path, identified: IdentifiedModel, metadata: Mapping[str, str]) -> AvailableModel:
    published = next((known for known in PUBLISHED if known.file_name == path.name), None)
    if published is not None and published.model == identified.name:
        return AvailableModel(path.name, published.title, path, published, published.model, (published.keep_ratio,))
    title = SHIPPED_TITLE if path.name == SHIPPED_FILE else path.stem
    ratios = _keep_ratios(metadata) or identified.config.trained_keep_ratios
    return AvailableModel(path.name, title, path, None, identified.name, ratios)


def _keep_ratios(metadata: Mapping[str, str]) -> tuple[TrainedRatio, ...]:
    """Read base keep ratios however they are separated: ``0.7``, ``0.5, 0.7``, ``[0.5, 0.7]``, a range ``0.3:0.9``."""
    pairs = [(float(low), float(high or low)) for low, high in _RATIO_OR_RANGE.findall(metadata.get("keep_ratios", ""))]
    return tuple(low if low == high else (low, high) for low, high in pairs if 0 < low <= high <= 1)


def _not_downloaded(published: PublishedCheckpoint) -> AvailableModel:
    return AvailableModel(
        published.file_name, published.title, None, published, published.model, (published.keep_ratio,)
    )


def fetch_with_progress(name: str) -> Path:
    """Return the weight file of that name, after a download of which a terminal shows how far it is.

    Raises:
        DynamicViTError: as for :func:`find_weights`.
    """
    with tqdm(desc=name, unit="B", unit_scale=True, disable=None) as bar:

        def show(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return find_weights(name, fetch=True, progress=show)


# Command line --------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    """List the models."""
    parser = argparse.ArgumentParser(
        prog="dynamicvit models",
        description="List the models with weights that are here or published, and the files that cannot be used.",
    )
    parser.parse_args(arguments)
    for model in list_available():
        where = "published" if model.path is None else str(model.path)
        sys.stdout.write(f"{model.title:32}  {model.model:44}  {where}\n")
    for problem in list_problems():
        sys.stderr.write(f"{problem}\n")


def fetch(arguments: Sequence[str] | None = None) -> None:
    """Download published models and print where their files are; what is there already is not downloaded again."""
    parser = argparse.ArgumentParser(
        prog="dynamicvit fetch",
        description="Download published models into the cache, unless they are there, and print where their files are.",
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="in the second column of: dynamicvit models")
    for name in parser.parse_args(arguments).names:
        try:
            sys.stdout.write(f"{fetch_with_progress(name)}\n")
        except DynamicViTError as error:
            sys.exit(str(error))
