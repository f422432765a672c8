"""All chance in training is a function of the seed and of where it is used, so that a run can go on from any step."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def derive_seed(seed: int, *where: int | str) -> int:
    """Return the seed (63 bits) of one place in a run, for example ``derive_seed(0, "crop", epoch, photo)``."""
    digest = hashlib.blake2b(repr((seed, *where)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@contextmanager
def seeded(seed: int, *where: int | str) -> Iterator[None]:
    """Seed Python, NumPy and torch (on the CPU) for one place, and put their states back afterwards.

    For libraries that draw from the global generators, as timm's augmentation does.
    """
    own = derive_seed(seed, *where)
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(own)
        np.random.seed(own % 2**32)
        torch.default_generator.manual_seed(own)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def generator(device: torch.device | str, seed: int, *where: int | str) -> torch.Generator:
    """Return a generator on the device, seeded for one place; CPU and GPU draw different numbers."""
    return torch.Generator(device).manual_seed(derive_seed(seed, *where))


def gumbel_noise(
    shape: tuple[int, int, int], positions: Sequence[int], device: torch.device | str, seed: int, step: int
) -> list[Tensor]:
    """Draw the Gumbel(0, 1) noise of a step for the whole batch and return the part of one process.

    Args:
        shape: stages, size of the whole batch, patch tokens.
        positions: which images of the whole batch this process has.

    Returns:
        For each stage (len(positions), tokens, 2).
    """
    stages, batch, tokens = shape
    source = generator(device, seed, "gumbel", step)
    noise = [-torch.empty(batch, tokens, 2, device=device).exponential_(generator=source).log() for _ in range(stages)]
    return [local(one, positions) for one in noise]


def local(values: Tensor, positions: Sequence[int]) -> Tensor:
    """Return the rows of a whole batch's values (B, ...) that belong to one process."""
    if len(positions) == len(values):
        return values  # one process has all of them, in order
    return values[torch.tensor(positions, device=values.device)]


def uniform(low: float, high: float, seed: int, *where: int | str) -> float:
    """Draw one number from ``low`` to ``high``."""
    return random.Random(derive_seed(seed, *where)).uniform(low, high)
