"""Photos -> batches of model input; photos that cannot be read are set aside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dynamicvit.errors import ImageError
from dynamicvit.images import CropBox, decode, prepare
from dynamicvit.models.config import ModelConfig
from dynamicvit.pictures.photos import Photo


@dataclass(frozen=True)
class UnreadablePhoto:
    """A photo that could not be read, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Share:
    """The part of the batches that one of several processes takes: every ``count``-th one, from ``index`` on."""

    index: int = 0
    count: int = 1


@dataclass(frozen=True, eq=False)
class Batch:
    """Some photos as model input.

    Attributes:
        number: of the batch among all batches, 0-based.
        images: (B, 3, S, S) float32, normalised; B may be 0.
        photos: the B photos.
        crops: the part of each picture that the model sees, in pixels of the decoded picture.
        sizes: width and height of each decoded picture in pixels.
        unreadable: the photos that belong to this batch but could not be read.
    """

    number: int
    images: Tensor
    photos: tuple[Photo, ...]
    crops: tuple[CropBox, ...]
    sizes: tuple[tuple[int, int], ...]
    unreadable: tuple[UnreadablePhoto, ...]


@dataclass(frozen=True, eq=False)
class _Picture:
    index: int
    image: Tensor
    crop: CropBox
    size: tuple[int, int]


class _Pictures(Dataset["_Picture | UnreadablePhoto"]):
    def __init__(self, photos: Sequence[Photo], config: ModelConfig) -> None:
        self.photos = photos
        self.config = config

    def __getitem__(self, index: int) -> _Picture | UnreadablePhoto:
        try:
            image = decode(self.photos[index].data)
        except ImageError as error:
            return UnreadablePhoto(self.photos[index].name, str(error))
        model_input = prepare(image, self.config)
        height, width = image.pixels.shape[:2]
        return _Picture(index, model_input.tensor, model_input.crop, (width, height))


def read_batches(
    photos: Sequence[Photo], config: ModelConfig, size: int, *, share: Share | None = None, workers: int = 0
) -> Iterator[Batch]:
    """Give a process's share of the batches of ``size`` photos each.

    A photo is in the same batch however many processes there are, and an unreadable one leaves its batch smaller.

    Args:
        workers: processes that read ahead; with 0 a batch is read when it is asked for.
    """
    share = share or Share()
    indices = list(range(len(photos)))
    numbers = range(share.index, -(-len(photos) // size), share.count)
    plan = [indices[number * size : (number + 1) * size] for number in numbers]
    loader = DataLoader(_Pictures(photos, config), batch_sampler=plan, collate_fn=list, num_workers=workers)
    for number, entries in zip(numbers, loader, strict=True):
        pictures = [entry for entry in entries if isinstance(entry, _Picture)]
        side = config.image_size
        yield Batch(
            number,
            torch.cat([picture.image for picture in pictures]) if pictures else torch.empty(0, 3, side, side),
            tuple(photos[picture.index] for picture in pictures),
            tuple(picture.crop for picture in pictures),
            tuple(picture.size for picture in pictures),
            tuple(entry for entry in entries if isinstance(entry, UnreadablePhoto)),
        )
