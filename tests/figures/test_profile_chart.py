"""The chart of where the compute goes."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from dynamicvit.figures.profile_chart import ProfileColumn, draw_profile
from dynamicvit.figures.svg import to_svg

COLUMNS = [
    ProfileColumn("前端", (196, 196), (0.7, 0.7), (9.0, 9.1)),
    ProfileColumn("P1", (196, 196), (None, 0.1), (None, 1.0)),
    ProfileColumn("1", (196, 137), (0.4, 0.3), (5.0, 4.0)),
    ProfileColumn("rest", (None, None), (0.0, 0.0), (0.2, 0.5)),
]


@pytest.mark.parametrize("width", [280, 1000])
def test_titles_and_columns_are_named_at_any_width(width: int) -> None:
    svg = to_svg(draw_profile(COLUMNS, width=width, titles=("Tokens", "GMACs", "毫秒")))
    texts = [node.text for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("text")]
    assert {"前端", "P1", "1", "rest", "Tokens", "GMACs", "毫秒"} <= set(texts)


def test_a_part_that_the_dense_model_lacks_has_one_bar() -> None:
    figure = draw_profile(COLUMNS, width=800, titles=("a", "b", "c"))
    dense, pruned = figure.axes[1].containers
    assert (len(dense), len(pruned)) == (3, 4)
    assert [bar.get_height() for bar in pruned] == [0.7, 0.1, 0.3, 0.0]


def test_dense_bars_are_hollow_so_that_colour_is_not_all_that_tells_them_apart() -> None:
    figure = draw_profile(COLUMNS, width=800, titles=("a", "b", "c"))
    dense, pruned = figure.axes[2].containers
    assert dense[0].get_facecolor() != dense[0].get_edgecolor()
    assert pruned[0].get_facecolor() == pruned[0].get_edgecolor()
