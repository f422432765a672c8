"""Decisions in training are hard, differentiable, and hold the asked ratio for any scores."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from dynamicvit.models.vit import gumbel_choice
from dynamicvit.training.choice import shift_to_ratio


def test_decisions_are_hard_and_dropped_tokens_never_come_back():
    torch.manual_seed(0)
    log_probs = torch.randn(4, 50, 2).log_softmax(-1)
    alive = (torch.rand(4, 50) > 0.5).float()
    decision = gumbel_choice(0, log_probs, alive)
    assert torch.allclose(decision, decision.round(), atol=1e-6)
    assert (decision[alive == 0] == 0).all()
    assert 0 < decision.mean() < alive.mean()


def test_decisions_follow_the_probabilities():
    torch.manual_seed(0)
    log_probs = torch.tensor([0.8, 0.2]).log().expand(1, 20_000, 2)
    assert abs(gumbel_choice(0, log_probs, torch.ones(1, 20_000)).mean() - 0.8) < 0.015


def test_gradients_pass_through_the_hard_choice():
    log_probs = torch.zeros(1, 8, 2, requires_grad=True)
    gumbel_choice(0, log_probs, torch.ones(1, 8)).sum().backward()
    assert (log_probs.grad[..., 0] > 0).all()


@given(share=st.floats(0.02, 0.6), level=st.floats(-100, 100), seed=st.integers(0, 1000))
def test_shifted_log_odds_keep_the_asked_share_on_average_and_the_ranking(share, level, seed):
    odds = level + 2 * torch.randn(2, 50, generator=torch.Generator().manual_seed(seed))
    log_probs = torch.stack([torch.nn.functional.logsigmoid(odds), torch.nn.functional.logsigmoid(-odds)], dim=-1)
    alive = torch.ones(2, 50)
    alive[:, 35:] = 0
    shifted = shift_to_ratio(log_probs, alive, share)
    assert torch.allclose((shifted[..., 0].exp() * alive).mean(1), torch.full((2,), share), atol=1e-3)
    in_order = shifted[..., 0].gather(1, odds.argsort(dim=1))
    assert (in_order.diff(dim=1) >= 0).all()
    assert in_order[:, -1].sub(in_order[:, 0]).gt(0).all()  # not by making all scores equal
    assert torch.allclose(shifted.exp().sum(-1), torch.ones(2, 50), atol=1e-5)


def test_a_share_that_more_than_all_live_tokens_would_need_keeps_them_all():
    log_probs = torch.zeros(1, 10, 2)
    alive = torch.tensor([[1.0] * 3 + [0.0] * 7])
    shifted = shift_to_ratio(log_probs, alive, 0.5)
    assert (shifted[..., 0].exp() > 0.999).all()


def test_raising_all_scores_alike_changes_nothing_in_the_gradient_too():
    odds = torch.randn(2, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    log_probs = torch.stack([torch.nn.functional.logsigmoid(odds), torch.nn.functional.logsigmoid(-odds)], dim=-1)
    weights = torch.rand(2, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (shift_to_ratio(log_probs, torch.ones(2, 50, dtype=torch.float64), 0.4)[..., 0].exp() * weights).sum().backward()
    assert odds.grad.abs().max() > 1e-3
    assert torch.allclose(odds.grad.sum(1), torch.zeros(2, dtype=torch.float64), atol=1e-6)
