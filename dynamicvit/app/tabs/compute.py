"""Compute: where multiply-adds and milliseconds go in the dense and the pruned model, block by block."""

from __future__ import annotations

from functools import partial
from typing import Any

from dynamicvit.app.components import Payload, tab_component, user_errors
from dynamicvit.app.explorer import MEASURING_BUDGET_MS, percent
from dynamicvit.app.inputs import checked_budget, checked_width
from dynamicvit.app.state import AppState
from dynamicvit.app.words import DEFAULT_LANGUAGE, Labels, Words, words_in
from dynamicvit.costs.profiling import Part, PartKey, PassProfile, Profile
from dynamicvit.figures.profile_chart import ProfileColumn, draw_profile
from dynamicvit.figures.svg import to_svg

NOTHING = "\N{EN DASH}"


def fill(state: AppState, labels: Labels) -> None:
    """Fill the tab under construction; its component translates itself."""
    asked = {"compute_profile": partial(measure_parts, state)}
    tab_component("compute", None, asked=asked, turns=state.turns)


@user_errors
def measure_parts(
    state: AppState, image: object, model: object, settings: object, width: object, language: object = DEFAULT_LANGUAGE
) -> Payload:
    """Return chart, table and explanation of where the compute goes.

    Args:
        state: what the visitors share.
        image, model: keys.
        settings: as :func:`checked_budget` takes them.
        width: of the chart, in pixels.
        language: of the words.
    """
    opened, loaded, budget, words = state.image(image), state.load(model), checked_budget(settings), words_in(language)
    prepared = state.prepared(opened, loaded)
    result = prepared.profile(budget, budget_ms=MEASURING_BUDGET_MS, execute=state.run)
    titles = words("compute.tokens_title"), words("compute.gmacs_title"), words("compute.milliseconds_title")
    return {
        "svg": to_svg(draw_profile(chart_columns(result, words), width=checked_width(width), titles=titles)),
        "rows": describe_rows(result, words),
        "explanation": explain(result, words),
        "how": words("compute.how", rounds=result.rounds, device=words.device(result.device)),
    }


def chart_columns(profile: Profile, words: Words) -> list[ProfileColumn]:
    """Return a column of the chart for each part; what happens outside the modules has no number of tokens."""
    all_tokens = profile.dense.parts[0].tokens
    return [
        ProfileColumn(
            name=_short_name(key, words),
            tokens=(None, None) if key[0] == "other" else (all_tokens, pruned.tokens),
            gmacs=(dense.macs / 1e9 if dense else None, pruned.macs / 1e9),
            milliseconds=(dense.median_ms if dense else None, pruned.median_ms),
        )
        for key, dense, pruned in _pairs(profile)
    ]


def describe_rows(profile: Profile, words: Words) -> list[dict[str, Any]]:
    """Return the table: a row for each part, and one for the whole pass at the end."""
    rows = [
        {"name": _name(key, words), **_numbers(dense, "dense"), **_numbers(pruned, "pruned")}
        for key, dense, pruned in _pairs(profile)
    ]
    whole = {"name": words("compute.whole")}
    for side, whole_pass in (("dense", profile.dense), ("pruned", profile.pruned)):
        whole |= {
            f"{side}_tokens": "",
            f"{side}_gmacs": _gmacs(whole_pass.macs),
            f"{side}_milliseconds": f"{whole_pass.median_ms:.2f}",
        }
    return [*rows, whole]


def explain(profile: Profile, words: Words) -> str:
    """Say what pruning saves in the blocks, and what it cannot save or adds."""
    dense, pruned = profile.dense, profile.pruned
    stem_macs, stem_ms = _sum(dense, "stem")
    dense_macs, dense_ms = _sum(dense, "block")
    pruned_macs, pruned_ms = _sum(pruned, "block")
    predictor_macs, predictor_ms = _sum(pruned, "predictor")
    moving_ms = _sum(pruned, "other")[1] - _sum(dense, "other")[1]
    return " ".join(
        [
            words(
                "compute.blocks_say",
                dense=_gmacs(dense_macs),
                pruned=_gmacs(pruned_macs),
                dense_ms=f"{dense_ms:.1f}",
                pruned_ms=f"{pruned_ms:.1f}",
            ),
            words("compute.stem_says", share=percent(stem_macs / dense.macs), ms=f"{stem_ms:.1f}"),
            words(
                "compute.predictors_say",
                gmacs=_gmacs(predictor_macs),
                share=percent(predictor_macs / pruned.macs),
                ms=f"{predictor_ms:.1f}",
                moving=f"{max(0.0, moving_ms):.1f}",
            ),
        ]
    )


def _pairs(profile: Profile) -> list[tuple[PartKey, Part | None, Part]]:
    """Return each part of the pruned model, which has them all, with that of the dense one."""
    dense = {(part.kind, part.number): part for part in profile.dense.parts}
    return [((part.kind, part.number), dense.get((part.kind, part.number)), part) for part in profile.pruned.parts]


def _numbers(part: Part | None, side: str) -> dict[str, str]:
    has_tokens = part is not None and part.kind != "other"
    return {
        f"{side}_tokens": str(part.tokens) if part and has_tokens else NOTHING,
        f"{side}_gmacs": _gmacs(part.macs) if part else NOTHING,
        f"{side}_milliseconds": f"{part.median_ms:.2f}" if part else NOTHING,
    }


def _sum(whole_pass: PassProfile, kind: str) -> tuple[int, float]:
    """Return multiply-adds and milliseconds of all parts of a kind."""
    parts = [part for part in whole_pass.parts if part.kind == kind]
    return sum(part.macs for part in parts), sum(part.median_ms for part in parts)


def _gmacs(macs: int) -> str:
    return f"{macs / 1e9:.3f}"


def _name(key: PartKey, words: Words) -> str:
    kind, number = key
    if kind == "block":
        return words("compute.block", number=1 + (number or 0))
    if kind == "predictor":
        return words("compute.predictor", number=number)
    names = {"stem": words("compute.stem"), "read-out": words("compute.readout"), "other": words("compute.other")}
    return names[kind]


def _short_name(key: PartKey, words: Words) -> str:
    kind, number = key
    if kind == "block":
        return str(1 + (number or 0))
    if kind == "predictor":
        return words("compute.short_predictor", number=number)
    names = {
        "stem": words("compute.short_stem"),
        "read-out": words("compute.short_readout"),
        "other": words("compute.short_other"),
    }
    return names[kind]
