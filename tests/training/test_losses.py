"""Losses stay finite at the edges and are zero where they should be."""

import pytest
import torch

from dynamicvit.models.vit import TrainingOutput
from dynamicvit.training.losses import kl_loss, ratio_loss, sparsification_loss, token_loss


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
