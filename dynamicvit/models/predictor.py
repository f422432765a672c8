"""The prediction modules that decide which tokens matter: the paper's, and one that compares answers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynamicvit.models.readout import TokenReadout

# How much less sure than it is the first answer is taken to be. It leaves more tokens to what else is in the picture.
SOFTNESS = 1.2


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


class FirstAnswer(nn.Module):
    """An early answer for the whole picture: what the token read-out makes of tokens before the first block.

    It has no weights of its own. It is a module so that its cost is seen, which is part of the predictors' cost.
    """

    @torch.no_grad()
    def forward(self, patches: Tensor, readout: TokenReadout) -> Tensor:
        """Answer for (B, n, C) normed patch tokens: (B, classes) logits, without gradient."""
        features = F.relu6(F.linear(patches, readout.features.weight, readout.features.bias)).mean(dim=1)
        return F.linear(features, readout.classifier.weight, readout.classifier.bias)


class AnswerPredictor(nn.Module):
    """Log-probabilities of keeping and dropping each patch token, by whether it says what the picture says.

    The paper's module compares features of a token with features of the picture, and has to learn from photos what
    each class looks like. This one compares their answers: a token is worth the log-probability that it, by itself,
    names the class that a first answer for the whole picture names. Its layer can begin as a last layer that knows
    every class already. Only the likeliest classes of the first answer are compared, so it costs less than the paper's,
    and :class:`FirstAnswer`, once for all stages, the most of what both cost.

    Beyond the paper; local and global information are combined as in Rao et al. 2021, section 3.2, equations 1 to 4.
    """

    def __init__(self, dim: int, num_classes: int, candidates: int) -> None:
        super().__init__()
        self.candidates = min(candidates, num_classes)
        self.local = nn.Linear(dim, num_classes)
        self.own = nn.Linear(dim, 1)

    def forward(self, patches: Tensor, first_answer: Tensor) -> Tensor:
        """Score patch tokens.

        Args:
            patches: (B, n, C) normed, class token excluded.
            first_answer: (B, classes) logits for the whole picture.

        Returns:
            (B, n, 2) log-probabilities; channel 0 is "keep", channel 1 "drop".
        """
        whole, classes = (first_answer.float() / SOFTNESS).topk(self.candidates, dim=-1)
        weight, bias = self.local.weight[classes], self.local.bias[classes]
        local = (patches @ weight.transpose(1, 2)).float() + bias.unsqueeze(1)
        agreement = (local.log_softmax(dim=-1) + whole.log_softmax(dim=-1).unsqueeze(1)).logsumexp(dim=-1)
        odds = agreement + self.own(patches).squeeze(-1).float()
        return torch.stack([F.logsigmoid(odds), F.logsigmoid(-odds)], dim=-1)
