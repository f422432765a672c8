"""Chance depends on the seed and the place alone."""

import random

import numpy as np
import torch

from dynamicvit.training.chance import derive_seed, gumbel_noise, seeded, uniform


def draw():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_the_same_place_draws_the_same_and_another_place_differently():
    with seeded(0, "crop", 1, 2):
        first = draw()
    with seeded(0, "crop", 1, 2):
        assert draw() == first
    with seeded(0, "crop", 2, 1):
        assert all(a != b for a, b in zip(draw(), first, strict=True))
    assert derive_seed(0, "a") != derive_seed(1, "a")


def test_seeding_a_place_leaves_the_global_generators_as_they_were():
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    expected = draw()
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    with seeded(0, "somewhere"):
        draw()
    assert draw() == expected


def test_the_processes_noise_is_that_of_one_process_cut_apart():
    whole = gumbel_noise((3, 4, 9), range(4), "cpu", seed=0, step=5)
    parts = [gumbel_noise((3, 4, 9), positions, "cpu", seed=0, step=5) for positions in ([0, 3], [1, 2])]
    for stage in range(3):
        assert torch.equal(whole[stage][[0, 3, 1, 2]], torch.cat([part[stage] for part in parts]))
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(whole[0], gumbel_noise((3, 4, 9), range(4), "cpu", seed=0, step=6)[0])


def test_the_noise_has_the_mean_of_a_gumbel_distribution():
    noise = gumbel_noise((1, 64, 196), range(64), "cpu", seed=0, step=0)[0]
    assert abs(noise.mean() - 0.5772) < 0.02


def test_drawn_ratios_fill_their_range():
    ratios = [uniform(0.3, 0.9, 0, "keep ratio", step) for step in range(300)]
    assert 0.3 <= min(ratios) < 0.32
    assert 0.88 < max(ratios) <= 0.9
