"""The words of a figure, in a language and in fonts that can write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from dynamicvit.analysis.results import StageView

DEFAULT_FONT = "DejaVu Sans"  # matplotlib brings it along
CHINESE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "SimHei",
)


@dataclass(frozen=True)
class Captions:
    """What figures say, ``{names}`` to be filled in; English when not given.

    Attributes:
        predictor, stage_name: what a stage is called where predictors choose, and where something else does.
        stage_fast, stage_detail_fast, stage_kept_fast: of models that drop nothing but have a fast path.
        fonts: families to write with; the first one that has a character is used for it.
        classes: what to call classes, by the model's names of them; a class that is not here keeps its name.
    """

    keep_ratio: str = "keep ratio {numbers}"
    keep_mass: str = "adaptive, keep mass {numbers}"
    input: str = "Input: {count} tokens"
    stage: str = "Stage {number}: {kept} of {all} tokens"
    stage_fast: str = "Stage {number}: {kept} of {all} on the slow path"
    stage_detail: str = "{share} kept, after block {block}"
    stage_detail_fast: str = "{share}, after block {block}"
    dense: str = "Dense: all tokens"
    pruned: str = "Pruned: {settings}"
    dense_short: str = "Dense"
    pruned_short: str = "Pruned"
    cost: str = "Multiply-adds of one image (GMACs)"
    saved: str = "{share} saved"
    same: str = "Same answer"
    different: str = "Different answers"
    image: str = "Image"
    tokens: str = "{count} tokens"
    blocks: str = "{depth} blocks, each as tall as the share of tokens on which it computes in full"
    stage_name: str = "Stage {number}"
    predictor: str = "Predictor {number}"
    stage_kept: str = "keeps {kept} of {seen} tokens"
    stage_kept_fast: str = "{kept} of {seen} on the slow path"
    scores: str = "keep scores {low} to {high}"
    answer: str = "Answer"
    fonts: tuple[str, ...] = (DEFAULT_FONT,)
    classes: Mapping[str, str] = field(default_factory=dict)

    def written_with(self, fonts: tuple[str, ...]) -> Self:
        """Return the same words in other fonts."""
        return replace(self, fonts=fonts)

    def of_stage(self, stage: StageView, count: int) -> str:
        """Return how many of so many tokens a stage keeps, or sends over the slow path where there is a fast one."""
        text = self.stage_fast if stage.has_fast_path else self.stage
        return text.format(number=stage.number, kept=len(stage.kept_patches), all=count)

    def class_name(self, name: str) -> str:
        """Return what to call a class."""
        return self.classes.get(name, name)


ENGLISH = Captions()


def chinese_font() -> str | None:
    """Return an installed font that can write Chinese; None when there is none."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return next((name for name in CHINESE_FONTS if name in installed), None)
