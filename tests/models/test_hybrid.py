"""The prediction module that compares answers; the paper's is held by golden tensors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamicvit.models.hybrid import SOFTNESS, AnswerPredictor


def predictor(candidates, dim=8, classes=6, seed=0):
    torch.manual_seed(seed)
    module = AnswerPredictor(dim, classes, candidates)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module.requires_grad_(False)


def odds(log_probs):
    return log_probs[..., 0] - log_probs[..., 1]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), candidates=st.integers(6, 20))
def test_over_all_classes_a_score_is_the_log_probability_that_token_and_picture_name_the_same(seed, candidates):
    module = predictor(candidates, seed=seed)
    patches, first_answer = torch.randn(2, 5, 8), torch.randn(2, 6)
    local = module.local(patches).softmax(dim=-1)
    agreement = (local * (first_answer / SOFTNESS).softmax(dim=-1).unsqueeze(1)).sum(dim=-1).log()
    expected = agreement + module.own(patches).squeeze(-1)
    log_probs = module(patches, first_answer)
    torch.testing.assert_close(odds(log_probs), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(log_probs.exp().sum(dim=-1), torch.ones(2, 5))


def test_the_token_that_names_what_the_picture_names_comes_first_whatever_that_is():
    module = predictor(candidates=3, dim=6)
    module.local.weight.copy_(5 * torch.eye(6))
    for parameter in (module.local.bias, module.own.weight, module.own.bias):
        parameter.zero_()
    patches = torch.eye(6).unsqueeze(0)  # token i names class i
    for named in range(6):
        first_answer = torch.zeros(1, 6)
        first_answer[0, named] = 4.0
        assert odds(module(patches, first_answer)).argmax() == named


def test_only_the_likeliest_classes_of_the_first_answer_count():
    module = predictor(candidates=2)
    patches, first_answer = torch.randn(1, 4, 8), torch.tensor([[3.0, 2.0, -1.0, -1.0, -1.0, -1.0]])
    before = module(patches, first_answer)
    module.local.weight[2:].normal_()
    torch.testing.assert_close(module(patches, first_answer), before)
    module.local.weight[1].normal_()
    assert not torch.allclose(module(patches, first_answer), before)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_scores_and_gradients_stay_finite(scale):
    module = predictor(candidates=4).requires_grad_(True)
    log_probs = module(scale * torch.randn(2, 3, 8), scale * torch.randn(2, 6))
    log_probs.sum().backward()
    assert torch.isfinite(log_probs).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in module.parameters())
