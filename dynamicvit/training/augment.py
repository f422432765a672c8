"""Training pictures: random crops of photos, and mixtures of them."""

from __future__ import annotations

import io
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from dynamicvit.models.config import Preprocessing
from dynamicvit.photos import Photo


class RandomCrops(Dataset[Tensor]):
    """Random resized crops (3, size, size) of photos, flipped half of the time, normalised."""

    def __init__(
        self, photos: Sequence[Photo], size: int, preprocessing: Preprocessing, smallest_crop: float = 0.2
    ) -> None:
        self.photos = photos
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=(smallest_crop, 1.0), interpolation=v2.InterpolationMode.BICUBIC),
                v2.RandomHorizontalFlip(),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(preprocessing.mean, preprocessing.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(io.BytesIO(self.photos[index].data)) as picture:
            return self.transform(picture.convert("RGB"))


def mix_pictures(images: Tensor, share: float, generator: torch.Generator | None = None) -> Tensor:
    """Paste a random rectangle of another picture into a share of the batch (the picture part of CutMix).

    No labels are mixed: a teacher that sees the same mixture says what is in it.

    Args:
        images: (B, 3, H, W).
        share: chance of each picture to be changed, 0 to 1.
    """
    batch, _, height, width = images.shape
    partner = torch.randperm(batch, generator=generator)
    mixed = images.clone()
    for index in range(batch):
        if torch.rand((), generator=generator) >= share:
            continue
        side = torch.rand((), generator=generator).sqrt().item()
        rows, columns = max(1, int(height * side)), max(1, int(width * side))
        top = int(torch.randint(height - rows + 1, (), generator=generator))
        left = int(torch.randint(width - columns + 1, (), generator=generator))
        window = (slice(None), slice(top, top + rows), slice(left, left + columns))
        mixed[index][window] = images[partner[index]][window]
    return mixed
