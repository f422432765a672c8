"""AdamW with a rate for what is new and one for the backbone, and how the rates go over the run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from dynamicvit.training.objective import Objective


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up from 0, then a cosine, step by step.

    Attributes:
        steps: length of the run.
        warmup: steps of the warm-up.
        frozen: steps for which the backbone's rate is 0.
        peak, floor: highest and last rate, of what is new.
        backbone_factor: the backbone's rate as a multiple.
    """

    steps: int
    warmup: int
    frozen: int
    peak: float
    floor: float
    backbone_factor: float

    def rate(self, step: int) -> float:
        """Give the learning rate of what is new at a step."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.floor + (self.peak - self.floor) * (0.5 + 0.5 * math.cos(math.pi * done))

    def backbone_rate(self, step: int) -> float:
        """Give the backbone's learning rate at a step."""
        return 0.0 if step < self.frozen else self.rate(step) * self.backbone_factor

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set the rates of all groups for a step."""
        for group in optimizer.param_groups:
            group["lr"] = self.rate(step) if group["is_new"] else self.backbone_rate(step)


def build_optimizer(objective: Objective, weight_decay: float) -> torch.optim.AdamW:
    """Give AdamW over what is trained; weight decay on matrices alone, not on 1-d parameters."""
    named = [(name, parameter) for name, parameter in objective.named_parameters() if parameter.requires_grad]
    groups = []
    for is_new in (False, True):
        for is_matrix in (False, True):
            chosen = [
                parameter
                for name, parameter in named
                if any(part in name for part in objective.new_parts) == is_new and (parameter.ndim > 1) == is_matrix
            ]
            if chosen:
                decay = weight_decay if is_matrix else 0.0
                groups.append({"params": chosen, "weight_decay": decay, "is_new": is_new})
    return torch.optim.AdamW(groups, lr=0.0)
