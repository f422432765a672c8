"""The tab: files or the examples go in, a survey comes out and grows while it is made."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from dynamicvit.errors import DynamicViTError
from dynamicvit.interface.current_settings.component import Asked, asked_from, current_settings
from dynamicvit.interface.handlers import Workbench
from dynamicvit.interface.progress_line.component import finished, problem, progress, progress_line
from dynamicvit.interface.tabs.many.handlers import Progress, survey_examples, survey_uploads
from dynamicvit.interface.tabs.many.wording import describe_survey, survey_csv, table_of
from dynamicvit.interface.tabs.parts import read_tab_parts
from dynamicvit.interface.uploads import uploaded_file
from dynamicvit.interface.words import Labels

RESULTS_EVERY_S = 1.5  # maps and table are drawn anew so often at most, while the progress follows every picture
EXAMPLES = "many-examples"  # the button that asks for them
CSV_NAME = "dynamicvit-survey.csv"
PLUMBING: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

Values = list[Any]


def fill(bench: Workbench, labels: Labels) -> None:
    """Arrange the tab and connect its events."""
    with gr.Row(elem_id="many-choices"):
        files = gr.File(file_count="multiple", height=140, elem_id="many-files")
        labels.add(files, label="many.files")
        with gr.Column():
            asked = current_settings()
            with gr.Row():
                start = labels.add(gr.Button(variant="primary", elem_id="many-start"), value="many.start")
                examples = labels.add(gr.Button(elem_id=EXAMPLES), value="many.examples")
                stop = labels.add(gr.Button(visible=False, elem_id="many-stop"), value="tabs.stop")
    line = progress_line(elem_id="many-progress")
    result = gr.HTML(None, apply_default_css=False, elem_id="many-result", **read_tab_parts(__file__))
    table = gr.Dataframe(
        datatype=["str", "str", "str", "number", "str", "number"],
        interactive=False,
        visible=False,
        buttons=["fullscreen"],
        wrap=True,
        column_widths=["210px", "210px", "210px", "130px", "110px", "120px"],
        max_height=420,
        elem_id="many-table",
    )
    with gr.Row():
        download = gr.DownloadButton(visible=False, scale=0, min_width=220, elem_id="many-download")
    labels.add(table, label="many.table")
    labels.add(download, label="many.download")
    latest = gr.State(None)

    events = _Events(bench)
    shown = [line, result, table, download, stop, latest]
    # One event for both buttons: the page cancels several one after the other, so late that it may hit a newer run.
    run = gr.on(
        [start.click, examples.click],
        events.survey,
        [files, asked],
        shown,
        preprocess=False,
        concurrency_limit=2,
        concurrency_id="many",
        **PLUMBING,
    )
    stop.click(events.stop, [asked, latest], shown[:-1], cancels=run, **PLUMBING)
    asked.language(events.translate, [asked, latest], [result, table], **PLUMBING)


class _Events:
    """What the tab's events do."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def survey(self, files: list[dict[str, Any]] | None, sent: object, event: gr.EventData) -> Iterator[Values]:
        """Survey the examples if theirs is the button, else uploads, given as Gradio's descriptions of the files."""
        if event.target.elem_id == EXAMPLES:
            yield from _shown(sent, lambda asked: survey_examples(self._bench, asked))
            return
        yield from _shown(sent, lambda asked: survey_uploads(self._bench, [*map(uploaded_file, files or [])], asked))

    def stop(self, sent: object, latest: Progress | None) -> Iterator[Values]:
        """Say how far the survey came, and show all of it."""
        if latest is None:
            yield [finished("many.stopped", done=0, total=0), *[gr.skip()] * 3, gr.Button(visible=False)]
            return
        line = finished("many.stopped", done=latest.done, total=latest.total)
        with tempfile.TemporaryDirectory() as folder:
            yield [line, *_results(latest, asked_from(sent), Path(folder) / CSV_NAME), gr.Button(visible=False)]

    def translate(self, sent: object, latest: Progress | None) -> Values:
        """Put the last results into the language of the page."""
        if latest is None:
            return [gr.skip(), gr.skip()]
        asked = asked_from(sent)
        return [describe_survey(latest, asked), table_of(latest.survey, asked.words)]


def _shown(sent: object, survey: Callable[[Asked], Iterator[Progress]]) -> Iterator[Values]:
    """Give the values of progress line, result, table, download, stop button and state while a survey grows."""
    try:
        asked = asked_from(sent)
        with tempfile.TemporaryDirectory() as folder:  # Gradio copies the file each time that it is given
            yield from _values(asked, survey(asked), Path(folder) / CSV_NAME)
    except DynamicViTError as error:
        yield [problem(str(error)), *[gr.skip()] * 3, gr.Button(visible=False), gr.skip()]


def _values(asked: Asked, states: Iterator[Progress], path: Path) -> Iterator[Values]:
    drawn_at, has_rows = -RESULTS_EVERY_S, False
    for state in states:
        is_last = state.done == state.total
        is_first_row = bool(state.survey.pictures) and not has_rows
        results: Sequence[Any] = [gr.skip()] * 3
        if is_last or is_first_row or time.monotonic() - drawn_at >= RESULTS_EVERY_S:
            results = _results(state, asked, path)
            drawn_at, has_rows = time.monotonic(), bool(state.survey.pictures)
        yield [_line(state), *results, gr.Button(visible=not is_last), state]


def _line(state: Progress) -> dict[str, Any]:
    if state.done == state.total:
        return finished("many.done", total=state.total)
    return progress(state.done, state.total, "many.progress")


def _results(state: Progress, asked: Asked, path: Path) -> Values:
    """Give the values of result, table and download button."""
    path.write_text(survey_csv(state.survey), encoding="utf-8-sig", newline="")  # the mark tells Excel that it is UTF-8
    has_rows = bool(state.survey.pictures)
    return [
        describe_survey(state, asked),
        gr.Dataframe(table_of(state.survey, asked.words), visible=has_rows),
        gr.DownloadButton(value=path, visible=has_rows),
    ]
