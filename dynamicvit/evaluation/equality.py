"""Does a model in another precision give the answers, and keep the patches, that it does in float32?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor

from dynamicvit.datasets import Photo, Share, read_batches
from dynamicvit.evaluation.accuracy import EvaluationSetting
from dynamicvit.models.base import DynamicModel
from dynamicvit.models.selectors import create_selector
from dynamicvit.precision import overlap


@dataclass(frozen=True)
class Equality:
    """How far two precisions agree, as counts and sums that add up over parts of the photos.

    Attributes:
        setting: how both were run.
        photos: number of photos that were read.
        same_answers: number of them with the same best guess.
        overlap_sums: for each stage the sum over the photos of the share of kept patches that both keep.
    """

    setting: EvaluationSetting
    photos: int = 0
    same_answers: int = 0
    overlap_sums: tuple[float, ...] = ()

    def __add__(self, other: Equality) -> Equality:
        """Join two parts of the photos, for the same setting."""
        sums = zip_longest(self.overlap_sums, other.overlap_sums, fillvalue=0.0)
        return Equality(
            self.setting,
            self.photos + other.photos,
            self.same_answers + other.same_answers,
            tuple(own + its for own, its in sums),
        )

    @property
    def same_answer(self) -> float:
        """Share of the photos with the same best guess, in [0, 1]; not a number without photos."""
        return self.same_answers / self.photos if self.photos else float("nan")

    @property
    def overlaps(self) -> tuple[float, ...]:
        """For each stage the mean share of kept patches that both keep; empty for the dense model."""
        return tuple(total / self.photos for total in self.overlap_sums)


@torch.inference_mode()
def measure_equality(
    model: DynamicModel,
    reference: DynamicModel,
    photos: Sequence[Photo],
    settings: Sequence[EvaluationSetting],
    batch: int = 25,
    *,
    share: Share | None = None,
    workers: int = 0,
    on_batch: Callable[[int], object] | None = None,
) -> list[Equality]:
    """Return how often a model answers and keeps as the reference does; unreadable photos are left out.

    Args:
        batch, share, workers, on_batch: as in :func:`~dynamicvit.evaluation.accuracy.evaluate`.
    """
    results = [Equality(setting) for setting in settings]
    for some in read_batches(photos, model.config, batch, share=share, workers=workers):
        if some.photos:
            images = some.images.to(model.device)
            parts = [_compare(model, reference, images, setting) for setting in settings]
            results = [result + part for result, part in zip(results, parts, strict=True)]
        if on_batch is not None:
            on_batch(len(some.photos) + len(some.unreadable))
    return results


def _compare(model: DynamicModel, reference: DynamicModel, images: Tensor, setting: EvaluationSetting) -> Equality:
    selector = create_selector(setting.selector, seed=setting.seed)
    own, its = (each.forward_stages(images, setting.keep_ratio, selector).checked() for each in (model, reference))
    return Equality(
        setting,
        len(images),
        int((own.logits.argmax(dim=1) == its.logits.argmax(dim=1)).sum()),
        tuple(
            float(overlap(one.kept_patches, other.kept_patches).sum())
            for one, other in zip(own.stages, its.stages, strict=True)
        ),
    )
