"""A report on one sheet for a slide: the input, what each stage left of it, the two answers and their cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamicvit.analysis.report import Report
from dynamicvit.analysis.results import AnalysisSettings, Classification, StageView
from dynamicvit.figures.canvas import DENSE, DROPPED, INK, KEPT, LINE, QUIET, Canvas
from dynamicvit.figures.captions import ENGLISH, Captions
from dynamicvit.figures.overlay import fade_dropped
from dynamicvit.images import CropBox, DecodedImage, display_crop

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT, PER_INCH = 1920, 1080, 100
MARGIN, GAP = 80, 36
CLASSES = 3
LONGEST_NAME = 25
SETTING_DIGITS = 2


def slide_sheet(image: DecodedImage, crop: CropBox, report: Report, title: str, captions: Captions = ENGLISH) -> Figure:
    """Draw a report for a slide: 1920 x 1080 pixels, on white.

    Args:
        image: the image that was analysed.
        crop: the part of it that the model saw.
        report: the analysis with what made it.
        title: what to call the image.
        captions: the words.
    """
    canvas = Canvas(WIDTH, HEIGHT, PER_INCH, captions.fonts)
    settings = settings_text(report.analysis.settings, captions)
    canvas.text(MARGIN, 98, title, 44, weight="bold")
    canvas.text(MARGIN, 142, f"{report.model.name}, {settings}", 23, QUIET)
    _draw_panels(canvas, image, crop, report, captions)
    canvas.line([(MARGIN, 712), (WIDTH - MARGIN, 712)], LINE, 2)
    _draw_answers(canvas, report, settings, captions)
    _draw_costs(canvas, report, captions)
    canvas.text(MARGIN, 1046, provenance(report), 14.5, QUIET)
    return canvas.figure


def settings_text(settings: AnalysisSettings, captions: Captions = ENGLISH) -> str:
    """Say the keep ratio, the ratios of the stages or the keep mass, and a selector that is not the predictors."""
    numbers = " / ".join(f"{number:.{SETTING_DIGITS}f}" for number in settings.budget.numbers)
    caption = captions.keep_mass if settings.budget.is_adaptive else captions.keep_ratio
    text = caption.format(numbers=numbers)
    return text if settings.selector == "predictor" else f"{text}, {settings.selector} ({settings.seed})"


def provenance(report: Report) -> str:
    """Say which image, weights and library made a report."""
    return (
        f"{report.image.name} (sha256 {report.image.sha256[:16]})   |   "
        f"{report.model.file} (sha256 {report.model.sha256_prefix})   |   dynamicvit {report.library_version}"
    )


def shortened(name: str, longest: int = LONGEST_NAME) -> str:
    """Return a class name that fits."""
    return name if len(name) <= longest else f"{name[: longest - 1].rstrip()}…"


def percent_text(probability: float) -> str:
    """Return a probability in percent with one digit."""
    return f"{probability:.1%}" if probability >= 0.001 else "< 0.1%"


def _draw_panels(canvas: Canvas, image: DecodedImage, crop: CropBox, report: Report, captions: Captions) -> None:
    analysis = report.analysis
    count = len(analysis.stages) + 1
    side = min(413.0, (WIDTH - 2 * MARGIN - GAP * (count - 1)) / count)
    pixels = display_crop(image, crop, round(side))
    canvas.image(pixels, MARGIN, 184, side)
    canvas.text(MARGIN, 184 + side + 36, captions.input.format(count=analysis.num_patches), 24, weight="bold")
    for place, stage in enumerate(analysis.stages, 1):
        x = MARGIN + place * (side + GAP)
        canvas.image(fade_dropped(pixels, stage.kept_patches, analysis.grid), x, 184, side)
        canvas.outline(stage.kept_patches, analysis.grid, x, 184, side, 2)
        _draw_stage_caption(canvas, x, 184 + side, side, stage, analysis.num_patches, captions)


def _draw_stage_caption(
    canvas: Canvas, x: float, y: float, side: float, stage: StageView, num_patches: int, captions: Captions
) -> None:
    kept = len(stage.kept_patches)
    share = kept / num_patches
    detail = captions.stage_detail_fast if stage.has_fast_path else captions.stage_detail
    canvas.text(x, y + 36, captions.of_stage(stage, num_patches), 24, weight="bold")
    canvas.rectangle(x, y + 52, side, 8, "none", hatch="////", edgecolor=DROPPED)
    canvas.rectangle(x, y + 52, side * share, 8, KEPT)
    canvas.text(x, y + 88, detail.format(share=f"{share:.0%}", block=stage.block), 20, QUIET)


def _draw_answers(canvas: Canvas, report: Report, settings: str, captions: Captions) -> None:
    analysis = report.analysis
    sign, verdict, color = ("✓", captions.same, KEPT) if analysis.agrees else ("≠", captions.different, DROPPED)
    canvas.text(MARGIN, 764, f"{sign} {verdict}", 28, color, weight="bold")
    _draw_answer(canvas, MARGIN, captions.dense, analysis.dense, DENSE, captions)
    _draw_answer(canvas, MARGIN + 560, captions.pruned.format(settings=settings), analysis.pruned, KEPT, captions)


def _draw_answer(
    canvas: Canvas, x: float, heading: str, result: Classification, color: str, captions: Captions
) -> None:
    width = 500
    canvas.text(x, 812, heading, 21, QUIET)
    for place, best in enumerate(result.top[:CLASSES]):
        y = 858 + 58 * place
        weight = "normal" if place else "bold"
        canvas.text(x, y, shortened(captions.class_name(best.label)), 23, weight=weight)
        canvas.text(x + width, y, percent_text(best.probability), 23, weight=weight, ha="right")
        canvas.rectangle(x, y + 10, width, 9, LINE)
        canvas.rectangle(x, y + 10, width * best.probability, 9, color)


def _draw_costs(canvas: Canvas, report: Report, captions: Captions) -> None:
    analysis = report.analysis
    x, width = 1240, 600
    dense, pruned = analysis.dense.macs.gmacs, analysis.pruned.macs.gmacs
    canvas.text(x, 764, captions.saved.format(share=f"{analysis.saved_share:.0%}"), 40, KEPT, weight="bold")
    canvas.text(x, 812, captions.cost, 21, QUIET)
    for place, (name, gmacs, color) in enumerate(
        ((captions.dense_short, dense, DENSE), (captions.pruned_short, pruned, KEPT))
    ):
        y, end = 838 + 72 * place, x + 0.8 * width * gmacs / max(dense, pruned)
        canvas.rectangle(x, y, end - x, 46, color)
        canvas.text(x + 14, y + 32, name, 22, "white", weight="bold")
        canvas.text(end + 14, y + 33, f"{gmacs:.3f}", 26, INK, weight="bold")
