"""The paper's objective: its teacher is the dense model, and its loss copes with what may be missing."""

import pytest
import torch
from training.examples import TINY

from dynamicvit.budget import BaseRatio
from dynamicvit.errors import SettingError
from dynamicvit.models.registry import create_model
from dynamicvit.training.choice import TrainingChoice
from dynamicvit.training.objective import Batch
from dynamicvit.training.sparsification import DenseTeacher, Sparsification

LVVIT = {"embedding": "lvvit", "has_aux_head": True, "residual_divisor": 2.0, "qkv_bias": False}


def images():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def noise(keep):
    """Gumbel noise that decides for or against every token."""
    side = torch.full((3, 16), 99.0 if keep else -99.0)
    return [torch.stack([side, torch.zeros(3, 16)], -1)] * 3


def pair(**changes):
    torch.manual_seed(0)
    student = create_model(TINY, **changes)
    dense = create_model(TINY, prune_locations=(), **changes)
    dense.load_state_dict(student.state_dict(), strict=False)
    return student, DenseTeacher(dense)


@pytest.mark.parametrize("changes", [{}, LVVIT], ids=["deit", "lvvit"])
def test_a_student_that_keeps_everything_is_its_teacher(changes):
    student, teacher = pair(**changes)
    loss = Sparsification(student)(
        Batch(teacher.features(images()), images(), keep_ratio=0.7, choose=TrainingChoice(noise(keep=True)))
    )
    assert loss.parts["logits_kl"] == pytest.approx(0, abs=1e-5)
    assert loss.parts["tokens"] == pytest.approx(0, abs=1e-5)
    assert [share.item() for share in loss.kept_shares] == pytest.approx([1, 1, 1])


def test_dropping_every_token_gives_finite_gradients():
    student, teacher = pair()
    targets = torch.full((3, 2), 0.5)
    batch = Batch(teacher.features(images()), images(), targets, 0.7, choose=TrainingChoice(noise(keep=False)))
    loss = Sparsification(student)(batch)
    loss.total.backward()
    assert loss.parts["tokens"] == 0
    gradients = [parameter.grad for parameter in student.parameters() if parameter.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_without_targets_the_teacher_and_the_ratio_are_all_there_is():
    student, teacher = pair()
    loss = Sparsification(student)(
        Batch(teacher.features(images()), images(), keep_ratio=0.7, choose=TrainingChoice(noise(keep=True)))
    )
    assert loss.parts["classification"] == 0
    expected = 2 * loss.parts["ratio"] / 3 + 0.5 * (loss.parts["logits_kl"] + loss.parts["tokens"])
    torch.testing.assert_close(loss.total, expected)


def test_a_new_head_is_not_compared_with_the_teachers():
    student, teacher = pair(num_classes=5)
    view = {"logits": torch.randn(3, 2), "tokens": teacher.features(images())["tokens"] + 1}
    objective = Sparsification(student, has_new_head=True)
    loss = objective(Batch(view, images(), torch.full((3, 5), 0.2), 0.7, choose=TrainingChoice(noise(keep=True))))
    assert loss.parts["logits_kl"] == 0
    assert loss.parts["tokens"] == pytest.approx(1, abs=1e-4)


def test_held_shares_follow_the_ratio_whatever_the_predictors_level():
    student, teacher = pair()
    with torch.no_grad():
        for predictor in student.score_predictor:
            predictor.out_conv[-2].bias.copy_(torch.tensor([9.0, -9.0]))
    shares = []
    for seed in range(20):
        torch.manual_seed(seed)
        batch = Batch(
            teacher.features(images()), images(), keep_ratio=0.5, choose=TrainingChoice(ratios=BaseRatio(0.5).ratios(3))
        )
        shares.append([share.item() for share in Sparsification(student)(batch).kept_shares])
    assert torch.tensor(shares).mean(0).tolist() == pytest.approx([0.5, 0.25, 0.125], abs=0.05)


def test_a_dense_model_is_refused():
    with pytest.raises(SettingError, match="pruning stages"):
        Sparsification(create_model(TINY, prune_locations=()))


def test_a_new_auxiliary_head_is_refused():
    student, _ = pair(**LVVIT)
    with pytest.raises(SettingError, match="auxiliary head"):
        Sparsification(student, has_new_head=True)


def test_the_teacher_cannot_be_put_into_training_mode():
    _, teacher = pair(**LVVIT)
    teacher.train()
    assert not any(module.training for module in teacher.modules())
