"""An analysis on one sheet: the input, what each stage left of it, the two answers and their cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamicvit.analysis import Analysis, Classification
from dynamicvit.figures.overlay import fade_dropped
from dynamicvit.images import CropBox, DecodedImage, display_crop

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL_PIXELS = 448
PANEL_INCHES = 2.6


def stage_sheet(image: DecodedImage, crop: CropBox, analysis: Analysis) -> Figure:
    """Draw the input and the stages side by side, with both predictions and their GMACs below.

    Args:
        image: the picture that was analysed.
        crop: the part of it that the model saw.
        analysis: the result.
    """
    # matplotlib takes a second to import; pyplot stays out, its figures are shared by all threads.
    from matplotlib.figure import Figure

    panels = len(analysis.stages) + 1
    figure = Figure(figsize=(PANEL_INCHES * panels, PANEL_INCHES + 0.9), layout="constrained", dpi=150)
    picture = display_crop(image, crop, PANEL_PIXELS)
    faded = [fade_dropped(picture, stage.kept_patches, analysis.grid) for stage in analysis.stages]
    captions = [
        f"stage {stage.number}: {len(stage.kept_patches)} of {analysis.num_patches} tokens" for stage in analysis.stages
    ]
    all_axes = figure.subplots(1, panels, squeeze=False)[0]
    for axes, pixels, caption in zip(all_axes, [picture, *faded], ["input", *captions], strict=True):
        axes.imshow(pixels)
        axes.set_title(caption, fontsize=9)
        axes.set_axis_off()
    figure.supxlabel(f"{_answer('dense', analysis.dense)}     {_answer('pruned', analysis.pruned)}", fontsize=9)
    return figure


def _answer(name: str, result: Classification) -> str:
    best = result.top[0]
    return f"{name}: {best.label} {best.probability:.0%}, {result.macs.gmacs:.2f} GMACs"
