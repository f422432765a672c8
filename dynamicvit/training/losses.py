"""The losses of end-to-end sparsification, on the outputs of ``forward_training``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dynamicvit.models.vit import TrainingOutput

Criterion = Literal["soft", "smooth", "hard"]
TokenTerm = Literal["mse", "kl"]

LABEL_SMOOTHING = 0.1


@dataclass(frozen=True)
class LossWeights:
    """How the parts add up; the defaults are the paper's for DeiT-S.

    Source: Rao et al. 2021, section 3.3, equation 16; ``ratio`` is 5 for DeiT-B in the released recipe.
    """

    classification: float = 1.0
    ratio: float = 2.0
    distillation: float = 0.5


@dataclass(frozen=True)
class LossParts:
    """The total and its unweighted parts, all scalars with gradient."""

    total: Tensor
    classification: Tensor
    ratio: Tensor
    logits_kl: Tensor
    tokens: Tensor


def sparsification_loss(
    output: TrainingOutput,
    targets: Tensor,
    teacher_logits: Tensor,
    teacher_tokens: Tensor,
    ratios: Sequence[float],
    *,
    weights: LossWeights | None = None,
    criterion: Criterion = "soft",
    token_term: TokenTerm = "mse",
    batch_ratio: bool = False,
) -> LossParts:
    """Add up classification, keep-ratio and distillation losses.

    Args:
        output: of the student's training forward.
        targets: (B, classes) probabilities for "soft", else (B,) class indices.
        teacher_logits: (B, classes).
        teacher_tokens: the teacher's counterpart of ``output.token_outputs``.
        ratios: target share of all N tokens to keep, for each stage.
        criterion: cross entropy with soft targets, with label smoothing 0.1, or plain.
        token_term: "mse" on features (DeiT) or "kl" on auxiliary logits (LV-ViT).
        batch_ratio: compare the mean over the whole batch with the target, not each image's.

    Source: Rao et al. 2021, section 3.3, equations 12 to 16; reductions as in the released code.
    """
    weights = weights or LossWeights()
    classification = classification_loss(output.logits, targets, criterion)
    ratio = ratio_loss(output.decisions, ratios, batch_ratio=batch_ratio)
    logits_kl = kl_loss(output.logits, teacher_logits)
    tokens = token_loss(output.token_outputs, teacher_tokens, output.decisions[-1], token_term)
    total = (
        weights.classification * classification
        + weights.ratio * ratio / len(output.decisions)
        + weights.distillation * (logits_kl + tokens)
    )
    return LossParts(total, classification, ratio, logits_kl, tokens)


def classification_loss(logits: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
    """Cross entropy of (B, classes) logits; targets as in :func:`sparsification_loss`."""
    smoothing = LABEL_SMOOTHING if criterion == "smooth" else 0.0
    return F.cross_entropy(logits, targets, label_smoothing=smoothing)


def ratio_loss(decisions: Sequence[Tensor], ratios: Sequence[float], *, batch_ratio: bool = False) -> Tensor:
    """Sum over the stages of the squared distance of the kept share from its target.

    Args:
        decisions: for each stage (B, N) keep decisions.
        ratios: target share for each stage.
    """
    dims = (0, 1) if batch_ratio else (1,)
    errors = [(mask.mean(dim=dims) - ratio).square().mean() for mask, ratio in zip(decisions, ratios, strict=True)]
    return torch.stack(errors).sum()


def kl_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the student from the teacher, (B, classes) logits, mean over the batch."""
    return F.kl_div(logits.log_softmax(-1), teacher_logits.log_softmax(-1), reduction="batchmean", log_target=True)


def token_loss(tokens: Tensor, teacher_tokens: Tensor, decision: Tensor, term: TokenTerm) -> Tensor:
    """Distance of the finally kept tokens from the teacher's, all images pooled; 0 when none is kept.

    Args:
        tokens, teacher_tokens: (B, N, C) features or (B, N, classes) logits.
        decision: (B, N) last stage's decisions.
    """
    kept = decision > 0.5
    if not kept.any():
        return tokens.sum() * 0.0
    if term == "kl":
        return kl_loss(tokens[kept], teacher_tokens[kept])
    return F.mse_loss(tokens[kept], teacher_tokens[kept])
