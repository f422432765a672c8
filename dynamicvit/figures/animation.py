"""A report as a short animation: the stages drop their tokens one after the other."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dynamicvit.analysis.results import Analysis
from dynamicvit.figures.canvas import KEPT, LINE, Canvas
from dynamicvit.figures.captions import ENGLISH, Captions
from dynamicvit.figures.overlay import fade_dropped
from dynamicvit.images import CropBox, DecodedImage, display_crop

SIDE = 448
CAPTION = 52  # pixels below the image
HOLD_MS, STEP_MS = 1400, 60
STEPS = 4  # of the fade from one stage to the next


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of an animation and how long it stays.

    Attributes:
        pixels: (SIDE + CAPTION, SIDE, 3) uint8 RGB.
        duration_ms: how long it is shown.
    """

    pixels: NDArray[np.uint8]
    duration_ms: int


def stage_frames(image: DecodedImage, crop: CropBox, analysis: Analysis, captions: Captions = ENGLISH) -> list[Frame]:
    """Draw the input and the stages, with the dropped patches fading from each to the next.

    Args:
        image: the image that was analysed.
        crop: the part of it that the model saw.
        analysis: the result.
        captions: the words.
    """
    pixels = display_crop(image, crop, SIDE)
    images = [pixels] + [fade_dropped(pixels, stage.kept_patches, analysis.grid) for stage in analysis.stages]
    lines = [captions.input.format(count=analysis.num_patches)] + [
        captions.of_stage(stage, analysis.num_patches) for stage in analysis.stages
    ]
    shares = [1.0] + [len(stage.kept_patches) / analysis.num_patches for stage in analysis.stages]
    strips = [_caption(line, share, captions) for line, share in zip(lines, shares, strict=True)]
    frames = [Frame(np.vstack([images[0], strips[0]]), HOLD_MS)]
    for before, after, strip in zip(images, images[1:], strips[1:], strict=False):
        for step in range(1, STEPS):
            frames.append(Frame(np.vstack([_blend(before, after, step / STEPS), strip]), STEP_MS))
        frames.append(Frame(np.vstack([after, strip]), HOLD_MS))
    return frames


def animation_bytes(frames: list[Frame], file_format: str) -> bytes:
    """Return frames as a file that repeats for ever: ``gif`` or ``webp``."""
    images = [Image.fromarray(frame.pixels) for frame in frames]
    if file_format == "gif":
        images = _share_palette(images)
    data = io.BytesIO()
    images[0].save(
        data,
        file_format.upper(),
        save_all=True,
        append_images=images[1:],
        duration=[frame.duration_ms for frame in frames],
        loop=0,
        quality=85,
    )
    return data.getvalue()


def _share_palette(images: list[Image.Image]) -> list[Image.Image]:
    """Bring all frames to one palette, so that what stays does not flicker."""
    both = Image.new("RGB", (images[0].width, 2 * images[0].height))
    both.paste(images[0], (0, 0))
    both.paste(images[-1], (0, images[0].height))
    palette = both.quantize(256)
    return [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]


def _blend(before: NDArray[np.uint8], after: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    return ((1.0 - share) * before + share * after).astype(np.uint8)


def _caption(line: str, share: float, captions: Captions) -> NDArray[np.uint8]:
    """Draw the strip below the image: a line of text and the share of tokens that is left."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    strip = Canvas(SIDE, CAPTION, 100, captions.fonts)
    strip.rectangle(0, 8, SIDE, 5, LINE)
    strip.rectangle(0, 8, SIDE * share, 5, KEPT)
    strip.text(2, 40, line, 19, weight="bold")
    agg = FigureCanvasAgg(strip.figure)
    agg.draw()
    return np.asarray(agg.buffer_rgba())[..., :3].copy()
