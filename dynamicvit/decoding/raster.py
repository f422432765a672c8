"""Decoded pixels of any kind -> 8-bit RGB or RGBA, some rows at a time, so that no second copy of the whole is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BAND_PIXELS = 2**20  # so many are looked at or converted at once
FLOAT_WHITES = (1.0, 255.0, 65535.0)
INTEGER_WHITES = (255, 65535)  # of 8 and 16 bits, which many programs store in 32

Samples = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Raster:
    """Decoded pixels, not yet turned upright.

    Attributes:
        size: width and height.
        rows: those from ``top`` to before ``bottom``, in mode L, RGB or RGBA.
        orientation: 1 to 8, as EXIF has it; 1 for pixels that are upright.
    """

    size: tuple[int, int]
    rows: Callable[[int, int], Image.Image]
    orientation: int = 1


def raster_of_image(image: Image.Image, orientation: int = 1, *, trusts_alpha: bool = True) -> Raster:
    """Return the pixels of a decoded Pillow image of 8 bits a channel or fewer.

    Args:
        image: in any mode that Pillow converts to RGB.
        orientation: of the raster.
        trusts_alpha: otherwise an alpha that is 0 everywhere is taken for none: what some programs leave unset.
    """
    is_transparent = image.has_transparency_data
    if is_transparent and not trusts_alpha and image.mode == "RGBA":
        is_transparent = image.getchannel("A").getbbox() is not None
    mode = "RGBA" if is_transparent else "L" if image.mode in ("1", "L") else "RGB"

    def rows(top: int, bottom: int) -> Image.Image:
        return image.crop((0, top, image.width, bottom)).convert(mode)

    return Raster(image.size, rows, orientation)


def raster_of_samples(
    samples: Samples | Image.Image,
    orientation: int = 1,
    *,
    white: float | None = None,
    white_is_zero: bool = False,
    transparent: int | None = None,
) -> Raster:
    """Return the pixels of numbers of any type, scaled to 8 bits.

    Args:
        samples: (H, W) grey, or (H, W, 3) or (H, W, 4) in OpenCV's order BGR(A); or a Pillow image of numbers.
        orientation: of the raster.
        white: the number that is white; when not given, what :func:`usual_range` says.
        white_is_zero: the other way round, black is the greatest number.
        transparent: the grey that is transparent, if one is.
    """
    part = _parts(samples)
    height, width = (samples.height, samples.width) if isinstance(samples, Image.Image) else samples.shape[:2]
    is_float = part(0, 1).dtype.kind == "f"

    def colours(top: int, bottom: int) -> Samples:
        numbers = part(top, bottom)
        colours = numbers if numbers.ndim == 2 else numbers[..., 2::-1]
        if colours.dtype.kind == "f":
            return np.nan_to_num(colours, nan=0.0, posinf=0.0, neginf=0.0)
        return ~colours if white_is_zero else colours

    low, high = (0.0, white) if white is not None else usual_range(colours(*band) for band in bands(width, height))

    def rows(top: int, bottom: int) -> Image.Image:
        levels = _to_8_bits(colours(top, bottom), low, high)
        image = Image.fromarray(~levels if white_is_zero and is_float else levels)
        numbers = part(top, bottom)
        if transparent is not None:
            alpha = np.where(numbers == transparent, 0, 255).astype(np.uint8)
        elif numbers.shape[2:] == (4,):
            alpha = _to_8_bits(numbers[..., 3], 0.0, float(np.iinfo(numbers.dtype).max))
        else:
            return image
        image = image.convert("RGB")
        image.putalpha(Image.fromarray(alpha))
        return image

    return Raster((width, height), rows, orientation)


def bands(width: int, height: int) -> Iterator[tuple[int, int]]:
    """Return first and last-but-one row of parts of :data:`BAND_PIXELS` pixels, from top to bottom."""
    rows = max(1, BAND_PIXELS // width)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


def usual_range(parts: Iterable[Samples]) -> tuple[float, float]:
    """Return the numbers that are black and white, by the range that files of such numbers use.

    Unsigned integers of 8 and 16 bits use their whole range, longer ones that of 8, 16 or all their bits, whichever
    first holds them; signed integers the positive part alike, or else the whole of their range if they spread over half
    of it. Floats run to 1, 255 or 65535; what is not a number counts as 0. What has no usual range is stretched from
    its least to its greatest number.
    """
    parts = iter(parts)
    first = next(parts)
    if first.dtype.kind == "u" and first.dtype.itemsize <= 2:
        return 0.0, float(np.iinfo(first.dtype).max)
    extremes = [(part.min(), part.max()) for part in chain([first], parts)]
    low, high = float(min(least for least, _ in extremes)), float(max(greatest for _, greatest in extremes))
    if first.dtype.kind == "f":
        whites: tuple[float, ...] = FLOAT_WHITES
    else:
        least, greatest = float(np.iinfo(first.dtype).min), float(np.iinfo(first.dtype).max)
        if low < 0 and high - low >= greatest:
            return least, greatest
        whites = (*(INTEGER_WHITES if first.dtype.itemsize > 2 else ()), greatest)
    white = next((white for white in whites if low >= 0 and high <= white), None)
    return (low, high) if white is None else (0.0, white)


def _parts(samples: Samples | Image.Image) -> Callable[[int, int], Samples]:
    if isinstance(samples, Image.Image):
        return lambda top, bottom: np.asarray(samples.crop((0, top, samples.width, bottom)))
    return lambda top, bottom: samples[top:bottom]


def _to_8_bits(samples: Samples, low: float, high: float) -> NDArray[np.uint8]:
    """Scale ``low`` to 0 and ``high`` to 255."""
    if samples.dtype == np.uint8 and (low, high) == (0.0, 255.0):
        return np.ascontiguousarray(samples)
    numbers = samples.astype(np.float64)
    if max(abs(low), abs(high)) > 1e300:  # their differences, times 255, would leave the range of float64
        numbers, low, high = numbers / 2**16, low / 2**16, high / 2**16
    levels = (numbers - low) * 255.0 / ((high - low) or 1.0)
    scaled: NDArray[np.uint8] = np.rint(levels.clip(0.0, 255.0)).astype(np.uint8)
    return scaled
