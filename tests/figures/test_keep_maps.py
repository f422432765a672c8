"""The average keep maps as a chart."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from dynamicvit.figures.keep_maps import COLORS, draw_keep_maps
from dynamicvit.figures.svg import to_svg

MAPS = np.linspace(0.2, 0.6, 3 * 4).reshape(3, 2, 2)
TITLES = ["Stage 1", "阶段 2", "a < b"]


@pytest.mark.parametrize("is_narrow", [False, True])
def test_all_maps_share_one_scale_from_nothing_to_all(is_narrow: bool) -> None:
    figure = draw_keep_maps(MAPS, TITLES, "share", is_narrow=is_narrow)
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert [image.get_clim() for image in images] == [(0, 100)] * 3
    assert [image.get_array().tolist() for image in images] == (100 * MAPS).tolist()
    assert {image.get_cmap().name for image in images} == {COLORS}


def test_drawing_is_svg_with_its_words_as_text() -> None:
    root = ET.fromstring(to_svg(draw_keep_maps(MAPS, TITLES, "share", is_narrow=False)))
    texts = {node.text.strip() for node in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {*TITLES, "share", "0", "100"} <= texts


def test_narrow_drawing_is_higher_than_wide() -> None:
    wide, narrow = (draw_keep_maps(MAPS, TITLES, "share", is_narrow=is_narrow) for is_narrow in (False, True))
    assert wide.get_figwidth() > wide.get_figheight()
    assert narrow.get_figwidth() < narrow.get_figheight()
