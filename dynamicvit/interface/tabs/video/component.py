"""The tab: a clip goes in, a clip with the stages beside each other comes out."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from dynamicvit.errors import DynamicViTError, VideoError
from dynamicvit.interface.current_settings.component import asked_from, current_settings
from dynamicvit.interface.handlers import Workbench
from dynamicvit.interface.progress_line.component import finished, problem, progress, progress_line
from dynamicvit.interface.tabs.video.handlers import ClipProgress, ClipResult, show_clip
from dynamicvit.interface.uploads import uploaded_file
from dynamicvit.interface.words import Labels

PROGRESS_EVERY_S = 0.3
PLUMBING: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

Values = list[Any]


def fill(bench: Workbench, labels: Labels) -> None:
    """Arrange the tab and connect its events."""
    with gr.Row(elem_id="video-choices"):
        # include_audio: without it Gradio would look for the program ffmpeg.
        clip = gr.Video(sources=["upload"], include_audio=True, buttons=[], height=220, elem_id="video-clip")
        labels.add(clip, label="video.clip")
        with gr.Column():
            asked = current_settings()
            intro = gr.Markdown(elem_id="video-intro")
            labels.add(intro, value="video.intro")
            with gr.Row():
                start = labels.add(gr.Button(variant="primary", elem_id="video-start"), value="video.start")
                stop = labels.add(gr.Button(visible=False, elem_id="video-stop"), value="tabs.stop")
    line = progress_line(elem_id="video-progress")
    shown = gr.Video(
        visible=False, autoplay=True, loop=True, show_label=False, buttons=["download"], elem_id="video-shown"
    )
    labels.add(shown, label="video.shown")

    events = _Events(bench)
    run = start.click(
        events.show,
        [clip, asked],
        [line, shown, stop],
        preprocess=False,
        concurrency_limit=1,
        concurrency_id="video",
        **PLUMBING,
    )
    stop.click(events.stop, None, [line, stop], cancels=run, queue=False, **PLUMBING)


class _Events:
    """What the tab's events do."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def show(self, clip: dict[str, Any] | None, sent: object) -> Iterator[Values]:
        """Give the values of progress line, clip and stop button while a clip, Gradio's description of it, is made."""
        try:
            asked = asked_from(sent)
            if clip is None:
                raise VideoError("There is no clip yet; add one first.")
            with tempfile.TemporaryDirectory() as folder:  # Gradio copies the file when it is given
                stem = Path(folder) / "dynamicvit-stages"
                states = show_clip(self._bench, uploaded_file(clip).path, stem, asked)
                yield from _values(states)
        except DynamicViTError as error:
            yield [problem(str(error)), gr.skip(), gr.Button(visible=False)]

    def stop(self) -> Values:
        """Say that nothing came of it."""
        return [finished("video.stopped"), gr.Button(visible=False)]


def _values(states: Iterator[ClipProgress | ClipResult]) -> Iterator[Values]:
    shown_at = 0.0
    for state in states:
        if isinstance(state, ClipResult):
            yield [describe_result(state), gr.Video(state.path, visible=True), gr.Button(visible=False)]
        elif time.monotonic() - shown_at >= PROGRESS_EVERY_S:
            shown_at = time.monotonic()
            yield [_line(state), gr.skip(), gr.Button(visible=True)]


def _line(state: ClipProgress) -> dict[str, Any]:
    if not state.total:
        return progress(0, 0, "video.measuring")
    return progress(state.done, state.total, "video.progress")


def describe_result(result: ClipResult) -> dict[str, Any]:
    """Say what is shown of a clip, and why not more, as the progress line shows it."""
    facts = {
        "seconds": f"{result.frames / result.rate:.1f}",
        "rate": f"{result.rate:.3g}",
        "source": f"{result.source_rate:.3g}",
        "milliseconds": f"{1000 * result.seconds_per_frame:.0f}",
    }
    if result.is_cut:
        return finished("video.cut", **facts)
    return finished("video.thinned" if result.rate < result.source_rate else "video.whole", **facts)
