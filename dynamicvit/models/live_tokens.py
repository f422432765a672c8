"""The tokens between two blocks, and what a stage does to them: drop some, or merge some."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dynamicvit.models.merging import Merge


@dataclass(frozen=True)
class LiveTokens:
    """The tokens between two blocks, and which patches they stand for.

    Attributes:
        tokens: (B, 1 + n, C), class token first.
        patches: (B, n) int64, original patch index of each patch token; of a merged token one of its patches.
        groups: (B, N) int64, for each original patch the position of the token that stands for it; None unless tokens
            are merged.
        sizes: (B, n), number of patches that each token stands for; None while it is 1 for all.
    """

    tokens: Tensor
    patches: Tensor
    groups: Tensor | None = None
    sizes: Tensor | None = None

    @classmethod
    def all_of(cls, tokens: Tensor) -> LiveTokens:
        """Return (B, 1 + N, C) tokens with nothing dropped or merged yet."""
        num_patches = tokens.shape[1] - 1
        return cls(tokens, torch.arange(num_patches, device=tokens.device).expand(len(tokens), num_patches))

    @property
    def patch_sizes(self) -> Tensor:
        """(B, n) number of patches that each token stands for."""
        return torch.ones_like(self.tokens[:, 1:, 0]) if self.sizes is None else self.sizes

    @property
    def key_bias(self) -> Tensor | None:
        """(B, 1 + n) logarithms of the sizes, which make a merged token count as its parts in attention.

        Source: Bolya et al. 2023 (arXiv 2210.09461), section 3, "Tracking Token Size" (proportional attention).
        """
        return None if self.sizes is None else F.pad(self.sizes.log(), (1, 0))

    def keep(self, scores: Tensor, count: int) -> LiveTokens:
        """Return the ``count`` patch tokens with the highest (B, n) scores, best first, behind the class token.

        Where every token stays they keep their order: nothing has to be chosen, and a model that drops nothing then
        computes exactly what the dense model computes.
        """
        if count == self.patches.shape[1]:
            return self
        positions = scores.argsort(dim=1, descending=True)[:, :count]
        index = positions.unsqueeze(-1).expand(-1, -1, self.tokens.shape[-1])
        tokens = torch.cat([self.tokens[:, :1], self.tokens[:, 1:].gather(1, index)], dim=1)
        return replace(self, tokens=tokens, patches=self.patches.gather(1, positions))

    def merge(self, merge: Merge) -> LiveTokens:
        """Return the patch tokens averaged with those that they go together with; the class token stays as it is."""
        groups = merge.groups if self.groups is None else merge.groups.gather(1, self.groups)
        if merge.survivors.shape == self.patches.shape:
            return replace(self, groups=groups)
        averages = merge.average(self.tokens[:, 1:], self.patch_sizes)
        tokens = torch.cat([self.tokens[:, :1], averages], dim=1)
        return LiveTokens(tokens, self.patches.gather(1, merge.survivors), groups, merge.total(self.patch_sizes))
