"""One image under several ways to reduce its tokens, at equal multiply-adds or at an equal keep ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from torch import Tensor

from dynamicvit.analysis.results import (
    Analysis,
    AnalysisSettings,
    Begun,
    Classification,
    StageView,
    analyze,
    begin,
    classify_dense,
)
from dynamicvit.budget import Budget, as_budget
from dynamicvit.costs.closed_form import pruned_macs
from dynamicvit.costs.macs import MacReport
from dynamicvit.errors import SettingError
from dynamicvit.models.base import DynamicModel, KeepRatio
from dynamicvit.models.config import ModelConfig

METHODS = ("predictor", "class-attention", "merging", "diversity", "random", "grid", "none")
"""The method itself first, "none" (the dense model) last."""

TOLERANCE = 0.005
"""Share by which a method may cost more than the model's own choice."""

Basis = Literal["macs", "ratio"]


@dataclass(frozen=True)
class MethodResult:
    """The image under one method.

    Attributes:
        method: its name.
        budget: with which it ran; None for the dense model.
        classification: likeliest classes, and the multiply-adds of the pass.
        stages: what each stage kept or merged; empty for the dense model.
        agrees: whether its best class is that of the dense model.
    """

    method: str
    budget: Budget | None
    classification: Classification
    stages: tuple[StageView, ...]
    agrees: bool


@dataclass(frozen=True)
class Comparison:
    """An image under several methods.

    Attributes:
        basis: what is equal for all: "macs", the multiply-adds of the model's own choice, or "ratio", the keep ratio.
        budget: that of the model's own choice.
        grid: rows and columns of patches.
        equal_macs: multiply-adds of the model's own choice.
        results: in the order that was asked for.
    """

    basis: Basis
    budget: Budget
    grid: tuple[int, int]
    equal_macs: int
    results: tuple[MethodResult, ...]


def methods_of(model: DynamicModel) -> tuple[str, ...]:
    """Return those of :data:`METHODS` by which a model can be asked."""
    return tuple(method for method in METHODS if method in model.selectors or method == "none")


def compare(
    model: DynamicModel,
    images: Tensor | Begun,
    methods: Sequence[str] | None = None,
    keep_ratio: KeepRatio = 0.7,
    *,
    seed: int = 0,
    basis: Basis = "macs",
    dense: Classification | None = None,
    top: int = 5,
) -> Comparison:
    """Return what a model makes of a prepared image with each method.

    The model's own choice, by its predictors or without them by the first of its selectors, runs at ``keep_ratio``. At
    equal multiply-adds every other method runs at the ratio whose count comes nearest to that without being more than
    0.5 % above it; for one that costs less to ask than predictors that is a higher one. The dense model costs what it
    costs.

    Args:
        model: in evaluation mode, with pruning stages.
        images: (1, 3, H, W), normalised, on any device, or what :func:`~dynamicvit.analysis.results.begin` gave for it.
        methods: some of :func:`methods_of` the model; all of them when not given.
        keep_ratio: of the model's own choice. In the adaptive mode the other methods start from the shares that it
            kept.
        seed: of the random selection.
        basis: what is to be equal.
        dense: the dense result for the same image, to save its forward pass.
        top: number of classes to report.

    Raises:
        ImageError: ``images`` is not one image of a size that the model can take.
        SettingError: a method, the basis or the keep ratio is not valid, or the model has no pruning stages or no
            classifier.
        CheckpointError: the model's numbers are not finite.
    """
    methods = methods_of(model) if methods is None else methods
    _check_names(methods, methods_of(model), basis)
    images = images if isinstance(images, Begun) else begin(model, images)
    dense = dense or classify_dense(model, images, top=top)
    own = analyze(
        model, images, AnalysisSettings(as_budget(keep_ratio), model.selectors[0], seed), dense=dense, top=top
    )
    after_embedding = own.pruned.macs.total - stem_macs(model, own.pruned.macs)
    realised = own.settings.budget.realised([len(stage.kept_patches) for stage in own.stages], own.num_patches)

    def run(method: str) -> MethodResult:
        if method == own.settings.selector:
            return _result(method, own)
        if method == "none":
            return MethodResult(method, None, own.dense, (), True)
        chosen = realised
        if basis == "macs":
            chosen = budget_for_macs(model.config, own.grid, method, after_embedding, realised)
        settings = AnalysisSettings(chosen, method, seed)
        return _result(method, analyze(model, images, settings, dense=dense, top=top))

    results = tuple(run(method) for method in methods)
    return Comparison(basis, own.settings.budget, own.grid, own.pruned.macs.total, results)


def stem_macs(model: DynamicModel, macs: MacReport) -> int:
    """Return the multiply-adds of what comes before the first block that tokens can be dropped at."""
    names = {module: name for name, module in model.named_modules()}
    return sum(macs.within(names[module]) for kind, _, module in model.parts() if kind == "stem")


@lru_cache(maxsize=256)
def budget_for_macs(config: ModelConfig, grid: tuple[int, int], selector: str, macs: int, like: Budget) -> Budget:
    """Return the keep ratio at which a selector costs nearly a given number of multiply-adds.

    The counts come from :mod:`dynamicvit.costs.closed_form`, a thousand of them in some 10 ms, where a counted forward
    pass takes longer than all of these.

    Args:
        config: of the model.
        grid: rows and columns of the patch tokens before anything is dropped.
        selector: name of the token selector.
        macs: multiply-adds after the embedding.
        like: a base ratio gives a base ratio with three digits; one ratio for each stage gives these to a common power.

    Returns:
        The ratio whose count is nearest and at most 0.5 % above; the cheapest where all are above.
    """

    def miss(budget: Budget) -> tuple[float, int]:
        counts = budget.counts(config.schedule, grid[0] * grid[1])
        cost = pruned_macs(config, grid, counts, selector)
        return max(0.0, cost - macs * (1 + TOLERANCE)), abs(cost - macs)

    return min(like.alternatives(), key=miss)


def _result(method: str, analysis: Analysis) -> MethodResult:
    return MethodResult(method, analysis.settings.budget, analysis.pruned, analysis.stages, analysis.agrees)


def _check_names(methods: Sequence[str], possible: Sequence[str], basis: str) -> None:
    for method in methods:
        if method not in possible:
            raise SettingError(f"This model has no method {method!r}; choose some of {', '.join(possible)}.")
    if basis not in get_args(Basis):
        raise SettingError(f"Methods are compared at equal {' or '.join(get_args(Basis))}, not {basis!r}.")
