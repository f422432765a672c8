"""An analysis with all that made it, as plain JSON, and back; the same analysis made anew from it and the image."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dynamicvit import __version__
from dynamicvit.analysis.prepared import PreparedImage
from dynamicvit.analysis.results import Analysis, AnalysisSettings, Classification, Prediction, StageView
from dynamicvit.budget import budget_from_json
from dynamicvit.costs.macs import MacReport
from dynamicvit.errors import DynamicViTError, ReportError
from dynamicvit.images import CENTRE, CropPlace, DecodedImage, decode, read
from dynamicvit.weights.io import load_file

FORMAT = "dynamicvit-analysis"
FORMAT_VERSION = 1
PROBABILITY_TOLERANCE = 1e-3  # other processors add up in another order

Json = dict[str, Any]


@dataclass(frozen=True)
class ImageIdentity:
    """Which image was analysed.

    Attributes:
        name: of the file, without its folder.
        size: width and height in pixels.
        sha256: of the file, 64 hexadecimal digits.
        crop_at: where the part that the model saw lies in it.
    """

    name: str
    size: tuple[int, int]
    sha256: str
    crop_at: CropPlace = CENTRE


@dataclass(frozen=True)
class ModelIdentity:
    """Which weights analysed it.

    Attributes:
        name: of the model, as in the registry.
        file: name of the weight file.
        sha256_prefix: first hexadecimal digits of the file's SHA-256.
    """

    name: str
    file: str
    sha256_prefix: str


@dataclass(frozen=True)
class Report:
    """An analysis and everything that made it."""

    image: ImageIdentity
    model: ModelIdentity
    analysis: Analysis
    library_version: str = __version__


def identify_image(image: DecodedImage, name: str, crop_at: CropPlace = CENTRE) -> ImageIdentity:
    """Return the identity of an image that was decoded from a file of that name, of which a part was analysed."""
    height, width = image.pixels.shape[:2]
    return ImageIdentity(name, (width, height), image.sha256, crop_at)


def identify_checkpoint(path: Path, name: str) -> ModelIdentity:
    """Return the identity of a weight file of the model of that name; each state of a file is read once."""
    status = path.stat()
    return ModelIdentity(name, path.name, _file_sha256(path, status.st_mtime_ns, status.st_size)[:16])


@lru_cache(maxsize=64)
def _file_sha256(path: Path, mtime_ns: int, size_bytes: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# To JSON -------------------------------------------------------------------------------------------------------------


def to_json(report: Report) -> Json:
    """Return a report as plain lists, strings and numbers; :func:`from_json` gives an equal report back."""
    image, model = report.image, report.model
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "library": {"name": "dynamicvit", "version": report.library_version},
        "picture": {
            "name": image.name,
            "size": list(image.size),
            "sha256": image.sha256,
            "crop_at": list(image.crop_at),
        },
        "model": {"name": model.name, "file": model.file, "sha256_prefix": model.sha256_prefix},
        **analysis_to_json(report.analysis),
    }


def analysis_to_json(analysis: Analysis) -> Json:
    """Return an analysis alone as plain lists, strings and numbers."""
    return {
        "settings": analysis.settings.to_json(),
        "grid": list(analysis.grid),
        "stages": [_stage_to_json(stage) for stage in analysis.stages],
        "dense": _classification_to_json(analysis.dense),
        "pruned": _classification_to_json(analysis.pruned),
        "agrees": analysis.agrees,
        "saved_share": analysis.saved_share,
    }


def _stage_to_json(stage: StageView) -> Json:
    return {
        "number": stage.number,
        "block": stage.block,
        "live_count": stage.live_count,
        "kept_patches": list(stage.kept_patches),
        "keep_scores": list(stage.keep_scores),
        "groups": None if stage.groups is None else list(stage.groups),
        "has_fast_path": stage.has_fast_path,
    }


def _classification_to_json(result: Classification) -> Json:
    return {
        "top": [{"index": p.index, "label": p.label, "probability": p.probability} for p in result.top],
        "gmacs": result.macs.gmacs,
        "predictor_gmacs": result.macs.predictors / 1e9,
        "multiply_adds_by_module": dict(result.macs.by_module),
    }


# From JSON -----------------------------------------------------------------------------------------------------------


def read_report(source: str | bytes | Path) -> Report:
    """Read a report from a file, given as its path or as its content in bytes.

    Raises:
        ReportError: the file cannot be opened or holds no report.
    """
    try:
        text = source if isinstance(source, bytes) else Path(source).read_bytes()
        return from_json(json.loads(text))
    except OSError as error:
        raise ReportError(f"The file {source!s:.200} cannot be opened: {error.strerror or error}.") from None
    except (ValueError, RecursionError):
        raise _no_report() from None


def from_json(data: Any) -> Report:
    """Return the report that :func:`to_json` wrote; what follows from the rest (GMACs, agreement) is not read.

    Raises:
        ReportError: ``data`` is no such report, or contradicts itself.
    """
    try:
        _require(data["format"] == FORMAT and data["format_version"] == FORMAT_VERSION)
        return _report(data)
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError, DynamicViTError):
        raise _no_report() from None


def _no_report() -> ReportError:
    return ReportError("This file is no analysis that the app saved; choose a .json file from its export.")


def _report(data: Json) -> Report:
    grid = _numbers(data["grid"], int, 2)
    picture, model = data["picture"], data["model"]
    analysis = Analysis(
        settings=_settings(data["settings"]),
        grid=(grid[0], grid[1]),
        dense=_classification(data["dense"]),
        pruned=_classification(data["pruned"]),
        stages=tuple(_stage(stage, grid[0] * grid[1]) for stage in data["stages"]),
    )
    _require([stage.number for stage in analysis.stages] == list(range(1, len(analysis.stages) + 1)))
    size = _numbers(picture["size"], int, 2)
    # Reports from before the crop could be moved do not say.
    crop_at = _numbers(picture.get("crop_at", list(CENTRE)), float, 2)
    _require(max(crop_at) <= 1)
    return Report(
        ImageIdentity(_text(picture["name"]), (size[0], size[1]), _text(picture["sha256"]), (crop_at[0], crop_at[1])),
        ModelIdentity(_text(model["name"]), _text(model["file"]), _text(model["sha256_prefix"])),
        analysis,
        _text(data["library"]["version"]),
    )


def _settings(data: Json) -> AnalysisSettings:
    return AnalysisSettings(budget_from_json(data), _text(data["selector"]), _number(data["seed"], int))


def _stage(data: Json, num_patches: int) -> StageView:
    kept = _numbers(data["kept_patches"], int)
    scores = tuple(None if score is None else _number(score, float) for score in data["keep_scores"])
    groups = None if data["groups"] is None else _numbers(data["groups"], int, num_patches)
    _require(len(scores) == num_patches and len(set(kept)) == len(kept) > 0)
    _require(all(0 <= patch < num_patches and scores[patch] is not None for patch in kept))
    _require(groups is None or all(0 <= group < len(kept) for group in groups))
    live_count = _number(data["live_count"], int)
    _require(len(kept) <= live_count <= num_patches)
    number, block = _number(data["number"], int), _number(data["block"], int)
    # Reports from before there were models with a fast path do not say.
    has_fast_path = data.get("has_fast_path", False)
    _require(isinstance(has_fast_path, bool))
    return StageView(number, block, live_count, kept, scores, groups, has_fast_path)


def _classification(data: Json) -> Classification:
    top = tuple(
        Prediction(_number(best["index"], int), _text(best["label"]), _number(best["probability"], float))
        for best in data["top"]
    )
    counts = {_text(name): _number(count, int) for name, count in data["multiply_adds_by_module"].items()}
    _require(bool(top) and sum(counts.values()) > 0)
    return Classification(top, MacReport(MappingProxyType(counts)))


def _require(is_met: bool) -> None:
    if not is_met:
        raise ValueError


def _text(value: object) -> str:
    _require(isinstance(value, str))
    return str(value)


def _number(value: Any, kind: type[int] | type[float]) -> Any:
    """Return a finite number that is not negative; a whole one stands for a fraction, not the other way round."""
    allowed = int if kind is int else (int, float)
    _require(isinstance(value, allowed) and not isinstance(value, bool))
    number = kind(value)
    _require(math.isfinite(number) and number >= 0)
    return number


def _numbers(values: Any, kind: type[int] | type[float], count: int | None = None) -> tuple[Any, ...]:
    _require(isinstance(values, list) and count in (None, len(values)))
    return tuple(_number(value, kind) for value in values)


# Made anew -----------------------------------------------------------------------------------------------------------


def reproduce(report: Report, image: str | Path | bytes | DecodedImage, checkpoint: str | Path) -> Analysis:
    """Make the analysis of a report anew and check that it is the same.

    Args:
        report: from :func:`read_report`.
        image: the one that the report names, as a path, as a file's bytes or decoded.
        checkpoint: the weight file that the report names.

    Raises:
        ReportError: the image or the weights are others, or the analysis comes out differently.
        ImageError: the image cannot be read.
        CheckpointError: the weights cannot be read.
    """
    decoded = image if isinstance(image, DecodedImage) else _decoded(image)
    if decoded.sha256 != report.image.sha256:
        raise ReportError(f"This is another image than {report.image.name}, which the analysis was made of.")
    identity = identify_checkpoint(Path(checkpoint), report.model.name)
    if identity.sha256_prefix != report.model.sha256_prefix:
        raise ReportError(f"{identity.file} holds other weights than those that made the analysis.")
    settings = report.analysis.settings
    prepared = PreparedImage(load_file(checkpoint), decoded, crop_at=report.image.crop_at)
    again = prepared.analyze(settings.budget, settings.selector, settings.seed)
    if not is_same(report.analysis, again):
        raise ReportError("The analysis comes out differently here: other tokens are kept, or other classes found.")
    return again


def is_same(first: Analysis, second: Analysis) -> bool:
    """Whether two analyses keep the same patches, find the same classes and cost the same multiply-adds.

    Probabilities may differ by 0.001, and classes may change places within that.
    """
    return (
        first.settings == second.settings
        and first.grid == second.grid
        and [set(stage.kept_patches) for stage in first.stages] == [set(stage.kept_patches) for stage in second.stages]
        and _same_classification(first.dense, second.dense)
        and _same_classification(first.pruned, second.pruned)
    )


def _same_classification(first: Classification, second: Classification) -> bool:
    one, other = ({best.index: best.probability for best in result.top} for result in (first, second))
    least, other_least = min(one.values()), min(other.values())  # a class outside the list has at most this
    gaps = (abs(one.get(index, least) - other.get(index, other_least)) for index in one | other)
    return first.macs.total == second.macs.total and max(gaps) <= PROBABILITY_TOLERANCE


def _decoded(image: str | Path | bytes) -> DecodedImage:
    return decode(image) if isinstance(image, bytes) else read(image)
