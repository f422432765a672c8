"""The training program trains, goes on after a stop to the same weights, and spoils nothing when it fails."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from training.examples import TINY, TINY_OPTIONS, picture_bytes, write_dense_weights, write_folder, write_tar
from training.gradients import write_gradients
from training.teachers import write_lite0_weights

from dynamicvit.errors import ImageError, SettingError, TrainingError
from dynamicvit.evaluate import main as evaluate
from dynamicvit.models.registry import create_model
from dynamicvit.training import loop as program
from dynamicvit.training.loop import main
from dynamicvit.training.options import parse_arguments, student_config
from dynamicvit.weights.io import load_checkpoint, load_file, read_shapes, save_model

ROOT = Path(__file__).parents[1]
NO_WARMUP = ["--warmup", "0", "--backbone-frozen", "0"]
SMALL_TRUNK = [
    *["--set", "embed_dim=48", "num_heads=2", "depth=3", "prune_locations=1,2", "--image-size", "64"],
    *["--batch", "8", "--images", "32", "--workers", "0", "--log-every", "1"],
]
PLAIN = ["--mixup", "0", "--cutmix", "0", "--auto-augment", "", "--erasing", "0", "--color-jitter", "0"]


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "photos")


@pytest.fixture
def command(tmp_path, folder):
    """Sparsify the tiny model: 6 steps of 8 images, three epochs."""
    start = write_dense_weights(tmp_path / "dense.safetensors")
    return [
        *["sparsify", "--data", str(folder), "--start", str(start), "--output", str(tmp_path / "run"), *TINY_OPTIONS],
        *["--batch", "8", "--epochs", "3"],
        *["--workers", "0", "--log-every", "1", "--save-every", "2"],
    ]


def lines_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def state_of(folder):
    return torch.load(folder / "state.pt", weights_only=True)


def assert_same(first, second):
    """The same tensors, bit for bit."""
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def stop_in(step, arguments, monkeypatch):
    """Run the program until it dies in the middle of a step."""
    original = program.gradients

    def gradients(run, sample):
        if run.step == step - 1:
            raise KeyboardInterrupt
        return original(run, sample)

    with monkeypatch.context() as patch:
        patch.setattr(program, "gradients", gradients)
        with pytest.raises(KeyboardInterrupt):
            main(arguments)


def test_sparsification_lowers_the_loss_and_brings_the_kept_shares_to_their_targets(tmp_path, command):
    main([*command, *PLAIN, "--epochs", "30", "--lr", "3e-3", "--backbone-lr-factor", "1"])
    lines = lines_of(tmp_path / "run")
    first, last = lines[:10], lines[-10:]

    def mean(some, name):
        return sum(line[name] for line in some) / len(some)

    assert mean(last, "loss") < 0.8 * mean(first, "loss")
    shares = torch.tensor([line["kept_shares"] for line in last]).mean(0)
    assert shares.tolist() == pytest.approx([0.7, 0.49, 0.343], abs=0.08)


def test_a_stopped_run_goes_on_to_the_same_weights_bit_for_bit(tmp_path, command, monkeypatch):
    options = ["--keep-ratio", "0.4:0.9", "--drop-path", "0.1", "--image-size", "24:32"]
    main([*command, *options])
    # After the save of step 2 and the log line of step 3.
    stop_in(4, [*command, *options, "--output", str(tmp_path / "stopped")], monkeypatch)
    assert len(lines_of(tmp_path / "stopped")) == 3
    main([*command, *options, "--output", str(tmp_path / "stopped")])
    whole, stopped = tmp_path / "run", tmp_path / "stopped"
    assert_same(state_of(stopped)["objective"], state_of(whole)["objective"])
    assert_same(state_of(stopped)["averaged"], state_of(whole)["averaged"])
    untimed = [[{**line, "seconds": 0} for line in lines_of(run)] for run in (stopped, whole)]
    assert untimed[0] == untimed[1]
    assert [line["image_size"] for line in lines_of(whole)] == [24, 24, 24, 32, 32, 32]
    ratios = [line["keep_ratio"] for line in lines_of(whole)]
    assert len(set(ratios)) == 6
    assert 0.4 <= min(ratios) <= max(ratios) <= 0.9


def test_two_processes_compute_the_gradients_of_one(tmp_path, command):
    options = [*command, "--keep-ratio", "0.4:0.9", "--batch-ratio"]
    write_gradients(tmp_path / "one.pt", options)
    # --multi_gpu is accelerate's word for several processes; there are none here, and so it is two CPU processes.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no"]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    result = subprocess.run(
        [*launch, str(ROOT / "tests" / "training" / "gradients.py"), str(tmp_path / "two.pt"), *options],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    one, two = (torch.load(tmp_path / f"{name}.pt") for name in ("one", "two"))
    assert (one["processes"], two["processes"]) == (1, 2)
    assert two["numbers"].pop("kept_shares") == pytest.approx(one["numbers"].pop("kept_shares"))
    assert two["numbers"] == pytest.approx(one["numbers"], rel=1e-4)
    assert one["gradients"].keys() == two["gradients"].keys()
    for name, gradient in one["gradients"].items():
        torch.testing.assert_close(two["gradients"][name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_the_state(tmp_path, command, monkeypatch):
    stop_in(4, command, monkeypatch)
    run = tmp_path / "run"
    before = {name: (run / name).read_bytes() for name in ("state.pt", "weights.safetensors")}
    original = program.gradients

    def gradients(run, sample):
        return {**original(run, sample), "loss": torch.tensor(float("nan"))}

    monkeypatch.setattr(program, "gradients", gradients)
    with pytest.raises(TrainingError, match="loss is not finite at step 3"):
        main(command)
    assert {name: (run / name).read_bytes() for name in before} == before
    assert [line["step"] for line in lines_of(run)] == [1, 2]


def test_photos_without_labels_are_trained_on_by_the_teacher_alone(tmp_path, command, capsys):
    photos = write_tar(tmp_path / "photos.tar")
    main([*command, "--data", str(photos), *NO_WARMUP])
    assert "without labels" in capsys.readouterr().out
    assert all(line["classification"] == 0 for line in lines_of(tmp_path / "run"))
    assert any(line["tokens"] > 0 for line in lines_of(tmp_path / "run"))


def test_other_classes_get_a_new_head_that_learns_from_labels(tmp_path, command):
    start = write_dense_weights(tmp_path / "five.safetensors", num_classes=5)
    main([*command, "--start", str(start)])
    assert all(line["logits_kl"] == 0 for line in lines_of(tmp_path / "run"))
    with pytest.raises(SettingError, match="new head learns from labels"):
        main([*command, "--start", str(start), "--ignore-labels", "--output", str(tmp_path / "unlabelled")])


def test_a_broken_photo_stops_the_run_in_one_sentence(tmp_path, command, folder):
    for path in folder.glob("*/*.png"):
        path.write_bytes(b"not an image")
    with pytest.raises(ImageError, match="cannot be read; repair or remove it"):
        main(command)


def test_without_accelerate_one_sentence_says_what_to_install(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(SettingError, match=r"pip install -e '\.\[train\]'"):
        main(command)


def test_the_end_is_summed_up_dense_and_at_every_ratio(tmp_path, command, folder, capsys):
    main([*command, "--val", str(folder), "--summary-ratios", "0.7", "0.5"])
    accuracy = json.loads((tmp_path / "run" / "summary.json").read_text())["accuracy"]
    assert [entry["keep_ratio"] for entry in accuracy] == [None, 0.7, 0.5]
    assert all(0 <= entry["top1"] <= 1 and entry["photos"] == 16 for entry in accuracy)
    assert accuracy[0]["gmacs"] > accuracy[1]["gmacs"] > accuracy[2]["gmacs"]
    assert "dense: top-1" in capsys.readouterr().out


def test_the_saved_weights_are_a_checkpoint_with_its_history(tmp_path, command):
    main([*command, "--keep-ratio", "0.3:0.9"])
    weights = tmp_path / "run" / "weights.safetensors"
    load_checkpoint(create_model(TINY), weights)
    metadata = read_shapes(weights).metadata
    assert metadata["keep_ratios"] == "0.3:0.9"
    assert metadata["images"] == "48"
    model = load_file(weights)
    assert model.config == student_config(parse_arguments(command))
    assert model.class_names == ("blue", "red")


def test_a_class_that_only_the_validation_has_is_reported_before_the_first_step(tmp_path, command):
    val = write_folder(tmp_path / "val", 1)
    (val / "red").rename(val / "green")
    with pytest.raises(SettingError, match="none of the classes that are trained: green"):
        main([*command, "--val", str(val)])
    assert not (tmp_path / "run").exists()


def test_folders_named_by_numbers_are_the_same_classes_in_training_and_evaluation(tmp_path, command, capsys):
    photos = tmp_path / "numbered"
    for number in range(11):
        (photos / str(number)).mkdir(parents=True)
        for index in range(2):
            (photos / str(number) / f"{index}.png").write_bytes(picture_bytes(number % 2, index))
    main([*command, "--data", str(photos), "--val", str(photos), "--classes", "11", "--epochs", "1", *NO_WARMUP])
    accuracy = json.loads((tmp_path / "run" / "summary.json").read_text())["accuracy"]
    weights = tmp_path / "run" / "weights.safetensors"
    assert load_file(weights).class_names == tuple(map(str, range(11)))
    results = tmp_path / "results.json"
    evaluate(["--checkpoint", str(weights), "--photos", str(photos), "--json", str(results)])
    evaluated = json.loads(results.read_text())["results"]
    assert [entry["top1"]["mean"] for entry in evaluated[:2]] == [
        entry["top1"] for entry in accuracy if entry["keep_ratio"] in (None, 0.7)
    ]


def test_the_classes_of_the_start_weights_keep_their_names_where_the_photos_have_none(tmp_path, command):
    start = tmp_path / "named.safetensors"
    save_model(create_model(TINY, prune_locations=()), start, class_names=["cat", "dog"])
    photos = write_tar(tmp_path / "photos.tar")
    main([*command, "--data", str(photos), "--start", str(start), "--epochs", "1", *NO_WARMUP])
    assert load_file(tmp_path / "run" / "weights.safetensors").class_names == ("cat", "dog")


def test_files_that_are_left_out_are_counted_and_named_at_the_start(folder, command, capsys):
    (folder / "blue" / "Thumbs.db").write_bytes(b"")
    main([*command, "--epochs", "1", *NO_WARMUP])
    assert "1 file is left out, hidden or no image that can be read: blue/Thumbs.db." in capsys.readouterr().out


def test_another_length_or_another_model_is_refused_in_the_same_folder(command):
    main(command)
    with pytest.raises(SettingError, match=r"epochs 3\.0, not 5\.0"):
        main([*command, "--epochs", "5"])


def test_the_program_fails_with_one_sentence(tmp_path):
    options = ["sparsify", "--data", str(tmp_path / "none.tar"), "--start", "x", "--output", str(tmp_path / "run")]
    result = subprocess.run(
        [sys.executable, "-m", "dynamicvit.train", *options], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 1
    assert result.stderr.startswith("Cannot read photos from")
    assert len(result.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory):
    return write_lite0_weights(tmp_path_factory.mktemp("teacher") / "lite0.pth")


@pytest.fixture
def distill(tmp_path, teacher_file):
    """Distil EfficientNet-Lite0 into a small model on its trunk: 4 steps of 8 images."""
    photos = write_tar(tmp_path / "photos.tar", 16)
    return [
        *["distill", "--data", str(photos), "--teacher-weights", str(teacher_file), "--output", str(tmp_path / "run")],
        *[*SMALL_TRUNK, "--start-images", "64"],
    ]


def test_a_stopped_distillation_goes_on_to_the_same_weights_bit_for_bit(tmp_path, distill, monkeypatch):
    distill += ["--save-every", "2"]
    main(distill)
    stopped = [*distill, "--output", str(tmp_path / "stopped")]
    stop_in(4, stopped, monkeypatch)
    main(stopped)
    assert_same(state_of(tmp_path / "stopped")["objective"], state_of(tmp_path / "run")["objective"])
    assert_same(state_of(tmp_path / "stopped")["averaged"], state_of(tmp_path / "run")["averaged"])
    assert lines_of(tmp_path / "run")[0].keys() >= {"answer_kl", "attention_kl"}


def test_the_shipped_models_recipe_distils_then_sparsifies_and_leaves_the_trunk(tmp_path, distill, teacher_file):
    main(distill)
    dense = tmp_path / "run" / "weights.safetensors"
    sparse = ["sparsify", "--model", "dynamicvit_lite0_small_patch16_224", *SMALL_TRUNK, "--start", str(dense)]
    sparse += ["--data", str(tmp_path / "photos.tar"), "--output", str(tmp_path / "sparse"), "--ignore-labels"]
    sparse += ["--teacher", "tf_efficientnet_lite0", "--teacher-weights", str(teacher_file), "--dense-every", "2"]
    sparse += ["--keep-ratio", "0.3:1.0"]
    main([*sparse, *PLAIN, *NO_WARMUP])
    lines = lines_of(tmp_path / "sparse")
    assert [line.keys() >= {"answer_kl"} for line in lines] == [False, True, False, True]
    assert all(line["classification"] > 0 and 0.3 <= line["keep_ratio"] <= 1 for line in lines[::2])
    model, network = load_file(tmp_path / "sparse" / "weights.safetensors"), torch.load(teacher_file)
    trunk = [value for name, value in model.state_dict().items() if ".trunk." in name]
    for own, theirs in zip(trunk, network.values(), strict=False):
        assert torch.equal(own, theirs)


def test_a_model_with_the_trunk_needs_its_teacher(tmp_path, distill):
    torch.save(timm.create_model("resnet10t").state_dict(), tmp_path / "resnet.pth")
    with pytest.raises(SettingError, match="trunk is that of tf_efficientnet_lite0"):
        main([*distill, "--teacher", "resnet10t", "--teacher-weights", str(tmp_path / "resnet.pth")])


def test_the_device_is_not_asked_for_what_only_timm_does(command):
    with pytest.raises(SettingError, match="know no policies"):
        main([*command, "--device-crops"])


def test_crops_on_the_device_train_with_labels_too(tmp_path, command):
    main([*command, "--device-crops", "--auto-augment", "", "--erasing", "0"])
    assert all(line["classification"] > 0 for line in lines_of(tmp_path / "run"))


def test_a_convolutional_classifier_teaches_a_plain_vision_transformer(tmp_path, folder):
    torch.save(timm.create_model("resnet10t").state_dict(), tmp_path / "resnet.pth")
    start = tmp_path / "start.safetensors"
    save_model(create_model(TINY, prune_locations=(), num_classes=1000), start)
    options = ["--teacher", "resnet10t", "--teacher-weights", str(tmp_path / "resnet.pth"), "--start", str(start)]
    options += [*TINY_OPTIONS, "--classes", "1000", "--batch", "8", "--epochs", "3", "--workers", "0"]
    options += ["--log-every", "1", "--backbone-lr-factor", "1"]
    main(["distill", "--data", str(folder), "--output", str(tmp_path / "run"), *options])
    lines = lines_of(tmp_path / "run")
    assert lines[0].keys() >= {"answer_kl", "attention_kl"}
    assert load_file(tmp_path / "run" / "weights.safetensors").config.num_stages == 3


PLAIN_VITS = [
    *["vit_tiny_patch16_224", "deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "deit3_small_patch16_224"],
    *["vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2", "vit_base_patch16_clip_224"],
    *["vit_base_patch16_clip_quickgelu_224", "vit_medium_patch16_gap_256", "vit_little_patch16_reg4_gap_256"],
]


@pytest.mark.parametrize("name", PLAIN_VITS)
def test_every_kind_of_plain_vision_transformer_learns_to_drop_tokens(tmp_path, folder, name):
    small = {"embed_dim": 48, "depth": 4, "num_heads": 3}
    side = 56 if "patch14" in name else 64
    torch.manual_seed(0)
    num_classes = 0 if "dinov2" in name else 2  # DINOv2 gives features alone; its head is new
    dense = timm.create_model(name, num_classes=num_classes, img_size=side, **small)
    torch.save(dense.state_dict(), tmp_path / f"{name}.pth")
    main(
        [
            *["sparsify", "--data", str(folder), "--start", str(tmp_path / f"{name}.pth"), "--model", f"timm:{name}"],
            *["--set", "prune_locations=1,2,3", *(f"{field}={value}" for field, value in small.items())],
            *["--classes", "2", "--image-size", str(side), "--output", str(tmp_path / "run"), "--batch", "8"],
            *["--images", "24", "--workers", "0", "--log-every", "1", *NO_WARMUP],
        ]
    )
    assert len(lines_of(tmp_path / "run")) == 3
    trained = load_file(tmp_path / "run" / "weights.safetensors")
    assert trained.selectors[0] == "predictor"
    images = torch.randn(2, 3, side, side)
    assert trained.forward_stages(images, 0.5).stages[2].kept_patches.shape == (2, 2)
    # It went on from timm's weights, and did not stay there.
    before, after = dense.state_dict()["blocks.0.attn.qkv.weight"], trained.state_dict()["blocks.0.attn.qkv.weight"]
    assert 0 < (after - before).abs().max() < 0.02


def test_a_start_of_timm_names_the_model_too():
    given = ["sparsify", "--data", "photos", "--output", "run", "--start"]
    assert parse_arguments([*given, "timm:vit_tiny_patch16_224"]).model == "timm:vit_tiny_patch16_224"
    assert parse_arguments([*given, "timm:deit_base_patch16_224"]).model == "dynamicvit_deit_base_patch16_224"
    assert parse_arguments([*given, "dense.pth"]).model == "dynamicvit_deit_small_patch16_224"
    config = student_config(parse_arguments([*given, "timm:deit3_small_patch16_224"]))
    assert (config.family, config.has_predictors, config.prune_locations) == ("timm", True, (3, 6, 9))
    with pytest.raises(SettingError, match="no classifier; say with --classes"):
        student_config(parse_arguments([*given, "timm:vit_small_patch14_dinov2"]))
    with pytest.raises(SystemExit):
        parse_arguments([*given, "dense.pth", "--model", "timm:resnet_of_ours"])
