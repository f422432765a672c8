"""Many images under one setting: how often each stage keeps each patch, how often both models agree, the savings."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dynamicvit.analysis.results import Analysis, Prediction
from dynamicvit.errors import SettingError


@dataclass(frozen=True)
class SurveyedImage:
    """What a survey remembers of one image.

    Attributes:
        name: of the image.
        dense, pruned: the first answers of both models.
        dense_macs, pruned_macs: their multiply-adds.
        kept_counts: number of tokens that each stage kept.
    """

    name: str
    dense: Prediction
    pruned: Prediction
    dense_macs: int
    pruned_macs: int
    kept_counts: tuple[int, ...]

    @property
    def agrees(self) -> bool:
        """Whether both models give the same first answer."""
        return self.dense.index == self.pruned.index

    @property
    def saved_gmacs(self) -> float:
        """GMACs that pruning saves; negative when the predictors cost more."""
        return (self.dense_macs - self.pruned_macs) / 1e9

    @property
    def saved_share(self) -> float:
        """Share of the dense model's multiply-adds that pruning saves."""
        return 1.0 - self.pruned_macs / self.dense_macs


@dataclass(frozen=True, eq=False)
class Survey:
    """The images so far; :meth:`including` gives a survey with one more.

    Attributes:
        images: in the order in which they came.
        times_kept: (S, rows, columns) number of images in which each of the S stages kept the patch.
    """

    images: tuple[SurveyedImage, ...] = ()
    times_kept: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0, 0), dtype=np.int64))

    def including(self, name: str, analysis: Analysis) -> Survey:
        """Return the survey with one more image.

        Raises:
            SettingError: its model has other stages or another grid of patches than that of the images before.
        """
        kept = _kept_masks(analysis)
        if self.images and kept.shape != self.times_kept.shape:
            raise SettingError("All images of a survey need the same model and input size.")
        image = SurveyedImage(
            name,
            analysis.dense.top[0],
            analysis.pruned.top[0],
            analysis.dense.macs.total,
            analysis.pruned.macs.total,
            tuple(len(stage.kept_patches) for stage in analysis.stages),
        )
        return Survey((*self.images, image), self.times_kept + kept if self.images else kept)

    @property
    def keep_maps(self) -> NDArray[np.float64]:
        """(S, rows, columns) share of the images in which a stage kept the patch, in [0, 1].

        Source: Rao et al. 2021, the figure of the keep probabilities of the three stages.
        """
        return self.times_kept / max(1, len(self.images))

    @property
    def agreement_rate(self) -> float:
        """Share of the images with the same first answer of both models; not a number without images."""
        return self._mean([float(image.agrees) for image in self.images])

    @property
    def mean_saved_share(self) -> float:
        """Mean share of the multiply-adds that pruning saves; not a number without images."""
        return self._mean([image.saved_share for image in self.images])

    @property
    def mean_saved_gmacs(self) -> float:
        """Mean GMACs that pruning saves on an image; not a number without images."""
        return self._mean([image.saved_gmacs for image in self.images])

    def _mean(self, values: list[float]) -> float:
        return sum(values) / len(values) if values else float("nan")


def _kept_masks(analysis: Analysis) -> NDArray[np.int64]:
    """Return (S, rows, columns): 1 where a stage kept the patch, else 0."""
    masks = np.zeros((len(analysis.stages), analysis.num_patches), dtype=np.int64)
    for mask, stage in zip(masks, analysis.stages, strict=True):
        mask[list(stage.kept_patches)] = 1
    return masks.reshape(-1, *analysis.grid)
