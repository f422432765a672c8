"""The paper's objective: end-to-end sparsification of a dense model, with that model as its teacher.

Source: Rao et al. 2021, section 3.3, equations 12 to 16; reductions as in the released code.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dynamicvit.budget import BaseRatio
from dynamicvit.errors import SettingError
from dynamicvit.models.base import TrainingOutput
from dynamicvit.models.vit import DynamicVisionTransformer
from dynamicvit.training.distill import Distillation
from dynamicvit.training.objective import (
    Average,
    Batch,
    Loss,
    Objective,
    Teacher,
    TeacherView,
    alone,
    embed,
    kl_loss,
)
from dynamicvit.training.start import create_student, load_start, read_start
from dynamicvit.training.teacher import ATTENDED, AttendedTeacher

TokenTerm = Literal["mse", "kl", "mse_all"]

DENSE = "dense"
FIXED = ("cls_token", "dist_token", "reg_token", "pos_embed")


@dataclass(frozen=True)
class LossWeights:
    """How the parts add up; the defaults are the paper's for DeiT-S.

    In the released recipes ``ratio`` is 5 for DeiT-B and 10 for the hierarchical models.
    """

    classification: float = 1.0
    ratio: float = 2.0
    distillation: float = 0.5


class DenseTeacher(Teacher):
    """The dense model that the student starts from; its logits leave out an auxiliary head, as the student's do."""

    def __init__(self, model: DynamicVisionTransformer) -> None:
        super().__init__()
        self.model = model.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, images: Tensor, features: Tensor | None) -> TeacherView:
        """Return logits and token outputs for (B, 3, H, W) images."""
        tokens = self.model.transform(embed(self.model, images, features))
        logits, tokens = self.model.training_outputs(tokens)
        return TeacherView(logits, tokens=tokens)


class Sparsification(Objective):
    """Classification, distillation and keep-ratio losses on a model whose predictors are trained with its backbone.

    The tokens in front and the position embedding stay as they are, as in the released recipe.

    Args:
        student: starts from the dense weights.
        token_term: None takes "kl" where the student has an auxiliary head, else "mse".
        batch_ratio: hold the whole batch, not each image, to the keep ratio.
        has_new_head: its head is not the teacher's; then no logits are distilled, and the head gets the full rate.
        dense: for the steps without a keep ratio, which keep the dense answer where its teacher has it; beyond the
            paper.

    Raises:
        SettingError: the student has no pruning stages, or an auxiliary head that nothing would teach.
    """

    def __init__(
        self,
        student: DynamicVisionTransformer,
        weights: LossWeights | None = None,
        *,
        token_term: TokenTerm | None = None,
        batch_ratio: bool = False,
        has_new_head: bool = False,
        dense: Distillation | None = None,
    ) -> None:
        super().__init__()
        if not student.config.num_stages:
            raise SettingError("Sparsification needs a model with pruning stages; choose one named dynamicvit_...")
        if has_new_head and student.config.has_aux_head:
            raise SettingError(
                "An auxiliary head learns from its teacher alone; start from dense LV-ViT weights for these classes."
            )
        self.student = student
        self.weights = weights or LossWeights()
        self.token_term: TokenTerm = token_term or ("kl" if student.config.has_aux_head else "mse")
        self.batch_ratio = batch_ratio
        self.has_new_head = has_new_head
        self.dense = dense
        self.fast_parts = ("score_predictor", "student.head") if has_new_head else ("score_predictor",)
        for name, parameter in student.named_parameters():
            if name in FIXED:
                parameter.requires_grad_(False)

    def check(self, *, has_labels: bool) -> None:
        """Raise a SettingError for a new head without labels."""
        if self.has_new_head and not has_labels:
            raise SettingError("A new head learns from labels alone; give labels, or leave --classes out.")

    def forward(self, batch: Batch) -> Loss:
        """Return the loss; without targets the attended teacher classifies, and without it nobody does."""
        if batch.keep_ratio is None:
            if self.dense is None:
                raise SettingError("Sparsification needs a keep ratio.")
            return self.dense(batch)
        student, view = self.student, batch.views[DENSE]
        ratios = BaseRatio(batch.keep_ratio).ratios(student.config.schedule)
        output = student.train_tokens(embed(student, batch.images, batch.features), batch.choose)
        total, parts = sparsification_loss(
            output,
            batch.targets,
            None if self.has_new_head else view.logits,
            view.tokens,
            ratios,
            weights=self.weights,
            token_term=self.token_term,
            batch_ratio=self.batch_ratio,
            average=batch.average,
        )
        if batch.targets is None and ATTENDED in batch.views:
            parts["classification"] = kl_loss(output.logits, batch.views[ATTENDED].logits)
            total = total + self.weights.classification * parts["classification"]
        return Loss(total, parts, [mask.mean() for mask in output.decisions])


def sparsification_loss(
    output: TrainingOutput,
    targets: Tensor | None,
    teacher_logits: Tensor | None,
    teacher_tokens: Tensor | None,
    ratios: Sequence[float],
    *,
    weights: LossWeights | None = None,
    token_term: TokenTerm = "mse",
    batch_ratio: bool = False,
    average: Average = alone,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the sum of classification, keep-ratio and distillation losses, and these by name, unweighted.

    Args:
        output: of the student's training forward.
        targets: (B, classes) probabilities; None leaves the term out.
        teacher_logits: (B, classes); None leaves the term out.
        teacher_tokens: the teacher's counterpart of ``output.token_outputs``; None leaves the term out.
        ratios: target share of all N tokens to keep, for each stage.
        token_term: "mse" on features (DeiT) or "kl" on auxiliary logits (LV-ViT) of the tokens that are kept; "mse_all"
            on the features of all positions (ConvNeXt, Swin).
        batch_ratio: compare the mean over the whole batch with the target, not each image's.
        average: mean over all processes; the mean of their gradients is then that of the loss of the whole batch.
    """
    weights = weights or LossWeights()
    zero = output.logits.sum() * 0.0
    parts = {
        "classification": zero if targets is None else F.cross_entropy(output.logits, targets),
        "ratio": ratio_loss(output.decisions, ratios, batch_ratio=batch_ratio, average=average),
        "logits_kl": zero if teacher_logits is None else kl_loss(output.logits, teacher_logits),
        "tokens": zero,
    }
    if teacher_tokens is not None:
        parts["tokens"] = token_loss(output.token_outputs, teacher_tokens, output.decisions[-1], token_term, average)
    total = (
        weights.classification * parts["classification"]
        + weights.ratio * parts["ratio"] / len(output.decisions)
        + weights.distillation * (parts["logits_kl"] + parts["tokens"])
    )
    return total, parts


def ratio_loss(
    decisions: Sequence[Tensor], ratios: Sequence[float], *, batch_ratio: bool = False, average: Average = alone
) -> Tensor:
    """Return the sum over the stages of the squared distance of the kept share from its target.

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


def token_loss(
    tokens: Tensor, teacher_tokens: Tensor, decision: Tensor, term: TokenTerm, average: Average = alone
) -> Tensor:
    """Return the mean distance of the finally kept tokens from the teacher's, all images pooled; 0 when none is kept.

    A process's sum is divided by the mean number of kept tokens over the processes, so that averaging the processes'
    gradients weighs every token alike.

    Args:
        tokens, teacher_tokens: (B, N, C) features or (B, N, classes) logits.
        decision: (B, N) last stage's decisions; of no effect for "mse_all", whose features may be of another map.
        average: as in :func:`sparsification_loss`.
    """
    kept = torch.ones_like(tokens[..., 0]) if term == "mse_all" else (decision.detach() > 0.5).float()
    if term == "kl":
        own, wanted = tokens.float().log_softmax(-1), teacher_tokens.float().log_softmax(-1)
        errors = F.kl_div(own, wanted, reduction="none", log_target=True).sum(dim=-1)
    else:
        errors = (tokens.float() - teacher_tokens.float()).square().mean(dim=-1)
    # Sums under a mask: picking the kept tokens out would make a GPU wait to learn their number.
    return (errors * kept).sum() / average(kept.sum()).clamp_min(1e-6)


def build(options: argparse.Namespace, student: DynamicVisionTransformer) -> tuple[Sparsification, dict[str, Teacher]]:
    """Return the objective with its student at the dense weights of ``--start``, and the teachers by name.

    Raises:
        SettingError: the options do not fit together.
        CheckpointError: weights cannot be had or do not fit.
    """
    dense = create_student(replace(student.config.dense(), drop_path_rate=0.0))
    weights = read_start(options.start, student)
    has_new_head = load_start(student, weights, options.start)
    load_start(dense, weights, options.start)
    teachers: dict[str, Teacher] = {DENSE: DenseTeacher(dense)}
    if options.teacher is not None:
        teachers[ATTENDED] = AttendedTeacher(options.teacher, options.teacher_weights, student.config, options.beta)
    elif options.dense_every:
        raise SettingError("The dense steps of --dense-every need a teacher; give --teacher too.")
    objective = Sparsification(
        student,
        LossWeights(options.classification_weight, options.ratio_weight, options.distillation_weight),
        token_term=options.token_term,
        batch_ratio=options.batch_ratio,
        has_new_head=has_new_head,
        dense=Distillation(student, options.attention_weight, options.attention_blocks)
        if options.dense_every
        else None,
    )
    return objective, teachers
