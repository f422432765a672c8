"""The command line means what it says, and a wrong option gives one sentence."""

import json

import pytest

from dynamicvit.errors import SettingError
from dynamicvit.training.options import as_record, parse_arguments, repeats, schedule, student_config

SPARSIFY = ["sparsify", "--data", "x", "--output", "x", "--start", "x"]
DISTILL = ["distill", "--data", "x", "--output", "x"]


def test_the_defaults_of_sparsify_are_the_papers_recipe():
    options = parse_arguments(SPARSIFY)
    rates = schedule(options, 1251)
    assert (rates.steps, rates.warmup, rates.frozen) == (30 * 1251, 5 * 1251, 5 * 1251)
    assert (rates.peak, rates.floor, rates.backbone_factor, options.weight_decay) == (1e-3, 1e-6, 0.01, 0.05)
    assert (options.batch, options.ema, options.keep_ratio, options.clip_norm) == (1024, 0.9999, (0.7, 0.7), None)
    assert (options.teacher, options.dense_every, options.noise_scale, options.adam_beta2) == (None, 0, 1.0, 0.999)
    assert (options.mixup, options.cutmix, options.mix_switch, options.smoothing) == (0.8, 1.0, 0.5, 0.1)
    assert (options.auto_augment, options.color_jitter, options.erasing) == ("rand-m9-mstd0.5-inc1", 0.4, 0.25)
    assert (options.classification_weight, options.ratio_weight, options.distillation_weight) == (1.0, 2.0, 0.5)


def test_deit_base_has_a_recipe_of_its_own_that_can_be_overruled():
    options = parse_arguments([*SPARSIFY, "--model", "dynamicvit_deit_base_patch16_224"])
    assert (options.drop_path, options.ratio_weight) == (0.2, 5.0)
    options = parse_arguments([*SPARSIFY, "--model", "dynamicvit_deit_base_patch16_224", "--ratio-weight", "3"])
    assert (options.drop_path, options.ratio_weight) == (0.2, 3.0)


def test_the_shipped_models_recipe_can_be_written():
    blocks = ["--attention-blocks", "2", "5", "8", "11"]
    options = parse_arguments([*DISTILL, "--images", "256000", "--beta", "0.4", *blocks])
    rates = schedule(options, 20)
    assert (rates.steps, rates.warmup, rates.frozen) == (1000, 100, 0)
    assert rates.rate(99) == pytest.approx(2e-4)
    assert rates.backbone_rate(99) == pytest.approx(2e-5)
    assert (options.beta, options.attention_weight, options.attention_blocks) == (0.4, 1.0, [2, 5, 8, 11])
    assert student_config(options).embedding == "lite0"
    sparse = ["--keep-ratio", "0.3:1.0", "--teacher", "tf_efficientnet_lite0", "--dense-every", "4"]
    assert parse_arguments([*SPARSIFY, *sparse]).keep_ratio == (0.3, 1.0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--keep-ratio", "0"], "at most 1"),
        (["--keep-ratio", "0.9:0.3"], "at most 1"),
        (["--keep-ratio", ":0.5"], "at most 1"),
        (["--keep-ratio", "half"], "at most 1"),
        (["--image-size", "224:128"], "from small to large"),
        (["--batch", "0"], "whole number of at least 1"),
        (["--lr", "fast"], "number from 0"),
        (["--lr", "nan"], "number from 0"),
        (["--erasing", "2"], "number from 0 to 1"),
        (["--model", "resnet"], "there is no model"),
        (["--epochs", "3", "--images", "9"], "not allowed with"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(arguments, sentence, capsys):
    with pytest.raises(SystemExit):
        parse_arguments([*SPARSIFY, *arguments])
    assert sentence in capsys.readouterr().err


def test_a_description_of_ones_own_is_read_field_by_field():
    fields = ["embed_dim=48", "num_heads=3", "prune_locations=1,2", "embedding=patch"]
    config = student_config(parse_arguments([*SPARSIFY, "--set", *fields, "--classes", "7", "--image-size", "32:64"]))
    assert (config.embed_dim, config.prune_locations, config.num_classes, config.image_size) == (48, (1, 2), 7, 64)


@pytest.mark.parametrize("field", ["width=3", "embed_dim=wide", "prune_locations=3", "embed_dim"])
def test_a_description_that_makes_no_sense_is_refused(field):
    with pytest.raises(SettingError):
        student_config(parse_arguments([*SPARSIFY, "--set", field]))


def test_a_run_that_ends_before_it_has_begun_is_refused():
    with pytest.raises(SettingError, match="--warmup"):
        schedule(parse_arguments([*SPARSIFY, "--warmup", "1"]), 10)
    with pytest.raises(SettingError, match="0 steps"):
        schedule(parse_arguments([*SPARSIFY, "--epochs", "0"]), 10)


def test_every_source_has_a_number_of_its_own_or_none():
    assert repeats(parse_arguments(SPARSIFY), 2) == (1.0, 1.0)
    assert repeats(parse_arguments([*SPARSIFY, "--repeats", "2", "0.6"]), 2) == (2.0, 0.6)
    with pytest.raises(SettingError, match="one number for each source"):
        repeats(parse_arguments([*SPARSIFY, "--repeats", "2"]), 2)


def test_what_decides_a_run_survives_json_and_what_does_not_is_left_out():
    record = as_record(parse_arguments([*DISTILL, "--teacher-weights", "a.pth"]), photos=9)
    assert json.loads(json.dumps(record)) == record
    assert record["photos"] == 9
    assert not {"output", "workers", "log_every"} & set(record)
