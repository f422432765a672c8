"""Learning rates follow the paper's recipe, for the right parameters."""

import pytest
from training.examples import TINY

from dynamicvit.models.registry import create_model
from dynamicvit.training.optimizer import Schedule, build_optimizer
from dynamicvit.training.sparsify import Sparsification


def paper():
    return Schedule(steps=300, warmup=50, frozen=50, peak=1e-3, floor=1e-6, backbone_factor=0.01)


def test_the_rate_rises_linearly_and_falls_as_a_cosine():
    rates = [paper().rate(step) for step in (0, 24, 49, 50, 175, 300)]
    assert rates == pytest.approx([1e-3 / 50, 5e-4, 1e-3, 1e-3, (1e-3 + 1e-6) / 2, 1e-6])


def test_the_backbone_rests_at_first_and_then_follows_at_its_factor():
    assert paper().backbone_rate(49) == 0
    assert paper().backbone_rate(50) == pytest.approx(1e-5)


def groups_of(objective):
    optimizer = build_optimizer(objective, 0.05)
    paper().apply(optimizer, 60)
    names = {id(parameter): name for name, parameter in objective.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def test_predictors_are_new_and_matrices_alone_decay():
    groups = groups_of(Sparsification(create_model(TINY)))
    new, rest = paper().rate(60), paper().backbone_rate(60)
    assert groups["student.score_predictor.0.out_conv.0.weight"] == (new, 0.05)
    assert groups["student.score_predictor.0.out_conv.0.bias"] == (new, 0.0)
    assert groups["student.blocks.0.attn.qkv.weight"] == (rest, 0.05)
    assert groups["student.norm.weight"] == (rest, 0.0)
    assert groups["student.head.weight"] == (rest, 0.05)


def test_the_class_token_and_positions_are_never_trained():
    objective = Sparsification(create_model(TINY))
    trained = set(groups_of(objective))
    everything = {name for name, _ in objective.named_parameters()}
    assert everything - trained == {"student.cls_token", "student.pos_embed"}


def test_a_new_head_gets_the_full_rate():
    groups = groups_of(Sparsification(create_model(TINY), has_new_head=True))
    assert groups["student.head.weight"] == (paper().rate(60), 0.05)
