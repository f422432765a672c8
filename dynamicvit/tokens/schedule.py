"""From a keep ratio to the number of tokens that each stage keeps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from numbers import Real

from dynamicvit.errors import SettingError

KeepRatio = float | Sequence[float]
"""One base keep ratio in (0, 1], or one ratio for each stage, non-increasing, all of the initial tokens."""


def stage_ratios(keep_ratio: KeepRatio, num_stages: int) -> tuple[float, ...]:
    """Give the target ratio of each stage, as a share of the *initial* patch tokens.

    A single base ratio r gives r, r^2, r^3, ... in double precision, as the authors compute it: ``0.7 ** 2``
    is a little below 0.49, and the truncation in :func:`tokens_kept` notices.

    Raises:
        SettingError: a ratio is outside (0, 1], the ratios increase, or their number is not the number of stages.

    Source: Rao et al. 2021, section 4.1 ("the target keeping ratios of the three stages to r, r^2, r^3").
    """
    if num_stages == 0:
        raise SettingError("This model has no pruning stages; leave the keep ratio out to run it dense.")
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


def tokens_kept(num_patches: int, ratios: Sequence[float]) -> tuple[int, ...]:
    """Give the number of patch tokens that each stage keeps, the class token not counted.

    ``int(num_patches * ratio)``, truncated like the authors' code, but at least 1: at a base ratio of 0.1 the third
    stage of 196 tokens would otherwise keep none, and a model that reads its patch tokens could not answer.
    """
    return tuple(max(1, int(num_patches * ratio)) for ratio in ratios)


def _check_range(ratios: Sequence[float]) -> None:
    for ratio in ratios:
        if not (math.isfinite(ratio) and 0.0 < ratio <= 1.0):
            raise SettingError(f"The keep ratio must be above 0 and at most 1; got {ratio:g}.")
