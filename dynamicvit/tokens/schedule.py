"""From a keep ratio, or a share of the keep probability, to the number of tokens that each stage keeps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor

from dynamicvit.errors import SettingError

KeepRatio = float | Sequence[float]
"""One base keep ratio in (0, 1], or one ratio for each stage, non-increasing, all of the initial tokens."""


@dataclass(frozen=True)
class KeepMass:
    """The adaptive mode: each stage keeps the fewest tokens that hold this share of its keep probability.

    How many that are depends on the picture. The probabilities are taken relative to the stage: the logistic function
    of each token's log-odds minus their mean over the tokens that reached the stage. A fixed threshold on the
    probabilities themselves serves no two checkpoints alike, because training over a range of ratios leaves their level
    free: all of a stage may lie below 0.5. The log-odds' spread differs too (between stages by a factor of 10), so a
    threshold on them keeps all of one stage and almost none of the next. The logistic function bounds what a single
    token can hold (a softmax of the log-odds does not: a few tokens then hold nearly everything), and taking a share of
    the sum leaves that share of the tokens where all are alike. With predictors that are sure of every token, it is
    this share of those that they want to keep. This goes beyond the paper.

    Attributes:
        share: in (0, 1]; 1 keeps everything.

    Raises:
        SettingError: the share is outside (0, 1].
    """

    share: float

    def __post_init__(self) -> None:
        if not (isinstance(self.share, int | float) and 0.0 < self.share <= 1.0):
            raise SettingError(f"The share of the keep probability must be above 0 and at most 1; got {self.share!r}.")

    def tokens_kept(self, log_probs: Tensor) -> int:
        """Give the number of tokens that a stage keeps, at least 1.

        Args:
            log_probs: (1, n) log-probability of keeping each token that reached the stage.

        Raises:
            SettingError: there are several pictures, which would keep different numbers of tokens.
        """
        if len(log_probs) != 1:
            raise SettingError(
                f"In the adaptive mode each picture keeps its own number of tokens; give one at a time, "
                f"not {len(log_probs)}."
            )
        num_live = log_probs.shape[1]
        if self.share == 1.0:
            return num_live
        # Where float32 rounds a probability to 1 its odds would be infinite.
        certain = -torch.finfo(log_probs.dtype).eps
        log_probs = log_probs[0].double().clamp(max=certain)
        log_odds = log_probs - torch.log(-torch.expm1(log_probs))
        mass = (log_odds - log_odds.mean()).sigmoid().sort(descending=True).values.cumsum(dim=0)
        return min(num_live, int((mass < self.share * mass[-1]).sum()) + 1)


TokenBudget = KeepRatio | KeepMass
"""How many tokens the stages keep: keep ratios, or as many as the picture needs."""


def stage_ratios(keep_ratio: KeepRatio, num_stages: int) -> tuple[float, ...]:
    """Give the target ratio of each stage, as a share of the *initial* patch tokens.

    A single base ratio r gives r, r^2, r^3, ... in double precision, as the authors compute it: ``0.7 ** 2``
    is a little below 0.49, and the truncation in :func:`tokens_kept` notices.

    Raises:
        SettingError: a ratio is outside (0, 1], the ratios increase, or their number is not the number of stages.

    Source: Rao et al. 2021, section 4.1 ("the target keeping ratios of the three stages to r, r^2, r^3").
    """
    _check_prunable(num_stages)
    if isinstance(keep_ratio, int | float | Real):
        base = float(keep_ratio)
        ratios = tuple(base ** (stage + 1) for stage in range(num_stages))
        _check_range((base,))
        return ratios
    if isinstance(keep_ratio, str):
        raise SettingError(f"The keep ratio must be a number above 0 and at most 1, not {keep_ratio!r}.")
    try:
        ratios = tuple(float(ratio) for ratio in keep_ratio)
    except (TypeError, ValueError):
        raise SettingError(
            f"The keep ratio must be one number or one number for each stage, not {keep_ratio!r}."
        ) from None
    if len(ratios) != num_stages:
        raise SettingError(f"Give one keep ratio or {num_stages} of them, one for each stage; got {len(ratios)}.")
    _check_range(ratios)
    if any(later > earlier for earlier, later in itertools.pairwise(ratios)):
        raise SettingError(f"The keep ratios of the stages must not increase; got {ratios}.")
    return ratios


def stage_budgets(budget: TokenBudget, num_stages: int, num_patches: int) -> tuple[int | KeepMass, ...]:
    """Give for each stage the number of tokens that it keeps, or what will decide it when the scores are known.

    Raises:
        SettingError: as :func:`stage_ratios`.
    """
    _check_prunable(num_stages)
    if isinstance(budget, KeepMass):
        return (budget,) * num_stages
    return tokens_kept(num_patches, stage_ratios(budget, num_stages))


def tokens_kept(num_patches: int, ratios: Sequence[float]) -> tuple[int, ...]:
    """Give the number of patch tokens that each stage keeps, the class token not counted.

    ``int(num_patches * ratio)``, truncated like the authors' code, but at least 1: at a base ratio of 0.1 the third
    stage of 196 tokens would otherwise keep none, and a model that reads its patch tokens could not answer.
    """
    return tuple(max(1, int(num_patches * ratio)) for ratio in ratios)


def _check_prunable(num_stages: int) -> None:
    if num_stages == 0:
        raise SettingError("This model has no pruning stages; leave the keep ratio out to run it dense.")


def _check_range(ratios: Sequence[float]) -> None:
    for ratio in ratios:
        if not (math.isfinite(ratio) and 0.0 < ratio <= 1.0):
            raise SettingError(f"The keep ratio must be above 0 and at most 1; got {ratio:g}.")
