"""Choosing and gathering tokens: the hard choice of inference and the Gumbel-softmax choice of training."""

from __future__ import annotations

from collections.abc import Sequence

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


def drop_stages(kept_patches: Sequence[Tensor], num_patches: int) -> Tensor:
    """Say for each patch which stage dropped it.

    Args:
        kept_patches: for each stage (B, K_s), original patch indices kept by it.
        num_patches: initial number of patches N.

    Returns:
        (B, N) int64: 0 for a patch that the first stage dropped, 1 for the second, ..., S for one kept to the end.
    """
    batch = kept_patches[0].shape[0]
    stage = torch.zeros(batch, num_patches, dtype=torch.int64, device=kept_patches[0].device)
    for kept in kept_patches:
        stage.scatter_add_(1, kept, torch.ones_like(kept))
    return stage
