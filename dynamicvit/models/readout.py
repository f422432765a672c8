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

    def forward(self, patches: Tensor, keep_mask: Tensor | None = None) -> Tensor:
        """Read (B, n, C) patch tokens, of which ``keep_mask`` (B, n) takes part, into (B, classes) logits."""
        weights = self.importance(patches).squeeze(-1).float().softmax(dim=-1)
        if keep_mask is not None:
            weights = weights * keep_mask
            weights = weights / weights.sum(dim=-1, keepdim=True).clamp_min(1e-6)
        pooled = weights.to(patches.dtype).unsqueeze(1) @ F.relu6(self.features(patches))
        return self.classifier(pooled.squeeze(1))
