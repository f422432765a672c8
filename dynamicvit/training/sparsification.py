"""The paper's objective: end-to-end sparsification of a dense model, with that model as its teacher."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dynamicvit.budget import BaseRatio
from dynamicvit.errors import SettingError
from dynamicvit.models.vit import DynamicVisionTransformer
from dynamicvit.training.losses import LossWeights, TokenTerm, sparsification_loss
from dynamicvit.training.objective import Batch, Loss, Objective, Teacher


class DenseTeacher(Teacher):
    """The dense model that the student starts from; gives ``logits`` (B, classes) and ``tokens``.

    ``tokens`` are the final-norm patch tokens (B, N, C), or with an auxiliary head its logits (B, N, classes).
    """

    def __init__(self, model: DynamicVisionTransformer) -> None:
        super().__init__()
        self.model = model.requires_grad_(False).eval()

    @torch.no_grad()
    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Classify (B, 3, H, W) images; the logits leave out the auxiliary head's share, as the student's do."""
        model = self.model
        logits, tokens = model.training_outputs(model.forward_features(model.embed(images)[0]))
        return {"logits": logits, "tokens": tokens}


class Sparsification(Objective):
    """Classification, distillation and keep-ratio losses on a model whose predictors are trained with its backbone.

    The class token and the position embedding stay as they are, as in the released recipe.

    Args:
        student: starts from the dense weights.
        token_term: None takes "kl" where the student has an auxiliary head, else "mse".
        has_new_head: its head is not the teacher's; then no logits are distilled, and the head gets the full rate.

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
        if has_new_head:
            self.new_parts = ("score_predictor", "student.head", "token_readout.classifier")
        student.cls_token.requires_grad_(False)
        student.pos_embed.requires_grad_(False)

    def forward(self, batch: Batch) -> Loss:
        """Compute the loss; without targets the distillation and ratio terms alone."""
        if batch.images is None or batch.keep_ratio is None:
            raise SettingError("Sparsification needs pictures and a keep ratio.")
        student = self.student
        ratios = BaseRatio(batch.keep_ratio).ratios(student.config.num_stages)
        output = student.forward_training(batch.images, batch.choose)
        weights = self.weights if batch.targets is not None else replace(self.weights, classification=0.0)
        parts = sparsification_loss(
            output,
            batch.targets,
            None if self.has_new_head else batch.view["logits"],
            batch.view["tokens"],
            ratios,
            weights=weights,
            token_term=self.token_term,
            batch_ratio=self.batch_ratio,
            average=batch.average,
        )
        named = {
            "classification": parts.classification,
            "ratio": parts.ratio,
            "logits_kl": parts.logits_kl,
            "tokens": parts.tokens,
        }
        return Loss(parts.total, named, [mask.mean() for mask in output.decisions])
