"""Bytes -> picture -> model input, and the way back to the pixels that the model saw."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dynamicvit.errors import ImageError, SettingError
from dynamicvit.models.config import ModelConfig, Preprocessing

# Named one by one: among Pillow's other formats are some that start outside programs (EPS).
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")
MAX_PIXELS = 89_000_000  # just below the size from which Pillow itself warns of a decompression bomb
WORKING_SIDE = 2048  # a larger picture is shrunk to this longer side ...
WORKING_SHORT_SIDE = 1024  # ... unless that would leave its shorter side with less than this
MAX_RESIZED_RATIO = 8  # a picture more elongated than this is not resized as a whole

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """A picture ready to be shown.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, upright, opaque; shrunk when the file holds a very large picture.
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
    """What the model is given and where in the picture it comes from.

    Attributes:
        tensor: (1, 3, S, S) float32, normalised with the model's mean and standard deviation.
        crop: the part of the picture that it shows.
        grid: rows and columns of patches.
        patch_size: side of a patch in pixels of the tensor.
    """

    tensor: Tensor
    crop: CropBox
    grid: tuple[int, int]
    patch_size: int


def read(path: str | Path) -> DecodedImage:
    """Decode a picture file.

    Raises:
        ImageError: the file cannot be opened, or as in :func:`decode`.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"The picture {Path(path).name} cannot be opened: {error.strerror or error}.") from None
    return decode(data)


def decode(data: bytes) -> DecodedImage:
    """Decode the first frame of a picture: EXIF orientation applied, transparency on white, 8 bits a channel.

    Colour profiles are ignored, as in the models' training. A picture far larger than the models need is shrunk.

    Raises:
        ImageError: the data is empty, damaged, not a picture, or a picture with too many pixels.
    """
    if not data:
        raise ImageError("The picture file is empty; choose another one.")
    with _open(data) as file:
        source_format = file.format or "unknown"
        file.draft(None, _working_size(*file.size))  # a JPEG is decoded at the reduced size at once
        try:
            file.load()
            orientation = _orientation(file)
            picture = _opaque_rgb(_shrink(_averageable(file)))
        except Exception as error:  # on damaged data Pillow's decoders raise whatever they stumble upon
            raise ImageError("The picture file is damaged or incomplete; open and save it anew.") from error
    if orientation in _UPRIGHT:
        picture = picture.transpose(_UPRIGHT[orientation])
    return DecodedImage(np.asarray(picture), source_format, hashlib.sha256(data).hexdigest())


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
        upright = ImageOps.exif_transpose(_averageable(source))
        return DecodedImage(np.asarray(_opaque_rgb(_shrink(upright))), source.format or "unknown")
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or 0 in source.shape:
            raise ImageError(f"Pixels must be (H, W, 3) uint8 RGB; got {source.shape} {source.dtype}.")
        return DecodedImage(source, "unknown")
    return read(source)


def prepare(image: DecodedImage, config: ModelConfig, size: int | None = None) -> ModelInput:
    """Turn a picture into a model's input as in the paper's evaluation: resize, centre crop, normalise.

    The shorter side becomes ``int(size / crop_ratio)`` pixels (bicubic, antialiased); a square of ``size`` pixels is
    cut from the middle. Equal to torchvision's Resize, CenterCrop, ToTensor and Normalize on the same pixels.

    Args:
        image: the picture.
        config: the model's description.
        size: side of the input in pixels, a multiple of the patch size; the model's own when not given.

    Raises:
        SettingError: ``size`` is not a multiple of the patch size.

    Source: Rao et al. 2021, released evaluation code.
    """
    size = config.image_size if size is None else size
    if size < config.patch_size or size % config.patch_size:
        raise SettingError(f"The input size must be a multiple of {config.patch_size} pixels; got {size}.")
    pixels, crop = _resize_and_crop(image.pixels, size, int(size / config.preprocessing.crop_ratio))
    side = size // config.patch_size
    return ModelInput(_normalise(pixels, config.preprocessing), crop, (side, side), config.patch_size)


def display_crop(image: DecodedImage, crop: CropBox, side: int) -> NDArray[np.uint8]:
    """Give the part of the picture that the model saw, from the source pixels, as (side, side, 3) uint8 RGB."""
    return _resample(Image.fromarray(image.pixels), side, crop)


def _open(data: bytes) -> Image.Image:
    """Read the header of a picture and refuse it before decoding if it is too large."""
    too_large = f"The picture has too many pixels; scale it down to at most {MAX_PIXELS // 1_000_000} megapixels."
    try:
        file = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise ImageError("This file is not a picture that can be read; save it as JPEG, PNG or WebP.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(too_large) from None
    except Exception as error:
        raise ImageError("The picture file is damaged; open and save it anew.") from error
    if file.width * file.height > MAX_PIXELS:
        file.close()
        raise ImageError(too_large)
    return file


def _working_size(width: int, height: int) -> tuple[int, int]:
    shorter, longer = sorted((width, height))
    scale = min(1.0, max(WORKING_SIDE / longer, WORKING_SHORT_SIDE / shorter))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _averageable(file: Image.Image) -> Image.Image:
    """Bring a picture into a mode in which neighbouring pixels may be averaged, without losing anything."""
    if file.mode.startswith("I;16"):
        return file.convert("I")
    if file.mode in ("1", "P", "PA") or "transparency" in file.info:
        return file.convert("RGBA" if file.has_transparency_data else "RGB")
    return file


def _shrink(picture: Image.Image) -> Image.Image:
    size = _working_size(*picture.size)
    if size == picture.size:
        return picture
    # A filter that does not overshoot, or white in 16 bits would come out above the range of 16 bits.
    return picture.resize(size, Image.Resampling.HAMMING, reducing_gap=3.0)


def _orientation(file: Image.Image) -> int | None:
    try:
        return file.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # a damaged EXIF block is no reason to refuse a picture that decodes
        return None


def _opaque_rgb(picture: Image.Image) -> Image.Image:
    """Convert to RGB, with white behind what is transparent."""
    if picture.mode in ("I", "F"):
        return Image.fromarray(_to_8_bits(np.asarray(picture), picture.mode)).convert("RGB")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        paper = Image.new("RGB", layer.size, "white")
        paper.paste(layer, mask=layer)
        return paper
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _to_8_bits(values: NDArray[Any], mode: str) -> NDArray[np.uint8]:
    """Scale grey values to 0..255 by the range that their kind of file uses; stretch them if they use none.

    Unsigned integers run to 65535; floats to 1, or else to 255 or 65535. Anything outside, negative or above, is
    stretched from its least to its greatest value. Not-a-number becomes black.
    """
    grey = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(grey.min()), float(grey.max())
    ranges = (1.0, 255.0, 65535.0) if mode == "F" else (65535.0,)
    white = next((white for white in ranges if low >= 0.0 and high <= white), None)
    if white is None:
        grey, white = grey - low, high - low
    return np.rint(grey * 255.0 / white).astype(np.uint8)


def _resize_and_crop(pixels: NDArray[np.uint8], size: int, shorter: int) -> tuple[NDArray[np.uint8], CropBox]:
    """Resize the shorter side to ``shorter`` and cut the middle square; give it and its place in the source."""
    height, width = pixels.shape[:2]
    longer = int(shorter * max(width, height) / min(width, height))
    new_width, new_height = (shorter, longer) if width <= height else (longer, shorter)
    left, top = round((new_width - size) / 2), round((new_height - size) / 2)
    x_scale, y_scale = width / new_width, height / new_height
    crop = CropBox(left * x_scale, top * y_scale, (left + size) * x_scale, (top + size) * y_scale)
    picture = Image.fromarray(pixels)
    if longer > MAX_RESIZED_RATIO * shorter:
        # Only the square is computed, the same up to one level of 255: 1 x 5000 pixels must not become 256 x 1280000.
        return _resample(picture, size, crop), crop
    resized = picture.resize((new_width, new_height), Image.Resampling.BICUBIC)
    return np.array(resized.crop((left, top, left + size, top + size))), crop


def _resample(picture: Image.Image, side: int, crop: CropBox) -> NDArray[np.uint8]:
    # Rounding may leave the crop a hair outside the picture, which Pillow refuses.
    box = (crop.left, crop.top, min(crop.right, picture.width), min(crop.bottom, picture.height))
    return np.array(picture.resize((side, side), Image.Resampling.BICUBIC, box=box))


def _normalise(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> Tensor:
    tensor = torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div(255)
    mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
    return tensor.sub_(mean[:, None, None]).div_(std[:, None, None]).unsqueeze(0)
