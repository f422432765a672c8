"""Evaluation counts hits, agreement and multiply-adds of the settings that it was asked for."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from dynamicvit.costs.macs import MacCounter
from dynamicvit.datasets import Photo, Share
from dynamicvit.errors import CheckpointError, ImageError, SettingError
from dynamicvit.evaluation.accuracy import DENSE, Evaluation, EvaluationSetting, evaluate
from dynamicvit.images import decode, prepare
from dynamicvit.models.config import ModelConfig, TimmViTConfig
from dynamicvit.models.registry import create_model
from dynamicvit.models.selectors import SELECTORS

COLOURS = ("red", "blue", "green", "white", "black", "orange", "purple")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = ModelConfig(
        image_size=32, patch_size=8, embed_dim=24, depth=4, num_heads=3, num_classes=10, prune_locations=(1, 2, 3)
    )
    model = create_model(config)
    for layer in model.modules():
        if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)):
            torch.nn.init.normal_(layer.weight, std=0.3)  # so that images and keep ratios make a difference
    return model


def photo(colour, label):
    """An image whose patches differ: noise on a colour."""
    stream = io.BytesIO()
    noise = Image.fromarray(np.random.default_rng(sum(colour.encode())).integers(0, 256, (50, 40, 3), np.uint8))
    Image.blend(Image.new("RGB", (40, 50), colour), noise, 0.7).save(stream, "PNG")
    return Photo(colour, stream.getvalue(), label)


def ranking(model, colour, keep_ratio=None):
    with torch.no_grad():
        tensor = prepare(decode(photo(colour, 0).data), model.config).tensor
        return model(tensor, keep_ratio)[0].argsort(descending=True).tolist()


def test_hits_are_shares_of_the_labelled_photos(model):
    red, blue = ranking(model, "red"), ranking(model, "blue")
    photos = [photo("red", red[0]), photo("blue", blue[3]), photo("green", None), photo("red", red[9])]
    [result] = evaluate(model, photos, [DENSE], batch=2)
    assert (result.photos, result.labelled, result.top1_hits, result.top5_hits) == (4, 3, 1, 2)
    assert result.top1 == pytest.approx(1 / 3)
    assert result.top5 == pytest.approx(2 / 3)
    assert result.agreement == 1


def test_agreement_is_with_the_dense_model_even_when_dense_is_not_asked_for(model):
    photos = [photo(colour, None) for colour in COLOURS]
    same = sum(ranking(model, colour)[0] == ranking(model, colour, 0.1)[0] for colour in COLOURS)
    assert 0 < same < len(COLOURS)
    [result] = evaluate(model, photos, [EvaluationSetting(0.1)], batch=3)
    assert result.agreeing == same


def test_likelihood_and_surety_are_those_of_the_softmax(model):
    photos = [photo("red", 3), photo("blue", None), photo("green", 1)]
    dense, pruned = evaluate(model, photos, [DENSE, EvaluationSetting(0.2)], batch=2)
    with torch.no_grad():
        images = torch.cat([prepare(decode(one.data), model.config).tensor for one in photos])
        before, after = model(images).softmax(1), model(images, 0.2).softmax(1)
    assert dense.nll == pytest.approx(-(before[0, 3].log() + before[2, 1].log()).item() / 2, rel=1e-4)
    assert pruned.top_probability == pytest.approx(after.amax(1).mean().item(), rel=1e-4)
    top, best = before.max(1)
    changes = (after.gather(1, best[:, None])[:, 0] - top).abs()
    assert pruned.change == pytest.approx(changes.mean().item(), rel=1e-4)
    assert dense.change == 0
    assert pruned.change > 1e-3


def test_keeping_everything_agrees_with_dense(model):
    photos = [photo(colour, 1) for colour in COLOURS]
    dense, all_kept = evaluate(model, photos, [DENSE, EvaluationSetting(1.0)])
    assert all_kept.agreement == 1
    assert all_kept.top1_hits == dense.top1_hits


def test_photos_without_labels_have_no_accuracy(model):
    [result] = evaluate(model, [photo("red", None)], [DENSE])
    assert math.isnan(result.top1)
    assert math.isnan(result.top5)
    assert result.agreement == 1
    assert result.gmacs > 0


def test_gmacs_are_those_of_one_forward_pass(model):
    settings = [DENSE, EvaluationSetting(0.5), EvaluationSetting(0.5, "random", 3)]
    dense, pruned, random = evaluate(model, [photo("red", 1), photo("blue", 1)], settings, batch=2)
    with MacCounter(model) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 32, 32), 0.5)
    assert pruned.gmacs == pytest.approx(counter.report().gmacs)
    assert random.gmacs < pruned.gmacs < dense.gmacs  # random needs no predictors


@pytest.mark.parametrize("selector", SELECTORS)
def test_every_selector_can_be_evaluated(model, selector):
    [result] = evaluate(model, [photo("red", 1)], [EvaluationSetting(0.5, selector)])
    assert result.photos == 1


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_counts_add_over_the_shares_of_processes(model, processes):
    photos = [photo(colour, index % 3) for index, colour in enumerate(COLOURS)]
    settings = [DENSE, EvaluationSetting(0.3), EvaluationSetting(0.3, "random", 1)]
    whole = evaluate(model, photos, settings, batch=2)
    shares = [evaluate(model, photos, settings, batch=2, share=Share(i, processes)) for i in range(processes)]
    for expected, *parts in zip(whole, *shares, strict=True):
        joined = sum(parts[1:], parts[0])
        assert counts(joined) == counts(expected)
        assert joined.gmacs == pytest.approx(expected.gmacs)
        assert len(joined.speeds) == len(expected.speeds) == 4


def counts(result):
    return result.setting, result.photos, result.labelled, result.top1_hits, result.top5_hits, result.agreeing


def test_speed_is_the_median_over_full_batches():
    result = Evaluation(DENSE, speeds=((4, 10.0), (4, 30.0), (4, 20.0), (1, 1.0)))
    assert result.images_per_second == 20
    assert math.isnan(Evaluation(DENSE).images_per_second)


def test_unreadable_photos_are_told_and_left_out(model):
    photos = [Photo("broken.jpg", b"no image", 1), photo("red", 1), Photo("empty.jpg", b"", 1)]
    unreadable, finished = [], []
    [result] = evaluate(model, photos, [DENSE], 2, on_unreadable=unreadable.append, on_batch=finished.append)
    assert [entry.name for entry in unreadable] == ["broken.jpg", "empty.jpg"]
    assert "not an image" in unreadable[0].reason
    assert (result.photos, result.labelled) == (1, 1)
    assert finished == [2, 1]
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        evaluate(model, photos, [DENSE])


def test_processes_that_read_ahead_change_no_result(model):
    photos = [photo(colour, 1) for colour in COLOURS] + [Photo("broken.jpg", b"", 1)]
    results = [
        evaluate(model, photos, [DENSE], 2, workers=workers, on_unreadable=lambda photo: None) for workers in (0, 1)
    ]
    assert counts(results[0][0]) == counts(results[1][0])


@pytest.mark.parametrize("label", [10, -1])
def test_labels_that_are_no_class_of_the_model_are_refused(model, label):
    with pytest.raises(SettingError, match="0 to 9"):
        evaluate(model, [photo("red", label)], [DENSE])


def test_answers_that_are_no_numbers_are_not_counted(model):
    broken = create_model(model.config)
    torch.nn.init.constant_(broken.head.bias, torch.nan)
    with pytest.raises(CheckpointError, match="not finite"):
        evaluate(broken, [photo("red", 0)], [DENSE])


def test_a_model_without_a_classifier_is_refused():
    features = create_model(TimmViTConfig(image_size=32, embed_dim=24, depth=1, num_heads=3, num_classes=0))
    with pytest.raises(SettingError, match="no classifier"):
        evaluate(features, [photo("red", None)], [DENSE])
