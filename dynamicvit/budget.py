"""How many tokens the stages keep: by a base keep ratio, by one ratio for each stage, or by the image's own scores."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from dynamicvit.errors import SettingError

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Schedule:
    """How a base keep ratio r becomes the ratio of each stage; it belongs to a family of models, not to a budget.

    Attributes:
        num_stages: number of pruning stages; 0 for a dense model.
        step: None where the stages keep r, r^2, r^3, ... (Rao et al. 2021, section 4.1); else each keeps so much less
            than the one before: r, r - step, r - 2 step, ..., as in the hierarchical models (arXiv 2207.01580).
    """

    num_stages: int
    step: float | None = None

    @property
    def is_nested(self) -> bool:
        """Whether each stage keeps some of what the one before it kept; else it chooses among all positions anew."""
        return self.step is None

    @property
    def terms(self) -> tuple[str, ...]:
        """Return how one writes the ratio of each stage: "r", "r²", "r³" or "r", "r − 0.2", "r − 0.4"."""
        if self.step is None:
            later = [f"r{stage}".translate(SUPERSCRIPTS) for stage in range(2, self.num_stages + 1)]
        else:
            later = [f"r \N{MINUS SIGN} {self.step * stage:.2g}" for stage in range(1, self.num_stages)]
        return ("r", *later)[: self.num_stages]

    def ratios(self, base: float) -> tuple[float, ...]:
        """Return the ratio of each stage, in [0, 1].

        In double precision, as the authors compute it, because truncation to a number of tokens notices: 0.7 ** 2 is a
        little below 0.49, and 0.7 - 0.2 a little below 0.5.
        """
        if self.step is None:
            return tuple(base ** (stage + 1) for stage in range(self.num_stages))
        return tuple(max(0.0, base - self.step * stage) for stage in range(self.num_stages))


class Budget(ABC):
    """How many patch tokens each stage keeps; immutable and hashable.

    What it comes to depends on the model's :class:`Schedule`. In the hierarchical models "kept" are the positions that
    take the slow path.

    Attributes:
        kind: "ratio", "stages" or "mass", what the numbers are.
        numbers: the ratio, the ratio of each stage, or the mass, each in (0, 1].
        is_adaptive: whether the counts depend on the image, so that only predictors can be asked for them.
    """

    kind: ClassVar[str]
    is_adaptive: ClassVar[bool] = False

    @property
    @abstractmethod
    def numbers(self) -> tuple[float, ...]: ...

    @abstractmethod
    def ratios(self, schedule: Schedule) -> tuple[float, ...]:
        """Return the target ratio of each stage, as a share of the *initial* patch tokens.

        Raises:
            SettingError: the model has another number of stages, or none, or the image decides.
        """

    def check(self, schedule: Schedule) -> None:
        """Raise a SettingError unless a model with this schedule can keep this budget."""
        self.ratios(schedule)

    def counts(self, schedule: Schedule, num_patches: int) -> tuple[int, ...]:
        """Return the number of patch tokens that each stage keeps, the class token not counted.

        ``int(num_patches * ratio)``, truncated like the authors' code, but at least 1: at a base ratio of 0.1 the third
        stage of 196 tokens would otherwise keep none, and a model that reads its patch tokens could not answer.

        Raises:
            SettingError: as :meth:`ratios`.
        """
        return tuple(max(1, int(num_patches * ratio)) for ratio in self.ratios(schedule))

    def count(self, stage: int, schedule: Schedule, num_patches: int, log_probs: Tensor | None) -> int:
        """Return the number of patch tokens that one stage, 0-based, keeps.

        Args:
            log_probs: (1, n) predicted log-probability of keeping each token that reached the stage; only the adaptive
                mode looks at them. None where no predictor was asked.

        Raises:
            SettingError: as :meth:`ratios`, or the adaptive mode has no log-probabilities or those of several images.
        """
        return self.counts(schedule, num_patches)[stage]

    def realised(self, counts: Sequence[int], num_patches: int) -> Budget:
        """Return the ratios with which a pass that kept ``counts`` tokens could be repeated on any image."""
        return self

    def alternatives(self) -> list[Budget]:
        """Return a thousand budgets of this kind from almost nothing to everything kept."""
        raise SettingError("In the adaptive mode the image decides; give a keep ratio.")

    def to_json(self) -> dict[str, Any]:
        """Return the budget as plain JSON; :func:`budget_from_json` reads it back."""
        return {"keep_ratio": self.numbers[0] if len(self.numbers) == 1 else list(self.numbers)}

    @property
    def label(self) -> str:
        """The budget in English, such as ``"keep ratio 0.70"``."""
        return f"keep {'mass' if self.is_adaptive else 'ratio'} {', '.join(f'{number:.2f}' for number in self.numbers)}"


@dataclass(frozen=True)
class BaseRatio(Budget):
    """One base keep ratio r in (0, 1], from which the model's schedule makes that of each stage; the first keeps r."""

    ratio: float
    kind: ClassVar[str] = "ratio"

    def __post_init__(self) -> None:
        _check_range(self.ratio)

    @property
    def numbers(self) -> tuple[float, ...]:
        return (self.ratio,)

    def ratios(self, schedule: Schedule) -> tuple[float, ...]:
        _check_prunable(schedule)
        return schedule.ratios(self.ratio)

    def alternatives(self) -> list[Budget]:
        return [BaseRatio(step / 1000) for step in range(1, 1001)]


@dataclass(frozen=True)
class StageRatios(Budget):
    """One keep ratio in (0, 1] for each stage, all of the initial patch tokens.

    They must not increase where dropped tokens cannot come back; a hierarchical model takes them in any order.
    """

    stages: tuple[float, ...]
    kind: ClassVar[str] = "stages"

    def __post_init__(self) -> None:
        for ratio in self.stages:
            _check_range(ratio)

    @property
    def numbers(self) -> tuple[float, ...]:
        return self.stages

    def ratios(self, schedule: Schedule) -> tuple[float, ...]:
        _check_prunable(schedule)
        if len(self.stages) != schedule.num_stages:
            raise SettingError(
                f"Give one keep ratio or {schedule.num_stages} of them, one for each stage; got {len(self.stages)}."
            )
        if schedule.is_nested and any(later > earlier for earlier, later in itertools.pairwise(self.stages)):
            raise SettingError(f"The keep ratios of the stages must not increase; got {self.stages}.")
        return self.stages

    def alternatives(self) -> list[Budget]:
        return [StageRatios(tuple(ratio ** (step / 500) for ratio in self.stages)) for step in range(1001)]

    def to_json(self) -> dict[str, Any]:
        return {"keep_ratio": list(self.stages)}


@dataclass(frozen=True)
class KeepMass(Budget):
    """The adaptive mode: each stage keeps the fewest tokens that hold this share of its keep probability (top-p).

    How many that are depends on the image. The probabilities are taken relative to the stage: the logistic function
    of each token's log-odds minus their mean over the tokens that reached the stage. A fixed threshold on the
    probabilities themselves serves no two checkpoints alike, because training over a range of ratios leaves their level
    free: all of a stage may lie below 0.5. The log-odds' spread differs too (between stages by a factor of 10), so a
    threshold on them keeps all of one stage and almost none of the next. The logistic function bounds what a single
    token can hold (a softmax of the log-odds does not: a few tokens then hold nearly everything), and taking a share of
    the sum leaves that share of the tokens where all are alike. With predictors that are sure of every token, it is
    this share of those that they want to keep. This goes beyond the paper.

    Attributes:
        share: in (0, 1]; 1 keeps everything.
    """

    share: float
    kind: ClassVar[str] = "mass"
    is_adaptive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (isinstance(self.share, int | float) and 0.0 < self.share <= 1.0):
            raise SettingError(f"The share of the keep probability must be above 0 and at most 1; got {self.share!r}.")

    @property
    def numbers(self) -> tuple[float, ...]:
        return (self.share,)

    def ratios(self, schedule: Schedule) -> tuple[float, ...]:
        raise SettingError("In the adaptive mode the image decides how many tokens stay; give a keep ratio.")

    def check(self, schedule: Schedule) -> None:
        _check_prunable(schedule)

    def count(self, stage: int, schedule: Schedule, num_patches: int, log_probs: Tensor | None) -> int:
        if log_probs is None:
            raise SettingError("Only the model's own predictors can choose how many tokens to keep; give a keep ratio.")
        if len(log_probs) != 1:
            raise SettingError(
                f"In the adaptive mode each image keeps its own number of tokens; give one at a time, "
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

    def realised(self, counts: Sequence[int], num_patches: int) -> Budget:
        # Half a patch more, because the number of tokens kept is rounded down.
        return StageRatios(tuple(min(1.0, (count + 0.5) / num_patches) for count in counts))

    def to_json(self) -> dict[str, Any]:
        return {"keep_mass": self.share}


def as_budget(value: float | Sequence[float] | Budget) -> Budget:
    """Return the budget that a caller means by one number, by one number for each stage, or by a budget.

    Raises:
        SettingError: it is none of these, a ratio is outside (0, 1], or the ratios increase.
    """
    if isinstance(value, Budget):
        return value
    if isinstance(value, Real) and not isinstance(value, bool):
        return BaseRatio(_as_float(value))
    if isinstance(value, str | bool):
        raise SettingError(f"The keep ratio must be a number above 0 and at most 1, not {value!r}.")
    try:
        ratios = tuple(map(_as_float, cast(Sequence[float], value)))
    except (TypeError, ValueError):
        raise SettingError(f"The keep ratio must be one number or one number for each stage, not {value!r}.") from None
    return StageRatios(ratios)


def budget_from_json(data: Mapping[str, Any]) -> Budget:
    """Return the budget that :meth:`Budget.to_json` wrote; other keys are not looked at.

    Raises:
        SettingError: it names no budget or two, or its numbers are not valid.
    """
    if ("keep_ratio" in data) == ("keep_mass" in data):
        raise SettingError("The settings must name either a keep ratio or, for the adaptive mode, a keep mass.")
    if "keep_mass" in data:
        return KeepMass(data["keep_mass"])
    return as_budget(data["keep_ratio"])


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond all floats: refused like every ratio above 1
        return math.inf


def _check_prunable(schedule: Schedule) -> None:
    if schedule.num_stages == 0:
        raise SettingError("This model has no pruning stages; leave the keep ratio out to run it dense.")


def _check_range(ratio: float) -> None:
    if not (math.isfinite(ratio) and 0.0 < ratio <= 1.0):
        raise SettingError(f"The keep ratio must be above 0 and at most 1; got {ratio:g}.")
