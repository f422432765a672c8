"""Links that reopen the page as it was: the address -> what it asks for, and the component that follows the address."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from dynamicvit.app.components import Payload, component
from dynamicvit.app.inputs import checked_budget
from dynamicvit.app.state import split_key
from dynamicvit.app.tabs import TABS
from dynamicvit.app.words import LANGUAGES
from dynamicvit.budget import Budget
from dynamicvit.errors import ImageError, SettingError

BUDGETS = ("ratio", "ratios", "mass")
TAB_NAMES = ("explore", *TABS)
TOUR_STEPS = ("1", "2", "3", "4", "5", "6")
_NUMBER = re.compile(r"[0-9]{1,2}(\.[0-9]{1,6})?", re.ASCII)
_WHOLE = re.compile(r"[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True)
class Link:
    """What a link asks for; None where it says nothing.

    Attributes:
        example: name of an example image.
        model: key of a model.
        budget: how many tokens to keep.
        stage: the view to show large, 0 for the input.
        patch: row-major index of the patch to pin.
        ignored: parameters with values that cannot be used.
    """

    example: str | None = None
    model: str | None = None
    budget: Budget | None = None
    stage: int | None = None
    patch: int | None = None
    ignored: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it asks for nothing."""
        return replace(self, ignored=()) == Link()

    def fitted(self, num_stages: int, num_patches: int) -> Link:
        """Return the link without what a model of so many stages and patches cannot show."""
        budget = self.budget
        bad = {
            "ratios": budget is not None and budget.kind == "stages" and len(budget.numbers) != num_stages,
            "stage": self.stage is not None and self.stage > num_stages,
            "patch": self.patch is not None and self.patch >= num_patches,
        }
        return replace(
            self,
            budget=None if bad["ratios"] else budget,
            stage=None if bad["stage"] else self.stage,
            patch=None if bad["patch"] else self.patch,
            ignored=self.ignored + tuple(name for name, is_bad in bad.items() if is_bad),
        )


def parse_link(query: Mapping[str, str], examples: Collection[str], models: Collection[str]) -> Link:
    """Read the parameters of an address, whatever stands there; other parameters are not looked at.

    Args:
        query: ``example`` (with the place of the crop, if not the middle), ``model``, one of ``ratio``, ``ratios``
            (separated by commas) and ``mass``, ``stage``, ``patch``, ``tour`` and ``tab`` (which the browser itself
            follows), ``lang``.
        examples: names of the example images.
        models: keys of the models that are here.
    """
    example, model = _example(query.get("example"), examples), _one_of(query.get("model"), models)
    stage, patch = _whole(query.get("stage")), _whole(query.get("patch"))
    kind = next((name for name in BUDGETS if name in query), None)
    budget = None if kind is None else _budget(kind, query[kind])
    used = {"example": example, "model": model, kind: budget, "stage": stage, "patch": patch}
    used |= {"tour": _one_of(query.get("tour"), TOUR_STEPS), "lang": _one_of(query.get("lang"), LANGUAGES)}
    used["tab"] = _one_of(query.get("tab"), TAB_NAMES)
    known = ("example", "model", *BUDGETS, "stage", "patch", "tour", "lang", "tab")
    ignored = tuple(name for name in known if name in query and used.get(name) is None)
    return Link(example, model, budget, stage, patch, ignored)


def requested(settings: object, stage: object, patch: object) -> Link:
    """Read what a browser asks for, whatever it sends; what cannot be used is left out."""
    try:
        budget = checked_budget(settings)
    except SettingError:
        budget = None
    return Link(budget=budget, stage=_index(stage), patch=_index(patch))


def _index(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _one_of(value: str | None, known: Collection[str]) -> str | None:
    return value if value in known else None


def _example(value: str | None, known: Collection[str]) -> str | None:
    try:
        return value if value is not None and split_key(value)[0] in known else None
    except ImageError:
        return None


def _whole(value: str | None) -> int | None:
    return int(value) if value is not None and _WHOLE.fullmatch(value) else None


def _budget(kind: str, value: str) -> Budget | None:
    parts = value.split(",") if kind == "ratios" else [value]
    if not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    numbers = [float(part) for part in parts]
    payloads: dict[str, Payload] = {
        "ratio": {"keep_ratio": numbers[0]},
        "ratios": {"keep_ratio": numbers},
        "mass": {"keep_mass": numbers[0]},
    }
    try:
        return checked_budget(payloads[kind])
    except SettingError:
        return None


def page_links(examples: list[str], **options: Any) -> gr.HTML:
    """Return the component that opens what a link or a file asks for, and knows the page's own link.

    Its value is what :func:`wanted` gives, its event ``open`` carries ``{image, model, ...}``.

    Args:
        examples: names of the images that can be in a link.
    """
    return component("links", {}, scripts=["tab_bar.js"], examples=examples, tabs=TAB_NAMES, **options)


def wanted(serial: int, image: str | None, model: str | None, link: Link) -> Payload:
    """Tell the browser what to show as soon as the explorer shows that image with that model.

    Args:
        serial: no two alike, or the browser would not notice the second.
        image, model: keys of what is about to be shown; None when nothing is.
        link: the rest.
    """
    asks = link.budget is not None or link.stage is not None or link.patch is not None
    return {
        "serial": serial,
        "image": image,
        "model": model,
        "asks": asks,
        "settings": None if link.budget is None else link.budget.to_json(),
        "stage": link.stage,
        "patch": link.patch,
        "ignored": list(link.ignored),
    }
