"""Which of the kept patches look most like a patch to the model: the cosine of their tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from dynamicvit.analysis.results import StageView


def most_alike(tokens: Tensor, stages: Sequence[StageView], count: int = 3) -> tuple[tuple[int, ...], ...]:
    """Return for each patch the kept patches whose tokens are most like its own, the most alike first.

    A patch that a stage dropped is compared with those that the stage kept; one that stays, with the others that stay.

    Args:
        tokens: (N, C) patch tokens, position and all, as they reach the first stage.
        stages: at least one; where nothing is dropped for good, in ConvNeXt and Swin, the last one decides.
        count: at most so many for each patch; fewer where fewer are kept.
    """
    unit = F.normalize(tokens.float(), dim=1)
    cosines = (unit @ unit.T).fill_diagonal_(-torch.inf)
    stays = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
    compared = torch.zeros_like(cosines, dtype=torch.bool)
    for stage in stages[-1:] if stages[-1].has_fast_path else stages:
        kept = torch.zeros_like(stays)
        kept[list(stage.kept_patches)] = True
        compared[stays & ~kept] = kept
        stays = kept
    compared[stays] = stays
    best = cosines.masked_fill(~compared, -torch.inf).topk(min(count, len(tokens)))
    rows = zip(best.indices.tolist(), best.values.isfinite().tolist(), strict=True)
    return tuple(tuple(patch for patch, is_one in zip(*row, strict=True) if is_one) for row in rows)
