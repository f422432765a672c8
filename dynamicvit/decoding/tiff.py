"""TIFF files: what their first directory says of the samples, and which decoder reads such samples right."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from PIL import TiffImagePlugin

GREY_WHITE_IS_ZERO, GREY, RGB, YCBCR = 0, 1, 2, 6  # photometric interpretations
UNSIGNED, SIGNED, FLOAT = 1, 2, 3  # sample formats
RAW, JPEG = 1, (6, 7)  # compressions
MAX_SAMPLES = 8
BIG_TIFF = 43  # in place of 42 in a file's third byte
OPENCV_COMPRESSIONS = (RAW, 2, 3, 4, 5, *JPEG, 8, 32773, 32946)  # with some others it gives black without a word


class Reader(Enum):
    """Who reads a TIFF file."""

    PILLOW = "Pillow"
    OPENCV_NUMBERS = "OpenCV, as the numbers that stand in the file"
    OPENCV_COLOURS = "OpenCV, as colours of 8 bits"
    NOBODY = "nobody"


@dataclass(frozen=True)
class TiffHeader:
    """The first directory of a TIFF file.

    Attributes:
        size: width and height.
        bits: of a sample.
        segment_pixels: of a strip or tile, which is decoded as a whole.
        missing_segments: of which the directory does not say where they are.
        end: byte after the last one that the directory refers to.
    """

    size: tuple[int, int]
    bits: int
    sample_format: int
    samples: int
    photometric: int
    compression: int
    is_planar: bool
    is_big_endian: bool
    segment_pixels: int
    missing_segments: int
    end: int

    @property
    def reader(self) -> Reader:
        """Who reads such samples right.

        Pillow does not invert greys of more than 8 bits whose white is zero, shifts no 12 bits, takes unsigned 32 bits
        for signed, the bytes of big-endian numbers that were compressed for swapped, and planes of 16 bits for 8.
        OpenCV knows no associated alpha and no planes of more than 16 bits.
        """
        reader = self._reader()
        is_opencv = reader in (Reader.OPENCV_NUMBERS, Reader.OPENCV_COLOURS)
        return Reader.NOBODY if is_opencv and self.compression not in OPENCV_COMPRESSIONS else reader

    @property
    def is_white_zero(self) -> bool:
        """Whether the greatest of the numbers that OpenCV gives is black; up to 8 bits, it turns them round itself."""
        return self.photometric == GREY_WHITE_IS_ZERO and self.bits > 8

    @property
    def colours_may_be_tried(self) -> bool:
        """Whether OpenCV can be asked for colours where Pillow refuses: it loses alpha and what is not unsigned."""
        is_plain = self.sample_format == UNSIGNED and self.bits <= 16
        return is_plain and self.samples in (1, 3) and self.compression in OPENCV_COMPRESSIONS

    def needed_bytes(self, reader: Reader) -> int:
        """Return how much memory a reader takes, the file not counted."""
        width, height = self.size
        sample_bytes = math.ceil(self.bits / 8) * self.samples
        pixel_bytes = {Reader.OPENCV_NUMBERS: sample_bytes, Reader.OPENCV_COLOURS: 3}.get(reader, 4)
        is_read_in_place = reader is Reader.PILLOW and self.compression == RAW
        segment_bytes = 0 if is_read_in_place else self.segment_pixels * max(4, sample_bytes)
        return width * height * pixel_bytes + 8 * height + segment_bytes

    def _reader(self) -> Reader:
        if self.samples > MAX_SAMPLES:
            return Reader.NOBODY
        is_unsigned = self.sample_format == UNSIGNED
        if self.samples == 1 and self.photometric in (GREY_WHITE_IS_ZERO, GREY):
            if self.bits <= 8 and is_unsigned:
                return Reader.OPENCV_COLOURS if self.is_planar and self.compression == RAW else Reader.PILLOW
            is_common = (self.bits, self.sample_format) == (16, UNSIGNED) or (
                (self.bits, self.sample_format) == (32, FLOAT) and not self.is_big_endian
            )
            if is_common and self.photometric == GREY:
                return Reader.PILLOW
            return self._numbers()
        if self.photometric == RGB and not (is_unsigned and self.bits in (8, 16)):
            return self._numbers() if self.samples == 3 and not self.is_planar else Reader.NOBODY
        if self.photometric == RGB and self.bits == 16 and self.is_planar and self.compression == RAW:
            return Reader.OPENCV_COLOURS if self.samples == 3 else Reader.NOBODY
        if self.photometric == YCBCR and self.compression not in JPEG:
            return Reader.OPENCV_COLOURS if is_unsigned and self.bits == 8 and self.samples == 3 else Reader.NOBODY
        return Reader.PILLOW

    def _numbers(self) -> Reader:
        kinds = {UNSIGNED: (10, 12, 14, 16, 32, 64), SIGNED: (8, 16, 32, 64), FLOAT: (32, 64)}
        return Reader.OPENCV_NUMBERS if self.bits in kinds.get(self.sample_format, ()) else Reader.NOBODY


def read_header(data: bytes) -> TiffHeader | None:
    """Return what the first directory says; None where it cannot be read, lacks the size or says something twice."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if data[2] == BIG_TIFF else 8])
        if _has_twins(data, tags.next):
            return None  # of which Pillow takes the last and OpenCV the first
        stream = io.BytesIO(data)
        stream.seek(tags.next)
        tags.load(stream)
        width, height = int(tags[256]), int(tags[257])
        is_tiled = 322 in tags
        across, down = (tags[322], tags[323]) if is_tiled else (width, min(height, tags.get(278, height)))
        samples, is_planar = tags.get(277, 1), tags.get(284, 1) == 2
        places = list(zip(tags[324 if is_tiled else 273], tags[325 if is_tiled else 279], strict=False))
        return TiffHeader(
            size=(width, height),
            bits=max(tags.get(258, (1,))),
            sample_format=tags.get(339, (UNSIGNED,))[0],
            samples=samples,
            photometric=tags.get(262, GREY),
            compression=tags.get(259, RAW),
            is_planar=is_planar,
            is_big_endian=data[:1] == b"M",
            segment_pixels=across * down,
            missing_segments=-(-width // across) * -(-height // down) * (samples if is_planar else 1) - len(places),
            end=max((offset + count for offset, count in places), default=0),
        )
    except Exception:  # on damaged directories Pillow raises whatever it stumbles upon
        return None


def _has_twins(data: bytes, directory: int) -> bool:
    """Say whether a directory has two entries of one tag."""
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    count_bytes, entry_bytes = (8, 20) if data[2] == BIG_TIFF else (2, 12)
    first = directory + count_bytes
    count = min(int.from_bytes(data[directory:first], order), (len(data) - first) // entry_bytes)
    numbers = [data[at : at + 2] for at in range(first, first + count * entry_bytes, entry_bytes)]
    return len(set(numbers)) < len(numbers)
