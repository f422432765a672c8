"""A survey -> what the tab shows of it, and its file."""

from __future__ import annotations

from typing import Any

from dynamicvit.analysis.spreadsheet import Cell, to_csv
from dynamicvit.analysis.survey import Survey
from dynamicvit.figures.keep_maps import draw_keep_maps
from dynamicvit.figures.svg import to_svg
from dynamicvit.interface.current_settings.component import Asked
from dynamicvit.interface.tabs.many.handlers import Progress
from dynamicvit.interface.wording import percent
from dynamicvit.interface.words import Words

CSV_HEADERS = (
    "picture",
    "dense_answer",
    "dense_probability",
    "pruned_answer",
    "pruned_probability",
    "agrees",
    "gmacs_dense",
    "gmacs_pruned",
    "gmacs_saved",
)


def describe_survey(progress: Progress, asked: Asked) -> dict[str, Any]:
    """Give the numbers, the keep maps and the problems, as the tab's component shows them."""
    survey, words = progress.survey, asked.words
    shown: dict[str, Any] = {
        "problems": [{"name": problem.name, "sentence": problem.sentence} for problem in progress.problems],
    }
    if survey.pictures:
        titles = _map_titles(survey, words)
        agreeing = sum(picture.agrees for picture in survey.pictures)
        shown |= {
            "pictures": str(len(survey.pictures)),
            "agreement": percent(survey.agreement_rate),
            "agreement_detail": words("many.agreement_detail", count=agreeing, all=len(survey.pictures)),
            "saved": percent(survey.mean_saved_share),
            "saved_detail": words("many.saved_detail", gmacs=f"{survey.mean_saved_gmacs:.3f}"),
            "maps": to_svg(
                draw_keep_maps(survey.keep_maps, titles, words("many.scale"), is_narrow=asked.is_narrow),
            ),
            "maps_label": words("many.maps_alt", stages=words.listed(titles)),
        }
    return shown


def table_of(survey: Survey, words: Words) -> dict[str, Any]:
    """Give the table of the pictures, with its headers."""
    headers = [
        words("many.picture"),
        words("many.dense"),
        words("many.pruned"),
        words("many.confidence"),
        words("many.agrees"),
        words("many.gmacs_saved"),
    ]
    rows = [
        [
            picture.name,
            picture.dense.label,
            picture.pruned.label,
            round(100 * picture.pruned.probability, 1),
            words("many.yes") if picture.agrees else words("many.no"),
            round(picture.saved_gmacs, 3),
        ]
        for picture in survey.pictures
    ]
    return {"headers": headers, "data": rows, "metadata": None}


def survey_csv(survey: Survey) -> str:
    """Give the table as CSV, in one language for all, with probabilities in [0, 1] and the tokens of each stage."""
    stages = len(survey.times_kept)
    headers = [*CSV_HEADERS, *(f"tokens_stage_{stage}" for stage in range(1, stages + 1))]
    rows: list[list[Cell]] = [
        [
            picture.name,
            picture.dense.label,
            round(picture.dense.probability, 6),
            picture.pruned.label,
            round(picture.pruned.probability, 6),
            picture.agrees,
            picture.dense_macs / 1e9,
            picture.pruned_macs / 1e9,
            picture.saved_gmacs,
            *picture.kept_counts,
        ]
        for picture in survey.pictures
    ]
    return to_csv(headers, rows)


def _map_titles(survey: Survey, words: Words) -> list[str]:
    shares = survey.keep_maps.mean(axis=(1, 2))
    return [words("many.stage", number=number, share=percent(share)) for number, share in enumerate(shares, 1)]
