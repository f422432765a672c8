"""AdamW with the full rate for some parameters and a share of it for the others, and the rates over the run."""

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
        frozen: steps for which the other parameters' rate is 0.
        peak, floor: highest and last of the full rate.
        backbone_factor: the other parameters' rate, as a multiple.
    """

    steps: int
    warmup: int
    frozen: int
    peak: float
    floor: float
    backbone_factor: float

    def rate(self, step: int) -> float:
        """Return the full rate at a step."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.floor + (self.peak - self.floor) * (0.5 + 0.5 * math.cos(math.pi * done))

    def backbone_rate(self, step: int) -> float:
        """Return the other parameters' rate at a step."""
        return 0.0 if step < self.frozen else self.rate(step) * self.backbone_factor

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set the rates of all groups for a step."""
        for group in optimizer.param_groups:
            group["lr"] = self.rate(step) if group["is_fast"] else self.backbone_rate(step)


def build_optimizer(objective: Objective, weight_decay: float, beta2: float = 0.999) -> torch.optim.AdamW:
    """Return AdamW over what is trained; weight decay on matrices alone, not on 1-d parameters."""
    named = [(name, parameter) for name, parameter in objective.named_parameters() if parameter.requires_grad]
    groups = []
    for is_fast in (False, True):
        for is_matrix in (False, True):
            chosen = [
                parameter
                for name, parameter in named
                if any(part in name for part in objective.fast_parts) == is_fast and (parameter.ndim > 1) == is_matrix
            ]
            if chosen:
                decay = weight_decay if is_matrix else 0.0
                groups.append({"params": chosen, "weight_decay": decay, "is_fast": is_fast})
    on_cuda = all(parameter.is_cuda for _, parameter in named)
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, beta2), fused=on_cuda or None)
