"""What the training program asks of an objective: a frozen teacher that looks, and a student with a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dynamicvit.models.vit import Choice, DynamicVisionTransformer, gumbel_choice

Average = Callable[[Tensor], Tensor]


def alone(number: Tensor) -> Tensor:
    """Average a number over one process."""
    return number


@dataclass(frozen=True)
class Batch:
    """One process's share of a step.

    Attributes:
        view: what the objective's teacher says of the pictures.
        images: (B, 3, H, W); None where the view takes their place.
        targets: (B, classes) soft labels; None when the photos have none.
        keep_ratio: base keep ratio of this step; None trains the dense model.
        choose: makes the decisions of each stage.
        average: mean of a number over all processes, for terms that pool the tokens of the whole batch.
    """

    view: Any
    images: Tensor | None = None
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
    """Frozen networks; always in evaluation mode, without gradients.

    Attributes:
        replaces_images: the student needs nothing of a picture but the view.
    """

    replaces_images = False

    @abstractmethod
    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Compute what costs time and may be stored, each (B, ...), from (B, 3, H, W)."""

    def view(self, features: dict[str, Tensor]) -> Any:
        """Turn features, fresh or stored, into what the objective takes."""
        return features

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode."""
        return super().train(False)


class Objective(nn.Module, ABC):
    """A student, what else is trained with it, and the loss.

    Attributes:
        student: the model that is trained and saved.
        new_parts: parameters whose names contain one of these start from scratch and get the full learning rate.
    """

    student: DynamicVisionTransformer
    new_parts: tuple[str, ...] = ("score_predictor",)

    @abstractmethod
    def forward(self, batch: Batch) -> Loss:
        """Compute the loss of a batch."""
