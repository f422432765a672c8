"""A read-out that averages the remaining patch tokens, for transformers distilled from a pooling network."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class TokenReadout(nn.Module):
    """Class logits from a weighted mean of per-token features; the weights say which places matter.

    With zero weights' parameters it is the plain mean that ends a convolutional network, whose last layers fit into
    ``features`` and ``classifier``.
    """

    def __init__(self, dim: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.importance = nn.Linear(dim, 1)
        self.features = nn.Linear(dim, width)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, patches: Tensor, counts: Tensor | None = None) -> Tensor:
        """Read (B, n, C) patch tokens into (B, classes) logits.

        Args:
            patches: after the last norm.
            counts: (B, n), how many times each token counts: a keep mask, or the number of patches that a merged token
                stands for; 1 for all when not given.
        """
        weights = self.importance(patches).squeeze(-1).float().softmax(dim=-1)
        if counts is not None:
            weights = weights * counts
            weights = weights / weights.sum(dim=-1, keepdim=True).clamp_min(1e-6)
        pooled = weights.to(patches.dtype).unsqueeze(1) @ F.relu6(self.features(patches))
        return self.classifier(pooled.squeeze(1))
