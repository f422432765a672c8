"""Which crop of which photo is at which place of which step, for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from dynamicvit.errors import SettingError
from dynamicvit.training.randomness import derive_seed


@dataclass(frozen=True)
class Crop:
    """One random crop.

    Attributes:
        photo: index of the photo.
        draw: what the crop is drawn from beside the photo: the epoch, or the number of one of its fixed crops.
        size: side in pixels.
    """

    photo: int
    draw: int
    size: int


@dataclass(frozen=True)
class BatchPlan:
    """The crops of every step, in one fixed order; an epoch's last photos that fill no batch are left out.

    Attributes:
        photos: number of photos.
        batch: crops a step, over all processes.
        steps: length of the run.
        sizes: side in pixels at the first and at the last step; between them it grows by ``patch_size``.
        seed: of the order.
        fixed_crops: crops of each photo that take turns; 0 draws a new one in every epoch.

    Raises:
        SettingError: there are fewer photos than a batch needs, or a size is no multiple of the patch size.
    """

    photos: int
    batch: int
    steps: int
    sizes: tuple[int, int]
    patch_size: int
    seed: int
    fixed_crops: int = 0

    def __post_init__(self) -> None:
        if self.photos < self.batch:
            raise SettingError(f"There are {self.photos} photos, fewer than a batch of {self.batch}; lower --batch.")
        if any(size % self.patch_size for size in self.sizes):
            raise SettingError(f"--image-size must be a multiple of the model's patch size, {self.patch_size} pixels.")

    @property
    def steps_per_epoch(self) -> int:
        """Number of full batches in all photos."""
        return self.photos // self.batch

    def image_size(self, step: int) -> int:
        """Give the side in pixels of the pictures of a step."""
        low, high = self.sizes
        levels = (high - low) // self.patch_size + 1
        return low + self.patch_size * min(levels - 1, levels * step // self.steps)

    def crops(self, step: int) -> list[Crop]:
        """Give the crops of the whole batch of a step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = _order(self.photos, self.seed, epoch)[place * self.batch : (place + 1) * self.batch]
        draw = epoch % self.fixed_crops if self.fixed_crops else epoch
        size = self.image_size(step)
        return [Crop(int(photo), draw, size) for photo in order]


@lru_cache(maxsize=2)
def _order(photos: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng(derive_seed(seed, "order", epoch)).permutation(photos)


def local_positions(batch: int, rank: int, processes: int) -> list[int]:
    """Give the places in the whole batch that belong to one process.

    A picture and its partner in mixup, the one at the mirrored place, are always on the same process, and mirrored
    there too. With one process this is the whole batch in order.

    Raises:
        SettingError: the batch cannot be divided so.
    """
    if batch % (2 * processes):
        raise SettingError(f"--batch must be a multiple of twice the number of processes, {processes}; got {batch}.")
    half = batch // (2 * processes)
    first = range(rank * half, (rank + 1) * half)
    return [*first, *(batch - 1 - place for place in reversed(first))]


class LocalBatches(Sampler[list[Crop]]):
    """The crops of one process, step by step, from any step on."""

    def __init__(self, plan: BatchPlan, positions: list[int], first_step: int = 0) -> None:
        self.plan, self.positions, self.first_step = plan, positions, first_step

    def __len__(self) -> int:
        return self.plan.steps - self.first_step

    def __iter__(self) -> Iterator[list[Crop]]:
        for step in range(self.first_step, self.plan.steps):
            crops = self.plan.crops(step)
            yield [crops[place] for place in self.positions]
