from __future__ import annotations

import json

import pytest
import timm
import torch
from full_disk import room_for
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models.configs import BUILT_AT_ONCE, model_configs
from safetensors.torch import save_file

import dynamicvit
from dynamicvit.errors import CheckpointError, OutputError, SettingError
from dynamicvit.models.config import ConvNeXtConfig, SwinConfig, TimmViTConfig
from dynamicvit.models.registry import create_model
from dynamicvit.weights.io import load_checkpoint, load_file, read_shapes, save_model


def assert_same_weights(found: torch.nn.Module, expected: torch.nn.Module) -> None:
    torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_a_saved_model_comes_back_equal_and_ready_to_use(tiny_model, tiny_file):
    loaded = load_file(tiny_file)
    assert_same_weights(loaded, tiny_model)
    assert loaded.config == tiny_model.config
    assert not loaded.training


@given(model_configs(BUILT_AT_ONCE), st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_model_comes_back_from_its_file_as_it_was(tmp_path, config, data):
    name = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=20)
    names = data.draw(st.none() | st.lists(name, min_size=config.num_classes, max_size=config.num_classes))
    model = dynamicvit.create_model(config, class_names=names)
    dynamicvit.save_model(model, tmp_path / "own.safetensors")
    loaded = dynamicvit.load_model(tmp_path / "own.safetensors")
    assert loaded.config == config
    assert loaded.class_names == model.class_names
    assert_same_weights(loaded, model)
    images = torch.rand(1, 3, config.image_size, config.image_size)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), model(images))


def test_the_model_that_ships_comes_back_without_its_name(tmp_path):
    model = create_model("dynamicvit_lite0_small_patch16_224", depth=1, prune_locations=(0,), num_heads=8)
    save_model(model, tmp_path / "own.safetensors")
    assert load_file(tmp_path / "own.safetensors").config == model.config


def test_a_model_comes_back_from_a_folder_as_hugging_face_saves_it(tmp_path, monkeypatch, tiny_model):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tiny_model.save_pretrained(tmp_path / "folder")
    for loaded in (
        dynamicvit.DynamicModel.from_pretrained(tmp_path / "folder"),
        dynamicvit.load_model(tmp_path / "folder"),
    ):
        assert type(loaded) is type(tiny_model)
        assert loaded.config == tiny_model.config
        assert loaded.class_names == tiny_model.class_names
        assert_same_weights(loaded, tiny_model)
    assert "pipeline_tag: image-classification" in (tmp_path / "folder" / "README.md").read_text()


def test_what_leaves_no_trace_in_the_shapes_is_not_guessed(tmp_path):
    """The number of heads: DeiT-256's geometry has 4 of them."""
    model = create_model("dynamicvit_deit_256_patch16_224", num_heads=8, depth=12, num_classes=2, image_size=32)
    save_model(model, tmp_path / "heads.safetensors", class_names=["blue", "red"])
    loaded = load_file(tmp_path / "heads.safetensors")
    assert loaded.config.num_heads == 8
    assert loaded.class_names == ("blue", "red")
    with pytest.raises(CheckpointError, match=r"describes another model than dynamicvit_deit_256_patch16_224"):
        load_file(tmp_path / "heads.safetensors", "dynamicvit_deit_256_patch16_224")


def test_a_compiled_model_is_saved_as_the_model_that_it_wraps(tiny_model, tmp_path):
    save_model(torch.compile(tiny_model), tmp_path / "compiled.safetensors")
    assert_same_weights(load_file(tmp_path / "compiled.safetensors"), tiny_model)


def write_described(path, model, **changes):
    """A file whose description differs from what is in it, as text in its header."""
    config = model.config.to_json() | changes.pop("fields", {})
    header = {"config": json.dumps(config)} | changes
    save_file(model.state_dict(), path, metadata=header)
    return path


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"colour": "blue"}, "no field 'colour'"),
        ({"depth": "3"}, "depth must be a whole number; got '3'"),
        ({"depth": 10**12}, "depth must be from 1 to 65536"),
        ({"depth": 60000}, "it has 3 blocks and 5 classes, not 60000 and 5"),
        ({"depth": 2}, "it has 3 blocks"),
        ({"num_heads": 3}, "not a multiple of num_heads 3"),
        ({"image_size": 48, "patch_size": 16}, r"pos_embed \(1, 5, 16\) for \(1, 10, 16\)"),
        ({"image_size": 2**16, "patch_size": 1}, "of another shape"),
        ({"image_size": 2**15, "patch_size": 2**14}, r"patch_embed\.proj\.weight"),
        ({"embed_dim": 2**16}, "of another shape"),
        ({"num_classes": 2**24}, "it has 3 blocks and 5 classes"),
        ({"mlp_ratio": 1000}, "of another shape"),
        ({"mlp_ratio": float("nan")}, "mlp_ratio must be a finite number"),
        ({"embedding": "lvvit", "has_aux_head": True}, "missing"),
        ({"preprocessing": {"std": [0, 0, 0]}}, "std must be from"),
    ],
)
def test_a_description_that_is_not_true_of_its_tensors_is_refused(tiny_model, tmp_path, fields, message):
    path = write_described(tmp_path / "odd.safetensors", tiny_model, fields=fields)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_file(path)
    assert str(caught.value).startswith("odd.safetensors")


STAGES = {"widths": (8, 16, 32, 64), "depths": (1, 2, 2, 1), "image_size": 64, "prune_locations": (0,)}
FAMILIES = {
    "swin": SwinConfig(**STAGES, num_classes=3, heads=(1, 1, 2, 2), window_size=2),
    "convnext": ConvNeXtConfig(**STAGES, num_classes=3),
    "timm": TimmViTConfig(image_size=32, embed_dim=16, num_heads=2, depth=2, num_classes=0),
}


@pytest.mark.parametrize(
    ("family", "fields", "message"),
    [
        ("swin", {"image_size": 2**16, "window_size": 2**11}, "of another shape"),
        ("swin", {"window_size": 2**16}, "of another shape"),
        ("swin", {"widths": [2**13, 2**14, 2**15, 2**16]}, "of another shape"),
        ("swin", {"depths": [1, 2**16 - 1, 2, 1]}, "it has 6 blocks and 3 classes, not 65539 and 3"),
        ("swin", {"heads": [3, 3, 3, 3]}, "multiple of its heads"),
        ("swin", {"family": "convnext"}, "no field 'heads'"),
        ("convnext", {"widths": [2**16] * 4}, "of another shape"),
        ("convnext", {"prune_locations": [1]}, "unexpected"),
        ("convnext", {"embedding": "swin"}, "no field 'embedding'"),
        ("convnext", {"family": "timm"}, "no field 'widths'"),
        ("timm", {"num_classes": 5}, r"head\.weight"),
        ("timm", {"num_registers": 2**10}, "reg_token"),
        ("timm", {"image_size": 2**16, "patch_size": 1}, "of another shape"),
        ("timm", {"has_predictors": True, "prune_locations": [0]}, "missing"),
    ],
)
def test_what_a_file_of_another_family_says_is_held_to_its_tensors_too(tmp_path, family, fields, message):
    path = write_described(tmp_path / "odd.safetensors", create_model(FAMILIES[family]), fields=fields)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_file(path)
    assert str(caught.value).startswith("odd.safetensors")


@pytest.mark.parametrize("config", ["", "{", "null", "[" * 100_000, "5", '{"depth": ' + "9" * 5000 + "}"])
def test_a_description_that_is_no_json_object_is_refused(tiny_model, tmp_path, config):
    path = write_described(tmp_path / "odd.safetensors", tiny_model, config=config)
    with pytest.raises(CheckpointError, match=r"^odd\.safetensors"):
        load_file(path)


@pytest.mark.parametrize(
    "names", ["", "{", "[" * 99_999, "5", "{}", '{"a":0,"b":1,"c":2,"d":3,"e":4}', '"abcde"', '["a"]', "[1,2,3,4,5]"]
)
def test_class_names_that_are_none_are_refused(tiny_model, tmp_path, names):
    path = write_described(tmp_path / "odd.safetensors", tiny_model, class_names=names)
    with pytest.raises(CheckpointError, match=r"^odd\.safetensors"):
        load_file(path)


def test_files_of_before_say_with_an_empty_list_that_they_name_no_classes(tiny_model, tmp_path):
    path = write_described(tmp_path / "old.safetensors", tiny_model, class_names="[]")
    assert load_file(path).class_names == tuple(f"class {index}" for index in range(5))


def test_a_description_in_the_metadata_does_not_replace_the_models_own(tiny_model, tmp_path):
    stale = {"config": "{}", "class_names": '["a", "b", "c", "d", "e"]'}
    save_model(tiny_model, tmp_path / "own.safetensors", metadata=stale)
    loaded = load_file(tmp_path / "own.safetensors")
    assert (loaded.config, loaded.class_names) == (tiny_model.config, tiny_model.class_names)


def test_too_few_names_are_not_saved(tiny_model, tmp_path):
    with pytest.raises(SettingError, match="one name for each of the 5 classes"):
        save_model(tiny_model, tmp_path / "own.safetensors", class_names=["blue", "red"])
    assert list(tmp_path.glob("*.safetensors")) == []


def test_loading_into_a_model_takes_the_names_and_refuses_another_description(tiny_model, tmp_path):
    path = tmp_path / "own.safetensors"
    save_model(tiny_model, path, class_names=list("abcde"))
    other = create_model("tiny", drop_path_rate=0.5)
    load_checkpoint(other, path)
    assert other.class_names == ("a", "b", "c", "d", "e")
    with pytest.raises(CheckpointError, match="saved from one with another num_heads and prune_locations"):
        load_checkpoint(create_model("tiny", num_heads=4, prune_locations=(2,)), path)


def test_a_named_model_takes_class_count_and_image_size_from_the_file(tiny_model, tmp_path):
    resized = create_model("tiny", num_classes=7, image_size=64)
    save_model(resized, tmp_path / "resized.safetensors")
    assert load_file(tmp_path / "resized.safetensors", "tiny").config == resized.config


def test_a_path_may_be_a_string(tiny_model, tmp_path):
    path = str(tmp_path / "weights.safetensors")
    save_model(tiny_model, path)
    load_checkpoint(tiny_model, path)
    assert_same_weights(load_file(path), tiny_model)


def test_a_name_that_does_not_exist_is_refused(tiny_file):
    with pytest.raises(SettingError, match="no model 'huge'"):
        load_file(tiny_file, "huge")


def test_weights_in_half_precision_load_into_a_full_precision_model(tiny_model, tmp_path):
    torch.save(tiny_model.half().state_dict(), tmp_path / "half.pth")
    assert {parameter.dtype for parameter in load_file(tmp_path / "half.pth").parameters()} == {torch.float32}


def test_one_message_reports_missing_and_unexpected_tensors_and_other_shapes(tiny_model, tmp_path):
    state = tiny_model.state_dict()
    state["extra"] = torch.ones(1)
    state["head.weight"] = torch.ones(7, 16)
    for key in ("norm.weight", "norm.bias"):
        del state[key]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tiny_model, tmp_path / "other.pth")
    assert str(caught.value) == (
        "other.pth does not fit the model: 2 missing (norm.weight, norm.bias); 1 unexpected (extra); "
        "1 of another shape (head.weight (7, 16) for (5, 16))."
    )


def test_a_long_list_of_tensors_is_shortened(tiny_model, tmp_path):
    torch.save({"w": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(
        CheckpointError, match=r"\d\d missing \(cls_token, pos_embed, patch_embed.proj.weight, \.\.\.\)"
    ):
        load_checkpoint(tiny_model, tmp_path / "other.pth")


def test_a_model_that_does_not_fit_is_left_as_it_was(tiny_model, tmp_path):
    state = {key: torch.zeros_like(tensor) for key, tensor in tiny_model.state_dict().items()}
    torch.save(state | {"extra": torch.ones(1)}, tmp_path / "other.pth")
    before = {key: tensor.clone() for key, tensor in tiny_model.state_dict().items()}
    with pytest.raises(CheckpointError):
        load_checkpoint(tiny_model, tmp_path / "other.pth")
    torch.testing.assert_close(dict(tiny_model.state_dict()), before)


def test_metadata_is_saved(tiny_file):
    assert read_shapes(tiny_file).metadata["keep_ratios"] == "0.5, 0.7"


def test_only_safetensors_are_written(tiny_model, tmp_path):
    with pytest.raises(CheckpointError, match=r"\.safetensors files only"):
        save_model(tiny_model, tmp_path / "weights.pth")


def test_a_save_that_finds_no_room_leaves_the_old_file_and_nothing_else(tiny_model, tiny_file):
    before = tiny_file.read_bytes()
    with room_for(len(before) // 2), pytest.raises(OutputError, match="cannot be written"):
        save_model(tiny_model, tiny_file)
    assert list(tiny_file.parent.iterdir()) == [tiny_file]
    assert tiny_file.read_bytes() == before


def test_timms_vit_is_loaded_with_timms_images_once_it_is_known_as_such(tmp_path):
    vit = timm.create_model("vit_small_patch16_224", num_classes=2, img_size=32).eval()
    torch.save(vit.state_dict(), tmp_path / "best.pth")
    with pytest.raises(CheckpointError, match=r"^best\.pth has the shapes of .* it cannot be told which it is"):
        load_file(tmp_path / "best.pth")
    loaded = load_file(tmp_path / "best.pth", "vit_small_patch16_224")
    assert (loaded.config.preprocessing.mean, loaded.config.preprocessing.crop_ratio) == ((0.5, 0.5, 0.5), 0.9)
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), vit(images), atol=1e-5, rtol=1e-4)
