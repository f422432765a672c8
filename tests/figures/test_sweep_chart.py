"""The chart of a sweep."""

from __future__ import annotations

from xml.etree import ElementTree

from dynamicvit.analysis.results import Classification, Prediction
from dynamicvit.analysis.sweep import SWEPT_RATIOS, SweepPoint
from dynamicvit.costs.macs import MacReport
from dynamicvit.figures.svg import to_svg
from dynamicvit.figures.sweep_chart import draw_sweep

BEST = Prediction(3, "monarch", 0.9)
DENSE = Classification((BEST,), MacReport({"": 4_000_000_000}))


def point(ratio: float, agrees: bool = True) -> SweepPoint:
    return SweepPoint(ratio, BEST, ratio, agrees, int(4e9 * ratio), 1 - ratio)


def draw(points: list[SweepPoint]) -> ElementTree.Element:
    figure = draw_sweep(points, DENSE, width=600, x_title="Keep ratio", y_title="Confidence")
    return ElementTree.fromstring(to_svg(figure))


def targets(points: list[SweepPoint]) -> dict[str, float]:
    """Give the x place of each target by its id."""
    groups = [node for node in draw(points).iter() if (node.get("id") or "").startswith("ratio-")]
    marks = [next(node for node in group.iter() if node.tag.endswith("use")) for group in groups]
    return {str(group.get("id")): float(mark.get("x", "nan")) for group, mark in zip(groups, marks, strict=True)}


def test_every_point_has_a_target_and_lower_ratios_stand_further_left() -> None:
    places = targets([point(ratio) for ratio in SWEPT_RATIOS])
    assert list(places) == [f"ratio-{ratio:.2f}" for ratio in reversed(SWEPT_RATIOS)]
    assert list(places.values()) == sorted(places.values())


def test_ratio_down_to_which_the_prediction_holds_is_written() -> None:
    texts = [node.text for node in draw([point(ratio, ratio >= 0.35) for ratio in SWEPT_RATIOS]).iter() if node.text]
    assert texts.count("0.35") == 1  # no tick of the axis


def test_one_point_alone_can_be_drawn() -> None:
    assert list(targets([point(1.0, agrees=False)])) == ["ratio-1.00"]
