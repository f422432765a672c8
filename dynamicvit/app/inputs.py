"""What a browser sends -> checked values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from dynamicvit.app.components import Payload
from dynamicvit.app.state import DEFAULT_KEEP_RATIO
from dynamicvit.app.words import Words, words_in
from dynamicvit.budget import BaseRatio, Budget, KeepMass, StageRatios
from dynamicvit.errors import SettingError

MIN_RATIO, MAX_RATIO = 0.1, 1.0
MIN_STAGE_RATIO = 0.01
MAX_STAGES = 12
MIN_WIDTH, MAX_WIDTH = 280, 1200
MAX_SEED = 2**31 - 1
SCENE = ("image", "model", "settings", "stage", "patch")


@dataclass(frozen=True)
class TabRequest:
    """What a visitor asks of a tab that follows Explore.

    Attributes:
        model: its key; None for the first one.
        budget: how many tokens the stages keep.
        words: to answer with.
        is_narrow: whether little fits side by side.
    """

    model: str | None
    budget: Budget
    words: Words
    is_narrow: bool = False


def tab_request(value: object) -> TabRequest:
    """Return the value of :func:`~dynamicvit.app.components.current_settings`, as the browser sends it, checked.

    Raises:
        SettingError: the settings are not valid.
    """
    sent = value if isinstance(value, dict) else {}
    model = sent.get("model")
    if not isinstance(model, str | None):
        raise SettingError("The model must be one of the list; reload the page and choose again.")
    budget = checked_budget(sent.get("settings", {"keep_ratio": DEFAULT_KEEP_RATIO}))
    return TabRequest(model, budget, words_in(sent.get("language")), sent.get("is_narrow") is True)


def checked_budget(payload: object) -> Budget:
    """Return how many tokens a browser asks to keep, the numbers rounded to two digits.

    Args:
        payload: ``{"keep_ratio": base}`` from 0.10 to 1.00, ``{"keep_ratio": [one for each stage]}`` from 0.01 to
            1.00 and non-increasing, or ``{"keep_mass": share}`` from 0.10 to 1.00 (the adaptive mode). Other keys are
            not looked at.

    Raises:
        SettingError: it is none of these. Whether a model has as many stages is checked where the model is known.
    """
    asked = payload if isinstance(payload, dict) else {}
    if ("keep_ratio" in asked) == ("keep_mass" in asked):
        raise SettingError("The settings must name either a keep ratio or, for the adaptive mode, a keep mass.")
    if "keep_mass" in asked:
        return KeepMass(_rounded(asked["keep_mass"], "keep mass", MIN_RATIO))
    ratio = asked["keep_ratio"]
    return StageRatios(_stage_ratios(ratio)) if isinstance(ratio, list | tuple) else BaseRatio(checked_ratio(ratio))


def checked_scene(value: object) -> Payload:
    """Return what a browser says that Explore shows: ``image``, ``model``, ``settings``, ``stage``, ``patch``."""
    return {name: value.get(name) if isinstance(value, dict) else None for name in SCENE}


def checked_ratio(ratio: object) -> float:
    """Return a base keep ratio with two digits.

    Raises:
        SettingError: it is no number from 0.10 to 1.00.
    """
    return _rounded(ratio, "keep ratio", MIN_RATIO)


def checked_seed(seed: object) -> int:
    """Return a seed of the random selection.

    Raises:
        SettingError: it is no whole number from 0 to 2147483647.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise SettingError(f"The seed must be a whole number from 0 to {MAX_SEED}; got {seed!r:.40}.")
    return seed


def checked_width(width: object) -> int:
    """Return a width in pixels that a chart can have, near the one that was asked for; the least for anything else."""
    if not (isinstance(width, int | float) and -math.inf < width < math.inf):
        return MIN_WIDTH
    return round(min(MAX_WIDTH, max(MIN_WIDTH, width)))


def _stage_ratios(ratios: list[Any] | tuple[Any, ...]) -> tuple[float, ...]:
    if not 0 < len(ratios) <= MAX_STAGES:
        raise SettingError(f"Give one keep ratio for each stage; got {len(ratios)}.")
    checked = tuple(_rounded(ratio, "keep ratio of a stage", MIN_STAGE_RATIO) for ratio in ratios)
    if list(checked) != sorted(checked, reverse=True):
        raise SettingError("The keep ratios of the stages must not increase from stage to stage.")
    return checked


def _rounded(value: object, name: str, lowest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= MAX_RATIO:
        raise SettingError(f"The {name} must be a number from {lowest:.2f} to {MAX_RATIO:.2f}; got {value!r:.40}.")
    return round(float(value), 2)
