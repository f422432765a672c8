"""One image at every keep ratio: down to which one the prediction holds, and what that saves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from dynamicvit.analysis.results import AnalysisSettings, Begun, Classification, Prediction, analyze
from dynamicvit.budget import as_budget
from dynamicvit.models.base import DynamicModel

SWEPT_RATIOS = tuple(percent / 100 for percent in range(100, 5, -5))
"""Base keep ratios from 1.00 down to 0.10."""


@dataclass(frozen=True)
class SweepPoint:
    """What the pruned model makes of an image at one base keep ratio.

    Attributes:
        keep_ratio: base ratio in (0, 1].
        answer: best class of the pruned model.
        confidence: probability in [0, 1] that the pruned model gives to the dense model's best class.
        agrees: whether both models have the same best class.
        macs: multiply-adds of the pruned model, predictors included.
        saved_share: share of the dense model's multiply-adds that are saved; negative when the predictors cost more.
    """

    keep_ratio: float
    answer: Prediction
    confidence: float
    agrees: bool
    macs: int
    saved_share: float


@dataclass(frozen=True)
class StableRange:
    """How far the keep ratio can be lowered before the pruned model leaves the dense model's answer.

    Attributes:
        last: the lowest point that agrees together with all points above it; None when not even the first one does.
        flip: the point that follows, the first to disagree; None when all agree.
        returns: points below the flip that agree again, highest ratio first.
    """

    last: SweepPoint | None
    flip: SweepPoint | None
    returns: tuple[SweepPoint, ...]

    @property
    def drops_tokens(self) -> bool:
        """Whether the prediction holds at any ratio below 1, where tokens are dropped at all."""
        return self.last is not None and self.last.keep_ratio < 1.0


def sweep_point(
    model: DynamicModel, images: Tensor | Begun, keep_ratio: float, dense: Classification, selector: str | None = None
) -> SweepPoint:
    """Classify a prepared image at one base keep ratio.

    Args:
        model: in evaluation mode, with pruning stages.
        images: (1, 3, H, W), normalised, or what :func:`~dynamicvit.analysis.results.begin` gave for it.
        keep_ratio: in (0, 1].
        dense: the dense result for the same image.
        selector: name of the token selector; the model's first when not given.

    Raises:
        ImageError: ``images`` is not one image of a size that the model can take.
        SettingError: the keep ratio is not valid, or the model has no pruning stages.
    """
    # All classes: the dense model's best one can be anywhere in the pruned model's ranking.
    settings = AnalysisSettings(as_budget(keep_ratio), selector or model.selectors[0])
    analysis = analyze(model, images, settings, dense=dense, top=model.config.num_classes)
    pruned = analysis.pruned
    confidence = next(p.probability for p in pruned.top if p.index == dense.top[0].index)
    return SweepPoint(keep_ratio, pruned.top[0], confidence, analysis.agrees, pruned.macs.total, analysis.saved_share)


def find_stable_range(points: Iterable[SweepPoint]) -> StableRange:
    """Find down to which keep ratio the prediction holds, among points in any order."""
    falling = sorted(points, key=lambda point: -point.keep_ratio)
    flip = next((place for place, point in enumerate(falling) if not point.agrees), len(falling))
    return StableRange(
        last=falling[flip - 1] if flip else None,
        flip=falling[flip] if flip < len(falling) else None,
        returns=tuple(point for point in falling[flip:] if point.agrees),
    )
