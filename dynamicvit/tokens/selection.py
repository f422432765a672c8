"""Choosing and gathering tokens: the hard choice of inference and the Gumbel-softmax choice of training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def select_top(scores: Tensor, count: int) -> Tensor:
    """Give the positions of the ``count`` highest scores, highest first.

    When every token is kept the positions come in their present order: nothing has to be chosen, and a model that
    drops nothing then computes exactly what the dense model computes.

    Args:
        scores: (B, n), higher means keep.
        count: tokens to keep, 1 to n.

    Returns:
        (B, count) int64, positions in the current sequence.
    """
    batch, live = scores.shape
    if count == live:
        return torch.arange(live, device=scores.device).expand(batch, live)
    return scores.argsort(dim=1, descending=True)[:, :count]


def gather_tokens(tokens: Tensor, positions: Tensor) -> Tensor:
    """Take the patch tokens at ``positions`` and keep the class token in front.

    Args:
        tokens: (B, 1 + n, C), class token first.
        positions: (B, k) positions among the n patch tokens.

    Returns:
        (B, 1 + k, C).
    """
    patches = tokens[:, 1:]
    index = positions.unsqueeze(-1).expand(-1, -1, tokens.shape[-1])
    return torch.cat([tokens[:, :1], patches.gather(1, index)], dim=1)


def sample_keep_mask(log_probs: Tensor, keep_mask: Tensor, noise: Tensor | None = None) -> Tensor:
    """Draw hard keep decisions that gradients pass through, and never bring a dropped token back.

    Gumbel-softmax at temperature 1 with the straight-through estimator: the forward value is 0 or 1 up to rounding
    (compare it with 0.5), the gradient is that of the soft choice.

    Args:
        log_probs: (B, N, 2) log-probabilities; channel 0 is "keep".
        keep_mask: (B, N) decisions so far, 1 for alive.
        noise: (B, N, 2) Gumbel(0, 1) samples, drawn when not given.

    Returns:
        (B, N) new decisions, multiplied by the old ones.

    Source: Rao et al. 2021, section 3.2, equations 5 to 7.
    """
    if noise is None:
        choice = F.gumbel_softmax(log_probs, tau=1.0, hard=True, dim=-1)
    else:
        soft = (log_probs + noise).softmax(dim=-1)
        hard = torch.zeros_like(soft).scatter_(-1, soft.argmax(dim=-1, keepdim=True), 1.0)
        choice = hard - soft.detach() + soft
    return choice[..., 0] * keep_mask


def hold_share(log_probs: Tensor, keep_mask: Tensor, share: float) -> Tensor:
    """Shift the log-odds of keeping, alike for all tokens of an image, so that it keeps ``share`` of them on average.

    A predictor does not know the keep ratio that a batch is trained for; shifted by this, one predictor serves every
    ratio, and only its ranking is learned: raising the scores of all tokens changes nothing, in the gradient too. This
    goes beyond the paper, which trains one ratio.

    Args:
        log_probs: (B, N, 2) log-probabilities; channel 0 is "keep".
        keep_mask: (B, N) decisions so far; dropped tokens stay dropped and do not count.
        share: of all N tokens, in (0, 1]; where fewer are alive, all of them are (almost) surely kept.

    Returns:
        (B, N, 2) log-probabilities.
    """
    odds = log_probs[..., 0] - log_probs[..., 1]
    alive = keep_mask.detach()
    shift = _solve_shift(odds.detach(), alive, share)
    # The derivative of the solution, by the implicit function theorem; without it the scores would drift upwards,
    # because keeping more tokens always helps.
    probability = (odds.detach() + shift).sigmoid()
    slope = probability * (1.0 - probability) * alive
    weights = slope / slope.sum(dim=1, keepdim=True).clamp_min(1e-9)
    shift = shift - (weights * (odds - odds.detach())).sum(dim=1, keepdim=True)
    return torch.stack([F.logsigmoid(odds + shift), F.logsigmoid(-odds - shift)], dim=-1)


def _solve_shift(odds: Tensor, alive: Tensor, share: float, margin: float = 30.0, steps: int = 30) -> Tensor:
    """Find by bisection the (B, 1) shift with which (B, N) log-odds keep ``share`` of the tokens on average."""
    low, high = -odds.amax(dim=1, keepdim=True) - margin, -odds.amin(dim=1, keepdim=True) + margin
    for _ in range(steps):
        middle = (low + high) / 2
        too_few = ((odds + middle).sigmoid() * alive).mean(dim=1, keepdim=True) < share
        low, high = torch.where(too_few, middle, low), torch.where(too_few, high, middle)
    return (low + high) / 2
