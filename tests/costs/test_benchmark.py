from contextlib import contextmanager

import pytest
import torch

from dynamicvit.costs import benchmark
from dynamicvit.costs.benchmark import PairTiming, Timing, device_name, take_turns, time_pair
from dynamicvit.errors import SettingError
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.registry import create_model

TINY = ModelConfig(
    image_size=32, patch_size=4, embed_dim=16, depth=4, num_heads=2, num_classes=10, prune_locations=(1, 2)
)
IMAGES = torch.zeros(2, 3, 32, 32)
ONE_SLOW_MOMENT = {"dense": [10.0, 10.0, 10.0, 80.0, 10.0], "pruned": [5.0, 5.0, 5.0, 40.0, 20.0]}


@pytest.fixture(scope="module")
def model():
    return create_model(TINY)


@pytest.fixture
def passes(monkeypatch):
    """Replace the forward pass: record which model ran and report prepared times after the warm-up."""
    log: list[str] = []

    def fake(model, images, keep_ratio, selector):
        name = "dense" if keep_ratio is None else "pruned"
        log.append(name)
        times = ONE_SLOW_MOMENT[name]
        return times[(log.count(name) - 2) % len(times)]

    monkeypatch.setattr(benchmark, "_timed_forward", fake)
    return log


def test_a_real_pair_is_timed_and_described(model):
    timing = time_pair(model, IMAGES, 0.5, max_rounds=4, budget_ms=60_000)
    assert timing.dense.rounds == timing.pruned.rounds == 4
    for one in (timing.dense, timing.pruned):
        assert 0 < one.p10_ms <= one.median_ms <= one.p90_ms
    assert timing.batch_size == 2
    assert timing.device == device_name("cpu")


def test_dropping_most_tokens_of_a_larger_input_is_faster():
    model = create_model(TINY, embed_dim=64)
    assert time_pair(model, torch.zeros(1, 3, 128, 128), 0.1, max_rounds=5, budget_ms=60_000).is_faster


def test_each_is_warmed_up_once_and_then_each_is_first_as_often_as_the_other(model, passes):
    time_pair(model, IMAGES, 0.5, max_rounds=4, budget_ms=60_000)
    assert passes[:2] == ["dense", "pruned"]
    assert passes[2:] == ["dense", "pruned", "pruned", "dense", "pruned", "dense", "dense", "pruned"]


def test_each_of_three_runs_at_every_place_and_after_each_other():
    calls: list[str] = []

    def named(name):
        return lambda: calls.append(name) or name

    rounds = take_turns([named("a"), named("b"), named("c")], max_rounds=6, budget_ms=60_000)
    assert rounds == [("a", "b", "c")] * 6
    orders = ["".join(calls[start : start + 3]) for start in range(3, len(calls), 3)]
    assert sorted(orders) == ["abc", "acb", "bac", "bca", "cab", "cba"]


def test_speedup_is_the_median_of_the_rounds_ratios(model, passes):
    timing = time_pair(model, IMAGES, 0.5, max_rounds=5, budget_ms=60_000)
    assert timing.speedup == 2.0  # the ratios are 2, 2, 2, 2 and 0.5
    assert timing.dense == Timing(median_ms=10.0, p10_ms=10.0, p90_ms=pytest.approx(52.0), rounds=5)
    assert timing.pruned.median_ms == 5.0


def test_a_spent_budget_stops_after_three_rounds(model, passes):
    assert time_pair(model, IMAGES, 0.5, budget_ms=0).dense.rounds == 3


def test_three_rounds_are_run_even_if_fewer_are_allowed(model, passes):
    assert time_pair(model, IMAGES, 0.5, max_rounds=1, budget_ms=60_000).dense.rounds == 3


def test_warm_up_and_rounds_are_executed_one_by_one_where_they_are_told_to(model, passes):
    done: list[int] = []

    def execute(run_round):
        result = run_round()
        done.append(len(passes))
        return result

    time_pair(model, IMAGES, 0.5, max_rounds=3, budget_ms=60_000, execute=execute)
    assert done == [2, 4, 6, 8]


def test_an_error_in_a_round_reaches_the_caller(model):
    with pytest.raises(SettingError):
        time_pair(model, IMAGES, 7.0, budget_ms=0, execute=lambda run_round: run_round())


@pytest.mark.parametrize(("speedup", "is_faster"), [(0.9, False), (1.0, False), (1.2, True)])
def test_faster_means_a_speedup_above_one(speedup, is_faster):
    timing = Timing(1.0, 1.0, 1.0, 3)
    assert PairTiming(timing, timing, speedup, "a machine", 1).is_faster is is_faster


@contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_a_cpu_is_named_with_its_threads():
    with threads(1):
        assert device_name("cpu").endswith(", 1 thread")
    with threads(2):
        name = device_name(torch.device("cpu"))
    assert name.endswith(", 2 threads")
    assert len(name) > len(", 2 threads")


def test_a_gpu_is_named_by_its_driver(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"NVIDIA H100 {device.index}")
    assert device_name("cuda:1") == "NVIDIA H100 1"


def test_another_device_is_named_as_torch_names_it():
    assert device_name("meta") == "meta"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_waited_for():
    model = create_model(TINY, embed_dim=512, depth=12).to("cuda")
    timing = time_pair(model, torch.zeros(64, 3, 128, 128, device="cuda"), 0.1)
    assert timing.is_faster
    assert timing.device == torch.cuda.get_device_name()
