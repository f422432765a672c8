"""Video: a short clip goes in, a clip of its frames beside what each stage keeps of them comes out."""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np
from numpy.typing import NDArray

from dynamicvit.analysis.clips import ClipPlan, FrameAnswer, look_at_frame, plan_clip
from dynamicvit.app.components import Payload, current_settings, finished, problem, progress, progress_line
from dynamicvit.app.explorer import percent
from dynamicvit.app.inputs import TabRequest, tab_request
from dynamicvit.app.state import AppState, LoadedModel
from dynamicvit.app.uploads import uploaded_file
from dynamicvit.app.words import Labels
from dynamicvit.budget import Budget
from dynamicvit.errors import DynamicViTError, VideoError
from dynamicvit.figures.frame import PANEL_PIXELS, stage_frame
from dynamicvit.images import CropBox, DecodedImage, display_crop, prepare
from dynamicvit.video import ClipReader, ClipWriter

BUDGET_S = 60.0  # that a visitor waits for a clip
TRIALS = 3  # the first frame is looked at so often to find out how long a frame takes
PROGRESS_EVERY_S = 0.3
EXAMPLE = "video-example"  # the button that asks for the example clip
PAN_FRAMES, PAN_RATE, PAN_PIXELS = 24, 8.0, 320
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

Pixels = NDArray[np.uint8]
Values = list[Any]


def fill(state: AppState, labels: Labels) -> None:
    """Arrange the tab and connect its events."""
    with gr.Row(elem_id="video-choices"):
        # include_audio: without it Gradio would look for the program ffmpeg.
        clip = gr.Video(sources=["upload"], include_audio=True, buttons=[], height=220, elem_id="video-clip")
        labels.add(clip, label="video.clip")
        with gr.Column():
            settings = current_settings()
            intro = gr.Markdown(elem_id="video-intro")
            labels.add(intro, value="video.intro")
            with gr.Row():
                start = labels.add(gr.Button(variant="primary", elem_id="video-start"), value="video.start")
                example = gr.Button(visible=bool(state.examples), elem_id=EXAMPLE)
                labels.add(example, value="video.example")
                stop = labels.add(gr.Button(visible=False, elem_id="video-stop"), value="tabs.stop")
    line = progress_line(elem_id="video-progress")
    shown = gr.Video(
        visible=False, autoplay=True, loop=True, show_label=False, buttons=["download"], elem_id="video-shown"
    )
    labels.add(shown, label="video.shown")

    def show(sent: Payload | None, settings: object, event: gr.EventData) -> Iterator[Values]:
        yield from show_stages(state, sent, settings, is_example=event.target.elem_id == EXAMPLE)

    run = gr.on(
        [start.click, example.click],
        show,
        [clip, settings],
        [line, shown, stop],
        preprocess=False,
        concurrency_limit=1,
        concurrency_id="video",
        **PRIVATE,
    )
    stop.click(_stop, None, [line, stop], cancels=run, queue=False, **PRIVATE)


def show_stages(
    state: AppState, sent: Payload | None, settings: object, *, is_example: bool = False
) -> Iterator[Values]:
    """Yield the values of progress line, clip and stop button while a clip is made of another one.

    Args:
        state: what the visitors share.
        sent: Gradio's description of an uploaded clip.
        settings: of the explorer, as the browser sends them.
        is_example: whether to take the example clip in its place.
    """
    try:
        request = tab_request(settings)
        pans = is_example and bool(state.examples)
        if sent is None and not pans:
            raise VideoError("There is no clip yet: add one first, or use the example clip.")
        with tempfile.TemporaryDirectory() as folder:  # Gradio copies the file when it is given
            stem = Path(folder) / "dynamicvit-stages"
            source = write_pan(state, Path(folder) / "example") if pans else uploaded_file(sent or {}).path
            yield from _values(show_clip(state, source, stem, request))
    except DynamicViTError as error:
        yield [problem(str(error)), gr.skip(), gr.Button(visible=False)]


def _stop() -> Values:
    return [finished("video.stopped"), gr.Button(visible=False)]


def _values(states: Iterator[ClipProgress | ClipResult]) -> Iterator[Values]:
    shown_at = 0.0
    for state in states:
        if isinstance(state, ClipResult):
            yield [describe_result(state), gr.Video(state.path, visible=True), gr.Button(visible=False)]
        elif time.monotonic() - shown_at >= PROGRESS_EVERY_S:
            shown_at = time.monotonic()
            yield [_line(state), gr.skip(), gr.Button(visible=True)]


def _line(state: ClipProgress) -> Payload:
    if not state.total:
        return progress(0, 0, "video.measuring")
    return progress(state.done, state.total, "video.progress")


def describe_result(result: ClipResult) -> Payload:
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


def write_pan(state: AppState, stem: Path) -> Path:
    """Write the example clip, a slow pan over the first example image, and return its path.

    Raises:
        VideoError: OpenCV can write no clips here.
    """
    pixels = state.example(next(iter(state.examples))).image.pixels
    height, width = pixels.shape[:2]
    side = 3 * min(height, width) // 4
    with ClipWriter(stem, PAN_RATE) as writer:
        for step in range(PAN_FRAMES):
            share = step / (PAN_FRAMES - 1)
            top, left = round(share * (height - side)), round(share * (width - side))
            window = np.ascontiguousarray(pixels[top : top + side, left : left + side])
            writer.write(cv2.resize(window, (PAN_PIXELS, PAN_PIXELS), interpolation=cv2.INTER_AREA))
    assert writer.path is not None
    return writer.path


# From frames to a clip -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClipProgress:
    """A clip under way: ``done`` of about ``total`` frames are written."""

    done: int
    total: int


@dataclass(frozen=True)
class ClipResult:
    """A finished clip.

    Attributes:
        path: of the video file.
        frames: number of its frames.
        rate: frames a second.
        source_rate: of the clip that it was made from.
        seconds_per_frame: what a frame took, measured before the plan was made.
        is_cut: whether the clip that it was made from goes on.
    """

    path: Path
    frames: int
    rate: float
    source_rate: float
    seconds_per_frame: float
    is_cut: bool


def show_clip(
    state: AppState, source: Path, stem: Path, request: TabRequest, budget_seconds: float = BUDGET_S
) -> Iterator[ClipProgress | ClipResult]:
    """Look at a clip frame by frame and write what was seen; the result comes last.

    Args:
        state: whose models are used.
        source: the uploaded clip.
        stem: path of the file to write, without its ending.
        request: model, settings, language of the captions, and room for panels.
        budget_seconds: what all of it may take.

    Raises:
        DynamicViTError: the clip cannot be read or written, or model and settings cannot be used.
    """
    look = partial(_panels, state, state.load(request.model), request)
    with ClipReader(source) as reader:
        yield ClipProgress(0, 0)
        seconds_per_frame = _measure(look, _first_frame(reader))
        plan = plan_clip(reader.rate, reader.seconds, seconds_per_frame, budget_seconds)
    with ClipReader(source) as reader, ClipWriter(stem, plan.rate) as writer:
        total = _expected_frames(plan, reader.seconds)
        frames = reader.frames(plan.rate)
        done = 0
        for done, frame in enumerate(itertools.islice(frames, plan.max_frames), 1):
            writer.write(look(frame, (done - 1) / plan.rate))
            yield ClipProgress(done, max(done, total))
        is_cut = next(frames, None) is not None
    if writer.path is None:
        raise VideoError("The clip has no frames that can be read; save it as MP4 or WebM.")
    yield ClipResult(writer.path, done, plan.rate, reader.rate, seconds_per_frame, is_cut)


def _first_frame(reader: ClipReader) -> Pixels:
    frame = next(reader.frames(), None)
    if frame is None:
        raise VideoError("The clip has no frames that can be read; save it as MP4 or WebM.")
    return frame


def _measure(look: partial[Pixels], frame: Pixels) -> float:
    """Return the seconds that looking at a frame takes; the first trials bring the machine up to speed."""
    durations = []
    for _ in range(TRIALS):
        begin = time.perf_counter()
        look(frame, 0.0)
        durations.append(time.perf_counter() - begin)
    return min(durations)


def _expected_frames(plan: ClipPlan, seconds: float | None) -> int:
    return plan.max_frames if seconds is None else min(plan.max_frames, math.ceil(seconds * plan.rate))


def _panels(state: AppState, loaded: LoadedModel, request: TabRequest, frame: Pixels, at_second: float) -> Pixels:
    """Return what is shown of a frame."""
    image = DecodedImage(frame, "video")
    crop, answer, grid = state.run(partial(_look, image, loaded, request.budget))
    words, all_patches = request.words, grid[0] * grid[1]
    captions = [
        words("video.input", count=all_patches),
        *(
            words("video.stage", number=number, kept=len(kept), all=all_patches)
            for number, kept in enumerate(answer.kept_patches, 1)
        ),
    ]
    best = answer.prediction
    label, share = words.class_name(best.label), percent(best.probability)
    headline = words("video.answer", time=f"{at_second:.1f}", label=label, share=share)
    picture = display_crop(image, crop, PANEL_PIXELS)
    columns = 2 if request.is_narrow else len(captions)
    return stage_frame(picture, answer.kept_patches, grid, captions, headline, columns)


def _look(image: DecodedImage, loaded: LoadedModel, budget: Budget) -> tuple[CropBox, FrameAnswer, tuple[int, int]]:
    model_input = prepare(image, loaded.model.config)
    return model_input.crop, look_at_frame(loaded.model, model_input.tensor, budget), model_input.grid
