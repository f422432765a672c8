"""Image files made for tests: of any kind that Pillow writes, and some that it does not."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image


def noise(width: int, height: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Return random pixels, uint8."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encode(image: Image.Image | np.ndarray, file_format: str = "PNG", **options: object) -> bytes:
    """Return the bytes of a file that Pillow writes."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """Return a few bytes of PNG whose header announces an image of any size."""
    data = bytearray(encode(noise(2, 2)))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def png(samples: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of (H, W) or (H, W, 3) samples, uint8 or uint16, with more chunks before the pixels."""
    height, width = samples.shape[:2]
    bits, kind = samples.dtype.itemsize * 8, 2 if samples.ndim == 3 else 0
    big_endian = samples.astype(samples.dtype.newbyteorder(">")).reshape(height, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in big_endian)
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    body = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in body
    )


def tiff(segments: list[bytes], width: int, height: int, order: str = "<", **tags: int | list[int]) -> bytes:
    """Return a TIFF file of ready-made strips or tiles in either byte order ("<" or ">").

    The tags go by the names below; ``samples`` of a pixel, ``rows`` of a strip.
    """
    numbers = {
        **{"bits": 258, "compression": 259, "photometric": 262, "orientation": 274, "samples": 277, "rows": 278},
        **{"planar": 284, "palette": 320, "tile_width": 322, "tile_height": 323, "extra": 338, "format": 339},
        "subsampling": 530,
    }
    given = {"bits": 8, "compression": 1, "photometric": 1, "samples": 1, **tags}
    if "tile_width" not in given:
        given.setdefault("rows", height)
    offsets = [8 + sum(map(len, segments[:index])) for index in range(len(segments))]
    places = (324, 325) if "tile_width" in given else (273, 279)
    entries = {256: [width], 257: [height], places[0]: offsets, places[1]: list(map(len, segments))}
    entries |= {numbers[name]: value if isinstance(value, list) else [value] for name, value in given.items()}
    at_directory = 8 + sum(map(len, segments))
    at_directory += at_directory % 2
    directory, beyond = struct.pack(order + "H", len(entries)), b""
    at_beyond = at_directory + 2 + 12 * len(entries) + 4
    for tag, values in sorted(entries.items()):
        is_long = tag in (256, 257, *places)
        packed = struct.pack(f"{order}{len(values)}{'I' if is_long else 'H'}", *values)
        directory += struct.pack(order + "HHI", tag, 4 if is_long else 3, len(values))
        if len(packed) <= 4:
            directory += packed.ljust(4, b"\0")
        else:
            directory += struct.pack(order + "I", at_beyond + len(beyond))
            beyond += packed
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at_directory)
    pixels = b"".join(segments)
    return header + pixels + b"\0" * (len(pixels) % 2) + directory + b"\0\0\0\0" + beyond


def bmp(
    width: int, height: int, bits: int, pixels: bytes, compression: int = 0, palette: bytes = b"", extra: bytes = b""
) -> bytes:
    """Return a BMP file with a 40-byte header; ``extra`` (masks) and palette (4 bytes a colour) follow it."""
    start = 14 + 40 + len(extra) + len(palette)
    header = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(pixels), 0, 0, len(palette) // 4, 0
    )
    return struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start) + header + extra + palette + pixels
