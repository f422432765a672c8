"""Query parameters -> what a link asks for; what cannot be used is named and left out."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from dynamicvit.analysis.results import AnalysisSettings
from dynamicvit.errors import SettingError
from dynamicvit.interface.settings import settings_from
from dynamicvit.interface.words import LANGUAGES

BUDGETS = ("ratio", "ratios", "mass")
_NUMBER = re.compile(r"[0-9]{1,2}(\.[0-9]{1,6})?", re.ASCII)
_WHOLE = re.compile(r"[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True)
class Link:
    """What a link asks for; None where it says nothing.

    Attributes:
        example: name of an example picture.
        model: key of a model.
        settings: how many tokens to keep.
        stage: the view to show large, 0 for the input.
        patch: row-major index of the patch to pin.
        ignored: parameters with values that cannot be used.
    """

    example: str | None = None
    model: str | None = None
    settings: AnalysisSettings | None = None
    stage: int | None = None
    patch: int | None = None
    ignored: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it asks for nothing."""
        return replace(self, ignored=()) == Link()

    def fitted(self, num_stages: int, num_patches: int) -> Link:
        """Give the link without what a model of so many stages and patches cannot show."""
        budget = self.settings.budget if self.settings else None
        bad = {
            "ratios": budget is not None and budget.kind == "stages" and len(budget.numbers) != num_stages,
            "stage": self.stage is not None and self.stage > num_stages,
            "patch": self.patch is not None and self.patch >= num_patches,
        }
        return replace(
            self,
            settings=None if bad["ratios"] else self.settings,
            stage=None if bad["stage"] else self.stage,
            patch=None if bad["patch"] else self.patch,
            ignored=self.ignored + tuple(name for name, is_bad in bad.items() if is_bad),
        )


def parse_link(query: Mapping[str, str], examples: Collection[str], models: Collection[str]) -> Link:
    """Read the parameters of an address, whatever stands there; other parameters are not looked at.

    Args:
        query: ``example``, ``model``, one of ``ratio``, ``ratios`` (separated by commas) and ``mass``, ``stage``,
            ``patch``, ``lang``.
        examples: names of the example pictures.
        models: keys of the models that are here.
    """
    example, model = _one_of(query.get("example"), examples), _one_of(query.get("model"), models)
    stage, patch = _whole(query.get("stage")), _whole(query.get("patch"))
    budget = next((name for name in BUDGETS if name in query), None)
    settings = None if budget is None else _settings(budget, query[budget])
    used = {"example": example, "model": model, budget: settings, "stage": stage, "patch": patch}
    used["lang"] = _one_of(query.get("lang"), LANGUAGES)
    known = ("example", "model", *BUDGETS, "stage", "patch", "lang")
    ignored = tuple(name for name in known if name in query and used.get(name) is None)
    return Link(example, model, settings, stage, patch, ignored)


def requested(settings: object, stage: object, patch: object) -> Link:
    """Read what a browser asks for, whatever it sends; what cannot be used is left out."""
    try:
        checked = settings_from(settings)
    except SettingError:
        checked = None
    return Link(settings=checked, stage=_index(stage), patch=_index(patch))


def _index(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _one_of(value: str | None, known: Collection[str]) -> str | None:
    return value if value in known else None


def _whole(value: str | None) -> int | None:
    return int(value) if value is not None and _WHOLE.fullmatch(value) else None


def _settings(budget: str, value: str) -> AnalysisSettings | None:
    parts = value.split(",") if budget == "ratios" else [value]
    if not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    numbers = [float(part) for part in parts]
    payloads = {
        "ratio": {"keep_ratio": numbers[0]},
        "ratios": {"keep_ratio": numbers},
        "mass": {"keep_mass": numbers[0]},
    }
    try:
        return settings_from(payloads[budget])
    except SettingError:
        return None
