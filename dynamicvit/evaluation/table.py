"""Evaluations -> a table for people and records for JSON; one row for each keep ratio and selector, over all seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, median, stdev
from typing import Any, TypeVar

from dynamicvit.datasets import UnreadablePhoto
from dynamicvit.evaluation.accuracy import Evaluation, EvaluationSetting
from dynamicvit.evaluation.coverage import BOXES_FILL, Coverage
from dynamicvit.evaluation.equality import Equality

Result = TypeVar("Result", Evaluation, Coverage, Equality)


@dataclass(frozen=True)
class Run:
    """What results are made with.

    Attributes:
        checkpoint: name of the weight file.
        sha256_prefix: first 16 hexadecimal digits of its SHA-256.
        photos, labels, boxes: the files and folders that were given.
        half: "even" or "odd", the places of the photos that were taken in the order of their names; None for all.
        batch, workers, processes: as on the command line and by the launcher.
        device: for people, with the number of threads of a CPU.
        precision: "float32" or "bfloat16".
        threads: of PyTorch, in each process.
        torch, dynamicvit: versions.
        date: ISO 8601, UTC.
    """

    checkpoint: str
    sha256_prefix: str
    photos: list[str]
    labels: str | None
    half: str | None
    boxes: str | None
    batch: int
    workers: int
    processes: int
    device: str
    precision: str
    threads: int
    torch: str
    dynamicvit: str
    date: str


@dataclass(frozen=True)
class Report:
    """Everything that a run found.

    Attributes:
        made_with: the run.
        found: number of photos that were given.
        evaluations: one for each setting, over the photos of all processes.
        coverages: one for each pruned setting; empty without boxes.
        equalities: one for each setting, beside float32; empty in float32.
        unreadable: the photos that could not be read, in the order of their names.
        notes: sentences about files that are not among the photos, and photos that have no class.
    """

    made_with: Run
    found: int
    evaluations: list[Evaluation]
    coverages: list[Coverage]
    equalities: list[Equality]
    unreadable: list[UnreadablePhoto]
    notes: list[str] = field(default_factory=list)


def as_markdown(report: Report) -> str:
    """Return the tables and what has to be known to read them, as Markdown."""
    dense = report.evaluations[0]
    parts = [_evaluation_table(report.evaluations)]
    if dense.labelled == 0:
        parts.append("No photo has a label, so there is no accuracy; agreement, GMACs and speed need none.")
    else:
        parts.append(f"Accuracy on {dense.labelled} labelled photos, agreement with dense on {dense.photos}.")
    if report.coverages:
        low, high = (f"{100 * share:g}" for share in BOXES_FILL)
        parts.append(_coverage_table(report.coverages))
        parts.append(f"Patches kept at the last stage, in scenes whose boxes fill {low} to {high} % of the crop.")
    if report.equalities:
        parts.append(_equality_table(report.equalities))
        parts.append("Photos with the same answer as in float32, and patches that are kept in both.")
    if report.unreadable:
        names = "\n".join(f"- {photo.name}: {photo.reason}" for photo in report.unreadable)
        parts.append(f"{len(report.unreadable)} of {report.found} photos could not be read:\n\n{names}")
    parts += report.notes
    parts.append(_made_with_line(report.made_with))
    return "\n\n".join(parts)


def as_record(report: Report) -> dict[str, Any]:
    """Return everything for JSON: one record for each row of the tables; shares are in [0, 1]."""
    return {
        "made_with": asdict(report.made_with),
        "photos_found": report.found,
        "notes": report.notes,
        "unreadable": [asdict(photo) for photo in report.unreadable],
        "results": _evaluation_records(report.evaluations),
        "coverage": _coverage_records(report.coverages),
        "equality": _equality_records(report.equalities),
    }


def _made_with_line(run: Run) -> str:
    processes = f", {run.processes} processes (speed: of one)" if run.processes > 1 else ""
    return (
        f"{run.checkpoint} (SHA-256 {run.sha256_prefix}...), median speed over batches of {run.batch} on {run.device}"
        f"{processes}, {run.precision}, torch {run.torch}, {run.date}."
    )


def _evaluation_table(results: Sequence[Evaluation]) -> str:
    """Lay evaluations out as a Markdown table; over several seeds it shows means."""
    rows = [
        (
            *_setting_cells(some[0].setting),
            _percent([result.top1 for result in some]),
            _percent([result.top5 for result in some]),
            _percent([result.agreement for result in some]),
            _mean([result.nll for result in some]),
            _percent([result.top_probability for result in some]),
            _percent([result.change for result in some]),
            f"{some[0].gmacs:.3f}",
            f"{_speed(some):.1f}",
        )
        for some in _group_seeds(results)
    ]
    accuracy = ("top-1 %", "top-5 %", "agreement %", "NLL", "top prob. %", "change %")
    return _table(("keep ratio", "selector", *accuracy, "GMACs", "images/s"), rows)


def _coverage_table(results: Sequence[Coverage]) -> str:
    """Lay coverages out as a Markdown table; over several seeds it shows means."""
    rows = [
        (
            *_setting_cells(some[0].setting),
            _percent([result.kept for result in some]),
            _percent([result.centre for result in some]),
            _percent([result.chance for result in some]),
            str(some[0].scenes),
        )
        for some in _group_seeds(results)
    ]
    return _table(("keep ratio", "selector", "kept in boxes %", "centre prior %", "chance %", "scenes"), rows)


def _equality_table(results: Sequence[Equality]) -> str:
    """Lay equalities out as a Markdown table; over several seeds it shows means."""
    rows = [
        (
            *_setting_cells(some[0].setting),
            _percent([result.same_answer for result in some]),
            " / ".join(_percent(stage) for stage in zip(*(result.overlaps for result in some), strict=True)) or "-",
        )
        for some in _group_seeds(results)
    ]
    return _table(("keep ratio", "selector", "same answer %", "same kept patches %, stage by stage"), rows)


def _evaluation_records(results: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """Return one JSON record for each row of the table; shares are in [0, 1]."""
    return [
        {
            **_setting_record(some),
            "photos": some[0].photos,
            "labelled": some[0].labelled,
            "top1": _over_seeds([result.top1 for result in some]),
            "top5": _over_seeds([result.top5 for result in some]),
            "agreement": _over_seeds([result.agreement for result in some]),
            "nll": _over_seeds([result.nll for result in some]),
            "top_probability": _over_seeds([result.top_probability for result in some]),
            "change": _over_seeds([result.change for result in some]),
            "gmacs": some[0].gmacs,
            "images_per_second": _speed(some),
        }
        for some in _group_seeds(results)
    ]


def _equality_records(results: Sequence[Equality]) -> list[dict[str, Any]]:
    """Return one JSON record for each row of the table; shares are in [0, 1]."""
    return [
        {
            **_setting_record(some),
            "photos": some[0].photos,
            "same_answer": _over_seeds([result.same_answer for result in some]),
            "overlaps": [_over_seeds(stage) for stage in zip(*(result.overlaps for result in some), strict=True)],
        }
        for some in _group_seeds(results)
    ]


def _coverage_records(results: Sequence[Coverage]) -> list[dict[str, Any]]:
    """Return one JSON record for each row of the table; shares are in [0, 1]."""
    return [
        {
            **_setting_record(some),
            "scenes": some[0].scenes,
            "boxes_fill": list(BOXES_FILL),
            "kept": _over_seeds([result.kept for result in some]),
            "centre": _over_seeds([result.centre for result in some]),
            "chance": _over_seeds([result.chance for result in some]),
        }
        for some in _group_seeds(results)
    ]


def _group_seeds(results: Sequence[Result]) -> list[list[Result]]:
    groups: dict[tuple[float | None, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.setting.keep_ratio, result.setting.selector), []).append(result)
    return list(groups.values())


def _setting_cells(setting: EvaluationSetting) -> tuple[str, str]:
    return ("dense", "-") if setting.keep_ratio is None else (f"{setting.keep_ratio:g}", setting.selector)


def _setting_record(some: Sequence[Evaluation] | Sequence[Coverage] | Sequence[Equality]) -> dict[str, Any]:
    setting = some[0].setting
    return {
        "keep_ratio": setting.keep_ratio,
        "selector": None if setting.keep_ratio is None else setting.selector,
        "seeds": [result.setting.seed for result in some],
    }


def _over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Return mean, sample standard deviation (None for one seed) and the values; None for what was not measured."""
    if any(math.isnan(value) for value in values):
        return {"mean": None, "standard_deviation": None, "values": None}
    deviation = stdev(values) if len(values) > 1 else None
    return {"mean": fmean(values), "standard_deviation": deviation, "values": list(values)}


def _speed(some: Sequence[Evaluation]) -> float:
    return median(result.images_per_second for result in some)


def _percent(shares: Sequence[float]) -> str:
    mean = fmean(shares)
    return "-" if math.isnan(mean) else f"{100 * mean:.1f}"


def _mean(values: Sequence[float]) -> str:
    mean = fmean(values)
    return "-" if math.isnan(mean) else f"{mean:.3f}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
