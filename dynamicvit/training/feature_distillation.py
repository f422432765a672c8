"""Distilling any timm classifier into a token model: its answer, its pooled features, and its features by place."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from dynamicvit.budget import BaseRatio
from dynamicvit.errors import SettingError
from dynamicvit.models.vit import DynamicVisionTransformer
from dynamicvit.training.losses import kl_loss, mean_of_kept, ratio_loss
from dynamicvit.training.objective import Batch, Loss, Objective


@dataclass(frozen=True)
class FeatureWeights:
    """How the parts add up."""

    logits: float = 1.0
    dense: float = 1.0
    pooled: float = 1.0
    ratio: float = 2.0


class FeatureDistillation(Objective):
    """A student whose patch tokens regress the teacher's features at their place through one linear map.

    The mean of the finally kept tokens regresses the pooled features through another. Targets are brought to zero mean
    and unit variance over their channels, so that no teacher's scale needs a weight of its own. Labels play no part.

    Args:
        student: any token model; its final-norm patch tokens, or its auxiliary logits, are mapped.
        dense_width, pooled_width: channels of the teacher's features.
    """

    new_parts = ("score_predictor", "dense_map", "pooled_map")

    def __init__(
        self,
        student: DynamicVisionTransformer,
        dense_width: int,
        pooled_width: int,
        weights: FeatureWeights | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.weights = weights or FeatureWeights()
        width = student.config.num_classes if student.config.has_aux_head else student.config.embed_dim
        self.dense_map = nn.Linear(width, dense_width)
        self.pooled_map = nn.Linear(width, pooled_width)

    def forward(self, batch: Batch) -> Loss:
        """Distil one batch into the dense model, or with a base keep ratio into the one that drops tokens."""
        if batch.images is None:
            raise SettingError("Distillation needs pictures.")
        student, view = self.student, batch.view
        tokens = student.embed(batch.images)[0]
        decisions: tuple[Tensor, ...] = ()
        ratio = tokens.new_zeros(())
        if batch.keep_ratio is None:
            tokens = student.forward_features(tokens)
            logits, patches = student.classify(tokens), student.training_outputs(tokens)[1]
            kept = patches.new_ones(patches.shape[:2])
        else:
            shares = BaseRatio(batch.keep_ratio).ratios(student.config.num_stages)
            output = student.forward_training(batch.images, batch.choose)
            logits, patches, decisions = output.logits, output.token_outputs, output.decisions
            kept = (decisions[-1] > 0.5).to(patches.dtype)
            ratio = ratio_loss(decisions, shares)
        chosen = kept > 0.5
        errors = (self.dense_map(patches[chosen]) - _standardised(view["dense"][chosen])).square().mean(dim=-1)
        pooled = (patches * kept.unsqueeze(-1)).sum(dim=1) / kept.sum(dim=1, keepdim=True).clamp_min(1.0)
        parts = {
            "logits_kl": kl_loss(logits, view["logits"]),
            "dense": mean_of_kept(errors, batch.average),
            "pooled": F.mse_loss(self.pooled_map(pooled), _standardised(view["pooled"])),
            "ratio": ratio,
        }
        weights = self.weights
        total = weights.logits * parts["logits_kl"] + weights.dense * parts["dense"]
        total = total + weights.pooled * parts["pooled"] + weights.ratio * ratio
        return Loss(total, parts, [mask.mean() for mask in decisions])


def _standardised(features: Tensor) -> Tensor:
    return F.layer_norm(features, features.shape[-1:])
