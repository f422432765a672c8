"""An image prepared for one model, and all that can be asked about it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dynamicvit.analysis.alike import most_alike
from dynamicvit.analysis.comparison import Basis, Comparison, compare
from dynamicvit.analysis.results import (
    Analysis,
    AnalysisSettings,
    Begun,
    Classification,
    analyze,
    begin,
    classify_dense,
)
from dynamicvit.analysis.sweep import SWEPT_RATIOS, SweepPoint, sweep_point
from dynamicvit.budget import as_budget
from dynamicvit.costs.benchmark import PairTiming, time_pair
from dynamicvit.costs.profiling import Profile, profile
from dynamicvit.images import CENTRE, CropBox, CropPlace, DecodedImage, as_image, caution, prepare
from dynamicvit.models.base import DynamicModel, KeepRatio
from dynamicvit.models.selectors import TokenMerger, TokenSelector, create_selector

ImageSource = str | Path | bytes | Image.Image | NDArray[np.uint8] | DecodedImage


class PreparedImage:
    """An image as one model sees it; every question is a call with its own keep ratio, and no call leaves state.

    What does not depend on the keep ratio, the pass before the first stage and the dense result, is computed once, when
    it is first needed. Timing and counts are of whole passes all the same.

    Attributes:
        model: in evaluation mode, with pruning stages.
        image: the decoded image.
        crop: the part of it that the model sees, in pixels of ``image``.
        crop_at: where that lies, from left and top, as shares of the room that it leaves: ``(0.5, 0.5)`` is the middle.

    Raises:
        ImageError: the image cannot be read or used.
        SettingError: the crop would lie outside the image.
    """

    def __init__(self, model: DynamicModel, image: ImageSource, *, crop_at: CropPlace = CENTRE) -> None:
        self.model = model
        self.image = as_image(image)
        self.crop_at = crop_at
        prepared = prepare(self.image, model.config, crop_at=crop_at)
        self.crop: CropBox = prepared.crop
        self._tensor = prepared.tensor
        self._begun: Begun | None = None

    @property
    def caution(self) -> str:
        """What speaks against trusting any answer about this image, in one sentence; empty when nothing does."""
        return caution(self.image, self.model.config)

    @property
    def tensor(self) -> Tensor:
        """(1, 3, S, S), normalised, on the model's device."""
        return self._tensor.to(self.model.device)

    @property
    def begun(self) -> Begun:
        """The image after the embedding and the blocks before the first stage; computed anew for a model that moved."""
        if self._begun is None or self._begun.start.tokens.device != self.model.device:
            self._begun = begin(self.model, self.tensor)
        return self._begun

    @cached_property
    def dense(self) -> Classification:
        """What the model makes of the image with nothing dropped."""
        return classify_dense(self.model, self.begun)

    def analyze(
        self, keep_ratio: KeepRatio = 0.7, selector: str | None = None, seed: int = 0, *, top: int = 5
    ) -> Analysis:
        """Return the answers dense and pruned, the patches that each stage keeps, and the multiply-adds.

        The result holds on to the image, to draw it; ``dataclasses.replace(result, seen=None)`` lets it go.

        Args:
            keep_ratio: base ratio in (0, 1], one ratio for each stage, or a :class:`~dynamicvit.budget.Budget`.
            selector: name of the token selector; the model's first, its predictors if it has some, when not given.
            seed: of the random selector.
            top: number of classes to report.

        Raises:
            SettingError: the keep ratio or the selector is not valid, or the model has no pruning stages or no
                classifier.
            CheckpointError: the model's numbers are not finite.
        """
        settings = AnalysisSettings(as_budget(keep_ratio), selector or self.model.selectors[0], seed)
        analysis = analyze(self.model, self.begun, settings, dense=self.dense, top=top)
        return replace(analysis, seen=(self.image, self.crop))

    def most_alike(self, analysis: Analysis, count: int = 3) -> tuple[tuple[int, ...], ...]:
        """Return for each patch the kept ones most like it; as :func:`dynamicvit.analysis.alike.most_alike`."""
        return most_alike(self.begun.start.tokens[0, -analysis.num_patches :], analysis.stages, count)

    def compare(
        self,
        keep_ratio: KeepRatio = 0.7,
        methods: Sequence[str] | None = None,
        *,
        seed: int = 0,
        basis: Basis = "macs",
    ) -> Comparison:
        """Return the image under several ways to reduce tokens; as :func:`dynamicvit.analysis.comparison.compare`."""
        return compare(self.model, self.begun, methods, keep_ratio, seed=seed, basis=basis, dense=self.dense)

    def sweep(self, ratios: Iterable[float] = SWEPT_RATIOS, selector: str | None = None) -> tuple[SweepPoint, ...]:
        """Return what the pruned model makes of the image at each of these base keep ratios.

        Raises:
            SettingError: a ratio or the selector is not valid, or the model has no pruning stages.
        """
        return tuple(sweep_point(self.model, self.begun, ratio, self.dense, selector) for ratio in ratios)

    def profile(self, keep_ratio: KeepRatio = 0.7, selector: str | None = None, **options: Any) -> Profile:
        """Return where multiply-adds and milliseconds go; options as in :func:`dynamicvit.costs.profiling.profile`."""
        return profile(self.model, self.tensor, as_budget(keep_ratio), self._selector(selector), **options)

    def time(self, keep_ratio: KeepRatio = 0.7, selector: str | None = None, **options: Any) -> PairTiming:
        """Return the dense and the pruned model timed in turn; options as in :func:`~dynamicvit.costs.time_pair`."""
        return time_pair(self.model, self.tensor, as_budget(keep_ratio), self._selector(selector), **options)

    def _selector(self, name: str | None) -> TokenSelector | TokenMerger:
        return create_selector(name or self.model.selectors[0])


def analyze_image(
    model: DynamicModel,
    image: ImageSource,
    keep_ratio: KeepRatio = 0.7,
    selector: str | None = None,
    seed: int = 0,
) -> Analysis:
    """Return the analysis of one image under one setting; short for ``PreparedImage(model, image).analyze(...)``.

    An image that is too small to judge by brings a warning.

    Raises:
        ImageError: the image cannot be read.
        SettingError: the keep ratio or the selector is not valid, or the model has no pruning stages.
    """
    prepared = PreparedImage(model, image)
    if prepared.caution:
        warnings.warn(prepared.caution, stacklevel=2)
    return prepared.analyze(keep_ratio, selector, seed)
