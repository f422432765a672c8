"""Peak memory is what is held at the same time, not what was ever allocated."""

import pytest
import torch

from dynamicvit.costs.memory import peak_memory

CPU = torch.device("cpu")
MEGABYTE = 250_000  # float32 numbers


def test_what_is_freed_before_the_next_is_taken_counts_once():
    def one_after_the_other():
        for _ in range(5):
            torch.empty(4 * MEGABYTE)

    assert peak_memory(one_after_the_other, CPU) == pytest.approx(4, abs=0.1)


def test_what_is_held_together_adds_up():
    assert peak_memory(lambda: [torch.empty(4 * MEGABYTE) for _ in range(3)], CPU) == pytest.approx(12, abs=0.1)


def test_what_was_there_before_does_not_count():
    there = torch.empty(4 * MEGABYTE)
    assert peak_memory(lambda: there[:2].add(1), CPU) < 0.1
