"""The paper's objective: its teacher is the dense model, and its losses cope with what may be missing."""

from dataclasses import replace

import pytest
import torch
from training.examples import TINY

from dynamicvit.budget import BaseRatio, Schedule
from dynamicvit.errors import SettingError
from dynamicvit.models.registry import create_model
from dynamicvit.models.vit import TrainingOutput
from dynamicvit.training.choice import TrainingChoice
from dynamicvit.training.distill import Distillation
from dynamicvit.training.objective import Batch, TeacherView, kl_loss
from dynamicvit.training.sparsify import (
    DENSE,
    DenseTeacher,
    Sparsification,
    ratio_loss,
    sparsification_loss,
    token_loss,
)
from dynamicvit.training.teacher import ATTENDED

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


def batch(teacher, choose, targets=None, keep_ratio=0.7):
    """The three images as the dense teacher sees them."""
    views = {DENSE: teacher(images(), None)}
    return Batch(images(), views=views, targets=targets, keep_ratio=keep_ratio, choose=choose)


@pytest.mark.parametrize("changes", [{}, LVVIT], ids=["deit", "lvvit"])
def test_a_student_that_keeps_everything_is_its_teacher(changes):
    student, teacher = pair(**changes)
    loss = Sparsification(student)(batch(teacher, TrainingChoice(noise(keep=True))))
    assert loss.parts["logits_kl"] == pytest.approx(0, abs=1e-5)
    assert loss.parts["tokens"] == pytest.approx(0, abs=1e-5)
    assert [share.item() for share in loss.kept_shares] == pytest.approx([1, 1, 1])


def test_dropping_every_token_gives_finite_gradients():
    student, teacher = pair()
    targets = torch.full((3, 2), 0.5)
    loss = Sparsification(student)(batch(teacher, TrainingChoice(noise(keep=False)), targets))
    loss.total.backward()
    assert loss.parts["tokens"] == 0
    gradients = [parameter.grad for parameter in student.parameters() if parameter.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_without_targets_the_teacher_and_the_ratio_are_all_there_is():
    student, teacher = pair()
    loss = Sparsification(student)(batch(teacher, TrainingChoice(noise(keep=True))))
    assert loss.parts["classification"] == 0
    expected = 2 * loss.parts["ratio"] / 3 + 0.5 * (loss.parts["logits_kl"] + loss.parts["tokens"])
    torch.testing.assert_close(loss.total, expected)


def test_a_new_head_is_not_compared_with_the_teachers():
    student, teacher = pair(num_classes=5)
    view = TeacherView(torch.randn(3, 2), tokens=teacher(images(), None).tokens + 1)
    objective = Sparsification(student, has_new_head=True)
    choose = TrainingChoice(noise(keep=True))
    targets = torch.full((3, 5), 0.2)
    loss = objective(Batch(images(), views={DENSE: view}, targets=targets, keep_ratio=0.7, choose=choose))
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
        held = batch(teacher, TrainingChoice(ratios=BaseRatio(0.5).ratios(Schedule(3))), keep_ratio=0.5)
        shares.append([share.item() for share in Sparsification(student)(held).kept_shares])
    assert torch.tensor(shares).mean(0).tolist() == pytest.approx([0.5, 0.25, 0.125], abs=0.05)


def test_without_labels_the_attended_teacher_classifies():
    student, teacher = pair()
    objective = Sparsification(student)
    plain = batch(teacher, TrainingChoice(noise(keep=True)))
    attended = TeacherView(torch.randn(3, 2))
    taught = objective(replace(plain, views={**plain.views, ATTENDED: attended}))
    torch.testing.assert_close(taught.total - objective(plain).total, taught.parts["classification"])
    torch.testing.assert_close(taught.parts["classification"], kl_loss(student(images()), attended.logits).detach())


def test_a_step_without_a_keep_ratio_is_one_of_distillation():
    student, _ = pair()
    step = Batch(images(), views={ATTENDED: TeacherView(torch.randn(3, 2), torch.full((3, 16), 1 / 16))})
    dense = Distillation(student)
    torch.testing.assert_close(Sparsification(student, dense=dense)(step).total, dense(step).total)
    with pytest.raises(SettingError, match="needs a keep ratio"):
        Sparsification(student)(step)


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


def test_equal_logits_have_no_divergence():
    logits = torch.randn(3, 5)
    assert kl_loss(logits, logits) == pytest.approx(0, abs=1e-6)
    assert kl_loss(logits, logits.flip(1)) > 0


def test_the_ratio_loss_is_zero_on_target_and_sums_the_stages():
    half = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert ratio_loss([half, half], [0.5, 0.5]) == 0
    assert ratio_loss([half, half], [0.25, 0.5]) == pytest.approx(0.0625)


def test_the_batch_wide_ratio_forgives_images_that_balance_each_other():
    decision = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    assert ratio_loss([decision], [0.5]) == pytest.approx(0.25)
    assert ratio_loss([decision], [0.5], batch_ratio=True) == 0


@pytest.mark.parametrize("term", ["mse", "kl"])
def test_dropping_every_token_gives_a_token_loss_of_zero_and_finite_gradients(term):
    tokens = torch.randn(2, 4, 6, requires_grad=True)
    loss = token_loss(tokens, torch.randn(2, 4, 6), torch.zeros(2, 4), term)
    loss.backward()
    assert loss == 0
    assert torch.isfinite(tokens.grad).all()


def test_the_whole_loss_is_finite_with_everything_dropped():
    output = TrainingOutput(torch.randn(2, 5), torch.randn(2, 4, 6), (torch.zeros(2, 4),) * 3)
    total, parts = sparsification_loss(
        output, torch.full((2, 5), 0.2), torch.randn(2, 5), torch.randn(2, 4, 6), (0.7, 0.5, 0.3)
    )
    assert torch.isfinite(total)
    assert parts["ratio"] == pytest.approx(0.49 + 0.25 + 0.09)


def test_leaving_targets_and_teacher_out_leaves_the_ratio_loss():
    output = TrainingOutput(torch.randn(2, 5), torch.randn(2, 4, 6), (torch.ones(2, 4),) * 2)
    total, _ = sparsification_loss(output, None, None, None, (0.7, 0.5))
    assert total == pytest.approx(2.0 * (0.09 + 0.25) / 2)


@pytest.mark.parametrize("term", ["mse", "kl"])
def test_processes_that_keep_different_numbers_of_tokens_weigh_every_token_alike(term):
    tokens, teacher = torch.randn(4, 6, 5, requires_grad=True), torch.randn(4, 6, 5)
    decision = torch.tensor([[1.0] * 6, [1.0] * 5 + [0.0], [0.0] * 6, [1.0] + [0.0] * 5])
    (whole,) = torch.autograd.grad(token_loss(tokens, teacher, decision, term), tokens)
    halves = [
        token_loss(tokens[half], teacher[half], decision[half], term, lambda count: torch.tensor(12.0 / 2))
        for half in (slice(0, 2), slice(2, 4))
    ]
    (mean,) = torch.autograd.grad(sum(halves) / 2, tokens)
    torch.testing.assert_close(mean, whole)


def test_processes_hold_the_whole_batch_to_the_ratio():
    shares = torch.tensor([[0.9, 0.7], [0.1, 0.3]], requires_grad=True)
    (whole,) = torch.autograd.grad(ratio_loss([shares], [0.4], batch_ratio=True), shares)
    halves = [
        ratio_loss([shares[row : row + 1]], [0.4], batch_ratio=True, average=lambda share: torch.tensor(0.5))
        for row in range(2)
    ]
    assert halves[0].item() == pytest.approx(0.01)
    (mean,) = torch.autograd.grad(sum(halves) / 2, shares)
    torch.testing.assert_close(mean, whole)


def test_an_answer_in_half_precision_is_compared_in_full():
    """Summed over a thousand classes in bfloat16, a divergence is off by a percent and more."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(4, 1000, generator=generator).bfloat16() for _ in range(2))
    assert kl_loss(student, teacher).item() == kl_loss(student.float(), teacher.float()).item()
