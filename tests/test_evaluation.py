"""Evaluation counts hits and multiply-adds of the settings that it was asked for."""

import io

import pytest
import torch
from PIL import Image

from dynamicvit.errors import SettingError
from dynamicvit.evaluate import table
from dynamicvit.evaluation import EvaluationSetting, evaluate
from dynamicvit.images import decode, prepare
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.registry import create_model
from dynamicvit.photos import Photo


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = ModelConfig(
        image_size=32, patch_size=8, embed_dim=24, depth=4, num_heads=3, num_classes=10, prune_locations=(1, 2, 3)
    )
    model = create_model(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def photo(colour, label):
    stream = io.BytesIO()
    Image.new("RGB", (40, 50), colour).save(stream, "PNG")
    return Photo(colour, stream.getvalue(), label)


def best_classes(model, colour):
    with torch.no_grad():
        return model(prepare(decode(photo(colour, 0).data), model.config).tensor)[0].argsort(descending=True).tolist()


def test_hits_are_shares_of_the_labelled_photos(model):
    red, blue = best_classes(model, "red"), best_classes(model, "blue")
    photos = [photo("red", red[0]), photo("blue", blue[3]), photo("green", None), photo("red", red[9])]
    [result] = evaluate(model, photos, [EvaluationSetting(None)], batch=2)
    assert result.photos == 3
    assert result.top1 == pytest.approx(1 / 3)
    assert result.top5 == pytest.approx(2 / 3)


def test_pruning_costs_less_and_every_setting_has_its_row(model):
    settings = [EvaluationSetting(None), EvaluationSetting(0.5), EvaluationSetting(0.5, "random", 3)]
    dense, pruned, random = evaluate(model, [photo("red", 1)], settings)
    assert pruned.gmacs < dense.gmacs
    assert random.gmacs < pruned.gmacs  # it needs no predictors
    lines = table([dense, pruned, random]).splitlines()
    assert [line.split("|")[1:3] for line in lines[2:]] == [
        [" dense ", " - "],
        [" 0.5 ", " predictor "],
        [" 0.5 ", " random "],
    ]


def test_photos_without_labels_are_refused(model):
    with pytest.raises(SettingError, match="label"):
        evaluate(model, [photo("red", None)], [EvaluationSetting(None)])
