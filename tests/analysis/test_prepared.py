"""An image prepared for a model answers as the functions below it do, and keeps no state between questions."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from analysis.examples import decided_model
from PIL import Image

from dynamicvit.analysis import results
from dynamicvit.analysis.comparison import compare
from dynamicvit.analysis.prepared import PreparedImage, analyze_image
from dynamicvit.analysis.results import AnalysisSettings, analyze, classify_dense
from dynamicvit.analysis.sweep import sweep_point
from dynamicvit.budget import KeepMass
from dynamicvit.errors import CheckpointError, ImageError, SettingError
from dynamicvit.models.config import ModelConfig, TimmViTConfig

TINY = ModelConfig(
    image_size=32, patch_size=4, embed_dim=16, depth=4, num_heads=2, num_classes=10, prune_locations=(1, 2, 3)
)


@pytest.fixture(scope="module")
def model():
    return decided_model(TINY)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)


@pytest.fixture
def prepared(model, pixels):
    return PreparedImage(model, pixels)


def test_every_kind_of_image_gives_the_same_input(model, pixels, tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    sources = [path, str(path), path.read_bytes(), Image.fromarray(pixels), Image.open(path), pixels]
    tensors = [PreparedImage(model, source).tensor for source in sources]
    assert all(torch.equal(tensor, tensors[0]) for tensor in tensors)
    assert tensors[0].shape == (1, 3, 32, 32)


@pytest.mark.parametrize("array", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_an_array_that_is_no_rgb_image_is_refused(model, array):
    with pytest.raises(ImageError, match="uint8 RGB"):
        PreparedImage(model, array)


def test_questions_are_answered_as_by_the_functions_below(prepared, model):
    tensor, dense = prepared.tensor, classify_dense(model, prepared.tensor)
    assert prepared.analyze(0.5, "random", 3) == analyze(model, tensor, AnalysisSettings(0.5, "random", 3))
    assert prepared.analyze(KeepMass(0.6)) == analyze(model, tensor, AnalysisSettings(KeepMass(0.6)))
    assert prepared.compare(0.6, seed=1) == compare(model, tensor, keep_ratio=0.6, seed=1)
    assert prepared.sweep((0.9, 0.3)) == tuple(sweep_point(model, tensor, ratio, dense) for ratio in (0.9, 0.3))
    assert prepared.profile(0.5, max_rounds=3).pruned.macs == prepared.analyze(0.5).pruned.macs.total
    assert prepared.time(0.5, max_rounds=3).batch_size == 1


def test_no_question_changes_the_answer_to_another(prepared):
    before = prepared.analyze(0.5)
    prepared.analyze(0.2)
    prepared.compare(0.4)
    assert prepared.analyze(0.5) == before


def test_the_dense_result_is_computed_once_and_only_when_needed(model, pixels, monkeypatch):
    calls = []
    own = results._counted_forward

    def counted(model, begun, settings=None):
        calls.append(settings)
        return own(model, begun, settings)

    monkeypatch.setattr(results, "_counted_forward", counted)
    prepared = PreparedImage(model, pixels)
    assert calls == []
    prepared.analyze(0.5)
    prepared.analyze(0.6)
    assert calls.count(None) == 1


@pytest.mark.parametrize("question", ["analyze", "sweep", "compare"])
def test_what_no_keep_ratio_changes_is_computed_once_and_never_changed(prepared, model, question):
    runs = {"embedding": 0, "first block": 0, "second block": 0}
    modules = zip(runs, (model.patch_embed, model.blocks[0], model.blocks[1]), strict=True)

    def count(name):
        runs[name] += 1

    hooks = [module.register_forward_hook(lambda *_, name=name: count(name)) for name, module in modules]
    before = prepared.begun.start.tokens.clone()
    for ratio in (0.9, 0.5, 0.2):
        {"analyze": prepared.analyze, "sweep": lambda one: prepared.sweep((one,)), "compare": prepared.compare}[
            question
        ](ratio)
    for hook in hooks:
        hook.remove()
    assert runs["embedding"] == runs["first block"] == 1
    assert runs["second block"] >= 4
    assert torch.equal(prepared.begun.start.tokens, before)


def test_a_keep_ratio_that_makes_no_sense_is_refused(prepared):
    with pytest.raises(SettingError, match="keep ratio"):
        prepared.analyze(1.5)


@pytest.mark.parametrize(
    ("changes", "first"), [({}, "class-attention"), ({"class_token": False, "pool": "avg"}, "diversity")]
)
def test_a_model_without_predictors_is_asked_by_the_first_of_its_selectors(pixels, changes, first):
    config = TimmViTConfig(
        image_size=32,
        patch_size=4,
        embed_dim=16,
        depth=4,
        num_heads=2,
        num_classes=10,
        prune_locations=(1, 2),
        **changes,
    )
    prepared = PreparedImage(decided_model(config), pixels)
    assert prepared.analyze(0.5) == prepared.analyze(0.5, first)
    assert prepared.analyze(0.5).settings.selector == first
    assert analyze_image(prepared.model, pixels, 0.5).settings.selector == first
    assert prepared.sweep((0.9, 0.3)) == prepared.sweep((0.9, 0.3), first)
    assert prepared.sweep((0.3,)) != prepared.sweep((0.3,), "grid")
    assert first in [result.method for result in prepared.compare(0.5).results]
    assert prepared.profile(0.5, max_rounds=3).pruned.macs == prepared.analyze(0.5).pruned.macs.total
    assert prepared.time(0.5, max_rounds=3).batch_size == 1
    for question in (prepared.analyze, prepared.profile, prepared.time):
        with pytest.raises(SettingError, match="no predictors, they have to be trained"):
            question(0.5, "predictor")


def test_numbers_that_are_not_finite_are_reported_and_not_drawn(pixels):
    model = decided_model(TINY)
    with torch.no_grad():
        model.head.weight.fill_(3e38)
    for question in (lambda image: image.dense, lambda image: image.analyze(), lambda image: image.sweep()):
        with pytest.raises(CheckpointError, match="numbers that are not finite"):
            question(PreparedImage(model, pixels))


def test_scores_that_are_no_numbers_are_reported_although_there_is_an_answer(pixels):
    model = decided_model(TINY)
    with torch.no_grad():
        model.score_predictor[1].in_conv[1].weight.fill_(3e38)
    prepared = PreparedImage(model, pixels)
    assert prepared.analyze(0.5, "grid").pruned.top
    with pytest.raises(CheckpointError, match="numbers that are not finite"):
        prepared.analyze(0.5)


def test_an_analysis_is_short_as_text_and_shows_its_stages_in_a_notebook(prepared):
    analysis = prepared.analyze(0.5)
    kept = ", ".join(str(len(stage.kept_patches)) for stage in analysis.stages)
    assert repr(analysis).endswith(f"stages keep {kept} of 64 patches>")
    assert len(repr(analysis)) < 200
    html = analysis._repr_html_()
    assert html.count("data:image/jpeg") == 1 + len(analysis.stages)
    assert analysis.pruned.top[0].label in html
    assert replace(analysis, seen=None)._repr_html_() is None
    assert replace(analysis, seen=None) == analysis


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.json", b"{"), ("a.PNG", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.gif", b"GIF89a"), ("a.webp", b"RIFF")],
)
def test_an_analysis_is_saved_as_its_name_says(prepared, tmp_path, name, start):
    analysis = prepared.analyze(0.5)
    analysis.save(tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)
    if name == "a.json":
        assert json.loads((tmp_path / name).read_text()) == json.loads(json.dumps(analysis.to_dict()))


def test_what_cannot_be_saved_is_said(prepared, tmp_path):
    analysis = prepared.analyze(0.5)
    with pytest.raises(SettingError, match=r"saved as \.json, .* not as \.bmp"):
        analysis.save(tmp_path / "a.bmp")
    with pytest.raises(SettingError, match="holds no image"):
        replace(analysis, seen=None).save(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_moved_is_asked_on_its_new_device(pixels):
    prepared = PreparedImage(decided_model(TINY), pixels)
    assert prepared.begun is prepared.begun
    before = prepared.begun
    prepared.model.to("meta")
    assert prepared.tensor.device.type == prepared.begun.start.tokens.device.type == "meta"
    assert prepared.begun is not before
