"""Distilling the convolutional teacher into the transformer, at every token and in the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynamicvit.budget import BaseRatio
from dynamicvit.errors import SettingError
from dynamicvit.models.hybrid import LITE0_CHANNELS, Hybrid, Lite0Stem
from dynamicvit.training.losses import evidence_loss, kl_loss, mean_of_kept, ratio_loss
from dynamicvit.training.objective import Average, Batch, Loss, Objective
from dynamicvit.training.start import (
    RunningRegression,
    even_preference,
    hybrid_parts,
    match_confidence,
    start_as_identity,
    start_predictors,
)
from dynamicvit.training.teacher import Lite0Teacher, TeacherView


@dataclass(frozen=True)
class DistillationWeights:
    """How the parts add up.

    Attributes:
        spread: what lying evenly spread counts beside the evidence, in nats; one number, or one for each stage, such
            as (0, 1, 2): the first stage then finds what counts, and the later ones thin it out.
    """

    logits: float = 1.0
    dense: float = 1.0
    ratio: float = 2.0
    evidence: float = 1.0
    spread: tuple[float, ...] = (1.0,)


class Distillation(Objective):
    """A student on the teacher's own stem, whose patch tokens regress the teacher's last features at their place.

    Every picture is worth as many targets as it has tokens. The student's token read-out ends in the teacher's own
    last layer, which knows every class, so classes without a photo are learned too. Labels play no part.

    Raises:
        SettingError: the spread is neither one number nor one for each stage.
    """

    dense_std: Tensor

    def __init__(self, student: Hybrid, weights: DistillationWeights | None = None) -> None:
        super().__init__()
        self.student: Hybrid = student
        self.weights = weights or DistillationWeights()
        if len(self.weights.spread) not in (1, student.config.num_stages):
            raise SettingError(
                f"Give one --spread for all stages or one for each of the {student.config.num_stages}; "
                f"got {len(self.weights.spread)}."
            )
        self.register_buffer("dense_std", torch.ones(student.config.token_features))
        self.stem.requires_grad_(False)
        self.stem.proj.requires_grad_(True)

    @property
    def stem(self) -> Lite0Stem:
        """The student's stem, whose convolutions are the teacher's."""
        return hybrid_parts(self.student)[0]

    @torch.no_grad()
    def start(self, teacher: Lite0Teacher, views: Sequence[TeacherView]) -> None:
        """Set the student to a closed-form start: the teacher's stem and last layer, and a ridge regression between.

        Args:
            views: what the teacher sees in a few hundred pictures or more.
        """
        _, readout = hybrid_parts(self.student)
        teacher.give_stem(self.stem)
        stem_to_dense = RunningRegression(LITE0_CHANNELS, views[0].dense.shape[2])
        for view in views:
            stem_to_dense.add(view.stem.flatten(2).transpose(1, 2).flatten(0, 1), view.dense.flatten(0, 1))
        start_as_identity(self.student, stem_to_dense)
        self.dense_std.copy_(torch.cat([view.dense.flatten(0, 1)[::7] for view in views]).std(0).clamp_min(1e-3))
        regression = RunningRegression(self.student.config.embed_dim, views[0].dense.shape[2])
        for view in views:
            regression.add(
                self.student.forward_features(self._embed(view))[:, 1:].flatten(0, 1), view.dense.flatten(0, 1)
            )
        regression.solve_into(readout.features)
        readout.classifier.load_state_dict(teacher.classifier.state_dict())
        self.start_predictors(teacher, views)

    @torch.no_grad()
    def start_predictors(self, teacher: Lite0Teacher, views: Sequence[TeacherView]) -> None:
        """Set answer predictors to a ridge regression of what the teacher would answer at single places.

        The first answer that they compare with is made as sure as the teacher's, and with it the dense one.
        """
        student = self.student
        if not student.config.candidate_classes:
            return
        regression = RunningRegression(student.config.embed_dim, student.config.num_classes)
        logits = torch.cat([student.classify(student.forward_features(self._embed(view))) for view in views])
        match_confidence(student, logits, torch.cat([view.logits for view in views]))
        for view in views:
            tokens = student.norm_intermediate(self._embed(view)[:, 1:])
            regression.add(tokens.flatten(0, 1), teacher.name_places(view.dense).flatten(0, 1))
        start_predictors(student, regression, float(torch.cat([view.evidence for view in views]).mean()))

    def forward(self, batch: Batch) -> Loss:
        """Distil one batch into the dense model, or with a base keep ratio into the one that drops tokens."""
        student, view = self.student, batch.view
        tokens = self._embed(view)
        decisions: tuple[Tensor, ...] = ()
        if batch.keep_ratio is None:
            tokens = student.forward_features(tokens)
            kept = view.dense.new_ones(view.dense.shape[:2])
            ratio = evidence = tokens.new_zeros(())
            logits, patches = student.classify(tokens), tokens[:, 1:]
        else:
            shares = BaseRatio(batch.keep_ratio).ratios(student.config.num_stages)
            grid = (view.stem.shape[2], view.stem.shape[3])
            keep_scores: list[Tensor] = []

            def choose(stage: int, log_probs: Tensor, keep_mask: Tensor) -> Tensor:
                keep_scores.append(log_probs[..., 0] - log_probs[..., 1])
                return batch.choose(stage, log_probs, keep_mask)

            output = student.train_tokens(tokens, grid, choose)
            logits, patches, decisions = output.logits, output.token_outputs, output.decisions
            kept = decisions[-1]
            ratio = ratio_loss(decisions, shares)
            evidence = evidence_loss(keep_scores, decisions, self._worth(view))
        logits_kl = kl_loss(logits, view.logits)
        dense = self._dense_loss(patches, kept > 0.5, view.dense, batch.average)
        weights = self.weights
        total = weights.logits * logits_kl + weights.dense * dense
        total = total + weights.ratio * ratio + weights.evidence * evidence
        parts = {"logits_kl": logits_kl, "dense": dense, "ratio": ratio, "evidence": evidence}
        return Loss(total, parts, [mask.mean() for mask in decisions])

    def _embed(self, view: TeacherView) -> Tensor:
        """Make tokens of the stem's features, which the teacher has computed already."""
        return self.student.add_class_token(self.stem.proj(view.stem))

    def _worth(self, view: TeacherView) -> list[Tensor]:
        """Give what a token is worth to each stage, (B, N): its evidence, and that its neighbours are not kept too."""
        rows, columns = view.stem.shape[2:]
        preference = even_preference(rows, columns).to(view.evidence.device)
        spread, stages = self.weights.spread, self.student.config.num_stages
        by_stage = spread * stages if len(spread) == 1 else spread
        return [view.evidence + weight * preference for weight in by_stage]

    def _dense_loss(self, patches: Tensor, kept: Tensor, target: Tensor, average: Average) -> Tensor:
        """Squared error of the kept tokens' features, each channel scaled by its spread; 0 when none is kept."""
        _, readout = hybrid_parts(self.student)
        error = readout.features(patches[kept]).float() - target[kept]
        return mean_of_kept((error / self.dense_std).square().mean(dim=-1), average)
