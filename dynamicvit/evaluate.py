"""Measure a checkpoint on photos, dense and pruned: accuracy, agreement, GMACs, speed and object coverage."""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import TypeVar

import torch
from tqdm import tqdm

from dynamicvit import __version__
from dynamicvit.costs.benchmark import device_name
from dynamicvit.datasets import (
    PhotoListing,
    Share,
    UnreadablePhoto,
    join,
    listed,
    read_labels,
    read_photos,
    where_classes_lie,
)
from dynamicvit.errors import DynamicViTError, ImageError, SettingError
from dynamicvit.evaluation.accuracy import DENSE, Evaluation, EvaluationSetting, evaluate
from dynamicvit.evaluation.coverage import Coverage, SceneBoxes, measure_coverage, read_boxes
from dynamicvit.evaluation.equality import Equality, measure_equality
from dynamicvit.evaluation.processes import Processes, join_processes
from dynamicvit.evaluation.table import Report, Run, as_markdown, as_record
from dynamicvit.models.base import DynamicModel
from dynamicvit.models.selectors import SELECTORS
from dynamicvit.precision import with_precision
from dynamicvit.weights.io import load_file
from dynamicvit.writing import write_whole

Result = TypeVar("Result", Evaluation, Coverage, Equality)
SEEDED = "random"
MERGING = "merging"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m dynamicvit.evaluate", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="weight file")
    parser.add_argument(
        "--photos", type=Path, nargs="+", required=True, help="tar files, folders, or CSV files with file and label"
    )
    parser.add_argument("--labels", type=Path, help="CSV with the columns file and label; goes before other labels")
    parser.add_argument(
        "--half", choices=["even", "odd"], help="every other photo by name: choose on one half, report on the other"
    )
    parser.add_argument("--boxes", type=Path, help="JSON with object boxes of photos: measures object coverage too")
    parser.add_argument("--keep-ratio", type=float, nargs="+", help="base keep ratios beside dense (default: 0.7)")
    parser.add_argument(
        "--selector", nargs="+", choices=list(SELECTORS), help="default: predictor, or what a model without one uses"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the random selector; gives the mean")
    parser.add_argument(
        "--batch", type=partial(_at_least, 1), default=25, help="photos that the model sees at once (default: 25)"
    )
    parser.add_argument(
        "--workers", type=partial(_at_least, 0), default=0, help="processes that read ahead; they disturb CPU timing"
    )
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        default="float32",
        help="of the blocks, on a CPU; answers and kept patches in bfloat16 are compared with those in float32",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results and what made them")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate dense and at each keep ratio with each selector; print tables and write JSON."""
    options = parse_arguments(arguments)
    try:
        processes = join_processes()
        run(options, processes)
        processes.leave()
    except DynamicViTError as error:
        sys.exit(str(error))


def run(options: argparse.Namespace, processes: Processes) -> None:
    """Do one process's share of what the command line asks for; the first process reports."""
    if options.json and not options.json.parent.is_dir():
        raise SettingError(f"There is no folder {options.json.parent} for {options.json.name}; make it first.")
    model = load_file(options.checkpoint)
    made_with = describe_run(options, processes)  # at once, for a checkpoint may be overwritten meanwhile
    listing = find_photos(options.photos, options.labels, model.class_names)
    if options.half:
        listing = half_of(listing, options.half)
    photos = listing.photos
    boxes = read_boxes(options.boxes) if options.boxes else {}
    if options.boxes and not any(photo.name in boxes for photo in photos):
        raise ImageError(f"None of the photos has boxes in {options.boxes}; their names must be the same.")
    report = measure(model.to(processes.device), listing, boxes, made_with, options, processes)
    if processes.index == 0:
        print(as_markdown(report))
        if options.json:
            text = json.dumps(as_record(report), indent=2, allow_nan=False)
            write_whole(options.json, f"{text}\n".encode())


def find_photos(paths: Sequence[Path], labels: Path | None, class_names: Sequence[str]) -> PhotoListing:
    """Return the photos of all the paths, with the labels that they have for a model with classes of these names.

    Raises:
        ImageError: a path or the labels cannot be read, or the labels are of other photos.
    """
    known = read_labels(labels, class_names) if labels else {}
    listing = join([read_photos(path, class_names, known) for path in paths])
    if known and not any(photo.name in known for photo in listing.photos):
        raise ImageError(f"None of the photos has a label in {labels}; their names must be the same.")
    return listing


def half_of(listing: PhotoListing, half: str) -> PhotoListing:
    """Return the photos at the even or at the odd places in the order of their names, the first place being even.

    Raises:
        ImageError: there is none.
    """
    photos = sorted(listing.photos, key=lambda photo: photo.name)[["even", "odd"].index(half) :: 2]
    if not photos:
        raise ImageError("A single photo has no odd half; leave --half out.")
    return replace(listing, photos=photos)


def measure(
    model: DynamicModel,
    listing: PhotoListing,
    boxes: dict[str, SceneBoxes],
    made_with: Run,
    options: argparse.Namespace,
    processes: Processes,
) -> Report:
    """Evaluate this process's share of the photos, and join it with those of the others.

    Raises:
        ImageError: none of the photos can be read.
    """
    photos = listing.photos
    reference = model if options.precision == "float32" else copy.deepcopy(model)
    model = with_precision(model, options.precision)
    settings = list_settings(options, model)
    if boxes and len(settings) == 1:
        raise SettingError("The model drops no tokens, so there is no object coverage; leave --boxes out.")
    scenes = sum(photo.name in boxes for photo in photos)
    common = {
        "batch": options.batch,
        "workers": options.workers,
        "share": Share(processes.index, processes.count),
    }
    unreadable: list[UnreadablePhoto] = []
    # On a terminal alone, and in one process: the others are about as far.
    hidden = None if processes.index == 0 else True
    with tqdm(total=(len(photos) + scenes) // processes.count, unit="photo", disable=hidden) as bar:
        evaluations = evaluate(model, photos, settings, on_unreadable=unreadable.append, on_batch=bar.update, **common)
        # A merged token stands for patches in many places.
        choosing = [setting for setting in settings[1:] if setting.selector != MERGING]
        coverages = measure_coverage(model, photos, boxes, choosing, on_batch=bar.update, **common)
        others = settings if model.precision != reference.precision else []
        equalities = measure_equality(model, reference, photos, others, **common) if others else []
    report = Report(
        replace(made_with, precision=model.precision),
        len(photos),
        _join(processes.gather(evaluations)),
        _join(processes.gather(coverages)) if boxes else [],
        _join(processes.gather(equalities)),
        sorted(processes.gather(unreadable), key=lambda photo: photo.name),
        notes_on(listing, options.photos[0]),
    )
    if report.evaluations[0].photos == 0:
        first = report.unreadable[0]
        raise ImageError(f"None of the {len(photos)} photos can be read. {first.name}: {first.reason}")
    return report


def notes_on(listing: PhotoListing, source: Path) -> list[str]:
    """Return sentences about files that were left out, and about photos whose sub-folder is no class of the model."""
    without = [photo for photo in listing.photos if photo.label is None]
    folders = sorted({photo.class_folder for photo in without if photo.class_folder is not None})
    notes = listing.notes
    if folders:
        count = sum(photo.class_folder is not None for photo in without)
        notes.append(f"Photos in sub-folders that name no class of the model: {count} ({listed(folders)}).")
    if source.is_dir() and len(without) == len(listing.photos):
        lie = where_classes_lie(source, listing.photos)
        notes += [f"{lie[0].upper()}{lie[1:]}."] if lie else []
    return notes


def list_settings(options: argparse.Namespace, model: DynamicModel) -> list[EvaluationSetting]:
    """Yield dense and then each combination of ratio, selector and seed once; a dense model has no default ratio."""
    ratios = options.keep_ratio or ([0.7] if model.config.num_stages else [])
    pruned = [
        EvaluationSetting(ratio, selector, seed)
        for ratio in ratios
        for selector in options.selector or model.selectors[:1]
        for seed in (options.seeds if selector == SEEDED else [0])
    ]
    return list(dict.fromkeys([DENSE, *pruned]))


def describe_run(options: argparse.Namespace, processes: Processes) -> Run:
    """Return what the results are made with."""
    return Run(
        checkpoint=options.checkpoint.name,
        sha256_prefix=_sha256(options.checkpoint)[:16],
        photos=[str(path) for path in options.photos],
        labels=str(options.labels) if options.labels else None,
        half=options.half,
        boxes=str(options.boxes) if options.boxes else None,
        batch=options.batch,
        workers=options.workers,
        processes=processes.count,
        device=device_name(processes.device),
        precision="float32",
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        dynamicvit=__version__,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _join(parts: Sequence[Result]) -> list[Result]:
    """Add the results of all processes, setting by setting."""
    settings = dict.fromkeys(part.setting for part in parts)
    return [reduce(add, [part for part in parts if part.setting == setting]) for setting in settings]


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _at_least(least: int, text: str) -> int:
    number = int(text)
    if number < least:
        raise argparse.ArgumentTypeError(f"{number} is less than {least}")
    return number


if __name__ == "__main__":
    main()
