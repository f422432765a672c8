"""A saved analysis: to JSON and back without a loss, hostile files, and the same analysis made anew."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
from types import MappingProxyType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dynamicvit.analysis.prepared import PreparedImage, analyze_image
from dynamicvit.analysis.report import (
    ImageIdentity,
    ModelIdentity,
    Report,
    from_json,
    identify_checkpoint,
    identify_image,
    is_same,
    read_report,
    reproduce,
    to_json,
)
from dynamicvit.analysis.results import Analysis, AnalysisSettings, Classification, Prediction, StageView
from dynamicvit.budget import KeepMass
from dynamicvit.costs.macs import MacReport
from dynamicvit.errors import ReportError
from dynamicvit.images import decode
from dynamicvit.models.registry import create_model
from dynamicvit.weights.io import load_file, save_model

MODEL = "dynamicvit_lite0_small_patch16_224"
ROWS, COLUMNS = 2, 3
shares = st.floats(0.0, 1.0)
words = st.text(max_size=12)
counts = st.integers(0, 10**12)


@st.composite
def stages(draw: st.DrawFn, number: int) -> StageView:
    patches = list(range(ROWS * COLUMNS))
    live = draw(st.lists(st.sampled_from(patches), min_size=1, unique=True))
    kept = draw(st.lists(st.sampled_from(live), min_size=1, unique=True))
    scores = tuple(draw(shares) if patch in live else None for patch in patches)
    groups = tuple(draw(st.integers(0, len(kept) - 1)) for _ in patches) if draw(st.booleans()) else None
    return StageView(number, draw(st.integers(0, 30)), len(live), tuple(kept), scores, groups, draw(st.booleans()))


@st.composite
def classifications(draw: st.DrawFn) -> Classification:
    top = st.builds(Prediction, index=counts, label=words, probability=shares)
    macs = draw(st.dictionaries(words, counts).filter(lambda by_module: sum(by_module.values()) > 0))
    return Classification(tuple(draw(st.lists(top, min_size=1, max_size=5))), MacReport(MappingProxyType(macs)))


budgets = st.one_of(
    st.floats(0.01, 1.0),
    st.tuples(st.floats(0.5, 1.0), st.floats(0.01, 0.4)),
    st.builds(KeepMass, st.floats(0.01, 1.0)),
)
analyses = st.builds(
    Analysis,
    settings=st.builds(AnalysisSettings, budgets, st.sampled_from(["predictor", "random"]), st.integers(0, 99)),
    grid=st.just((ROWS, COLUMNS)),
    dense=classifications(),
    pruned=classifications(),
    stages=st.tuples(stages(1), stages(2)),
)
reports = st.builds(
    Report,
    image=st.builds(ImageIdentity, words, st.tuples(counts, counts), words),
    model=st.builds(ModelIdentity, words, words, words),
    analysis=analyses,
    library_version=words,
)


@settings(max_examples=60, deadline=None)
@given(reports)
def test_a_report_comes_back_from_json_as_it_was(report):
    assert read_report(json.dumps(to_json(report)).encode()) == report


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(report=reports, data=st.data())
def test_a_report_with_any_value_replaced_is_read_or_refused(report, data):
    spoilt = to_json(report)
    place = spoilt
    while isinstance(place, (dict, list)) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.booleans()):
            place[key] = data.draw(json_values)
            break
        place = place[key]
    with contextlib.suppress(ReportError):
        again = from_json(spoilt)
        assert from_json(json.loads(json.dumps(to_json(again)))) == again


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"[]", b"null", b"7", b'{"format": "dynamicvit-analysis"}', b"[" * 100_000]
)
def test_a_file_that_is_no_report_is_refused(content):
    with pytest.raises(ReportError, match="no analysis that the app saved"):
        read_report(content)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ReportError, match="cannot be opened"):
        read_report(tmp_path / "nothing.json")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / f"{MODEL}.safetensors"
    save_model(create_model(MODEL), path)
    return path


@pytest.fixture(scope="module")
def picture():
    data = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(data, "PNG")
    return data.getvalue()


@pytest.fixture(scope="module")
def report(checkpoint, picture):
    image = decode(picture)
    analysis = analyze_image(load_file(checkpoint), image, (0.7, 0.5, 0.2), "random", 3)
    return Report(identify_image(image, "gradient.png"), identify_checkpoint(checkpoint, MODEL), analysis)


def test_the_same_picture_and_weights_give_the_same_analysis(report, picture, checkpoint):
    again = reproduce(read_report(json.dumps(to_json(report)).encode()), picture, checkpoint)
    assert is_same(again, report.analysis)
    assert [stage.kept_patches for stage in again.stages] == [stage.kept_patches for stage in report.analysis.stages]


def test_a_moved_crop_is_made_anew_where_it_was(picture, checkpoint):
    image, crop_at = decode(picture), (0.0, 0.75)
    analysis = PreparedImage(load_file(checkpoint), image, crop_at=crop_at).analyze(0.5)
    report = Report(identify_image(image, "gradient.png", crop_at), identify_checkpoint(checkpoint, MODEL), analysis)
    saved = json.loads(json.dumps(to_json(report)))
    assert from_json(saved).image.crop_at == crop_at
    assert is_same(reproduce(from_json(saved), picture, checkpoint), analysis)
    del saved["picture"]["crop_at"]  # as from before the crop could be moved
    assert from_json(saved).image.crop_at == (0.5, 0.5)


def test_identities_are_what_a_user_can_check(report, picture, checkpoint):
    assert report.image == ImageIdentity("gradient.png", (256, 256), hashlib.sha256(picture).hexdigest())
    prefix = hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:16]
    assert report.model == ModelIdentity(MODEL, checkpoint.name, prefix)


def test_another_picture_is_refused(report, checkpoint):
    data = io.BytesIO()
    Image.new("RGB", (64, 64)).save(data, "PNG")
    with pytest.raises(ReportError, match=r"another image than gradient\.png"):
        reproduce(report, data.getvalue(), checkpoint)


def test_other_weights_are_refused(report, picture, tmp_path):
    path = tmp_path / f"{MODEL}.safetensors"
    save_model(create_model(MODEL), path)
    with pytest.raises(ReportError, match="other weights"):
        reproduce(report, picture, path)


def test_an_analysis_that_was_changed_by_hand_is_noticed(report, picture, checkpoint):
    analysis = report.analysis
    first = analysis.stages[0]
    other = next(patch for patch in range(196) if patch not in first.kept_patches)
    changed = dataclasses.replace(first, kept_patches=(other, *first.kept_patches[1:]))
    spoilt = dataclasses.replace(analysis, stages=(changed, *analysis.stages[1:]))
    with pytest.raises(ReportError, match="comes out differently"):
        reproduce(dataclasses.replace(report, analysis=spoilt), picture, checkpoint)


def classified(*pairs: tuple[int, float]) -> Classification:
    return Classification(tuple(Prediction(i, str(i), share) for i, share in pairs), MacReport({"head": 1}))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (classified((1, 0.6), (2, 0.3)), True),
        (classified((1, 0.6004), (2, 0.2996)), True),
        (classified((1, 0.61), (2, 0.29)), False),
        (classified((1, 0.6), (3, 0.3)), True),  # two classes may tie for the last place of the list
        (classified((2, 0.6), (1, 0.3)), False),
    ],
)
def test_only_what_adding_up_in_another_order_changes_counts_as_the_same(other, expected):
    base = classified((1, 0.6), (2, 0.3))
    one, two = (Analysis(AnalysisSettings(0.7), (1, 1), base, result, ()) for result in (base, other))
    assert is_same(one, two) is expected
