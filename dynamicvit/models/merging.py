"""Merging similar tokens in place of dropping some: who goes together, and the averages.

Source: Bolya et al. 2023, "Token Merging: Your ViT But Faster" (arXiv 2210.09461), section 3; written from the paper.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Merge:
    """Which of n tokens become which of K tokens; every token goes into exactly one.

    Attributes:
        survivors: (B, K) int64, for each new token the position of one of the tokens that it is made of.
        groups: (B, n) int64, for each old token the position of the new one that it goes into.
    """

    survivors: Tensor
    groups: Tensor

    def then(self, later: Merge) -> Merge:
        """Return the one merge that does this and then a later one."""
        return Merge(self.survivors.gather(1, later.survivors), later.groups.gather(1, self.groups))

    def total(self, sizes: Tensor) -> Tensor:
        """Add up (B, n) numbers of the tokens that go together: (B, K)."""
        return torch.zeros_like(sizes[:, : self.survivors.shape[1]]).scatter_add(1, self.groups, sizes)

    def average(self, values: Tensor, sizes: Tensor) -> Tensor:
        """Average (B, n, C) values of the tokens that go together, weighted by their (B, n) sizes: (B, K, C)."""
        weighted = values * sizes.unsqueeze(-1)
        index = self.groups.unsqueeze(-1).expand_as(values)
        total = torch.zeros_like(values[:, : self.survivors.shape[1]]).scatter_add(1, index, weighted)
        return total / self.total(sizes).unsqueeze(-1)


def merge_similar(keys: Tensor, sizes: Tensor, count: int) -> Merge:
    """Merge the most similar of n tokens until ``count`` are left.

    One round of matching removes half of the tokens at most; where more must go, rounds follow each other, each on the
    averaged keys of the round before. The paper merges few tokens in every block and never needs a second round.

    Args:
        keys: (B, n, d), what the tokens are compared by.
        sizes: (B, n), number of patches that each token stands for.
        count: tokens to be left, 1 to n.
    """
    positions = torch.arange(keys.shape[1], device=keys.device).expand(keys.shape[:2])
    merge = Merge(positions, positions)
    for _, left in matching_rounds(keys.shape[1], count):
        step = match(keys, left)
        keys, sizes, merge = step.average(keys, sizes), step.total(sizes), merge.then(step)
    return merge


def matching_rounds(live: int, count: int) -> Iterator[tuple[int, int]]:
    """Return, for each round that takes ``live`` tokens down to ``count``, the number of tokens before and after it."""
    while live > count:
        left = max(count, live - live // 2)
        yield live, left
        live = left


def match(keys: Tensor, count: int) -> Merge:
    """One round of bipartite soft matching by the cosine similarity of keys.

    The tokens are dealt alternately into two sets. Each of the first set is paired with the most similar one of the
    second; the most similar pairs are merged. What remains of the first set stands before the second in the result.

    Args:
        keys: (B, n, d), n at least 2.
        count: tokens to be left, at least n - n // 2.

    Source: Bolya et al. 2023, section 3, "Bipartite Soft Matching".
    """
    batch, live = keys.shape[:2]
    unit = F.normalize(keys, dim=-1)
    similarity, partner = (unit[:, 0::2] @ unit[:, 1::2].transpose(1, 2)).max(dim=-1)
    merged = live - count
    alone = similarity.argsort(dim=1, descending=True)[:, merged:].sort(dim=1).values
    num_alone = alone.shape[1]
    places = torch.arange(live, device=keys.device).expand(batch, live)
    groups = torch.empty_like(places)
    groups[:, 0::2] = (num_alone + partner).scatter(1, alone, places[:, :num_alone])
    groups[:, 1::2] = places[:, num_alone:count]
    return Merge(torch.cat([places[:, 0::2].gather(1, alone), places[:, 1::2]], dim=1), groups)
