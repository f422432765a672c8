"""A student on its teacher's trunk starts as its teacher answers, learns to look where it does, and keeps the trunk."""

import pytest
import torch
from training.examples import TINY
from training.teachers import write_lite0_weights

from dynamicvit.errors import SettingError
from dynamicvit.models.registry import create_model
from dynamicvit.training.distill import Distillation, attention_loss
from dynamicvit.training.objective import Batch, TeacherView, trunk_features
from dynamicvit.training.options import parse_arguments, student_config
from dynamicvit.training.start import ClosedFormStart, hold_values, reduced_rank
from dynamicvit.training.teacher import ATTENDED, AttendedTeacher

SMALL = {"image_size": 64, "embed_dim": 96, "num_heads": 2, "depth": 4, "prune_locations": (1, 2)}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    weights = write_lite0_weights(tmp_path_factory.mktemp("teacher") / "lite0.pth")
    return AttendedTeacher("tf_efficientnet_lite0", weights, config(), beta=0.4)


def config():
    return create_model("dynamicvit_lite0_small_patch16_224", **SMALL).config


@pytest.fixture
def student(teacher):
    torch.manual_seed(2)
    model = create_model(config())
    teacher.give_trunk(model.patch_embed)
    return model


@pytest.fixture
def batches(teacher, student):
    torch.manual_seed(1)
    found = []
    for _ in range(6):
        images = torch.randn(32, 3, 64, 64) + torch.randn(32, 3, 1, 1)
        features = trunk_features(student, images)
        found.append(Batch(images, features, {ATTENDED: teacher(images, features)}))
    return found


def started(student, teacher, batches):
    objective = Distillation(student, start=ClosedFormStart(teacher.classifier.weight.detach(), 192))
    objective.prepare(batches)
    return objective


def test_the_trunk_that_the_teacher_shares_gives_it_the_same_view(teacher, student, batches):
    alone = teacher(batches[0].images, None)
    torch.testing.assert_close(alone.logits, batches[0].views[ATTENDED].logits, atol=1e-3, rtol=1e-3)


def test_the_start_answers_nearly_as_the_teacher_does(student, teacher, batches):
    fresh = Distillation(student)
    with torch.no_grad():
        before = fresh(batches[0])
        after = started(student, teacher, batches)(batches[0])
    assert after.parts["answer_kl"] < 0.3 * before.parts["answer_kl"]
    wanted, found = batches[0].views[ATTENDED].logits, student(batches[0].images)
    assert (wanted.argmax(1) == found.argmax(1)).float().mean() > 0.7


def test_full_rank_reads_the_classifiers_own_logits_and_less_loses_little():
    generator = torch.Generator().manual_seed(0)
    pooled = torch.randn(400, 12, generator=generator) @ torch.randn(12, 12, generator=generator)
    classifier = torch.randn(9, 12, generator=generator)
    wanted = (pooled - pooled.mean(0)) @ (classifier - classifier.mean(0)).T
    errors = []
    for rank in (8, 6, 3):
        maps, bias, head = reduced_rank(pooled, classifier, rank, ridge=1e-9)
        mapped = pooled @ maps.T + bias
        torch.testing.assert_close(mapped.T @ mapped / 400, torch.eye(rank), atol=1e-3, rtol=1e-3)
        errors.append(((mapped @ head.T - wanted).square().sum() / wanted.square().sum()).item())
    assert errors[0] < 1e-6 < errors[1] < errors[2] < 0.6
    with pytest.raises(SettingError, match="no 10 directions"):
        reduced_rank(pooled, classifier, 10)


def test_training_lowers_both_parts_and_leaves_trunk_and_values(student, teacher, batches):
    objective = started(student, teacher, batches)
    hold_values(student)
    objective.train()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    optimizer = torch.optim.AdamW(
        [parameter for parameter in student.parameters() if parameter.requires_grad], lr=3e-4, weight_decay=0.0
    )
    losses = []
    for step in range(18):
        loss = objective(batches[step % 6])
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(loss.parts)
    for part in ("answer_kl", "attention_kl"):
        assert sum(parts[part] for parts in losses[-6:]) < 0.9 * sum(parts[part] for parts in losses[:6])
    after = student.state_dict()
    for name in before:
        if "patch_embed.trunk" in name:  # running statistics too
            assert torch.equal(after[name], before[name]), name
    values = after["blocks.1.attn.qkv.weight"][2 * 96 :]
    assert torch.equal(values, before["blocks.1.attn.qkv.weight"][2 * 96 :])
    assert not torch.equal(after["blocks.1.attn.qkv.weight"][:96], before["blocks.1.attn.qkv.weight"][:96])


def test_attention_is_compared_over_the_patches_whatever_the_class_token_keeps():
    wanted = torch.tensor([[0.5, 0.3, 0.2]])
    assert attention_loss(0.1 * wanted, wanted) == pytest.approx(0, abs=1e-6)
    assert attention_loss(wanted.flip(1), wanted) > 0.1
    assert torch.isfinite(attention_loss(torch.tensor([[1.0, 0.0, 0.0]]), wanted))


def test_the_blocks_before_the_stages_and_the_last_one_learn_to_look():
    assert Distillation(create_model(config())).attention_blocks == (0, 1, 3)
    assert Distillation(create_model("dynamicvit_lite0_small_patch16_224")).attention_blocks == (2, 5, 8, 11)
    with pytest.raises(SettingError, match=r"0 to 3; got --attention-blocks \[4\]"):
        Distillation(create_model(config()), attention_blocks=[4])


def test_any_model_learns_and_a_teacher_that_does_not_say_where_to_look_gives_its_answer_alone():
    objective = Distillation(create_model(TINY))
    step = Batch(torch.randn(2, 3, 32, 32), views={ATTENDED: TeacherView(torch.randn(2, 2))})
    assert objective(step).parts.keys() == {"answer_kl"}


def test_the_shipped_models_description_is_the_default():
    options = parse_arguments(["distill", "--data", "x", "--output", "x"])
    assert student_config(options).embedding == "lite0"
    assert student_config(options).prune_locations == (3, 6, 9)
