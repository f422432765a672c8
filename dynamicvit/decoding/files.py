"""A file of any accepted format -> its pixels: what it is, whether it fits, and who decodes it.

Pillow reads most files. OpenCV reads the kinds that Pillow gets wrong or that cost it much more; AVIF and JPEG 2000 are
decoded in a process of their own.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from dynamicvit.decoding.isolated import decode_apart
from dynamicvit.decoding.raster import Raster, raster_of_image, raster_of_samples
from dynamicvit.decoding.tiff import RAW, Reader, read_header
from dynamicvit.errors import ImageError

# Named one by one: among Pillow's other formats are some that start outside programs (EPS).
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".jpx"}
)
MAX_PIXELS = 89_000_000  # just below the size from which Pillow itself warns of a decompression bomb
MAX_SIDE = 1_000_000
MAX_DECODE_BYTES = 280_000_000  # of a file and its decoded pixels; what is made of them afterwards takes 100 MB more
MAX_COPIED_BYTES = 50_000_000  # of a file that is read again without its metadata
MAX_PLAIN_TEXT_PIXELS = 4_000_000  # of a PPM file in digits, of which Pillow reads a million numbers a second

Size = tuple[int, int]
Enough = Callable[[int, int], Size]

_BYTES_PER_PIXEL = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}  # in Pillow; 4 in all other modes
_ORIENTATION = 0x0112


def read_raster(data: bytes, enough: Enough) -> tuple[Raster, str]:
    """Return the first frame of an image file, not yet turned upright, and Pillow's name of the file's format.

    Args:
        data: the file.
        enough: (width, height) -> the size with which the caller is content; decoders that can reduce, do.

    Raises:
        ImageError: the data is damaged, no image, of a kind that is not supported, or takes too much memory.
    """
    file_format = next((name for name in FORMATS if _begins_as(name, data)), None)
    if file_format is None:
        raise ImageError("This file is not an image that can be read; save it as JPEG, PNG or WebP.")
    try:
        return _read(file_format, data, enough), file_format
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(MAX_PIXELS) from None
    except MemoryError:
        raise _too_much(file_format) from None
    except Exception as error:  # on damaged data decoders raise whatever they stumble upon
        is_header_refused = isinstance(error, _HeaderError)
    # Outside of the handler, because the error holds what was decoded before it.
    bare = _without_metadata(file_format, data)
    if len(bare) < len(data):  # what is not pixels may be wrong or too long in a file that is whole
        raster, _ = read_raster(bare, enough)
        return replace(raster, orientation=max(raster.orientation, _orientation_in(data))), file_format
    if is_header_refused and not _is_visibly_damaged(file_format, data):
        raise ImageError(f"This kind of {file_format} file is not supported; save the image as PNG or as a usual JPEG.")
    raise ImageError("The image file is damaged or incomplete; open and save it anew.")


class _HeaderError(Exception):
    """A decoder does not take a file for its header, which is damaged or of a kind that the decoder does not know."""


def _begins_as(file_format: str, data: bytes) -> bool:
    if file_format not in Image.OPEN:
        Image.init()
    accept = Image.OPEN[file_format][1]
    return accept is not None and accept(data[:16]) is True


# Reading


def _read(file_format: str, data: bytes, enough: Enough) -> Raster:
    if file_format == "TIFF":
        return _read_tiff(data, enough)
    file = _open(file_format, data)
    size, pixels = file.size, file.width * file.height
    if file_format in ("AVIF", "JPEG2000"):
        image = _read_apart(file_format, data, enough(*size))
        is_grey_16 = image.mode.startswith("I;16")
        return (raster_of_samples if is_grey_16 else raster_of_image)(image, _orientation(file))
    if file_format == "WEBP":  # which takes Pillow twice the memory
        orientation = _orientation(file)
        del file  # and with it what Pillow has taken already
        return raster_of_samples(_read_with_opencv(data, size, 8 * pixels + len(data)), orientation)
    codec: str = file.tile[0][0]
    arguments: Any = file.tile[0][3]
    if codec == "bmp_rle":  # in which Pillow misreads rows of an odd length
        return raster_of_samples(_read_with_opencv(data, size, 3 * pixels, cv2.IMREAD_COLOR))
    if codec == "ppm":  # one whose white is not 255, over which Pillow takes a thousand times as long
        return raster_of_samples(_read_with_opencv(data, size, 6 * pixels), white=float(arguments[-1]))
    if file_format == "PNG" and arguments == "RGB;16B" and "transparency" in file.info:  # Pillow compares 8 bits
        orientation = _orientation_in(file.info.get("exif", b""))
        return raster_of_samples(_read_with_opencv(data, size, 8 * pixels), orientation)
    if arguments in ("L;2", "L;4") and "transparency" in file.info:  # which Pillow leaves at 2 or 4 bits
        file.info["transparency"] *= 255 // (2 ** int(arguments[-1]) - 1)
    if codec == "ppm_plain" and pixels > MAX_PLAIN_TEXT_PIXELS:
        raise _too_large(MAX_PLAIN_TEXT_PIXELS)
    return _read_with_pillow(file, data, enough)


def _read_with_pillow(file: Image.Image, data: bytes, enough: Enough) -> Raster:
    full_size = file.size
    coefficients = _coefficient_bytes(file, data) if file.format in ("JPEG", "MPO") else 0
    file.draft(None, enough(*file.size))  # a JPEG is decoded at the reduced size at once
    pixels = file.width * file.height * _BYTES_PER_PIXEL.get(file.mode, 4)
    _check_memory(len(data), full_size, pixels + 8 * file.height + coefficients)
    file.load()
    orientation = _orientation(file)  # of a TIFF file nothing is left, Pillow has turned it upright
    if file.mode.startswith("I;16"):
        return raster_of_samples(file, orientation, transparent=file.info.get("transparency"))
    if file.mode in ("I", "F"):
        return raster_of_samples(file, orientation, white=65535.0 if file.mode == "I" else None)
    return raster_of_image(file, orientation, trusts_alpha=file.format not in ("BMP", "TIFF"))


def _read_tiff(data: bytes, enough: Enough) -> Raster:
    header = read_header(data)
    if header is None or header.missing_segments > 0:  # in whose place Pillow and OpenCV would give black
        raise _HeaderError
    _check_size(*header.size)
    reader = header.reader
    if reader is Reader.PILLOW:
        _check_memory(len(data), header.size, header.needed_bytes(reader))
        try:
            return _read_with_pillow(_open("TIFF", data), data, enough)
        except _HeaderError:
            reader = Reader.OPENCV_COLOURS if header.colours_may_be_tried else Reader.NOBODY
    if reader is Reader.NOBODY or header.end > len(data):
        raise _HeaderError
    flags = cv2.IMREAD_UNCHANGED if reader is Reader.OPENCV_NUMBERS else cv2.IMREAD_COLOR
    try:
        samples = _read_with_opencv(data, header.size, header.needed_bytes(reader), flags)
    except OSError as error:
        if header.compression == RAW:  # in which nothing can be wrong but that some is missing
            raise _HeaderError from error
        raise
    return raster_of_samples(samples, white_is_zero=reader is Reader.OPENCV_NUMBERS and header.is_white_zero)


def _read_with_opencv(data: bytes, size: Size, needed: int, flags: int = cv2.IMREAD_UNCHANGED) -> NDArray[Any]:
    """Decode with OpenCV, which turns TIFF files upright and, with these flags, no others."""
    _check_memory(len(data), size, needed)
    try:
        samples: NDArray[Any] | None = cv2.imdecode(
            np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error as error:
        raise _HeaderError from error
    if samples is None:
        raise OSError("OpenCV gave no pixels")
    if sorted(samples.shape[:2]) != sorted(size):
        raise _HeaderError  # which says different things to different readers
    return samples


def _read_apart(file_format: str, data: bytes, enough: Size) -> Image.Image:
    try:
        return decode_apart(data, file_format, enough)
    except OSError:
        if _is_visibly_damaged(file_format, data):
            raise
    raise _too_much(file_format)  # or changed within, which is not to be told from a want of memory


def _open(file_format: str, data: bytes) -> ImageFile.ImageFile:
    """Read the header of a file, and refuse an image with too many pixels."""
    try:
        file = Image.open(io.BytesIO(data), formats=(file_format,))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise
    except Exception as error:
        raise (OSError if "truncated" in str(error).lower() else _HeaderError)(str(error)) from error
    _check_size(*file.size)
    return file


# What it takes


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _too_large(MAX_PIXELS)
    if max(width, height) > MAX_SIDE:
        raise ImageError(f"The image of {width} x {height} pixels is too long; cut it to at most {MAX_SIDE} on a side.")


def _check_memory(file_bytes: int, size: Size, needed: float) -> None:
    """Refuse an image that does not fit, with the number of pixels that would."""
    available = MAX_DECODE_BYTES - file_bytes
    if needed > available:
        raise _too_large(size[0] * size[1] * available / needed)


def _coefficient_bytes(file: Image.Image, data: bytes) -> int:
    """Return what a JPEG's coefficients take, which are kept until the last scan if there are several."""
    layers: list[tuple[int, int, int, int]] = file.layer  # type: ignore[attr-defined]
    start_of_scan = data.rfind(b"\xff\xda", 0, file.fp.tell())  # type: ignore[attr-defined]
    has_one_scan = "progressive" not in file.info and data[start_of_scan + 4] == len(layers)
    if has_one_scan or not layers:
        return 0
    across, down = max(layer[1] for layer in layers), max(layer[2] for layer in layers)
    share = sum(layer[1] * layer[2] for layer in layers) / (across * down)
    return round(2 * file.width * file.height * share)


# What a file holds beside its pixels


def _orientation(file: Image.Image) -> int:
    try:
        orientation = int(file.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block is no reason to refuse an image that decodes
        orientation = _orientation_in(file.info.get("exif") or b"")
    return orientation if orientation in range(1, 9) else 1


def _orientation_in(data: bytes) -> int:
    """Return the orientation of a file's EXIF block, read without regard to its other entries; 1 if it has none."""
    start = data.find(b"Exif\0\0") + 6
    block = data[start : start + 2**16] if start >= 6 else b""
    order: Literal["little", "big"] = "little" if block.startswith(b"II") else "big"
    directory = int.from_bytes(block[4:8], order)
    for at in range(directory + 2, directory + 2 + 12 * int.from_bytes(block[directory : directory + 2], order), 12):
        if int.from_bytes(block[at : at + 2], order) == _ORIENTATION:
            value = int.from_bytes(block[at + 8 : at + 10], order)
            return value if value in range(1, 9) else 1
    return 1


def _without_metadata(file_format: str, data: bytes) -> bytes:
    """Return a PNG or JPEG file without texts, colour profile and other things that change no pixel, if it is small."""
    if len(data) > MAX_COPIED_BYTES:
        return data
    if file_format == "PNG":
        return b"".join(_png_parts(data))
    if file_format == "JPEG":
        return b"".join(_jpeg_parts(data))
    return data


def _png_parts(data: bytes) -> Iterator[bytes]:
    yield data[:8]
    at = 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            yield data[at:end]
        at = end


def _jpeg_parts(data: bytes) -> Iterator[bytes]:
    yield data[:2]
    at = 2
    while data[at : at + 1] == b"\xff" and b"\xc0" <= data[at + 1 : at + 2] < b"\xff":
        marker = data[at + 1]
        if marker == 0xDA:  # from here on, pixels
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if not (0xE1 <= marker <= 0xEF and marker != 0xEE):  # E0 and EE tell the kinds of colour
            yield data[at:end]
        at = end
    yield data[at:]


def _is_visibly_damaged(file_format: str, data: bytes) -> bool:
    """Say whether a file whose header no decoder takes is cut short or changed, rather than of an unknown kind."""
    if file_format == "PNG":
        return zlib.crc32(data[12:29]) != int.from_bytes(data[29:33], "big") or b"IEND" not in data[-64:]
    if file_format == "JPEG":
        return b"\xff\xd9" not in data[-64:]
    if file_format == "GIF":
        return b";" not in data[-64:]
    if file_format == "WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if file_format == "BMP":
        return len(data) < max(26, int.from_bytes(data[2:6], "little"))
    if file_format == "TIFF":
        if data.startswith(b"MM\0+"):  # big-endian BigTIFF, which Pillow takes for another
            return False
        header = read_header(data)
        return header is None or header.missing_segments > 0 or header.end > len(data)
    if file_format == "AVIF":
        return _last_box_end(data) > len(data)
    return file_format == "JPEG2000" and b"\xff\xd9" not in data  # bytes that can only stand at the end


def _last_box_end(data: bytes) -> int:
    """Return where the last top-level box of an ISO media file ends, by its own word."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        at += size or len(data) - at  # 0 stands for the rest
        if size in range(1, 8):
            break
    return at


def _too_large(most_pixels: float) -> ImageError:
    megapixels = int(most_pixels / 1e6) if most_pixels >= 1e7 else max(0.1, int(most_pixels / 1e5) / 10)
    return ImageError(f"The image has too many pixels; scale it down to at most {megapixels} megapixels.")


def _too_much(file_format: str) -> ImageError:
    return ImageError(
        f"This {file_format} file cannot be decoded within the memory and time that one image is given; "
        "scale the image down, or save it as PNG or JPEG."
    )
