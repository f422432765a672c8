"""Losses stay finite at the edges and are zero where they should be."""

import pytest
import torch

from dynamicvit.models.vit import TrainingOutput
from dynamicvit.training.losses import evidence_loss, kl_loss, ratio_loss, sparsification_loss, token_loss


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
    parts = sparsification_loss(
        output, torch.full((2, 5), 0.2), torch.randn(2, 5), torch.randn(2, 4, 6), (0.7, 0.5, 0.3)
    )
    assert torch.isfinite(parts.total)
    assert parts.ratio == pytest.approx(0.49 + 0.25 + 0.09)


def test_leaving_targets_and_teacher_out_leaves_the_ratio_loss():
    output = TrainingOutput(torch.randn(2, 5), torch.randn(2, 4, 6), (torch.ones(2, 4),) * 2)
    parts = sparsification_loss(output, None, None, None, (0.7, 0.5))
    assert parts.total == pytest.approx(2.0 * (0.09 + 0.25) / 2)


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


def test_evidence_is_a_target_for_the_tokens_that_are_left_at_any_level_of_the_scores():
    evidence = torch.tensor([[3.0, 1.0, 2.0, 0.0]])
    kept = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    at_another_level = evidence - 7.0
    assert evidence_loss([at_another_level], [kept], [evidence]) == pytest.approx(0, abs=1e-5)
    right_for_the_two = torch.tensor([[9.0, 7.0, 100.0, -100.0]])
    assert evidence_loss([evidence, right_for_the_two], [kept, kept], [evidence, evidence]) == pytest.approx(
        0, abs=1e-5
    )
    assert evidence_loss([right_for_the_two], [kept], [evidence]) > 1


def test_every_stage_has_evidence_of_its_own():
    evidence = [torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[1.0, 3.0, 2.0]])]
    kept = [torch.ones(1, 3)] * 2
    assert evidence_loss(evidence, kept, evidence) == pytest.approx(0, abs=1e-5)
    assert evidence_loss(evidence[::-1], kept, evidence) > 0.5


def test_evidence_minds_a_wrong_best_token_more_than_a_wrong_worst_one():
    evidence = torch.tensor([[4.0, 0.0, -4.0]])
    wrong_best, wrong_worst = torch.tensor([[0.0, 4.0, -4.0]]), torch.tensor([[4.0, -4.0, 0.0]])
    kept = [torch.ones(1, 3)]
    assert evidence_loss([wrong_best], kept, [evidence]) > 10 * evidence_loss([wrong_worst], kept, [evidence])


def test_a_stage_that_nothing_reached_has_no_ranking_and_finite_gradients():
    scores = torch.randn(1, 4, requires_grad=True)
    loss = evidence_loss([scores, scores], [torch.zeros(1, 4)] * 2, [torch.randn(1, 4)] * 2)
    loss.backward()
    assert torch.isfinite(scores.grad).all()


def test_an_answer_in_half_precision_is_compared_in_full():
    """Summed over a thousand classes in bfloat16, a divergence is off by a percent and more."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(4, 1000, generator=generator).bfloat16() for _ in range(2))
    assert kl_loss(student, teacher).item() == kl_loss(student.float(), teacher.float()).item()
