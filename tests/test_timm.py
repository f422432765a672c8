"""timm's own functions on this package's names."""

import pytest
import timm
import torch
from timm.data import create_transform, resolve_model_data_config

import dynamicvit.timm  # noqa: F401
from dynamicvit.errors import SettingError
from dynamicvit.models.registry import create_model, list_models
from dynamicvit.models.timm_vit import from_timm
from dynamicvit.weights.available import load_model
from dynamicvit.weights.io import save_model

NAME = "dynamicvit_deit_small_patch16_224"
SMALL = {"embed_dim": 48, "num_heads": 3, "depth": 3, "prune_locations": (0, 1, 2)}


def test_timm_lists_the_pruned_models():
    assert set(timm.list_models("dynamicvit*")) == {name for name in list_models() if name.startswith("dynamicvit_")}


def test_timm_builds_a_model_that_drops_tokens():
    model = timm.create_model(NAME, num_classes=7, img_size=64, **SMALL).eval()
    images = torch.randn(2, 3, 64, 64)
    assert model(images).shape == (2, 7)
    assert model.forward_features(images).shape == (2, 17, 48)
    assert model.forward_features(images, 0.5).shape == (2, 3, 48)
    assert model.forward_stages(images, 0.5).stages[0].kept_patches.shape == (2, 8)


@pytest.mark.parametrize("name", [NAME, "dynamicvit_lite0_small_patch16_224"])
def test_timm_prepares_images_as_the_model_wants_them(name):
    model = create_model(name, **SMALL)
    data = resolve_model_data_config(model)
    given = model.config.preprocessing
    assert (data["mean"], data["std"], data["input_size"]) == (given.mean, given.std, (3, 224, 224))
    assert data["crop_pct"] == given.crop_ratio
    assert create_transform(**data) is not None


def test_pretrained_means_the_weights_of_that_name(tmp_path, monkeypatch):
    monkeypatch.setenv("DYNAMICVIT_CHECKPOINTS", str(tmp_path))
    torch.manual_seed(0)
    own = create_model(NAME)
    save_model(own, tmp_path / "mine.safetensors")
    found = timm.create_model(NAME, pretrained=True)
    assert torch.equal(found.head.weight, own.head.weight)


@pytest.mark.parametrize("name", [NAME, "dynamicvit_lvvit_small_patch16_224", "dynamicvit_convnext_tiny"])
def test_the_classifier_is_replaced_under_timms_names(name, tmp_path):
    model = create_model(name)
    assert model.get_classifier().out_features == 1000
    model.reset_classifier(3, ["cat", "dog", "bird"])
    assert model.get_classifier().weight.shape == (3, model.num_features)
    images = torch.randn(1, 3, 224, 224)
    assert model(images, 0.7).shape == (1, 3)
    save_model(model, tmp_path / "three.safetensors")
    again = load_model(tmp_path / "three.safetensors")
    assert again.class_names == ("cat", "dog", "bird")
    assert torch.equal(again(images, 0.7), model(images, 0.7))


def test_a_classifier_that_cannot_be_leaves_the_model_as_it_was():
    model = create_model(NAME, **SMALL)
    with pytest.raises(SettingError):
        model.reset_classifier(0)
    with pytest.raises(SettingError):
        model.reset_classifier(2, ["one"])
    assert (model.config.num_classes, len(model.class_names), model.get_classifier().out_features) == (1000, 1000, 1000)


@pytest.mark.parametrize("name", [NAME, "dynamicvit_lvvit_small_patch16_224", "dynamicvit_lite0_small_patch16_224"])
def test_features_and_head_make_the_answer(name):
    model = create_model(name)
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(model.forward_head(model.forward_features(images, 0.5)), model(images, 0.5))


def test_the_head_of_a_distilled_model_is_replaced_whole():
    model = from_timm("deit_tiny_distilled_patch16_224")
    model.reset_classifier(5)
    assert model(torch.randn(1, 3, 224, 224)).shape == (1, 5)
    model.reset_classifier(0)
    assert model(torch.randn(1, 3, 224, 224)).shape == (1, model.num_features)
