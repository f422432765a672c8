"""How training chooses tokens where it goes beyond the paper: a ratio that is held exactly, and less noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dynamicvit.models.vit import gumbel_choice


@dataclass(frozen=True)
class TrainingChoice:
    """The decisions of one step; call it as the model calls its ``choose``.

    Attributes:
        noise: for each stage (B, N, 2) Gumbel(0, 1) samples; drawn when not given.
        ratios: for each stage the share of tokens to keep on average, whatever the predictors' level; None leaves the
            level to the ratio loss, as in the paper.
        noise_scale: how much the noise counts against the scores; 1 is the paper's, towards 0 the choice becomes that
            of inference, the highest scores.
    """

    noise: Sequence[Tensor] | None = None
    ratios: Sequence[float] | None = None
    noise_scale: float = 1.0

    def __call__(self, stage: int, log_probs: Tensor, keep_mask: Tensor) -> Tensor:
        """Return the stage's (B, N) decisions."""
        log_probs = log_probs / self.noise_scale
        if self.ratios is not None:
            log_probs = shift_to_ratio(log_probs, keep_mask, self.ratios[stage])
        return gumbel_choice(stage, log_probs, keep_mask, None if self.noise is None else self.noise[stage])


def shift_to_ratio(log_probs: Tensor, keep_mask: Tensor, ratio: float) -> Tensor:
    """Return (B, N, 2) log-probabilities whose log-odds are shifted, alike for an image, to keep ``ratio`` on average.

    A predictor does not know the keep ratio that a batch is trained for; shifted by this, one predictor serves every
    ratio, and only its ranking is learned: raising the scores of all tokens changes nothing, in the gradient too. This
    goes beyond the paper, which trains one ratio.

    Args:
        log_probs: (B, N, 2) log-probabilities; channel 0 is "keep".
        keep_mask: (B, N) decisions so far; dropped tokens stay dropped and do not count.
        ratio: of all N tokens, in (0, 1]; where fewer are alive, all of them are (almost) surely kept.
    """
    odds = log_probs[..., 0] - log_probs[..., 1]
    alive = keep_mask.detach()
    shift = _solve_shift(odds.detach(), alive, ratio)
    # The derivative of the solution, by the implicit function theorem; without it the scores would drift upwards,
    # because keeping more tokens always helps.
    probability = (odds.detach() + shift).sigmoid()
    slope = probability * (1.0 - probability) * alive
    weights = slope / slope.sum(dim=1, keepdim=True).clamp_min(1e-9)
    shift = shift - (weights * (odds - odds.detach())).sum(dim=1, keepdim=True)
    return torch.stack([F.logsigmoid(odds + shift), F.logsigmoid(-odds - shift)], dim=-1)


def _solve_shift(odds: Tensor, alive: Tensor, ratio: float, margin: float = 30.0, steps: int = 30) -> Tensor:
    """Return by bisection the (B, 1) shift with which (B, N) log-odds keep ``ratio`` of the tokens on average."""
    low, high = -odds.amax(dim=1, keepdim=True) - margin, -odds.amin(dim=1, keepdim=True) + margin
    for _ in range(steps):
        middle = (low + high) / 2
        too_few = ((odds + middle).sigmoid() * alive).mean(dim=1, keepdim=True) < ratio
        low, high = torch.where(too_few, middle, low), torch.where(too_few, high, middle)
    return (low + high) / 2
