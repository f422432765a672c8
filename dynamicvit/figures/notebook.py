"""An analysis as it shows and saves itself: in a notebook, as a figure, as a file."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING

from PIL import Image

from dynamicvit.analysis.results import Analysis
from dynamicvit.errors import SettingError
from dynamicvit.figures.animation import animation_bytes, stage_frames
from dynamicvit.figures.captions import ENGLISH, Captions
from dynamicvit.figures.overlay import fade_dropped
from dynamicvit.figures.paper import paper_figure
from dynamicvit.figures.saving import data_url, figure_bytes
from dynamicvit.figures.sheet import percent_text, settings_text
from dynamicvit.images import CropBox, DecodedImage, display_crop

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 192  # pixels of each image


def stages_html(image: DecodedImage, crop: CropBox, analysis: Analysis, captions: Captions = ENGLISH) -> str:
    """Return HTML that needs nothing beside it: the images are in it, in JPEG of 10 to 20 kB each.

    Args:
        image: what was analysed.
        crop: the part of it that the model saw.
        analysis: the result.
        captions: the words.
    """
    pixels, count = display_crop(image, crop, SIDE), analysis.num_patches
    shown = [(pixels, captions.input.format(count=count))] + [
        (
            fade_dropped(pixels, stage.kept_patches, analysis.grid),
            captions.of_stage(stage, count),
        )
        for stage in analysis.stages
    ]
    panels = "".join(
        f'<figure style="display:inline-block;margin:0 8px 0 0"><img src="{data_url(Image.fromarray(pixels))}"'
        f' alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'
        for pixels, caption in shown
    )
    settings = settings_text(analysis.settings, captions)
    answers = "".join(
        f"<div>{escape(name)}: <b>{escape(result.top[0].label)}</b> {escape(percent_text(result.top[0].probability))}, "
        f"{result.macs.gmacs:.3f} GMACs</div>"
        for name, result in (
            (captions.dense, analysis.dense),
            (captions.pruned.format(settings=settings), analysis.pruned),
        )
    )
    return f"<div>{panels}</div>{answers}"


def figure_of(analysis: Analysis) -> Figure:
    """Return the figure of a paper's column of an analysis that holds its image.

    Raises:
        SettingError: it holds none.
    """
    return paper_figure(*_seen(analysis), analysis)


def bytes_of(analysis: Analysis, kind: str) -> bytes:
    """Return the bytes of a file: "json", "png", "pdf" or "svg" of the figure, "gif" or "webp" of the stages.

    Raises:
        SettingError: ``kind`` is something else, or the analysis holds no image to draw.
    """
    if kind == "json":
        return json.dumps(analysis.to_dict(), indent=1, ensure_ascii=False).encode()
    if kind in ("png", "pdf", "svg"):
        return figure_bytes(figure_of(analysis), kind)
    if kind in ("gif", "webp"):
        return animation_bytes(stage_frames(*_seen(analysis), analysis), kind)
    raise SettingError(f"An analysis is saved as .json, .png, .pdf, .svg, .gif or .webp, not as .{kind}.")


def _seen(analysis: Analysis) -> tuple[DecodedImage, CropBox]:
    if analysis.seen is None:
        raise SettingError("This analysis holds no image to draw; PreparedImage(model, image).analyze() gives one.")
    return analysis.seen
