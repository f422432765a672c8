"""What the browser sends as settings -> checked settings of an analysis, and back."""

from __future__ import annotations

from typing import Any

from dynamicvit.analysis.results import AnalysisSettings
from dynamicvit.budget import BaseRatio, KeepMass, StageRatios
from dynamicvit.errors import SettingError

MIN_RATIO, MAX_RATIO = 0.1, 1.0
MIN_STAGE_RATIO = 0.01
MAX_STAGES = 12


def settings_from(payload: object) -> AnalysisSettings:
    """Give the settings that a browser asks for, their numbers rounded to two digits.

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
        return AnalysisSettings(KeepMass(_checked(asked["keep_mass"], "keep mass", MIN_RATIO)))
    ratio = asked["keep_ratio"]
    budget = StageRatios(_stage_ratios(ratio)) if isinstance(ratio, list | tuple) else BaseRatio(checked_ratio(ratio))
    return AnalysisSettings(budget)


def settings_payload(settings: AnalysisSettings) -> dict[str, Any]:
    """Give settings as :func:`settings_from` takes them, ready for JSON."""
    return settings.budget.to_json()


def checked_ratio(ratio: object) -> float:
    """Give a base keep ratio with two digits.

    Raises:
        SettingError: it is no number from 0.10 to 1.00.
    """
    return _checked(ratio, "keep ratio", MIN_RATIO)


def _stage_ratios(ratios: list[object] | tuple[object, ...]) -> tuple[float, ...]:
    if not 0 < len(ratios) <= MAX_STAGES:
        raise SettingError(f"Give one keep ratio for each stage; got {len(ratios)}.")
    checked = tuple(_checked(ratio, "keep ratio of a stage", MIN_STAGE_RATIO) for ratio in ratios)
    if list(checked) != sorted(checked, reverse=True):
        raise SettingError("The keep ratios of the stages must not increase from stage to stage.")
    return checked


def _checked(value: object, name: str, lowest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= MAX_RATIO:
        raise SettingError(f"The {name} must be a number from {lowest:.2f} to {MAX_RATIO:.2f}; got {value!r:.40}.")
    return round(float(value), 2)
