"""A description of a model travels as JSON, and nothing that makes no sense becomes one."""

import json

import numpy as np
import pytest
from hypothesis import given
from models.configs import model_configs

from dynamicvit.errors import SettingError
from dynamicvit.models.config import ConvNeXtConfig, ModelConfig, Preprocessing, SwinConfig, TimmViTConfig
from dynamicvit.models.registry import list_models, model_config


@given(model_configs())
def test_any_description_comes_back_equal_from_json(config):
    again = ModelConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    assert hash(again) == hash(config)


@pytest.mark.parametrize("name", list_models())
def test_every_named_model_comes_back_equal_from_json(name):
    config = model_config(name)
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_fields_that_are_not_there_have_their_defaults():
    assert ModelConfig.from_json({"embed_dim": 192, "num_heads": 3}) == ModelConfig(embed_dim=192, num_heads=3)


def test_a_description_without_a_family_is_one_of_a_token_model():
    data = ModelConfig(depth=3).to_json()
    del data["family"]
    assert ModelConfig.from_json(data) == ModelConfig(depth=3)


@pytest.mark.parametrize("family", ["resnet", None, ["swin"], 3])
def test_an_unknown_family_is_refused_beside_the_known_ones(family):
    with pytest.raises(SettingError, match=r"family .*token, timm, convnext, swin"):
        ModelConfig.from_json({"family": family})


@pytest.mark.parametrize("data", [{"family": "swin", "embed_dim": 384}, {"depths": [1, 1, 1, 1]}])
def test_a_field_of_another_family_or_one_that_follows_from_others_is_refused(data):
    with pytest.raises(SettingError, match=r"no field '(embed_dim|depths)'"):
        ModelConfig.from_json(data)


def test_a_description_says_only_what_can_be_set():
    assert {"embed_dim", "depth", "num_heads", "embedding"}.isdisjoint(SwinConfig().to_json())


@pytest.mark.parametrize("data", [None, 5, "text", [], [["depth", 3]]])
def test_what_is_no_object_is_refused(data):
    with pytest.raises(SettingError, match="named fields"):
        ModelConfig.from_json(data)


@pytest.mark.parametrize("data", [{"depth": 3, "hight": 4}, {"preprocessing": {"men": [0, 0, 0]}}])
def test_an_unknown_field_is_named(data):
    with pytest.raises(SettingError, match=r"no field '(hight|men)'"):
        ModelConfig.from_json(data)


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("depth", "12", "a whole number"),
        ("depth", 12.0, "a whole number"),
        ("depth", True, "a whole number"),
        ("depth", None, "a whole number"),
        ("mlp_ratio", "4", "a finite number"),
        ("mlp_ratio", float("nan"), "a finite number"),
        ("mlp_ratio", float("inf"), "a finite number"),
        ("mlp_ratio", 10**400, "a finite number"),
        ("qkv_bias", 1, "true or false"),
        ("embedding", ["patch"], "one of patch"),
        ("embedding", "stem", "one of patch"),
        ("prune_locations", 3, "a list of whole numbers"),
        ("prune_locations", [1, 2.5], "a list of whole numbers"),
        ("trained_keep_ratios", ["0.7"], "a list of finite numbers"),
        ("preprocessing", None, "a Preprocessing"),
    ],
)
def test_a_value_of_another_type_is_refused(field, value, kind):
    with pytest.raises(SettingError, match=f"{field} must be {kind}"):
        ModelConfig(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("depth", 10**9),
        ("image_size", 2**20),
        ("num_classes", 2**40),
        ("mlp_ratio", 1e9),
        ("mlp_ratio", -4.0),
        ("norm_eps", -1.0),
        ("residual_divisor", 0),
        ("drop_path_rate", 2),
        ("trained_keep_ratios", (0.7, 7)),
    ],
)
def test_a_value_out_of_any_reasonable_range_is_refused(field, value):
    with pytest.raises(SettingError, match=f"{field} must be from"):
        ModelConfig(**{field: value})


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (ConvNeXtConfig, "widths", (96, 192, 384)),
        (ConvNeXtConfig, "widths", "wide"),
        (ConvNeXtConfig, "depths", (3, 3, 10**9, 3)),
        (ConvNeXtConfig, "depths", (3, 0, 3, 3)),
        (SwinConfig, "heads", (3, 6, 12, "24")),
        (SwinConfig, "window_size", 7.5),
        (TimmViTConfig, "num_registers", -1),
        (TimmViTConfig, "num_classes", -1),
        (TimmViTConfig, "activation", "relu"),
        (TimmViTConfig, "class_token", 1),
    ],
)
def test_the_fields_of_every_family_are_held_to_their_types_and_ranges(kind, field, value):
    with pytest.raises(SettingError, match=f"^{field} must be"):
        kind(**{field: value})


def test_an_mlp_without_a_neuron_is_refused():
    with pytest.raises(SettingError, match="mlp_ratio"):
        ModelConfig(embed_dim=4, num_heads=1, mlp_ratio=0.1)


@pytest.mark.parametrize(
    ("field", "value"), [("crop_ratio", 0.0), ("crop_ratio", 1.5), ("mean", (0.5, 0.5)), ("std", (0.5, 0.5, 0.0))]
)
def test_preprocessing_that_gives_no_picture_is_refused(field, value):
    with pytest.raises(SettingError, match=field):
        Preprocessing(**{field: value})


def test_numbers_of_other_libraries_and_lists_are_brought_to_plain_ones():
    config = ModelConfig(depth=np.int64(5), mlp_ratio=2, prune_locations=[1, 2])
    assert (config.depth, config.mlp_ratio, config.prune_locations) == (5, 2.0, (1, 2))
    assert (type(config.depth), type(config.mlp_ratio)) == (int, float)
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
