"""A clip -> a clip of its frames beside what each stage keeps of them, in the time that the machine needs."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dynamicvit.analysis.clips import ClipPlan, FrameAnswer, look_at_frame, plan_clip
from dynamicvit.errors import VideoError
from dynamicvit.figures.frame import PANEL_PIXELS, stage_frame
from dynamicvit.images import CropBox, DecodedImage, display_crop, prepare
from dynamicvit.interface.current_settings.component import Asked
from dynamicvit.interface.handlers import LoadedModel, Workbench
from dynamicvit.interface.wording import percent
from dynamicvit.video import ClipReader, ClipWriter

BUDGET_S = 60.0  # that a visitor waits for a clip
TRIALS = 3  # the first frame is looked at so often to find out how long a frame takes

Pixels = NDArray[np.uint8]


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
    bench: Workbench, source: Path, stem: Path, asked: Asked, budget_seconds: float = BUDGET_S
) -> Iterator[ClipProgress | ClipResult]:
    """Look at a clip frame by frame and write what was seen; the result comes last.

    Args:
        bench: whose models are used.
        source: the uploaded clip.
        stem: path of the file to write, without its ending.
        asked: model, settings, language of the captions, and room for panels.
        budget_seconds: what all of it may take.

    Raises:
        DynamicViTError: the clip cannot be read or written, or model and settings cannot be used.
    """
    look = partial(_panels, bench, bench.load(asked.model), asked)
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
    """Give the seconds that looking at a frame takes; the first trials bring the machine up to speed."""
    durations = []
    for _ in range(TRIALS):
        begin = time.perf_counter()
        look(frame, 0.0)
        durations.append(time.perf_counter() - begin)
    return min(durations)


def _expected_frames(plan: ClipPlan, seconds: float | None) -> int:
    return plan.max_frames if seconds is None else min(plan.max_frames, math.ceil(seconds * plan.rate))


def _panels(bench: Workbench, loaded: LoadedModel, asked: Asked, frame: Pixels, at_second: float) -> Pixels:
    """Give what is shown of a frame."""
    image = DecodedImage(frame, "video")
    crop, answer, grid = bench.run(partial(_look, image, loaded, asked))
    words, all_patches = asked.words, grid[0] * grid[1]
    captions = [
        words("video.input", count=all_patches),
        *(
            words("video.stage", number=number, kept=len(kept), all=all_patches)
            for number, kept in enumerate(answer.kept_patches, 1)
        ),
    ]
    best = answer.prediction
    headline = words("video.answer", time=f"{at_second:.1f}", label=best.label, share=percent(best.probability))
    picture = display_crop(image, crop, PANEL_PIXELS)
    return stage_frame(picture, answer.kept_patches, grid, captions, headline, 2 if asked.is_narrow else len(captions))


def _look(image: DecodedImage, loaded: LoadedModel, asked: Asked) -> tuple[CropBox, FrameAnswer, tuple[int, int]]:
    model_input = prepare(image, loaded.model.config)
    return model_input.crop, look_at_frame(loaded.model, model_input.tensor, asked.settings), model_input.grid
