"""Many images: files or the examples go in, a survey comes out and grows while it is made."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from dynamicvit.analysis.prepared import PreparedImage
from dynamicvit.analysis.results import Analysis
from dynamicvit.analysis.spreadsheet import Cell, to_csv
from dynamicvit.analysis.survey import Survey
from dynamicvit.app.components import (
    Payload,
    current_settings,
    finished,
    problem,
    progress,
    progress_line,
    tab_component,
)
from dynamicvit.app.explorer import percent
from dynamicvit.app.inputs import TabRequest, tab_request
from dynamicvit.app.state import AppState, LoadedModel
from dynamicvit.app.uploads import NO_ROOM, Upload, uploaded_file
from dynamicvit.app.words import Labels, Words
from dynamicvit.archives import MAX_IMAGES, ImageSource, list_images
from dynamicvit.errors import DynamicViTError, ImageError, OutputError
from dynamicvit.figures.keep_maps import draw_keep_maps
from dynamicvit.figures.svg import to_svg
from dynamicvit.images import DecodedImage
from dynamicvit.writing import explained, write_whole

RESULTS_EVERY_S = 1.5  # maps and table are drawn anew so often at most, while the progress follows every image
EXAMPLES = "many-examples"  # the button that asks for them
CSV_NAME = "dynamicvit-survey.csv"
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
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

Values = list[Any]


@dataclass(frozen=True)
class Problem:
    """A file that could not be used, and the sentence that says why."""

    name: str
    sentence: str


@dataclass(frozen=True, eq=False)
class Progress:
    """A survey under way: ``done`` of ``total`` images were looked at, the ones with problems included."""

    done: int
    total: int
    survey: Survey
    problems: tuple[Problem, ...]


def fill(state: AppState, labels: Labels) -> None:
    """Arrange the tab and connect its events."""
    with gr.Row(elem_id="many-choices"):
        files = gr.File(file_count="multiple", height=140, elem_id="many-files")
        labels.add(files, label="many.files")
        with gr.Column():
            settings = current_settings()
            with gr.Row():
                start = labels.add(gr.Button(variant="primary", elem_id="many-start"), value="many.start")
                examples = labels.add(gr.Button(elem_id=EXAMPLES), value="many.examples")
                stop = labels.add(gr.Button(visible=False, elem_id="many-stop"), value="tabs.stop")
    line = progress_line(elem_id="many-progress")
    result = tab_component("many", elem_id="many-result")
    table = gr.Dataframe(
        datatype=["str", "str", "str", "number", "str", "number"],
        interactive=False,
        visible=False,
        buttons=["fullscreen"],
        wrap=True,
        column_widths=["130px", "180px", "180px", "120px", "90px", "110px"],
        max_height=420,
        pinned_columns=1,  # where the table is wider than the page, its rows keep their names
        elem_id="many-table",
    )
    with gr.Row():
        download = gr.DownloadButton(visible=False, scale=0, min_width=220, elem_id="many-download")
    labels.add(table, label="many.table")
    labels.add(download, label="many.download")
    latest = gr.State(None)

    def survey(sent: list[Payload] | None, settings: object, event: gr.EventData) -> Iterator[Values]:
        yield from show_survey(state, None if event.target.elem_id == EXAMPLES else sent or [], settings)

    shown = [line, result, table, download, stop, latest]
    # One event for both buttons: the page cancels several one after the other, so late that it may hit a newer run.
    run = gr.on(
        [start.click, examples.click],
        survey,
        [files, settings],
        shown,
        preprocess=False,
        concurrency_limit=2,
        concurrency_id="many",
        **PRIVATE,
    )
    stop.click(_stop, [settings, latest], shown[:-1], cancels=run, **PRIVATE)
    settings.language(_translate, [settings, latest], [result, table], **PRIVATE)


def _stop(settings: object, latest: Progress | None) -> Iterator[Values]:
    """Say how far the survey came, and show all of it."""
    if latest is None:
        yield [finished("many.stopped", done=0, total=0), *[gr.skip()] * 3, gr.Button(visible=False)]
        return
    line = finished("many.stopped", done=latest.done, total=latest.total)
    yield [line, *_results(latest, tab_request(settings), _new_path()), gr.Button(visible=False)]


def _new_path() -> Path:
    """Return where the table of a survey is stored: in Gradio's folder, from which it is served without a copy."""
    return Path(get_upload_folder()) / secrets.token_urlsafe(16) / CSV_NAME


def _translate(settings: object, latest: Progress | None) -> Values:
    """Put the last results into the language of the page."""
    if latest is None:
        return [gr.skip(), gr.skip()]
    request = tab_request(settings)
    return [describe_survey(latest, request), table_of(latest.survey, request.words)]


def show_survey(state: AppState, sent: list[Payload] | None, settings: object) -> Iterator[Values]:
    """Yield the values of progress line, result, table, download, stop button and state while a survey grows.

    Args:
        state: what the visitors share.
        sent: Gradio's descriptions of uploaded files; None for the examples.
        settings: of the explorer, as the browser sends them.
    """
    try:
        request = tab_request(settings)
        if sent is None:
            states = survey_examples(state, request)
        else:
            states = survey_uploads(state, [uploaded_file(one) for one in sent], request)
        yield from _values(request, states, _new_path())
    except DynamicViTError as error:
        yield [problem(str(error)), *[gr.skip()] * 3, gr.Button(visible=False), gr.skip()]


def _values(request: TabRequest, states: Iterator[Progress], path: Path) -> Iterator[Values]:
    drawn_at, has_rows = -RESULTS_EVERY_S, False
    for state in states:
        is_last = state.done == state.total
        is_first_row = bool(state.survey.images) and not has_rows
        results: Sequence[Any] = [gr.skip()] * 3
        if is_last or is_first_row or time.monotonic() - drawn_at >= RESULTS_EVERY_S:
            results = _results(state, request, path)
            drawn_at, has_rows = time.monotonic(), bool(state.survey.images)
        yield [_line(state), *results, gr.Button(visible=not is_last), state]


def _line(state: Progress) -> Payload:
    if state.done == state.total:
        return finished("many.done", total=state.total)
    return progress(state.done, state.total, "many.progress")


def _results(state: Progress, request: TabRequest, path: Path) -> Values:
    """Return the values of result, table and download button."""
    has_rows = bool(state.survey.images)
    try:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, survey_csv(state.survey).encode("utf-8-sig"))  # the mark tells Excel that it is UTF-8
        download = gr.DownloadButton(value=path, visible=has_rows)
    except OutputError:  # what was found is shown all the same
        state = replace(state, problems=(*state.problems, Problem(CSV_NAME, NO_ROOM)))
        download = gr.DownloadButton(visible=False)
    return [
        describe_survey(state, request),
        gr.Dataframe(table_of(state.survey, request.words), visible=has_rows),
        download,
    ]


# From files to a survey -----------------------------------------------------------------------------------------------


def survey_uploads(state: AppState, uploads: Sequence[Upload], request: TabRequest) -> Iterator[Progress]:
    """Survey uploaded images and ZIP archives of images; gives the state before and after each image.

    Raises:
        DynamicViTError: nothing was uploaded, too many images were, or model and settings cannot be used.
    """
    if not uploads:
        raise ImageError("There are no images yet: add some files or a ZIP archive, or use the examples.")
    with ExitStack() as files:
        sources, problems = _list_all(uploads, files)
        if len(sources) > MAX_IMAGES:
            raise ImageError(f"These are {len(sources)} images; take at most {MAX_IMAGES} at a time.")
        yield from _survey(state, sources, problems, request)


def survey_examples(state: AppState, request: TabRequest) -> Iterator[Progress]:
    """Survey the example images; as :func:`survey_uploads`."""
    pictures = [state.example(name) for name in state.examples]
    sources = [ImageSource(picture.title, partial(_already_open, picture.image)) for picture in pictures]
    yield from _survey(state, sources, (), request)


def _already_open(image: DecodedImage) -> DecodedImage:
    return image


def _list_all(uploads: Sequence[Upload], files: ExitStack) -> tuple[list[ImageSource], tuple[Problem, ...]]:
    sources: list[ImageSource] = []
    problems: list[Problem] = []
    for upload in uploads:
        try:
            sources += list_images(upload.name, upload.path, files)
        except DynamicViTError as error:
            problems.append(Problem(upload.name, str(error)))
    return sources, tuple(problems)


def _survey(
    state: AppState, sources: Sequence[ImageSource], problems: tuple[Problem, ...], request: TabRequest
) -> Iterator[Progress]:
    loaded = state.load(request.model)
    survey = Survey()
    yield Progress(0, len(sources), survey, problems)
    for done, source in enumerate(sources, 1):
        try:
            image = source.open()
        except DynamicViTError as error:
            problems = (*problems, Problem(source.name, str(error)))
        else:
            survey = survey.including(source.name, state.run(partial(_analyze, image, loaded, request)))
        yield Progress(done, len(sources), survey, problems)


def _analyze(image: DecodedImage, loaded: LoadedModel, request: TabRequest) -> Analysis:
    return PreparedImage(loaded.model, image).analyze(request.budget)


# From a survey to what is shown, and its file -------------------------------------------------------------------------


def describe_survey(progress: Progress, request: TabRequest) -> Payload:
    """Return the numbers, the keep maps and the problems, as the tab's component shows them."""
    survey, words = progress.survey, request.words
    shown: Payload = {
        "problems": [{"name": problem.name, "sentence": problem.sentence} for problem in progress.problems],
    }
    if survey.images:
        titles = _map_titles(survey, words)
        agreeing = sum(image.agrees for image in survey.images)
        shown |= {
            "pictures": str(len(survey.images)),
            "agreement": percent(survey.agreement_rate),
            "agreement_detail": words("many.agreement_detail", count=agreeing, all=len(survey.images)),
            "saved": percent(survey.mean_saved_share),
            "saved_detail": words("many.saved_detail", gmacs=f"{survey.mean_saved_gmacs:.3f}"),
            "maps": to_svg(
                draw_keep_maps(survey.keep_maps, titles, words("many.scale"), is_narrow=request.is_narrow),
            ),
            "maps_label": words("many.maps_alt", stages=words.listed(titles)),
        }
    return shown


def table_of(survey: Survey, words: Words) -> Payload:
    """Return the table of the images, with its headers."""
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
            image.name,
            words.class_name(image.dense.label),
            words.class_name(image.pruned.label),
            round(100 * image.pruned.probability, 1),
            words("many.yes") if image.agrees else words("many.no"),
            round(image.saved_gmacs, 3),
        ]
        for image in survey.images
    ]
    return {"headers": headers, "data": rows, "metadata": None}


def survey_csv(survey: Survey) -> str:
    """Return the table as CSV, in one language for all, with probabilities in [0, 1] and the tokens of each stage."""
    stages = len(survey.times_kept)
    headers = [*CSV_HEADERS, *(f"tokens_stage_{stage}" for stage in range(1, stages + 1))]
    rows: list[list[Cell]] = [
        [
            image.name,
            image.dense.label,
            round(image.dense.probability, 6),
            image.pruned.label,
            round(image.pruned.probability, 6),
            image.agrees,
            image.dense_macs / 1e9,
            image.pruned_macs / 1e9,
            image.saved_gmacs,
            *image.kept_counts,
        ]
        for image in survey.images
    ]
    return to_csv(headers, rows)


def _map_titles(survey: Survey, words: Words) -> list[str]:
    shares = survey.keep_maps.mean(axis=(1, 2))
    return [words("many.stage", number=number, share=percent(share)) for number, share in enumerate(shares, 1)]
