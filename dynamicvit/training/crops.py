"""Training images: which photo is at which place of which step, its random crop, and mixtures of the crops.

There are two ways to make crops: in processes of their own with timm's augmentation, for sets of any size; or, for sets
that fit into the device's memory, from photos that were decoded once, in batches on the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from timm.data import create_transform
from timm.data.mixup import Mixup, mixup_target
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from dynamicvit.datasets import Photo
from dynamicvit.errors import ImageError, SettingError
from dynamicvit.images import decode
from dynamicvit.models.config import Preprocessing
from dynamicvit.training.chance import derive_seed, generator, local, seeded

NO_LABEL = -1
# A crop of all of a photo is that much smaller than what is kept of it on the device.
DEVICE_MARGIN = 8 / 7
_WIDEST = 4 / 3  # of a crop's width and height, and its inverse, as in timm

Sample = tuple[Tensor, Tensor]
"""Images (B, 3, S, S), normalised, and their labels (B,), NO_LABEL for none."""


# The plan ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Crop:
    """One random crop.

    Attributes:
        photo: index of the photo.
        draw: its place among all crops of the run; beside the photo it decides what is drawn.
        size: side in pixels.
    """

    photo: int
    draw: int
    size: int


@dataclass(frozen=True)
class BatchPlan:
    """The crops of every step, in one fixed order; an epoch's last photos that fill no batch are left out.

    Attributes:
        sources: number of photos of each source, one source's photos after the other's.
        repeats: how often each source's photos come in an epoch; of a fraction, some of them do once more.
        batch: crops a step, over all processes.
        steps: length of the run.
        sizes: side in pixels at the first and at the last step; between them it grows by ``patch_size``.
        seed: of the order.

    Raises:
        SettingError: there are fewer photos than a batch needs, or a size is no multiple of the patch size.
    """

    sources: tuple[int, ...]
    repeats: tuple[float, ...]
    batch: int
    steps: int
    sizes: tuple[int, int]
    patch_size: int
    seed: int

    def __post_init__(self) -> None:
        if not self.steps_per_epoch:
            raise SettingError(
                f"There are {self.photos_per_epoch} photos, fewer than a batch of {self.batch}; lower --batch."
            )
        if any(size % self.patch_size for size in self.sizes):
            raise SettingError(f"--image-size must be a multiple of the model's patch size, {self.patch_size} pixels.")

    @property
    def photos_per_epoch(self) -> int:
        """Number of photos in an epoch, each counted as often as it comes."""
        return sum(int(count * repeat) for count, repeat in zip(self.sources, self.repeats, strict=True))

    @property
    def steps_per_epoch(self) -> int:
        """Number of full batches in an epoch."""
        return self.photos_per_epoch // self.batch

    def image_size(self, step: int) -> int:
        """Return the side in pixels of the images of a step."""
        low, high = self.sizes
        levels = (high - low) // self.patch_size + 1
        return low + self.patch_size * min(levels - 1, levels * step // self.steps)

    def crops(self, step: int) -> list[Crop]:
        """Return the crops of the whole batch of a step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = _order(self.sources, self.repeats, self.seed, epoch)[place * self.batch : (place + 1) * self.batch]
        size = self.image_size(step)
        return [Crop(int(photo), step * self.batch + index, size) for index, photo in enumerate(order)]


@lru_cache(maxsize=2)
def _order(sources: tuple[int, ...], repeats: tuple[float, ...], seed: int, epoch: int) -> NDArray[np.int64]:
    random = np.random.default_rng(derive_seed(seed, "order", epoch))
    first, photos = 0, []
    for count, repeat in zip(sources, repeats, strict=True):
        whole, more = divmod(int(count * repeat), count)
        photos += [np.arange(first, first + count)] * whole
        photos.append(first + random.permutation(count)[:more])
        first += count
    return random.permutation(np.concatenate(photos))


def local_positions(batch: int, rank: int, processes: int) -> list[int]:
    """Return the places in the whole batch that belong to one process.

    An image and its partner in mixtures, the one at the mirrored place, are always on the same process, and mirrored
    there too. With one process this is the whole batch in order.

    Raises:
        SettingError: the batch cannot be divided so.
    """
    if batch % (2 * processes):
        raise SettingError(f"--batch must be a multiple of twice the number of processes, {processes}; got {batch}.")
    half = batch // (2 * processes)
    first = range(rank * half, (rank + 1) * half)
    return [*first, *(batch - 1 - place for place in reversed(first))]


# Crops ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Augmentation:
    """How a crop is changed.

    Attributes:
        smallest_crop: least share of the photo's area in a crop, in (0, 1].
        auto_augment: timm's name of a policy, such as ``rand-m9-mstd0.5-inc1``; empty for none.
        color_jitter: strength; timm leaves it out beside a policy.
        erasing: chance that a random rectangle becomes noise.
    """

    smallest_crop: float = 0.08
    auto_augment: str = ""
    color_jitter: float = 0.0
    erasing: float = 0.0

    @property
    def needs_timm(self) -> bool:
        """Whether there is something in it that only timm's transform does."""
        return bool(self.auto_augment) or self.erasing > 0

    def transform(self, size: int, preprocessing: Preprocessing) -> Callable[[Image.Image], Tensor]:
        """Return timm's training transform: image -> (3, size, size), normalised."""
        return create_transform(
            size,
            is_training=True,
            scale=(self.smallest_crop, 1.0),
            color_jitter=self.color_jitter or None,
            auto_augment=self.auto_augment or None,
            interpolation="bicubic",
            re_prob=self.erasing,
            re_mode="pixel",
            mean=preprocessing.mean,
            std=preprocessing.std,
        )


class Crops(Protocol):
    """What makes the crops of a plan."""

    def samples(self, plan: BatchPlan, positions: Sequence[int], first_step: int = 0) -> Iterator[Sample]:
        """Yield one process's part of each step from a first one on, the same whenever it is asked for."""


class WorkerCrops(Dataset["tuple[Tensor, int]"]):
    """Crops of photos by :class:`Crop`, with timm's augmentation, made by processes of their own.

    The same :class:`Crop` gives the same image, in whatever process and whatever order.
    """

    def __init__(
        self,
        photos: Sequence[Photo],
        labels: Sequence[int | None],
        augmentation: Augmentation,
        preprocessing: Preprocessing,
        seed: int,
        workers: int = 0,
    ) -> None:
        self.photos, self.labels, self.seed, self.workers = photos, labels, seed, workers
        self.augmentation, self.preprocessing = augmentation, preprocessing

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, crop: Crop) -> tuple[Tensor, int]:
        transform = _transform(self.augmentation, crop.size, self.preprocessing)
        pixels = _pixels(self.photos[crop.photo])
        with seeded(self.seed, "crop", crop.draw, crop.photo):
            return transform(Image.fromarray(pixels)), _label(self.labels[crop.photo])

    def samples(self, plan: BatchPlan, positions: Sequence[int], first_step: int = 0) -> Iterator[Sample]:
        """Load batches of crops in other processes."""
        loader = DataLoader(
            self,
            batch_sampler=_LocalBatches(plan, positions, first_step),
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
            pin_memory=torch.cuda.is_available(),
        )
        return iter(loader)


class DeviceCrops:
    """Crops of photos that lie decoded and squared on the device, made there in batches.

    Random resized crops and flips as in timm, and jitter of brightness, contrast and saturation. All is drawn from a
    generator that is a function of the seed and the step.

    Args:
        photos: (P, 3, side, side) uint8.
        aspects: (P,) width by height of the photos before they were squared.
        labels: (P,), NO_LABEL for none.
    """

    def __init__(
        self,
        photos: Tensor,
        aspects: Tensor,
        labels: Tensor,
        augmentation: Augmentation,
        preprocessing: Preprocessing,
        seed: int,
    ) -> None:
        self.photos, self.aspects, self.labels = photos, aspects, labels
        self.augmentation, self.seed = augmentation, seed
        numbers = torch.tensor([preprocessing.mean, preprocessing.std], device=photos.device)
        self.mean, self.std = numbers[..., None, None]

    @classmethod
    def decode(
        cls,
        photos: Sequence[Photo],
        labels: Sequence[int | None],
        augmentation: Augmentation,
        preprocessing: Preprocessing,
        seed: int,
        *,
        size: int,
        workers: int,
        device: torch.device,
    ) -> DeviceCrops:
        """Decode all photos, in so many processes, for crops of up to ``size`` pixels.

        Raises:
            ImageError: a photo cannot be read.
        """
        squares = _Squares(photos, device_side(size))
        loader = DataLoader(squares, batch_size=32, num_workers=workers, collate_fn=_stacked)
        parts = [(torch.from_numpy(pixels).to(device), torch.from_numpy(aspects)) for pixels, aspects in loader]
        return cls(
            torch.cat([pixels for pixels, _ in parts]).permute(0, 3, 1, 2).contiguous(),
            torch.cat([aspects for _, aspects in parts]).to(device),
            torch.tensor([_label(label) for label in labels], device=device),
            augmentation,
            preprocessing,
            seed,
        )

    def samples(self, plan: BatchPlan, positions: Sequence[int], first_step: int = 0) -> Iterator[Sample]:
        """Make batches of crops, each when it is asked for."""
        for step in range(first_step, plan.steps):
            photos = torch.tensor([crop.photo for crop in plan.crops(step)])[list(positions)]
            photos = photos.to(self.photos.device, non_blocking=True)
            numbers = torch.rand(
                8, plan.batch, device=photos.device, generator=generator(photos.device, self.seed, "crops", step)
            )
            images = self._crop(photos, local(numbers.T, positions).T, plan.image_size(step))
            yield images, self.labels[photos]

    def _crop(self, photos: Tensor, numbers: Tensor, size: int) -> Tensor:
        """Return (B, 3, size, size) normalised crops; ``numbers`` (8, B) in [0, 1) say which."""
        area, ratio, x, y, flip, *colours = numbers
        width, height = _crop_sides(area, ratio, self.aspects[photos], self.augmentation.smallest_crop)
        window = torch.zeros(len(photos), 2, 3, device=photos.device)
        window[:, 0, 0] = width * torch.where(flip < 0.5, -1.0, 1.0)
        window[:, 1, 1] = height
        window[:, 0, 2], window[:, 1, 2] = (1 - width) * (2 * x - 1), (1 - height) * (2 * y - 1)
        grid = F.affine_grid(window, [len(photos), 3, size, size], align_corners=False)
        pixels = self.photos[photos].float() / 255
        images = F.grid_sample(pixels, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
        if self.augmentation.color_jitter:
            images = _jittered(images, torch.stack(colours), self.augmentation.color_jitter)
        return (images.clamp(0, 1) - self.mean) / self.std


def device_side(size: int) -> int:
    """Return the side in pixels of the squared photos on the device for crops of up to ``size`` pixels."""
    return round(size * DEVICE_MARGIN)


def _crop_sides(area: Tensor, ratio: Tensor, aspect: Tensor, smallest: float) -> tuple[Tensor, Tensor]:
    """Return the crops' shares of their photos' width and height, (B,) each, from numbers in [0, 1)."""
    area = smallest + (1.0 - smallest) * area
    ratio = torch.exp((2 * ratio - 1) * math.log(_WIDEST))
    return (area * ratio / aspect).sqrt().clamp(max=1.0), (area * aspect / ratio).sqrt().clamp(max=1.0)


def _jittered(images: Tensor, numbers: Tensor, strength: float) -> Tensor:
    """Change contrast, brightness and saturation of (B, 3, H, W) images in [0, 1] by (3, B) numbers in [0, 1)."""
    contrast, brightness, saturation = ((2 * numbers - 1) * strength)[..., None, None, None]
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = mean + (images - mean) * (1 + contrast) + brightness / 2
    grey = images.mean(dim=1, keepdim=True)
    return grey + (images - grey) * (1 + saturation)


class _Squares(Dataset["tuple[NDArray[np.uint8], float]"]):
    """Photos decoded and squared, with their aspect."""

    def __init__(self, photos: Sequence[Photo], side: int) -> None:
        self.photos, self.side = photos, side

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], float]:
        pixels = _pixels(self.photos[index])
        height, width = pixels.shape[:2]
        shrinks = min(height, width) > self.side
        method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        return cv2.resize(pixels, (self.side, self.side), interpolation=method), width / height


def _stacked(squares: Sequence[tuple[NDArray[np.uint8], float]]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return arrays, which unlike tensors do not go through shared memory, of which containers have little."""
    return np.stack([pixels for pixels, _ in squares]), np.array([aspect for _, aspect in squares], np.float32)


def _pixels(photo: Photo) -> NDArray[np.uint8]:
    try:
        return decode(photo.data).pixels
    except ImageError as error:
        raise ImageError(f"The photo {photo.name} cannot be read; repair or remove it. {error}") from error


def _label(label: int | None) -> int:
    return NO_LABEL if label is None else label


@cache
def _transform(augmentation: Augmentation, size: int, preprocessing: Preprocessing) -> Callable[[Image.Image], Tensor]:
    return augmentation.transform(size, preprocessing)


class _LocalBatches(Sampler[list[Crop]]):
    """The crops of one process, step by step, from any step on."""

    def __init__(self, plan: BatchPlan, positions: Sequence[int], first_step: int) -> None:
        self.plan, self.positions, self.first_step = plan, positions, first_step

    def __len__(self) -> int:
        return self.plan.steps - self.first_step

    def __iter__(self) -> Iterator[list[Crop]]:
        for step in range(self.first_step, self.plan.steps):
            crops = self.plan.crops(step)
            yield [crops[place] for place in self.positions]


# Mixtures ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mixing:
    """How the images of a batch are mixed with their partners at the mirrored place of the batch.

    ``paste`` and ``blend`` change no label, so they are for targets that a teacher gives, who sees the same mixture.

    Attributes:
        mixup, cutmix: alpha of each, for the whole batch at once; 0 for none.
        switch: chance of cutmix where both are on.
        smoothing: share of a label that is spread over all classes, mixed or not.
        paste: chance of each image to get a random rectangle of its partner.
        blend: chance of each image to get up to half of its partner shine through.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    switch: float = 0.5
    smoothing: float = 0.0
    paste: float = 0.0
    blend: float = 0.0

    def mix(
        self,
        images: Tensor,
        labels: Tensor,
        num_classes: int,
        batch: int,
        positions: Sequence[int],
        *,
        seed: int,
        step: int,
    ) -> tuple[Tensor, Tensor]:
        """Return one process's (B, 3, H, W) images mixed, and their soft targets (B, classes).

        Args:
            labels: (B,) class indices; without labels the targets mean nothing.
            batch, positions: size of the whole batch, and the places of the images in it (:func:`local_positions`).
        """
        labels = labels.clamp_min(0)
        if self.paste or self.blend:
            source = generator(images.device, seed, "mixture", step)
            numbers = torch.rand(5, batch, device=images.device, generator=source)
            images = images + (images.flip(0) - images) * self._shares(images, local(numbers.T, positions).T)
        if max(self.mixup, self.cutmix) <= 0:
            return images, mixup_target(labels, num_classes, smoothing=self.smoothing)
        mixer = Mixup(
            self.mixup, self.cutmix, switch_prob=self.switch, label_smoothing=self.smoothing, num_classes=num_classes
        )
        with seeded(seed, "mix", step):
            return mixer(images.clone(), labels)

    def _shares(self, images: Tensor, numbers: Tensor) -> Tensor:
        """Return the partner's share (B, 1, H, W) of each pixel; ``numbers`` (5, B) in [0, 1) say which."""
        kind, size, top, left, strength = numbers[..., None, None]
        side = size.sqrt()
        rows, columns = ((torch.arange(count, device=images.device) + 0.5) / count for count in images.shape[2:])
        beyond_top, beyond_left = rows[:, None] - (1 - side) * top, columns[None] - (1 - side) * left
        is_inside = (beyond_top >= 0) & (beyond_top < side) & (beyond_left >= 0) & (beyond_left < side)
        shares = torch.where(kind < self.paste, is_inside.float(), 0.0)
        return torch.where((kind >= self.paste) & (kind < self.paste + self.blend), strength / 2, shares)[:, None]
