"""Any convolutional classifier of timm teaches, read at every place of its map and attended to where it counts."""

import pytest
import timm
import torch
from training.examples import TINY

from dynamicvit.errors import CheckpointError, SettingError
from dynamicvit.models.registry import create_model
from dynamicvit.training.teacher import AttendedTeacher, attend

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def weights(tmp_path):
    def write(name):
        torch.manual_seed(0)
        path = tmp_path / f"{name}.pth"
        torch.save(timm.create_model(name).state_dict(), path)
        return path

    return write


def student(**changes):
    return create_model(TINY, num_classes=1000, **changes).config


@pytest.fixture
def teacher(weights):
    return AttendedTeacher("resnet10t", weights("resnet10t"), student(), beta=0.4)


def test_without_sharpness_the_answer_is_timms_own_for_images_normalised_its_way(teacher):
    teacher.beta = 0.0
    pixels = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(value)[:, None, None] for value in IMAGENET)
    view = teacher((pixels - mean) / std, None)
    mean, std = (torch.tensor(teacher.network.pretrained_cfg[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        logits = teacher.network((pixels - mean) / std)
    torch.testing.assert_close(view.logits, logits - logits.mean(1, keepdim=True), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(view.attention, torch.full((2, 64), 1 / 64))


def test_weights_are_of_the_places_of_the_students_tokens(teacher):
    """Tokens of 8 pixels, from a map with places of 16: what is changed in one corner changes that corner most."""
    changed = torch.zeros(1, 3, 64, 64)
    changed[..., :16, 48:] = 3.0
    difference = (teacher(changed, None).attention - teacher(torch.zeros(1, 3, 64, 64), None).attention).abs()
    quarters = difference.reshape(2, 4, 2, 4).mean(dim=(1, 3))
    assert quarters.argmax() == 1  # the upper right one


def test_a_place_weighs_by_what_it_names_and_how_sure_it_is():
    generator = torch.Generator().manual_seed(0)
    places = 3 * torch.randn(1, 5, 7, generator=generator)
    answer, weights = attend(places, 0.4)
    centred = places[0] - places[0].mean(1, keepdim=True)
    whole = centred.mean(0).softmax(0)
    worth = [((place.softmax(0) * whole).sum() * place.square().sum().sqrt() ** 3) ** 0.4 for place in centred]
    expected = torch.stack(worth) / sum(worth)
    torch.testing.assert_close(weights[0], expected)
    torch.testing.assert_close(answer[0], (expected[:, None] * centred).sum(0))


@pytest.mark.parametrize("scale", [0.0, 1e3])
def test_the_answer_is_finite_for_any_logits(scale):
    answer, weights = attend(scale * torch.randn(2, 5, 7), 0.4)
    assert torch.isfinite(answer).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(2))


def test_a_file_with_other_names_in_the_same_order_is_understood(teacher, tmp_path):
    own = teacher.network.state_dict()
    torch.save({f"_other.{number}": value.half() for number, value in enumerate(own.values())}, tmp_path / "own.pth")
    again = AttendedTeacher("resnet10t", tmp_path / "own.pth", student(), beta=0.4)
    images = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(again(images, None).logits, teacher(images, None).logits, atol=1e-2, rtol=1e-2)


def test_a_teacher_cannot_be_put_into_training_mode(teacher):
    assert not any(module.training for module in teacher.train().modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_network_that_cannot_teach_is_refused(weights):
    with pytest.raises(SettingError, match="knows 1000 classes, the student 2"):
        AttendedTeacher("resnet10t", weights("resnet10t"), TINY, 0.4)
    with pytest.raises(CheckpointError, match="does not fit timm's resnet14t"):
        AttendedTeacher("resnet14t", weights("resnet10t"), student(), 0.4)
    with pytest.raises(SettingError, match="timm has no model"):
        AttendedTeacher("no_such_network", None, student(), 0.4)
    with pytest.raises(SettingError, match="no convolutional network with output_stride"):
        AttendedTeacher("vit_tiny_patch16_224", weights("vit_tiny_patch16_224"), student(), 0.4)
    with pytest.raises(SettingError, match="no linear head after global pooling"):
        AttendedTeacher("convnext_atto", weights("convnext_atto"), student(), 0.4)  # it has a norm in between
