"""Training pictures: random crops of photos, and mixtures of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from PIL import Image
from timm.data import create_transform
from timm.data.mixup import Mixup, mixup_target
from torch import Tensor
from torch.utils.data import Dataset

from dynamicvit.datasets import Photo
from dynamicvit.errors import ImageError
from dynamicvit.images import decode
from dynamicvit.models.config import Preprocessing
from dynamicvit.training.feature_cache import FeatureCache
from dynamicvit.training.plan import Crop
from dynamicvit.training.randomness import derive_seed, seeded

NO_LABEL = -1


@dataclass(frozen=True)
class Augmentation:
    """How a crop is changed; everything else is timm's standard training transform.

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

    def transform(self, size: int, preprocessing: Preprocessing) -> Callable[[Image.Image], Tensor]:
        """Build the transform: picture -> (3, size, size), normalised."""
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


class TrainingCrops(Dataset[dict[str, Any]]):
    """Crops of photos by :class:`Crop`: ``image`` (3, size, size), ``label``, and stored ``features`` if there are any.

    The same :class:`Crop` gives the same picture, in whatever process and whatever order.

    Args:
        cache: stored features of fixed crops.
        has_images: leave the pictures out where stored features take their place.
    """

    def __init__(
        self,
        photos: Sequence[Photo],
        labels: Sequence[int | None],
        augmentation: Augmentation,
        preprocessing: Preprocessing,
        seed: int,
        *,
        cache: FeatureCache | None = None,
        has_images: bool = True,
    ) -> None:
        self.photos, self.labels, self.seed = photos, labels, seed
        self.augmentation, self.preprocessing = augmentation, preprocessing
        self.cache, self.has_images = cache, has_images

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, crop: Crop) -> dict[str, Any]:
        label = self.labels[crop.photo]
        sample: dict[str, Any] = {"label": NO_LABEL if label is None else label}
        if self.has_images:
            sample["image"] = self._picture(crop)
        if self.cache is not None:
            sample["features"] = self.cache.read(crop)
        return sample

    def _picture(self, crop: Crop) -> Tensor:
        photo = self.photos[crop.photo]
        transform = _transform(self.augmentation, crop.size, self.preprocessing)
        try:
            image = decode(photo.data)
        except ImageError as error:
            raise ImageError(f"The photo {photo.name} cannot be read; repair or remove it. {error}") from error
        with seeded(self.seed, "crop", crop.draw, crop.photo):
            return transform(Image.fromarray(image.pixels))


@cache
def _transform(augmentation: Augmentation, size: int, preprocessing: Preprocessing) -> Callable[[Image.Image], Tensor]:
    return augmentation.transform(size, preprocessing)


@dataclass(frozen=True)
class Mixing:
    """How the pictures of a batch are mixed with their partners at the mirrored place of the batch.

    Attributes:
        mixup, cutmix: alpha of each, for the whole batch at once; 0 for none.
        switch: chance of cutmix where both are on.
        smoothing: share of a label that is spread over all classes, mixed or not.
        paste: chance of each picture to get a random rectangle of its partner. It changes no label, so it is for
            targets that a teacher gives, who sees the same mixture.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    switch: float = 0.5
    smoothing: float = 0.0
    paste: float = 0.0

    @property
    def changes_pictures(self) -> bool:
        """Whether any picture is mixed at all."""
        return max(self.mixup, self.cutmix, self.paste) > 0

    def mix(
        self, images: Tensor, labels: Tensor, num_classes: int, positions: Sequence[int], seed: int, step: int
    ) -> tuple[Tensor, Tensor]:
        """Mix one process's (B, 3, H, W) pictures and give their soft targets (B, classes).

        Args:
            labels: (B,) class indices; without labels the targets mean nothing.
            positions: places of the pictures in the whole batch (:func:`~dynamicvit.training.plan.local_positions`).
        """
        labels = labels.clamp_min(0)
        images = paste_rectangles(images, self.paste, positions, seed, step)
        if max(self.mixup, self.cutmix) <= 0:
            return images, mixup_target(labels, num_classes, smoothing=self.smoothing)
        mixer = Mixup(
            self.mixup, self.cutmix, switch_prob=self.switch, label_smoothing=self.smoothing, num_classes=num_classes
        )
        with seeded(seed, "mix", step):
            return mixer(images.clone(), labels)


def paste_rectangles(images: Tensor, share: float, positions: Sequence[int], seed: int, step: int) -> Tensor:
    """Paste a random rectangle of the partner into a share of the pictures (the picture part of CutMix).

    Args:
        images: (B, 3, H, W); the partner of each is at the mirrored place.
        share: chance of each picture to be changed, 0 to 1.
        positions: places of the pictures in the whole batch.
    """
    if share <= 0:
        return images
    height, width = images.shape[2:]
    mixed, partners = images.clone(), images.flip(0)
    for index, position in enumerate(positions):
        generator = torch.Generator().manual_seed(derive_seed(seed, "paste", step, position))
        if torch.rand((), generator=generator) >= share:
            continue
        side = torch.rand((), generator=generator).sqrt().item()
        rows, columns = max(1, int(height * side)), max(1, int(width * side))
        top = int(torch.randint(height - rows + 1, (), generator=generator))
        left = int(torch.randint(width - columns + 1, (), generator=generator))
        window = (slice(None), slice(top, top + rows), slice(left, left + columns))
        mixed[index][window] = partners[index][window]
    return mixed
