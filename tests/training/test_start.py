"""Dense weights start a pruned model, and what does not fit is refused."""

import pytest
import torch
from training.examples import TINY

from dynamicvit.errors import CheckpointError, SettingError
from dynamicvit.models.config import HALF, Preprocessing
from dynamicvit.models.registry import create_model
from dynamicvit.training import start, teacher
from dynamicvit.training.start import load_start, read_start, start_class_names
from dynamicvit.weights.io import save_model


def dense_weights(**changes):
    return create_model(TINY, prune_locations=(), **changes).state_dict()


def test_the_pruned_model_without_predictors_is_the_dense_one():
    dense, pruned = create_model(TINY, prune_locations=()), create_model(TINY)
    assert not load_start(pruned, dense.state_dict(), "dense")
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(pruned(images), dense(images))


def test_predictors_are_taken_where_both_have_them_and_passed_over_else():
    first, second = create_model(TINY), create_model(TINY)
    load_start(second, first.state_dict(), "first")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    load_start(create_model(TINY, prune_locations=()), first.state_dict(), "first")


def test_another_number_of_classes_leaves_the_head_as_it_was():
    model = create_model(TINY, num_classes=5)
    head = model.head.weight.clone()
    assert load_start(model, dense_weights(), "dense")
    assert torch.equal(model.head.weight, head)


def test_positions_are_resampled_to_another_image_size():
    model, weights = create_model(TINY, image_size=64), dense_weights()
    load_start(model, weights, "dense")
    assert model.pos_embed.shape[1] == 65
    assert torch.equal(model.pos_embed[:, 0], weights["pos_embed"][:, 0])


def test_weights_of_another_model_are_refused_by_name():
    with pytest.raises(CheckpointError, match=r"dense does not fit .* it has"):
        load_start(create_model(TINY), dense_weights(embed_dim=64), "dense")
    with pytest.raises(CheckpointError, match=r"lacks blocks\.2"):
        load_start(create_model(TINY), dense_weights(depth=2), "dense")


def test_unknown_timm_names_and_missing_networks_give_one_sentence(monkeypatch):
    with pytest.raises(SettingError, match="timm has no model 'deit_gigantic'"):
        read_start("timm:deit_gigantic", create_model(TINY))

    def offline(name, pretrained):
        raise OSError("no network")

    monkeypatch.setattr(teacher.timm, "create_model", offline)
    with pytest.raises(CheckpointError, match="could not be fetched"):
        read_start("timm:deit_tiny_patch16_224", create_model(TINY))


def test_weights_of_differently_normalised_pictures_are_refused(monkeypatch, tmp_path):
    network = teacher.timm.create_model("vit_tiny_patch16_224")  # mean and standard deviation 0.5
    monkeypatch.setattr(start, "create_timm_network", lambda name, weights: network)
    with pytest.raises(SettingError, match="another mean"):
        read_start("timm:vit_tiny_patch16_224", create_model(TINY))
    path = tmp_path / "start.safetensors"
    save_model(create_model(TINY, preprocessing=Preprocessing(mean=HALF, std=HALF)), path)
    with pytest.raises(SettingError, match="another mean"):
        read_start(str(path), create_model(TINY))
    torch.save(network.state_dict(), tmp_path / "vit_small_patch16_224.pth")
    with pytest.raises(SettingError, match="another mean"):
        read_start(str(tmp_path / "vit_small_patch16_224.pth"), create_model(TINY))


def test_weights_that_say_what_their_shapes_do_not_show_are_believed(tmp_path):
    path = tmp_path / "start.safetensors"
    save_model(create_model(TINY, prune_locations=(), num_heads=8), path)
    with pytest.raises(CheckpointError, match="num_heads 8, not 2; give --set num_heads=8"):
        read_start(str(path), create_model(TINY))
    assert "head.weight" in read_start(str(path), create_model(TINY, num_heads=8, prune_locations=(1,)))


def test_names_of_as_many_classes_are_taken_from_the_start_weights(tmp_path):
    path = tmp_path / "start.safetensors"
    save_model(create_model(TINY), path, class_names=["cat", "dog"])
    assert start_class_names(str(path), 2) == ("cat", "dog")
    for source in (str(path), None, "timm:deit_tiny_patch16_224", str(tmp_path / "missing.pth")):
        assert start_class_names(source, 3) is None
