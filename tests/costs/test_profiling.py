"""The parts add up to the whole, and show which of them pruning makes smaller."""

import threading

import pytest
import torch
from torch.nn.modules import module as torch_module

from dynamicvit.budget import KeepMass
from dynamicvit.costs.macs import MacCounter
from dynamicvit.costs.profiling import profile
from dynamicvit.errors import SettingError
from dynamicvit.models.config import ModelConfig, SwinConfig
from dynamicvit.models.registry import create_model
from dynamicvit.models.selectors import create_selector

TINY = ModelConfig(
    image_size=32, patch_size=4, embed_dim=16, depth=4, num_heads=2, num_classes=10, prune_locations=(1, 3)
)
IMAGES = torch.zeros(2, 3, 32, 32)


@pytest.fixture(scope="module")
def model():
    return create_model(TINY)


@pytest.fixture(scope="module")
def result(model):
    return profile(model, IMAGES, 0.5, budget_ms=0)


def named(one):
    return [(part.kind, part.number) for part in one.parts]


def test_parts_come_in_the_order_in_which_they_run(result):
    blocks = [("block", number) for number in range(4)]
    assert named(result.dense) == [("stem", None), *blocks, ("read-out", None), ("other", None)]
    assert named(result.pruned) == [
        *[("stem", None), blocks[0], ("predictor", 1), blocks[1], blocks[2], ("predictor", 2), blocks[3]],
        *[("read-out", None), ("other", None)],
    ]


def test_live_tokens_are_counted_along_the_depth(result):
    tokens = {(part.kind, part.number): part.tokens for part in result.pruned.parts}
    assert [tokens["block", number] for number in range(4)] == [64, 32, 32, 16]
    assert [tokens["predictor", number] for number in (1, 2)] == [64, 32]
    assert tokens["read-out", None] == 16
    assert {part.tokens for part in result.dense.parts} == {64}


def test_multiply_adds_are_the_counted_ones(model, result):
    for one, ratio in ((result.dense, None), (result.pruned, 0.5)):
        with torch.inference_mode(), MacCounter(model) as counter:
            model(IMAGES, ratio)
        report = counter.report()
        assert one.macs == report.total
        blocks = [part.macs for part in one.parts if part.kind == "block"]
        assert blocks == [report.within(f"blocks.{number}") for number in range(4)]
        assert one.parts[-1].macs == 0


def test_what_choosing_costs_outside_the_modules_is_other(model):
    result = profile(model, IMAGES, 0.5, create_selector("class-attention"), budget_ms=0)
    assert ("predictor", 1) not in named(result.pruned)
    assert result.pruned.parts[-1].macs == 2 * (65 + 33) * 16


def test_times_are_positive_and_parts_do_not_exceed_the_whole(result):
    assert result.rounds == 3
    assert result.batch_size == 2
    for one in (result.dense, result.pruned):
        assert all(part.median_ms > 0 for part in one.parts)
        assert max(part.median_ms for part in one.parts) < one.median_ms


def test_a_block_with_fewer_tokens_takes_less_time():
    model = create_model(TINY, embed_dim=64)
    result = profile(model, torch.zeros(1, 3, 128, 128), (0.1, 0.1), budget_ms=0)
    dense, pruned = ({(p.kind, p.number): p.median_ms for p in one.parts} for one in (result.dense, result.pruned))
    assert pruned["block", 3] < dense["block", 3]


def test_every_pass_is_executed_where_it_is_told_to(model):
    calls = []

    def execute(run):
        calls.append(threading.get_ident())
        return run()

    profile(model, IMAGES, 0.5, max_rounds=3, execute=execute)
    assert len(calls) == 5  # counting, warm-up, three rounds


def test_the_adaptive_mode_can_be_profiled(model):
    result = profile(model, IMAGES[:1], KeepMass(0.5), budget_ms=0)
    tokens = [part.tokens for part in result.pruned.parts if part.kind == "block"]
    assert tokens == sorted(tokens, reverse=True)
    assert tokens[-1] < 64


def test_other_threads_are_not_timed(model):
    done = threading.Event()

    def work():
        while not done.is_set():
            model(IMAGES)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        one = profile(model, IMAGES, 0.5, budget_ms=0)
    finally:
        done.set()
        thread.join()
    assert sum(part.median_ms for part in one.dense.parts[:-1]) < 1.5 * one.dense.median_ms


@pytest.mark.parametrize("ratio", [0.5, 7.0])
def test_no_hook_is_left_behind(model, ratio):
    before = len(torch_module._global_forward_pre_hooks), len(torch_module._global_forward_hooks)
    try:
        profile(model, IMAGES, ratio, budget_ms=0)
    except SettingError:
        assert ratio > 1
    assert before == (len(torch_module._global_forward_pre_hooks), len(torch_module._global_forward_hooks))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_waited_for_after_each_part():
    model = create_model(TINY, embed_dim=512).to("cuda")
    result = profile(model, torch.zeros(64, 3, 128, 128, device="cuda"), 0.1)
    dense, pruned = ({(p.kind, p.number): p.median_ms for p in one.parts} for one in (result.dense, result.pruned))
    assert pruned["block", 3] < dense["block", 3] / 2


def test_a_hierarchical_model_shows_the_slow_path_of_its_third_stage():
    config = SwinConfig(
        image_size=64,
        widths=(4, 8, 16, 32),
        depths=(1, 1, 4, 1),
        heads=(1, 1, 2, 2),
        window_size=4,
        num_classes=10,
        prune_locations=(1, 3),
    )
    model, images = create_model(config), torch.zeros(1, 3, 64, 64)
    result = profile(model, images, 0.5, budget_ms=0)
    tokens = {(part.kind, part.number): part.tokens for part in result.pruned.parts}
    assert [tokens["block", number] for number in range(4)] == [16, 8, 8, 4]
    for one, ratio in ((result.dense, None), (result.pruned, 0.5)):
        with torch.inference_mode(), MacCounter(model) as counter:
            model(images, ratio)
        assert one.macs == counter.report().total
        assert next(part.macs for part in one.parts if part.kind == "other") == 0
