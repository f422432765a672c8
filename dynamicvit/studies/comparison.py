"""One picture under several ways to reduce its tokens, at equal multiply-adds or at an equal keep ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from torch import Tensor

from dynamicvit.costs.closed_form import pruned_macs
from dynamicvit.errors import SettingError
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.vit import DynamicVisionTransformer
from dynamicvit.studies.analysis import Analysis, AnalysisSettings, Classification, StageView, analyze, classify_dense
from dynamicvit.tokens.schedule import KeepMass, stage_ratios, tokens_kept

METHODS = ("predictor", "class-attention", "merging", "random", "grid", "none")
"""The method itself first, "none" (the dense model) last."""

TOLERANCE = 0.005
"""Share by which a method may cost more than the predictors' own choice."""

Basis = Literal["macs", "ratio"]
Ratio = float | tuple[float, ...]


@dataclass(frozen=True)
class MethodResult:
    """The picture under one method.

    Attributes:
        method: its name.
        keep_ratio: with which it ran; None for the dense model.
        classification: likeliest classes, and the multiply-adds of the pass.
        stages: what each stage kept or merged; empty for the dense model.
        agrees: whether its best class is that of the dense model.
    """

    method: str
    keep_ratio: Ratio | KeepMass | None
    classification: Classification
    stages: tuple[StageView, ...]
    agrees: bool


@dataclass(frozen=True)
class Comparison:
    """A picture under several methods.

    Attributes:
        basis: what is equal for all: "macs", the multiply-adds of the predictors' choice, or "ratio", the keep ratio.
        keep_ratio: that of the predictors.
        grid: rows and columns of patches.
        budget_macs: multiply-adds of the predictors' choice.
        results: in the order that was asked for.
    """

    basis: Basis
    keep_ratio: Ratio | KeepMass
    grid: tuple[int, int]
    budget_macs: int
    results: tuple[MethodResult, ...]


def compare(
    model: DynamicVisionTransformer,
    images: Tensor,
    methods: Sequence[str] = METHODS,
    keep_ratio: Ratio | KeepMass = 0.7,
    *,
    seed: int = 0,
    basis: Basis = "macs",
    dense: Classification | None = None,
    top: int = 5,
) -> Comparison:
    """Run a prepared picture through the model with each method.

    The predictors run at ``keep_ratio``. At equal multiply-adds every other method runs at the ratio whose count comes
    nearest to theirs without being more than 0.5 % above it; without predictors that is a higher one. The dense model
    costs what it costs.

    Args:
        model: in evaluation mode, with pruning stages.
        images: (1, 3, H, W), normalised, on any device.
        methods: some of :data:`METHODS`.
        keep_ratio: of the predictors. In the adaptive mode the other methods start from the shares that it kept.
        seed: of the random selection.
        basis: what is to be equal.
        dense: the dense result for the same picture, to save its forward pass.
        top: number of classes to report.

    Raises:
        ImageError: ``images`` is not one picture of a size that the model can take.
        SettingError: a method, the basis or the keep ratio is not valid, or the model has no pruning stages.
    """
    _check_names(methods, basis)
    dense = dense or classify_dense(model, images, top=top)
    own = analyze(model, images, AnalysisSettings(keep_ratio, "predictor", seed), dense=dense, top=top)
    after_embedding = own.pruned.macs.total - own.pruned.macs.within("patch_embed")
    ratio = _realised(own)

    def run(method: str) -> MethodResult:
        if method == "predictor":
            return _result(method, own)
        if method == "none":
            return MethodResult(method, None, own.dense, (), True)
        chosen = ratio
        if basis == "macs":
            chosen = ratio_for_macs(model.config, own.grid, method, after_embedding, ratio)
        settings = AnalysisSettings(chosen, method, seed)
        return _result(method, analyze(model, images, settings, dense=dense, top=top))

    results = tuple(run(method) for method in methods)
    return Comparison(basis, own.settings.keep_ratio, own.grid, own.pruned.macs.total, results)


@lru_cache(maxsize=256)
def ratio_for_macs(config: ModelConfig, grid: tuple[int, int], selector: str, budget: int, like: Ratio) -> Ratio:
    """Find the keep ratio at which a selector costs nearly a given number of multiply-adds.

    The counts come from :mod:`dynamicvit.costs.closed_form`, a thousand of them in some 10 ms, where a counted forward
    pass takes longer than all of these.

    Args:
        config: of the model.
        grid: rows and columns of the patch tokens before anything is dropped.
        selector: name of the token selector.
        budget: multiply-adds after the embedding.
        like: a base ratio gives a base ratio with three digits; one ratio for each stage gives these to a common power.

    Returns:
        The ratio whose count is nearest to the budget and at most 0.5 % above it; the cheapest where all are above.
    """

    def miss(ratio: Ratio) -> tuple[float, int]:
        counts = tokens_kept(grid[0] * grid[1], stage_ratios(ratio, config.num_stages))
        macs = pruned_macs(config, grid, counts, selector)
        return max(0.0, macs - budget * (1 + TOLERANCE)), abs(macs - budget)

    return min(_candidates(like), key=miss)


def _candidates(like: Ratio) -> list[Ratio]:
    if isinstance(like, tuple):
        return [tuple(ratio ** (step / 500) for ratio in like) for step in range(1001)]
    return [step / 1000 for step in range(1, 1001)]


def _realised(own: Analysis) -> Ratio:
    """Give the keep ratio that was asked for, or in the adaptive mode the shares that were kept."""
    ratio = own.settings.keep_ratio
    if not isinstance(ratio, KeepMass):
        return ratio
    # Half a patch more, because the number of tokens kept is rounded down.
    return tuple(min(1.0, (len(stage.kept_patches) + 0.5) / own.num_patches) for stage in own.stages)


def _result(method: str, analysis: Analysis) -> MethodResult:
    return MethodResult(method, analysis.settings.keep_ratio, analysis.pruned, analysis.stages, analysis.agrees)


def _check_names(methods: Sequence[str], basis: str) -> None:
    for method in methods:
        if method not in METHODS:
            raise SettingError(f"There is no method {method!r}; choose some of {', '.join(METHODS)}.")
    if basis not in get_args(Basis):
        raise SettingError(f"Methods are compared at equal {' or '.join(get_args(Basis))}, not {basis!r}.")
