"""The figure of a paper, the animation and the figure of the method: valid files of the promised sizes."""

import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from test_sheet import ALL, ANALYSIS, BLACK

from dynamicvit.figures.animation import HOLD_MS, animation_bytes, stage_frames
from dynamicvit.figures.captions import DEFAULT_FONT, Captions, chinese_font
from dynamicvit.figures.method import method_figure
from dynamicvit.figures.overlay import kept_edges
from dynamicvit.figures.paper import paper_figure
from dynamicvit.figures.saving import figure_bytes
from dynamicvit.figures.svg import to_svg

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def pdf():
    return figure_bytes(paper_figure(BLACK, ALL, ANALYSIS), "pdf")


def test_pdf_is_one_page_of_a_columns_width(pdf):
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type /Page\b", pdf)) == 1
    width, height = map(float, re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+)", pdf).groups())
    assert width == pytest.approx(245)
    assert 60 < height < 160


def test_pdf_embeds_its_font_as_truetype_and_has_no_date(pdf):
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf


def test_the_same_analysis_gives_the_same_file(pdf):
    assert figure_bytes(paper_figure(BLACK, ALL, ANALYSIS), "pdf") == pdf


def test_svg_keeps_words_as_text():
    svg = figure_bytes(paper_figure(BLACK, ALL, ANALYSIS), "svg")
    words = ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert {"4", "2 / 4", "1 / 4", "golden retriever 82%, 4.60 GMACs"} <= set(words)


def test_saving_leaves_the_settings_of_the_process_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    figure_bytes(paper_figure(BLACK, ALL, ANALYSIS), "pdf")
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("file_format", ["gif", "webp"])
def test_animation_shows_the_input_and_each_stage_and_repeats(file_format):
    frames = stage_frames(BLACK, ALL, ANALYSIS)
    animation = Image.open(io.BytesIO(animation_bytes(frames, file_format)))
    assert animation.format == file_format.upper()
    assert animation.size == (448, 500)
    assert animation.n_frames == 1 + 2 * 4
    assert animation.info["loop"] == 0
    animation.seek(animation.n_frames - 1)
    last = np.asarray(animation.convert("RGB"))
    assert last[400, 50].max() < 30  # patch 2, kept to the end
    assert last[50, 50].min() > 180  # patch 0, dropped at stage 2


def test_frames_hold_at_the_stages_only():
    held = [index for index, frame in enumerate(stage_frames(BLACK, ALL, ANALYSIS)) if frame.duration_ms == HOLD_MS]
    assert held == [0, 4, 8]


def test_method_figure_tells_the_real_counts_and_follows_the_page():
    svg = to_svg(method_figure(BLACK, ALL, ANALYSIS, depth=8))
    words = {"".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")}
    assert {"4 tokens", "keeps 2 of 4 tokens", "keeps 1 of 2 tokens", "keep scores 0.10 to 0.90"} <= words
    assert {"Predictor 1", "Predictor 2", "35% saved", "Different answers"} <= words
    assert "var(--kept)" in svg
    assert "#fade" not in svg


def test_edges_run_between_kept_and_dropped_patches_only():
    assert kept_edges([0, 1, 2, 3], (2, 2)) == []
    assert set(kept_edges([0], (2, 2))) == {((1, 0), (1, 1)), ((0, 1), (1, 1))}


@pytest.mark.skipif(chinese_font() is None, reason="no font for Chinese is installed")
@pytest.mark.parametrize("file_format", ["png", "pdf", "svg"])
def test_chinese_captions_are_written_with_a_font_that_has_them(file_format):
    captions = Captions(dense="稠密 token", fonts=(DEFAULT_FONT, str(chinese_font())))
    assert figure_bytes(paper_figure(BLACK, ALL, ANALYSIS, captions), file_format)  # a missing glyph is a warning
