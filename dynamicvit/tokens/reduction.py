"""What one stage does to the live tokens: drop some, or merge some."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dynamicvit.errors import SettingError
from dynamicvit.tokens.merging import Merge
from dynamicvit.tokens.schedule import KeepMass
from dynamicvit.tokens.selection import gather_tokens, select_top
from dynamicvit.tokens.selectors import PredictorSelector, SelectionContext, TokenMerger, TokenSelector


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
        """Start with (B, 1 + N, C) tokens, nothing dropped or merged."""
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

    def keep(self, positions: Tensor) -> LiveTokens:
        """Drop all patch tokens but those at (B, K) positions."""
        if positions.shape[1] == self.patches.shape[1]:
            return self
        return replace(self, tokens=gather_tokens(self.tokens, positions), patches=self.patches.gather(1, positions))

    def merge(self, merge: Merge) -> LiveTokens:
        """Average the patch tokens that go together; the class token stays as it is."""
        groups = merge.groups if self.groups is None else merge.groups.gather(1, self.groups)
        if merge.survivors.shape == self.patches.shape:
            return replace(self, groups=groups)
        averages = merge.average(self.tokens[:, 1:], self.patch_sizes)
        tokens = torch.cat([self.tokens[:, :1], averages], dim=1)
        return LiveTokens(tokens, self.patches.gather(1, merge.survivors), groups, merge.total(self.patch_sizes))


def reduce_tokens(
    live: LiveTokens, context: SelectionContext, selector: TokenSelector | TokenMerger, budget: int | KeepMass
) -> tuple[LiveTokens, Tensor]:
    """Bring the live tokens down to a stage's budget.

    Returns:
        The tokens that stay, and (B, n) scores of those that came: what the selector gave, or for merging the share
        that each has in the token that it goes into.

    Raises:
        SettingError: an adaptive budget is asked of anything but the model's own predictors, or for several pictures.
    """
    if isinstance(budget, KeepMass):
        if not isinstance(selector, PredictorSelector):
            raise SettingError("Only the model's own predictors can choose how many tokens to keep; give a keep ratio.")
        scores = selector(context)
        return live.keep(select_top(scores, budget.tokens_kept(scores))), scores
    if isinstance(selector, TokenMerger):
        merge = selector.merge(context, budget)
        after = live.merge(merge)
        return after, live.patch_sizes / after.patch_sizes.gather(1, merge.groups)
    scores = selector(context)
    return live.keep(select_top(scores, budget)), scores
