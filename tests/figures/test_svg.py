"""Charts that take colours and fonts from the page."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import pytest

from dynamicvit.figures.svg import DENSE, KEPT, TEXT, VARIABLES, page_figure, plain_axes, to_svg

SVG = "{http://www.w3.org/2000/svg}"


def chart(title: str = "Title") -> str:
    figure = page_figure(400, 200)
    axes = figure.subplots()
    plain_axes(axes, title=title)
    axes.plot([0, 1], color=KEPT)
    (marker,) = axes.plot([0.5], [0.5], "o", color=DENSE)
    marker.set_gid("middle")
    return to_svg(figure)


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_colours_become_variables_of_the_page() -> None:
    svg = chart()
    for colour in (TEXT, KEPT, DENSE):
        assert colour not in svg
        assert f"var({VARIABLES[colour]})" in svg
    assert "#fade" not in svg


def test_drawing_has_the_size_that_was_asked_for() -> None:
    assert ElementTree.fromstring(chart()).get("viewBox") == "0 0 400 200"


def test_marked_parts_can_be_found_by_their_id() -> None:
    assert [node.get("id") for node in ElementTree.fromstring(chart()).iter(f"{SVG}g")].count("middle") == 1


@pytest.mark.parametrize("title", ["Plain", "对“蝴蝶”的置信度", "<script>alert(1)</script> & “quoted”", "é"])
def test_texts_stay_texts_in_any_language(title: str) -> None:
    assert title in texts(chart(title))


def test_charts_are_drawn_by_several_threads_at_a_time() -> None:
    titles = [f"图 {number}" for number in range(6)]
    with ThreadPoolExecutor(3) as pool:
        drawn = list(pool.map(chart, titles))
    assert [title in texts(svg) for title, svg in zip(titles, drawn, strict=True)] == [True] * 6
