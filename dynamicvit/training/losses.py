"""The losses of end-to-end sparsification, on the outputs of ``forward_training``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dynamicvit.models.base import TrainingOutput
from dynamicvit.training.objective import Average, alone

Criterion = Literal["soft", "smooth", "hard"]
TokenTerm = Literal["mse", "kl", "mse_all"]

LABEL_SMOOTHING = 0.1


@dataclass(frozen=True)
class LossWeights:
    """How the parts add up; the defaults are the paper's for DeiT-S.

    Source: Rao et al. 2021, section 3.3, equation 16; in the released recipes ``ratio`` is 5 for DeiT-B and 10 for the
    hierarchical models.
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
    targets: Tensor | None,
    teacher_logits: Tensor | None,
    teacher_tokens: Tensor | None,
    ratios: Sequence[float],
    *,
    weights: LossWeights | None = None,
    criterion: Criterion = "soft",
    token_term: TokenTerm = "mse",
    batch_ratio: bool = False,
    average: Average = alone,
) -> LossParts:
    """Add up classification, keep-ratio and distillation losses.

    Args:
        output: of the student's training forward.
        targets: (B, classes) probabilities for "soft", else (B,) class indices; None leaves the term out.
        teacher_logits: (B, classes); None leaves the term out.
        teacher_tokens: the teacher's counterpart of ``output.token_outputs``; None leaves the term out.
        ratios: target share of all N tokens to keep, for each stage.
        criterion: cross entropy with soft targets, with label smoothing 0.1, or plain.
        token_term: "mse" on features (DeiT) or "kl" on auxiliary logits (LV-ViT) of the tokens that are kept; "mse_all"
            on the features of all positions (ConvNeXt, Swin).
        batch_ratio: compare the mean over the whole batch with the target, not each image's.
        average: mean over all processes; the mean of their gradients is then that of the loss of the whole batch.

    Source: Rao et al. 2021, section 3.3, equations 12 to 16; reductions as in the released code.
    """
    weights = weights or LossWeights()
    classification = logits_kl = tokens = output.logits.sum() * 0.0
    if targets is not None:
        classification = classification_loss(output.logits, targets, criterion)
    ratio = ratio_loss(output.decisions, ratios, batch_ratio=batch_ratio, average=average)
    if teacher_logits is not None:
        logits_kl = kl_loss(output.logits, teacher_logits)
    if teacher_tokens is not None:
        tokens = token_loss(output.token_outputs, teacher_tokens, output.decisions[-1], token_term, average)
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


def ratio_loss(
    decisions: Sequence[Tensor], ratios: Sequence[float], *, batch_ratio: bool = False, average: Average = alone
) -> Tensor:
    """Sum over the stages of the squared distance of the kept share from its target.

    Args:
        decisions: for each stage (B, N) keep decisions.
        ratios: target share for each stage.
        batch_ratio, average: as in :func:`sparsification_loss`.
    """
    errors = []
    for mask, ratio in zip(decisions, ratios, strict=True):
        share = mask.mean(dim=1)
        if batch_ratio:
            own = share.mean()
            # The value is that of all processes, the gradient this one's share of it.
            share = own + (average(own.detach()) - own.detach())
        errors.append((share - ratio).square().mean())
    return torch.stack(errors).sum()


def kl_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the student from the teacher, (B, classes) logits, mean over the batch."""
    own, wanted = logits.float().log_softmax(-1), teacher_logits.float().log_softmax(-1)
    return F.kl_div(own, wanted, reduction="batchmean", log_target=True)


def token_loss(
    tokens: Tensor, teacher_tokens: Tensor, decision: Tensor, term: TokenTerm, average: Average = alone
) -> Tensor:
    """Distance of the finally kept tokens from the teacher's, all images pooled; 0 when none is kept.

    Args:
        tokens, teacher_tokens: (B, N, C) features or (B, N, classes) logits.
        decision: (B, N) last stage's decisions; of no effect for "mse_all", whose features may be of another map.
        average: as in :func:`sparsification_loss`.
    """
    kept = torch.ones_like(tokens[..., 0], dtype=torch.bool) if term == "mse_all" else decision > 0.5
    if term == "kl":
        student, teacher = tokens[kept].log_softmax(-1), teacher_tokens[kept].log_softmax(-1)
        errors = F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=-1)
    else:
        errors = F.mse_loss(tokens[kept], teacher_tokens[kept], reduction="none").mean(dim=-1)
    return mean_of_kept(errors, average)


def mean_of_kept(errors: Tensor, average: Average = alone) -> Tensor:
    """Mean of the (n,) errors of the kept tokens over all processes; 0 when none of them keeps any.

    A process's sum is divided by the mean number over the processes, so that averaging the processes' gradients
    weighs every token alike.
    """
    count = average(errors.new_tensor(float(len(errors))))
    return errors.sum() / count.clamp_min(1e-6)


def evidence_loss(keep_scores: Sequence[Tensor], decisions: Sequence[Tensor], evidence: Sequence[Tensor]) -> Tensor:
    """How far the predictors' scores are from each token's evidence, mean over the stages.

    Beyond the paper: the teacher says of every place how well it alone names what the whole picture shows, which is a
    direct target for the ranking of tokens. Both become a distribution over the tokens that reached the stage, and the
    divergence of the two counts: the best tokens weigh most, and the level of the scores stays free. A stage that
    fewer than two tokens reached has no ranking and counts as 0.

    Args:
        keep_scores: for each stage (B, N) log-odds of keeping.
        decisions: for each stage (B, N) what it kept, 1 or 0 up to rounding.
        evidence: for each stage (B, N), on the scale of log-probabilities, higher is better.

    Source: the listwise loss of Cao et al. 2007 (ListNet).
    """
    reached = torch.ones_like(evidence[0], dtype=torch.bool)
    losses = []
    for scores, decision, target in zip(keep_scores, decisions, evidence, strict=True):
        losses.append((_divergence(scores, target, reached) * (reached.sum(dim=1) >= 2)).mean())
        reached = decision > 0.5
    return torch.stack(losses).mean()


def _divergence(scores: Tensor, evidence: Tensor, reached: Tensor) -> Tensor:
    """Divergence of the softmax of (B, N) scores from that of the evidence, over the places of the mask: (B,)."""
    log_scores = scores.masked_fill(~reached, -1e4).log_softmax(dim=1)
    log_evidence = evidence.masked_fill(~reached, -1e4).log_softmax(dim=1)
    return F.kl_div(log_scores, log_evidence, reduction="none", log_target=True).sum(dim=1)
