"""Bytes -> image -> model input, and the way back to the pixels that the model saw."""

from __future__ import annotations

import hashlib
import math
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from dynamicvit.decoding.files import read_raster
from dynamicvit.decoding.raster import Raster, bands, raster_of_image
from dynamicvit.errors import ImageError, SettingError
from dynamicvit.models.config import ModelConfig, Preprocessing

MAX_FILE_BYTES = 100_000_000
MAX_DECODES = 2  # at once; the others wait
WORKING_SIDE = 2048  # a larger image is shrunk to this longer side ...
WORKING_SHORT_SIDE = 1024  # ... unless that would leave its shorter side with less than this ...
MAX_WORKING_SIDE = 8192  # ... and of what is longer still, the middle is taken, of which the model sees a square
MAX_RESIZED_RATIO = 8  # an image more elongated than this is not resized as a whole
SMALL_SIDE = 64  # an image with a side below it says too little

CropPlace = tuple[float, float]
"""Where the crop lies, from left and top: shares in [0, 1] of the room that it leaves in the image."""
CENTRE: CropPlace = (0.5, 0.5)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_decodes = threading.BoundedSemaphore(MAX_DECODES)


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An image ready to be shown.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, upright, opaque; shrunk when the file holds a very large image, and the middle of
            it when that is very long.
        source_format: Pillow's name of the file's format, for example ``"JPEG"``.
        sha256: of the file, in hexadecimal; empty when the pixels come from no file.
    """

    pixels: NDArray[np.uint8]
    source_format: str
    sha256: str = ""


@dataclass(frozen=True)
class CropBox:
    """A rectangle in pixels of :attr:`DecodedImage.pixels`; x from the left, y from the top, fractions allowed."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, eq=False)
class ModelInput:
    """What the model is given and where in the image it comes from.

    Attributes:
        tensor: (1, 3, S, S) float32, normalised with the model's mean and standard deviation.
        crop: the part of the image that it shows.
        grid: rows and columns of patches.
        patch_size: side of a patch in pixels of the tensor.
    """

    tensor: Tensor
    crop: CropBox
    grid: tuple[int, int]
    patch_size: int


def read(path: str | Path) -> DecodedImage:
    """Decode an image file.

    Raises:
        ImageError: the file cannot be opened, or as in :func:`decode`.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ImageError(f"The image {Path(path).name} cannot be opened: {error.strerror or error}.") from None
    return decode(data)


def decode(data: bytes) -> DecodedImage:
    """Decode the first frame of an image: EXIF orientation applied, transparency on white, 8 bits a channel.

    Colour profiles are ignored, as in the models' training. An image far larger than the models need is shrunk. It
    takes at most 400 MB; where several threads ask, at most two are served at once.

    Raises:
        ImageError: the data is empty, damaged, no image, of a kind that is not supported, or too large.
    """
    if not data:
        raise ImageError("The image file is empty; choose another one.")
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(f"The image file is larger than {MAX_FILE_BYTES // 1_000_000} MB; scale the image down.")
    with _decodes:
        raster, source_format = read_raster(data, _working_size)
        pixels = _working_copy(raster)
    return DecodedImage(pixels, source_format, hashlib.sha256(data).hexdigest())


def as_image(source: str | Path | bytes | Image.Image | NDArray[np.uint8] | DecodedImage) -> DecodedImage:
    """Return a decoded image, given as a path, a file's bytes, a Pillow image, pixels or decoded already.

    Args:
        source: pixels are (H, W, 3) uint8 RGB.

    Raises:
        ImageError: it cannot be read, or pixels have another shape or type.
    """
    if isinstance(source, DecodedImage):
        return source
    if isinstance(source, bytes):
        return decode(source)
    if isinstance(source, Image.Image):
        raster = raster_of_image(ImageOps.exif_transpose(source))
        return DecodedImage(_working_copy(raster), source.format or "unknown")
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or 0 in source.shape:
            raise ImageError(f"Pixels must be (H, W, 3) uint8 RGB; got {source.shape} {source.dtype}.")
        return DecodedImage(source, "unknown")
    return read(source)


def prepare(
    image: DecodedImage, config: ModelConfig, size: int | None = None, *, crop_at: CropPlace = CENTRE
) -> ModelInput:
    """Turn an image into a model's input as in the paper's evaluation: resize, centre crop, normalise.

    The shorter side becomes ``int(size / crop_ratio)`` pixels (bicubic, antialiased); a square of ``size`` pixels is
    cut from it. In the middle, that equals torchvision's Resize, CenterCrop, ToTensor and Normalize on the same pixels.

    Args:
        image: the image.
        config: the model's description.
        size: side of the input in pixels, a multiple of the patch size; the model's own when not given.
        crop_at: where the square lies; the paper's place is the middle.

    Raises:
        SettingError: ``size`` is not a multiple of the patch size, or the place is outside the image.

    Source: Rao et al. 2021, released evaluation code.
    """
    size = config.image_size if size is None else size
    if size < config.patch_size or size % config.patch_size:
        raise SettingError(f"The input size must be a multiple of {config.patch_size} pixels; got {size}.")
    if not (len(crop_at) == 2 and all(0 <= share <= 1 for share in crop_at)):
        raise SettingError(f"The crop lies at two shares from 0 to 1, from left and top; got {crop_at!r:.80}.")
    pixels, crop = _resize_and_crop(image.pixels, size, int(size / config.preprocessing.crop_ratio), crop_at)
    side = size // config.patch_size
    return ModelInput(_normalise(pixels, config.preprocessing), crop, (side, side), config.patch_size)


def caution(image: DecodedImage, config: ModelConfig) -> str:
    """Return what is to be borne in mind about a model's answers to an image, a sentence; empty if nothing is.

    That is a size of fewer than :data:`SMALL_SIDE` pixels on a side, unless the model's input is no larger.
    """
    height, width = image.pixels.shape[:2]
    if min(height, width) >= min(SMALL_SIDE, config.image_size):
        return ""
    enough = f"{SMALL_SIDE} x {SMALL_SIDE}"
    return f"This image of {width} x {height} pixels is too small to judge by; take one of {enough} or more."


def display_crop(image: DecodedImage, crop: CropBox, side: int) -> NDArray[np.uint8]:
    """Return the part of the image that the model saw, from the source pixels, as (side, side, 3) uint8 RGB."""
    return _resample(Image.fromarray(image.pixels), side, crop)


def _working_size(width: int, height: int) -> tuple[int, int]:
    shorter, longer = sorted((width, height))
    scale = min(1.0, max(WORKING_SIDE / longer, WORKING_SHORT_SIDE / shorter))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _working_copy(raster: Raster) -> NDArray[np.uint8]:
    """Return the pixels of an image upright, opaque, and no more than are worked with."""
    left, top, right, bottom = _middle(*raster.size)
    width, height = _working_size(right - left, bottom - top)
    x_scale, y_scale = (right - left) / width, (bottom - top) / height
    reach = 0 if y_scale == 1 else math.ceil(y_scale) + 1  # rows that the filter looks at beyond its own
    copy = np.empty((height, width, 3), np.uint8)
    for first, end in bands(round(raster.size[0] * y_scale), height):
        source_first = max(top, math.floor(top + first * y_scale) - reach)
        source_end = min(bottom, math.ceil(top + end * y_scale) + reach)
        rows = raster.rows(source_first, source_end).crop((left, 0, right, source_end - source_first))
        if (x_scale, y_scale) != (1, 1):
            box = (0, top + first * y_scale - source_first, right - left, top + end * y_scale - source_first)
            rows = rows.resize((width, end - first), Image.Resampling.HAMMING, box)
        copy[first:end] = np.asarray(_opaque(rows))
    if raster.orientation in _UPRIGHT:
        copy = np.array(Image.fromarray(copy).transpose(_UPRIGHT[raster.orientation]))
    return copy


def _middle(width: int, height: int) -> tuple[int, int, int, int]:
    """Return the box of an image that is worked with: all of it, or the middle of a very long one."""
    shorter, longer = sorted((width, height))
    longest = max(MAX_WORKING_SIDE, shorter * MAX_WORKING_SIDE // WORKING_SHORT_SIDE)
    if longer <= longest:
        return 0, 0, width, height
    margin = (longer - longest) // 2
    return (margin, 0, width - margin, height) if width > height else (0, margin, width, height - margin)


def _opaque(image: Image.Image) -> Image.Image:
    """Return an image in RGB, with white behind what is transparent."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    paper = Image.new("RGB", image.size, "white")
    paper.paste(image, mask=image)
    return paper


def _resize_and_crop(
    pixels: NDArray[np.uint8], size: int, shorter: int, crop_at: CropPlace
) -> tuple[NDArray[np.uint8], CropBox]:
    """Resize the shorter side to ``shorter`` and cut a square; return it and its place in the source."""
    height, width = pixels.shape[:2]
    longer = int(shorter * max(width, height) / min(width, height))
    new_width, new_height = (shorter, longer) if width <= height else (longer, shorter)
    left, top = round((new_width - size) * crop_at[0]), round((new_height - size) * crop_at[1])
    x_scale, y_scale = width / new_width, height / new_height
    crop = CropBox(left * x_scale, top * y_scale, (left + size) * x_scale, (top + size) * y_scale)
    image = Image.fromarray(pixels)
    if longer > MAX_RESIZED_RATIO * shorter:
        # Only the square is computed, the same up to one level of 255: 1 x 5000 pixels must not become 256 x 1280000.
        return _resample(image, size, crop), crop
    resized = image.resize((new_width, new_height), Image.Resampling.BICUBIC)
    return np.array(resized.crop((left, top, left + size, top + size))), crop


def _resample(image: Image.Image, side: int, crop: CropBox) -> NDArray[np.uint8]:
    # Rounding may leave the crop a hair outside the image, which Pillow refuses.
    box = (crop.left, crop.top, min(crop.right, image.width), min(crop.bottom, image.height))
    return np.array(image.resize((side, side), Image.Resampling.BICUBIC, box=box))


def _normalise(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> Tensor:
    tensor = torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div(255)
    mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
    return tensor.sub_(mean[:, None, None]).div_(std[:, None, None]).unsqueeze(0)
