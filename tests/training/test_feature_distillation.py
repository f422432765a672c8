"""Any timm classifier teaches any token model, by place and as a whole."""

import pytest
import timm
import torch
from training.examples import TINY

from dynamicvit.errors import CheckpointError, SettingError
from dynamicvit.models.registry import create_model
from dynamicvit.training.choice import TrainingChoice
from dynamicvit.training.feature_distillation import FeatureDistillation
from dynamicvit.training.objective import Batch
from dynamicvit.training.timm_teacher import TimmTeacher


@pytest.fixture
def weights(tmp_path):
    def write(name, **changes):
        torch.manual_seed(0)
        path = tmp_path / f"{name}.pth"
        torch.save(timm.create_model(name, **changes).state_dict(), path)
        return path

    return write


def student(**changes):
    torch.manual_seed(1)
    return create_model(TINY, num_classes=1000, **changes)


@pytest.fixture
def teacher(weights):
    return TimmTeacher("lcnet_035", weights("lcnet_035"), student().config)


def test_the_teacher_gives_timms_own_answer_to_pictures_normalised_its_way(teacher):
    pixels = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(value)[:, None, None] for value in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    view = teacher.features((pixels - mean) / std)
    own = teacher.network.pretrained_cfg
    mean, std = (torch.tensor(own[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        torch.testing.assert_close(view["logits"], teacher.network((pixels - mean) / std), atol=1e-4, rtol=1e-4)
    assert view["dense"].shape[:2] == (2, 16)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_features_by_place_come_from_every_layout(name, monkeypatch):
    network = timm.create_model(name, img_size=64, num_classes=1000).eval()
    monkeypatch.setattr("dynamicvit.training.timm_teacher.create_timm_network", lambda *_, **__: network)
    teacher = TimmTeacher(name, None, student().config)
    view = teacher.features(torch.randn(1, 3, 64, 64))
    assert view["dense"].shape == (1, 64, network.num_features)
    # Moving what the teacher sees in one corner moves the features of that corner's tokens most.
    changed = torch.zeros(1, 3, 64, 64)
    changed[..., :16, 48:] = 3.0
    difference = teacher.features(changed)["dense"] - teacher.features(torch.zeros(1, 3, 64, 64))["dense"]
    by_place = difference.norm(dim=2).reshape(8, 8)
    assert by_place[:4, 4:].mean() == max(
        by_place[rows, columns].mean() for rows in (slice(4), slice(4, 8)) for columns in (slice(4), slice(4, 8))
    )


@pytest.mark.parametrize("keep_ratio", [None, 0.7])
def test_training_lowers_every_part(teacher, keep_ratio):
    images = torch.randn(8, 3, 32, 32)
    view = teacher.features(images)
    objective = FeatureDistillation(student(), view["dense"].shape[2], view["pooled"].shape[1])
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    losses = []
    for _ in range(20):
        loss = objective(Batch(view, images, keep_ratio=keep_ratio))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append({name: part.item() for name, part in loss.parts.items()})
    assert losses[-1]["dense"] < 0.95 * losses[0]["dense"]
    assert losses[-1]["pooled"] < 0.95 * losses[0]["pooled"]


def test_dropping_every_token_gives_a_finite_loss(teacher):
    images = torch.randn(2, 3, 32, 32)
    view = teacher.features(images)
    objective = FeatureDistillation(student(), view["dense"].shape[2], view["pooled"].shape[1])
    noise = [torch.stack([torch.full((2, 16), -99.0), torch.zeros(2, 16)], -1)] * 3
    loss = objective(Batch(view, images, keep_ratio=0.5, choose=TrainingChoice(noise)))
    loss.total.backward()
    assert loss.parts["dense"] == 0
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters() if p.grad is not None)


def test_a_teacher_of_other_classes_or_with_other_weights_is_refused(weights):
    with pytest.raises(SettingError, match="knows 1000 classes, the student 2"):
        TimmTeacher("lcnet_035", weights("lcnet_035"), TINY)
    with pytest.raises(CheckpointError, match="does not fit timm's lcnet_050"):
        TimmTeacher("lcnet_050", weights("lcnet_035"), student().config)
    with pytest.raises(SettingError, match="timm has no model"):
        TimmTeacher("no_such_network", None, student().config)
