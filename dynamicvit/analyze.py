"""Analyze images from the command line: which tokens are dropped, as a sheet, an animation and JSON of each image."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from dynamicvit.analysis.prepared import PreparedImage
from dynamicvit.analysis.report import ModelIdentity, Report, identify_checkpoint, identify_image, read_report, to_json
from dynamicvit.analysis.results import AnalysisSettings
from dynamicvit.budget import Budget, as_budget
from dynamicvit.datasets import is_image
from dynamicvit.errors import CheckpointError, DynamicViTError, ImageError, OutputError, ReportError, SettingError
from dynamicvit.figures.animation import animation_bytes, stage_frames
from dynamicvit.figures.saving import figure_bytes
from dynamicvit.figures.sheet import slide_sheet
from dynamicvit.models.base import DynamicModel
from dynamicvit.weights.available import SHIPPED_FILE, checkpoint_folder
from dynamicvit.weights.io import load_file
from dynamicvit.writing import explained, write_whole

NAME_LENGTH = 60  # characters that a result has of its image's name; the system's limit is 255 bytes, suffixes included


def main(arguments: Sequence[str] | None = None) -> None:
    """Write three files for each image; images that cannot be used are named, and the exit status is then 1."""
    options = parse_arguments(arguments)
    try:
        images = find_images(options.images)
        checkpoint = options.checkpoint or checkpoint_folder() / SHIPPED_FILE
        model = load_file(checkpoint)
        budget = as_budget(options.keep_ratio if len(options.keep_ratio) > 1 else options.keep_ratio[0])
        budget.check(model.config.schedule)
        selector = options.selector or model.selectors[0]
        if selector not in model.selectors:
            raise SettingError(f"This model has no selector {selector!r}; choose one of {', '.join(model.selectors)}.")
        with explained(options.out):
            options.out.mkdir(parents=True, exist_ok=True)
    except DynamicViTError as error:
        sys.exit(str(error))
    kind = "-".join(["-keep", *(f"{ratio:.2f}" for ratio in options.keep_ratio), *filter(None, [options.selector])])
    identity = identify_checkpoint(checkpoint, checkpoint.stem)
    problems = []
    try:
        for image, stem in tqdm(list(zip(images, unique_stems(images), strict=True)), unit="image", disable=None):
            problem = analyze_file(model, identity, image, options.out / f"{stem}{kind}", budget, selector)
            problems += [problem] if problem else []
    except OutputError as error:  # the other images would find no room either
        problems.append(f"{error} What is done is kept: the same command goes on from there.")
    sys.exit("\n".join(problems) or 0)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="dynamicvit analyze", description=__doc__)
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="image files, or folders of them")
    parser.add_argument("--keep-ratio", type=float, nargs="+", default=[0.7], help="base ratio, or one for each stage")
    parser.add_argument("--selector", help="default: the model's predictors, or what a model without them uses")
    parser.add_argument("--checkpoint", type=Path, help="weight file; default: the one that ships")
    parser.add_argument(
        "--out", type=Path, default=Path("analysis"), help="folder for the results; images that have theirs are skipped"
    )
    return parser.parse_args(arguments)


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Return the files that are named, and all images in the folders that are.

    Raises:
        ImageError: there is none, or a path does not exist.
    """
    images = list(dict.fromkeys(image for path in paths for image in _images_of(path)))
    if not images:
        raise ImageError(f"There are no images in {', '.join(map(str, paths))}.")
    return images


def _images_of(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.is_file() and is_image(file.name))
    elif path.is_file():
        yield path
    else:
        raise ImageError(f"There is no image {path}.")


def unique_stems(images: Sequence[Path]) -> list[str]:
    """Return a file name without suffix for each image's results; images of one name in several folders get numbers."""
    stems: dict[str, None] = {}
    for image in images:
        stem = wanted = re.sub(r"[^\w]+", "-", image.stem).strip("-")[:NAME_LENGTH] or "image"
        number = 2
        while stem in stems:
            stem, number = f"{wanted}-{number}", number + 1
        stems[stem] = None
    return list(stems)


def analyze_file(
    model: DynamicModel, identity: ModelIdentity, path: Path, target: Path, budget: Budget, selector: str
) -> str:
    """Write the sheet, the animation and the JSON of an image; the JSON comes last, so that it says they are all there.

    Returns:
        Why there is no result, in one sentence; empty where there is one.

    Raises:
        OutputError: they cannot be written.
    """
    record = target.with_name(f"{target.name}.json")
    if record.exists():
        is_done = is_record_of(record, path, identity, AnalysisSettings(budget, selector))
        return "" if is_done else f"{path}: {record} is of another image, model or selector; choose another --out."
    try:
        prepared = PreparedImage(model, path)
        analysis = prepared.analyze(budget, selector)
        report = Report(identify_image(prepared.image, path.name), identity, analysis)
        sheet = slide_sheet(prepared.image, prepared.crop, report, path.stem)
        write_whole(target.with_name(f"{target.name}.png"), figure_bytes(sheet, "png"))
        frames = stage_frames(prepared.image, prepared.crop, analysis)
        write_whole(target.with_name(f"{target.name}.gif"), animation_bytes(frames, "gif"))
        write_whole(record, json.dumps(to_json(report), indent=1, ensure_ascii=False).encode())
    except (ImageError, CheckpointError) as error:
        return f"{path}: {error}"
    return ""


def is_record_of(record: Path, image: Path, identity: ModelIdentity, settings: AnalysisSettings) -> bool:
    """Return whether a JSON file holds the analysis of this image by these weights under these settings."""
    try:
        report = read_report(record)
    except ReportError:
        return False
    with image.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    made_of = (report.image.sha256, report.model.sha256_prefix, report.analysis.settings)
    return made_of == (sha256, identity.sha256_prefix, settings)


if __name__ == "__main__":
    main()
