"""Distilling a convolutional classifier into a dense model: its attended answer, and where it looks."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor

from dynamicvit.errors import SettingError
from dynamicvit.models.lite0 import LITE0, Lite0Embedding
from dynamicvit.models.vit import Block, DynamicVisionTransformer
from dynamicvit.training.objective import Batch, Loss, Objective, Teacher, embed, kl_loss
from dynamicvit.training.start import ClosedFormStart, hold_values, load_start, read_start
from dynamicvit.training.teacher import ATTENDED, AttendedTeacher


class Distillation(Objective):
    """Divergence of the dense answer from the attended teacher's, and of the class token's attention from its weights.

    Attention is what has to be learned, so queries and keys get the full learning rate. Labels play no part.

    Args:
        student: any model.
        attention_weight: of the attention's divergence, beside 1 for the answer's.
        attention_blocks: whose class token is told where to look; None takes the blocks before the stages, by which
            EViT's choice goes, and the last one.
        start: for a student with its teacher's trunk.

    Raises:
        SettingError: the student has no such block.
    """

    fast_parts = ("attn.qkv",)

    def __init__(
        self,
        student: DynamicVisionTransformer,
        attention_weight: float = 1.0,
        attention_blocks: Sequence[int] | None = None,
        *,
        start: ClosedFormStart | None = None,
    ) -> None:
        super().__init__()
        config = student.config
        if attention_blocks is None:
            attention_blocks = [*(place - 1 for place in config.prune_locations if place), config.depth - 1]
        if not all(0 <= block < config.depth for block in attention_blocks):
            raise SettingError(
                f"The model's blocks are 0 to {config.depth - 1}; got --attention-blocks {attention_blocks}."
            )
        self.student = student
        self.attention_weight = attention_weight
        self.attention_blocks = tuple(attention_blocks)
        self.start = start
        self.start_images = 0 if start is None else start.images

    def prepare(self, batches: Iterable[Batch]) -> None:
        """Start the student in closed form where it has its teacher's trunk."""
        if self.start is not None:
            first_stage = min(self.student.config.prune_locations, default=0)
            self.start(self.student, batches, [block for block in self.attention_blocks if block >= first_stage])

    def forward(self, batch: Batch) -> Loss:
        """Return the loss of the dense model."""
        view = batch.views[ATTENDED]
        tokens, attention = self._run(embed(self.student, batch.images, batch.features))
        parts = {"answer_kl": kl_loss(self.student.classify(tokens), view.logits)}
        total = parts["answer_kl"]
        if attention and view.attention is not None:
            wanted = view.attention
            parts["attention_kl"] = torch.stack([attention_loss(one, wanted) for one in attention]).mean()
            total = total + self.attention_weight * parts["attention_kl"]
        return Loss(total, parts)

    def _run(self, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return final-norm tokens and the class token's attention over patches, (B, N), of the chosen blocks."""
        attention = []
        for index, block in enumerate(self.student.blocks):
            if index in self.attention_blocks:
                attention.append(cast(Block, block).look_ahead(tokens).class_weights())
            tokens = block(tokens)
        return self.student.norm(tokens), attention


def attention_loss(attention: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean divergence of (B, N) attention, brought to the sum 1, from the (B, N) weights that are wanted."""
    own = (attention.float() / attention.float().sum(dim=1, keepdim=True)).clamp_min(1e-12)
    return (wanted * (wanted.clamp_min(1e-12).log() - own.log())).sum(dim=1).mean()


def build(options: argparse.Namespace, student: DynamicVisionTransformer) -> tuple[Distillation, dict[str, Teacher]]:
    """Return the objective and its teacher by name; a student with the teacher's trunk gets its weights.

    Raises:
        SettingError: the options do not fit together.
        CheckpointError: weights cannot be had or do not fit.
    """
    teacher = AttendedTeacher(options.teacher, options.teacher_weights, student.config, options.beta)
    start = None
    if options.start is not None:
        load_start(student, read_start(options.start, student), options.start)
    elif isinstance(student.patch_embed, Lite0Embedding):
        if not teacher.shares_trunk:
            raise SettingError(f"This model's trunk is that of {LITE0}; give that teacher, or a --start.")
        teacher.give_trunk(student.patch_embed)
        hold_values(student)
        start = ClosedFormStart(teacher.classifier.weight.detach(), options.start_images)
    student.score_predictor.requires_grad_(False)
    objective = Distillation(student, options.attention_weight, options.attention_blocks, start=start)
    return objective, {ATTENDED: teacher}
