"""What the training program asks of an objective: a student with a loss, and frozen teachers that look with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from dynamicvit.models.base import Choice
from dynamicvit.models.lite0 import Lite0Embedding
from dynamicvit.models.vit import DynamicVisionTransformer, gumbel_choice

Average = Callable[[Tensor], Tensor]


def alone(number: Tensor) -> Tensor:
    """Average a number over one process."""
    return number


@dataclass(frozen=True)
class TeacherView:
    """What a teacher says of a batch.

    Attributes:
        logits: (B, classes).
        attention: (B, N), how much each of the student's patch tokens counts for them, summing to 1; None where the
            teacher does not say.
        tokens: (B, N, C) or (B, N, classes), the counterpart of the student's token outputs; None likewise.
    """

    logits: Tensor
    attention: Tensor | None = None
    tokens: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """One process's share of a step.

    Attributes:
        images: (B, 3, H, W), normalised for the student.
        features: (B, C, rows, columns) of the student's frozen trunk; None where it has none.
        views: what each teacher says, by its name.
        targets: (B, classes) soft labels; None when the photos have none.
        keep_ratio: base keep ratio of this step; None trains the dense model.
        choose: makes the decisions of each stage.
        average: mean of a number over all processes, for terms that pool the tokens of the whole batch.
    """

    images: Tensor
    features: Tensor | None = None
    views: Mapping[str, TeacherView] = field(default_factory=dict)
    targets: Tensor | None = None
    keep_ratio: float | None = None
    choose: Choice = gumbel_choice
    average: Average = alone


@dataclass(frozen=True)
class Loss:
    """The total with gradient, and for the log its unweighted parts and each stage's kept share; all scalars."""

    total: Tensor
    parts: Mapping[str, Tensor]
    kept_shares: Sequence[Tensor] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", {name: part.detach() for name, part in self.parts.items()})
        object.__setattr__(self, "kept_shares", tuple(share.detach() for share in self.kept_shares))


class Teacher(nn.Module, ABC):
    """A frozen network; always in evaluation mode, without gradients."""

    @abstractmethod
    def forward(self, images: Tensor, features: Tensor | None) -> TeacherView:
        """Return the view of (B, 3, H, W) images, normalised for the student.

        Args:
            features: of the student's frozen trunk, if it has one.
        """

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)


class Objective(nn.Module, ABC):
    """A student and its loss.

    Attributes:
        student: the model that is trained and saved.
        fast_parts: parameters whose names contain one of these get the full learning rate, the others a share of it.
        start_images: how many images :meth:`prepare` wants to see.
    """

    student: DynamicVisionTransformer
    fast_parts: tuple[str, ...] = ()
    start_images: int = 0

    def check(self, *, has_labels: bool) -> None:
        """Raise a SettingError where the objective cannot be trained on such photos."""

    def prepare(self, batches: Iterable[Batch]) -> None:
        """Bring the student to its start, before the first step of a run; a run that goes on has been there."""

    @abstractmethod
    def forward(self, batch: Batch) -> Loss:
        """Return the loss of a batch."""


def trunk_features(student: DynamicVisionTransformer, images: Tensor) -> Tensor | None:
    """Return what the student's frozen trunk makes of images, to be computed once a step; None where it has none."""
    embedding = student.patch_embed
    return embedding.features(images) if isinstance(embedding, Lite0Embedding) else None


def embed(model: DynamicVisionTransformer, images: Tensor, features: Tensor | None) -> Tensor:
    """Return a model's (B, 1 + N, C) embedded tokens, from the features of its trunk if there are any."""
    if features is None or not isinstance(model.patch_embed, Lite0Embedding):
        return model.embed(images)[0]
    return model.add_class_token(model.patch_embed.proj(features))


def kl_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of the student from the teacher, (B, classes) logits, batch mean."""
    own, wanted = logits.float().log_softmax(-1), teacher_logits.float().log_softmax(-1)
    return F.kl_div(own, wanted, reduction="batchmean", log_target=True)
