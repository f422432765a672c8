"""The prediction module that decides which tokens matter."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TokenPredictor(nn.Module):
    """Log-probabilities of keeping and dropping each patch token, from its own and the picture's features.

    Source: Rao et al. 2021, section 3.2, equations 1 to 4.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        # eps 1e-5 (PyTorch's default) in every family, also where the backbone's norms have 1e-6.
        self.in_conv = nn.Sequential(nn.LayerNorm(dim, eps=1e-5), nn.Linear(dim, dim), nn.GELU())
        self.out_conv = nn.Sequential(
            nn.Linear(dim, dim // 2),
            nn.GELU(),
            nn.Linear(dim // 2, dim // 4),
            nn.GELU(),
            nn.Linear(dim // 4, 2),
            nn.LogSoftmax(dim=-1),
        )

    def forward(self, patches: Tensor, keep_mask: Tensor | None = None) -> Tensor:
        """Score patch tokens.

        Args:
            patches: (B, n, C), class token excluded.
            keep_mask: (B, n), 1 for the tokens that the global feature averages; all of them when not given. With
                none alive the global feature is 0.

        Returns:
            (B, n, 2) log-probabilities; channel 0 is "keep", channel 1 "drop".
        """
        local, whole = self.in_conv(patches).chunk(2, dim=-1)
        if keep_mask is None:
            pooled = whole.mean(dim=1, keepdim=True)
        else:
            mask = keep_mask.unsqueeze(-1)
            # Any count is 0 or about 1 and more, so the floor changes nothing but 0/0.
            pooled = (whole * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp_min(1e-3)
        return self.out_conv(torch.cat([local, pooled.expand_as(local)], dim=-1))
