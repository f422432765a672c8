"""A clip under one setting: which of its frames a machine has time for, and what the model makes of a frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynamicvit.analysis.results import Prediction
from dynamicvit.models.base import DynamicModel, KeepRatio
from dynamicvit.models.selectors import create_selector

MIN_RATE, MAX_RATE = 4.0, 12.0  # frames a second: below, movement falls apart; above, it costs more than it shows
MAX_FRAMES = 300


@dataclass(frozen=True)
class ClipPlan:
    """Which frames of a clip are looked at.

    Attributes:
        rate: frames a second.
        max_frames: where the clip is cut, if it has more.
    """

    rate: float
    max_frames: int

    @property
    def seconds(self) -> float:
        """Length of what can be shown."""
        return self.max_frames / self.rate


@dataclass(frozen=True)
class FrameAnswer:
    """What the pruned model makes of a frame.

    Attributes:
        kept_patches: of each stage, original indices.
        prediction: its first answer.
    """

    kept_patches: tuple[tuple[int, ...], ...]
    prediction: Prediction


def plan_clip(rate: float, seconds: float | None, seconds_per_frame: float, budget_seconds: float) -> ClipPlan:
    """Choose frames that can be looked at within a budget: fewer a second first, and only then a shorter clip.

    Args:
        rate: of the clip, frames a second.
        seconds: its length; None when unknown, which is taken as too long.
        seconds_per_frame: what looking at a frame takes here, as measured.
        budget_seconds: what all of it may take.
    """
    affordable = max(1, min(MAX_FRAMES, int(budget_seconds / seconds_per_frame)))
    wanted = affordable / seconds if seconds else MIN_RATE
    return ClipPlan(min(rate, MAX_RATE, max(MIN_RATE, wanted)), affordable)


@torch.inference_mode()
def look_at_frame(model: DynamicModel, images: Tensor, keep_ratio: KeepRatio) -> FrameAnswer:
    """Return what the pruned model makes of a prepared frame, (1, 3, H, W), by its own selector.

    Raises:
        SettingError: the keep ratio is not valid for the model, or it has no classifier.
        CheckpointError: the model's numbers are not finite.
    """
    model.check_classifier()
    output = model.forward_stages(images.to(model.device), keep_ratio, create_selector(model.selectors[0])).checked()
    probabilities = output.logits[0].softmax(dim=0)
    best = int(probabilities.argmax())
    prediction = Prediction(best, model.class_names[best], float(probabilities[best]))
    return FrameAnswer(tuple(tuple(stage.kept_patches[0].tolist()) for stage in output.stages), prediction)
