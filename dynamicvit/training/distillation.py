"""Distilling the convolutional teacher into the transformer, at every token and in the prediction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dynamicvit.models.vit import DynamicVisionTransformer
from dynamicvit.tokens.schedule import stage_ratios
from dynamicvit.training.losses import kl_loss, ratio_loss
from dynamicvit.training.start import RunningRegression, hybrid_parts, start_as_identity
from dynamicvit.training.teacher import Lite0Teacher, TeacherView


@dataclass(frozen=True)
class DistillationWeights:
    """How the parts add up."""

    logits: float = 1.0
    dense: float = 1.0
    ratio: float = 2.0


@dataclass(frozen=True)
class DistillationLoss:
    """The total and its unweighted parts, all scalars."""

    total: Tensor
    logits_kl: Tensor
    dense: Tensor
    ratio: Tensor

    def as_numbers(self) -> dict[str, float]:
        """Give the parts for a log line."""
        return {name: round(float(getattr(self, name).detach()), 4) for name in self.__dataclass_fields__}


class Distillation(nn.Module):
    """A student on the teacher's own stem, whose patch tokens regress the teacher's last features at their place.

    Every picture is worth as many targets as it has tokens. The student's token read-out ends in the teacher's own
    last layer, which knows every class, so classes without a photo are learned too.
    """

    dense_std: Tensor

    def __init__(self, student: DynamicVisionTransformer, weights: DistillationWeights | None = None) -> None:
        super().__init__()
        self.student = student
        self.weights = weights or DistillationWeights()
        self.register_buffer("dense_std", torch.ones(student.config.token_features))
        stem, _ = hybrid_parts(student)
        stem.requires_grad_(False)
        stem.proj.requires_grad_(True)

    @torch.no_grad()
    def start(self, teacher: Lite0Teacher, views: Iterable[TeacherView]) -> None:
        """Set the student to a closed-form start: the teacher's stem and last layer, and a ridge regression between.

        Args:
            views: what the teacher sees in a few hundred pictures or more; read once.
        """
        views = list(views)
        shared_stem, readout = hybrid_parts(self.student)
        teacher.give_stem(shared_stem)
        stem = torch.cat([view.stem.flatten(2).transpose(1, 2).flatten(0, 1)[::7] for view in views])
        dense = torch.cat([view.dense.flatten(0, 1)[::7] for view in views])
        start_as_identity(self.student, stem.mean(0), stem.std(0).clamp_min(1e-4))
        self.dense_std.copy_(dense.std(0).clamp_min(1e-3))
        regression = RunningRegression(self.student.config.embed_dim, dense.shape[1])
        for view in views:
            regression.add(self.student.run_blocks(self._embed(view))[:, 1:].flatten(0, 1), view.dense.flatten(0, 1))
        regression.solve_into(readout.features)
        readout.classifier.load_state_dict(teacher.classifier.state_dict())

    def forward(
        self, view: TeacherView, keep_ratio: float | None = None, *, enforces_ratio: bool = False
    ) -> DistillationLoss:
        """Distil one batch into the dense model, or with a base keep ratio into the one that drops tokens.

        Args:
            enforces_ratio: shift the predictors' level so that the batch keeps this ratio at once, for training over a
                range of ratios; else the ratio loss alone pulls it there, as in the paper.
        """
        student = self.student
        tokens = self._embed(view)
        if keep_ratio is None:
            tokens = student.run_blocks(tokens)
            kept = view.dense.new_ones(view.dense.shape[:2])
            ratio = tokens.new_zeros(())
            logits, patches = student.read_out(tokens), tokens[:, 1:]
        else:
            shares = stage_ratios(keep_ratio, student.config.num_stages)
            output = student.train_on_tokens(tokens, shares=shares if enforces_ratio else None)
            logits, patches, kept = output.logits, output.token_outputs, output.decisions[-1]
            ratio = ratio_loss(output.decisions, shares)
        logits_kl = kl_loss(logits, view.logits)
        dense = self._dense_loss(patches, kept > 0.5, view.dense)
        weights = self.weights
        total = weights.logits * logits_kl + weights.dense * dense + weights.ratio * ratio
        return DistillationLoss(total, logits_kl, dense, ratio)

    def _embed(self, view: TeacherView) -> Tensor:
        """Make tokens of the stem's features, which the teacher has computed already."""
        stem, _ = hybrid_parts(self.student)
        return self.student.add_class_token(stem.proj(view.stem))

    def _dense_loss(self, patches: Tensor, kept: Tensor, target: Tensor) -> Tensor:
        """Squared error of the kept tokens' features, each channel scaled by its spread; 0 when none is kept."""
        if not kept.any():
            return patches.sum() * 0.0
        _, readout = hybrid_parts(self.student)
        error = readout.features(patches[kept]) - target[kept]
        return (error / self.dense_std).square().mean()
