"""What a model makes of one image: its answers dense and pruned, the patches that each stage keeps, and the cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from dynamicvit.budget import Budget, as_budget
from dynamicvit.costs.closed_form import token_model_macs
from dynamicvit.costs.macs import MacCounter, MacReport
from dynamicvit.errors import ImageError
from dynamicvit.images import CropBox, DecodedImage
from dynamicvit.models.base import DynamicModel, SparseOutput, StageDecision, Start
from dynamicvit.models.config import HierarchicalConfig
from dynamicvit.models.selectors import create_selector
from dynamicvit.writing import write_whole


@dataclass(frozen=True)
class AnalysisSettings:
    """What is asked of the pruned model; hashable, so that results can be looked up by it.

    Attributes:
        budget: how many tokens the stages keep; one number or one for each stage is accepted too.
        selector: name of the token selector.
        seed: of the random selector; the others ignore it.
    """

    budget: Budget
    selector: str = "predictor"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "budget", as_budget(self.budget))

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON."""
        return {**self.budget.to_json(), "selector": self.selector, "seed": self.seed}


@dataclass(frozen=True)
class Prediction:
    """One class with its name and its probability in [0, 1]."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class Classification:
    """The likeliest classes, best first, and the multiply-adds of the forward pass that gave them."""

    top: tuple[Prediction, ...]
    macs: MacReport


@dataclass(frozen=True)
class StageView:
    """What one pruning stage did to the image.

    A token model drops the patches that it does not keep, for good. A hierarchical one (ConvNeXt, Swin) drops nothing:
    the patches that it keeps take the slow path, the others the fast path, and any may come back at the next stage.

    Attributes:
        number: 1 for the first stage.
        block: the block before which it dropped tokens, 0-based.
        live_count: tokens that reached the stage, the class token not counted.
        kept_patches: original indices of the patches that stay, best score first; of a merged token one of its patches.
        keep_scores: for each of the N original patches its score in [0, 1], None where it was dropped before. For the
            model's own predictors the probability of keeping; for other selectors the scores stretched from the lowest
            to the highest of the stage; for merging 1 / number of patches that share the patch's token.
        groups: for each of the N original patches the position in ``kept_patches`` of the token that stands for it;
            None unless tokens were merged.
        has_fast_path: whether the model is a hierarchical one.
    """

    number: int
    block: int
    live_count: int
    kept_patches: tuple[int, ...]
    keep_scores: tuple[float | None, ...]
    groups: tuple[int, ...] | None = None
    has_fast_path: bool = False

    @property
    def ranks(self) -> tuple[int | None, ...]:
        """For each of the N original patches its place by score among those that reached the stage, 1 for the best.

        None where it was dropped before, and for all when tokens were merged, which ranks none. The kept patches have
        the first places, also among equal scores.
        """
        ranks: list[int | None] = [None] * len(self.keep_scores)
        if self.groups is None:
            for place, (_, _, patch) in enumerate(sorted(self._scored()), 1):
                ranks[patch] = place
        return tuple(ranks)

    @property
    def cut_score(self) -> float | None:
        """Score halfway between the last patch kept and the first dropped; None where nothing was dropped."""
        scored = sorted(self._scored())
        count = len(self.kept_patches)
        if self.groups is not None or count == len(scored):
            return None
        return -(scored[count - 1][0] + scored[count][0]) / 2

    def _scored(self) -> list[tuple[float, bool, int]]:
        """Return (minus score, is dropped, patch) of the patches that reached the stage, which sorts the best first."""
        kept = set(self.kept_patches)
        return [(-s, patch not in kept, patch) for patch, s in enumerate(self.keep_scores) if s is not None]


@dataclass(frozen=True, repr=False)
class Analysis:
    """An image classified by the dense and by the pruned model; notebooks show it with its stages.

    Attributes:
        settings: what was asked.
        grid: rows and columns of patches; patch ``p`` is at row ``p // columns``, column ``p % columns``.
        dense: the same model with nothing dropped and without its predictors.
        pruned: the model under these settings.
        stages: its decisions, first stage first.
        seen: the image and the part of it that the model saw, to draw them; None where the analysis was made of a
            tensor or read from a file. It counts for nothing when analyses are compared.
    """

    settings: AnalysisSettings
    grid: tuple[int, int]
    dense: Classification
    pruned: Classification
    stages: tuple[StageView, ...]
    seen: tuple[DecodedImage, CropBox] | None = field(default=None, compare=False)

    @property
    def num_patches(self) -> int:
        """Number of patches N before anything is dropped."""
        return self.grid[0] * self.grid[1]

    @property
    def drops_tokens(self) -> bool:
        """Whether what a stage does not keep is gone; else it takes the fast path."""
        return not any(stage.has_fast_path for stage in self.stages)

    @property
    def agrees(self) -> bool:
        """Whether both give the same best class."""
        return self.dense.top[0].index == self.pruned.top[0].index

    @property
    def saved_share(self) -> float:
        """Share of the dense model's multiply-adds that pruning saves; negative when the predictors cost more."""
        return 1.0 - self.pruned.macs.total / self.dense.macs.total

    def __repr__(self) -> str:
        dense, pruned = (f"{it.top[0].label!r} {it.top[0].probability:.0%}" for it in (self.dense, self.pruned))
        kept = ", ".join(str(len(stage.kept_patches)) for stage in self.stages)
        return (
            f"<Analysis: dense {dense}, pruned {pruned}, {self.saved_share:.0%} saved, "
            f"stages keep {kept} of {self.num_patches} patches>"
        )

    def _repr_html_(self) -> str | None:
        """Return the image and what each stage keeps of it for a notebook; None without an image."""
        from dynamicvit.figures.notebook import stages_html

        return None if self.seen is None else stages_html(*self.seen, self)

    def figure(self) -> Any:
        """Return the image, its stages and both answers as a matplotlib figure of a paper's column.

        Raises:
            SettingError: the analysis holds no image.
        """
        from dynamicvit.figures.notebook import figure_of

        return figure_of(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the analysis as plain lists, strings and numbers, named as in the files of ``dynamicvit analyze``."""
        from dynamicvit.analysis.report import analysis_to_json

        return analysis_to_json(self)

    def save(self, path: str | Path) -> None:
        """Write a file of the kind that its name ends in.

        Args:
            path: ``.json`` for :meth:`to_dict`; ``.png``, ``.pdf`` or ``.svg`` for :meth:`figure`; ``.gif`` or
                ``.webp`` for an animation of the stages.

        Raises:
            SettingError: the name ends in something else, or a figure is wanted and the analysis holds no image.
            OutputError: the path cannot be written, or the disk is full.
        """
        from dynamicvit.figures.notebook import bytes_of

        write_whole(path, bytes_of(self, Path(path).suffix.lower().removeprefix(".")))


@dataclass(frozen=True, eq=False)
class Begun:
    """An image after what no keep ratio changes, from which all questions go on, and the multiply-adds until there."""

    start: Start
    macs: MacReport

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about: tokens, and queries, keys and values of the block before the stage."""
        return 4 * self.start.tokens.nbytes


@torch.inference_mode()
def begin(model: DynamicModel, images: Tensor) -> Begun:
    """Return a prepared image, (1, 3, H, W), for any number of calls of the functions below.

    Raises:
        ImageError: ``images`` is not one image of a size that the model can take.
    """
    if len(images) != 1:
        raise ImageError(f"Give one image at a time; got {len(images)}.")
    with MacCounter(model) as counter:
        start = model.start(images.to(model.device))
    return Begun(start, counter.report())


def analyze(
    model: DynamicModel,
    images: Tensor | Begun,
    settings: AnalysisSettings,
    *,
    dense: Classification | None = None,
    top: int = 5,
) -> Analysis:
    """Return what a model makes of a prepared image, pruned and dense.

    Args:
        model: in evaluation mode, with pruning stages.
        images: (1, 3, H, W), normalised, on any device, or what :func:`begin` gave for it.
        settings: keep ratio and selector.
        dense: the dense result for the same image, to save its forward pass when only the settings changed.
        top: number of classes to report.

    Raises:
        ImageError: ``images`` is not one image of a size that the model can take.
        SettingError: the keep ratio or the selector is not valid, the model cannot be asked by this selector, or it has
            no pruning stages or no classifier.
        CheckpointError: the model's numbers are not finite.
    """
    is_probability = settings.selector == "predictor"
    images = images if isinstance(images, Begun) else begin(model, images)
    output, macs = _counted_forward(model, images, settings)
    stages = (_stage_view(number, stage, output.grid, is_probability) for number, stage in enumerate(output.stages, 1))
    return Analysis(
        settings=settings,
        grid=output.grid,
        dense=dense or classify_dense(model, images, top=top),
        pruned=_classification(output, macs, model.class_names, top),
        stages=tuple(stages),
    )


def classify_dense(model: DynamicModel, images: Tensor | Begun, *, top: int = 5) -> Classification:
    """Return the classes of a prepared image, (1, 3, H, W) or begun, with every token kept and without the predictors.

    Raises:
        ImageError: ``images`` is not one image of a size that the model can take.
        SettingError: the model has no classifier.
        CheckpointError: the model's numbers are not finite.
    """
    output, macs = _counted_forward(model, images if isinstance(images, Begun) else begin(model, images))
    return _classification(output, macs, model.class_names, top)


@torch.inference_mode()
def _counted_forward(
    model: DynamicModel, begun: Begun, settings: AnalysisSettings | None = None
) -> tuple[SparseOutput, MacReport]:
    """Return the output of the whole pass and its multiply-adds; dense without settings."""
    model.check_classifier()
    budget, selector = None, None
    if settings is not None:
        budget, selector = settings.budget, create_selector(settings.selector, seed=settings.seed)
    macs = Counter(begun.macs.by_module)
    if isinstance(model.config, HierarchicalConfig):
        with MacCounter(model) as counter:
            output = model.forward_stages(begun.start, budget, selector)
        macs.update(counter.report().by_module)
    else:  # counting on the pass takes half as long again
        output = model.forward_stages(begun.start, budget, selector)
        counts = [stage.kept_patches.shape[1] for stage in output.stages]
        whole = Counter[str]()
        for module, part in token_model_macs(model.config, output.grid, counts, settings.selector if settings else ""):
            whole[module] += part
        macs |= whole  # equal where both have a module
    return output.checked(), MacReport(MappingProxyType(dict(macs)))


def _classification(output: SparseOutput, macs: MacReport, names: Sequence[str], top: int) -> Classification:
    probabilities = output.logits[0].softmax(dim=0)
    best = probabilities.topk(min(top, len(probabilities)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return Classification(tuple(Prediction(index, names[index], value) for index, value in pairs), macs)


def _stage_view(number: int, stage: StageDecision, grid: tuple[int, int], is_probability: bool) -> StageView:
    live, kept = stage.live_patches[0].tolist(), tuple(stage.kept_patches[0].tolist())
    if stage.groups is not None:
        groups = stage.groups[0]
        shares = (1.0 / groups.bincount()[groups].double()).tolist()
        return StageView(number, stage.block, len(live), kept, tuple(shares), tuple(groups.tolist()))
    scores = stage.keep_scores[0].double()
    shown = scores.exp() if is_probability else _stretch(scores)
    keep_scores: list[float | None] = [None] * (grid[0] * grid[1])
    for patch, score in zip(live, shown.tolist(), strict=True):
        keep_scores[patch] = score
    has_fast_path = stage.fast_patches is not None
    return StageView(number, stage.block, len(live), kept, tuple(keep_scores), has_fast_path=has_fast_path)


def _stretch(scores: Tensor) -> Tensor:
    low, high = scores.aminmax()
    return (scores - low) / (high - low) if high > low else torch.ones_like(scores)
