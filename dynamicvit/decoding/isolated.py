"""Decoding in a process of its own, whose memory and time the operating system bounds.

It is for formats of which a few bytes may ask for any amount of memory, at a place that cannot be looked at from
outside: a JPEG 2000 file by its tiles, code blocks and precincts, an AVIF file by the size that its video stream names.
It costs some tenths of a second. This file is also the program of that process, so it imports nothing of the package.
"""

from __future__ import annotations

import io
import subprocess
import sys

from PIL import AvifImagePlugin, Image

MAX_BYTES = 320 * 2**20  # of the process; Python and Pillow take 40 MB of it
MAX_CPU_SECONDS = 10
MAX_SECONDS = 60
BAND_ROWS = 64
_OUT_OF_MEMORY = 3  # the process's exit status


def decode_apart(data: bytes, file_format: str, enough: tuple[int, int]) -> Image.Image:
    """Return the pixels of an image file in mode L, RGB or RGBA, shrunk to ``enough`` where they are more; or in I;16.

    Raises:
        MemoryError: it takes more memory or time than it may.
        OSError: it cannot be decoded, possibly for want of memory, which not every decoder tells.
    """
    command = [sys.executable, "-P", __file__, file_format, *map(str, enough)]
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=MAX_SECONDS)
    except subprocess.TimeoutExpired:
        raise MemoryError from None
    if done.returncode < 0 or done.returncode == _OUT_OF_MEMORY:
        raise MemoryError
    if done.returncode:
        raise OSError(done.stderr.decode("utf-8", "replace"))
    header, _, pixels = done.stdout.partition(b"\n")
    mode, width, height = header.decode("ascii").split()
    return Image.frombytes(mode, (int(width), int(height)), pixels)


def _main(file_format: str, enough: tuple[int, int]) -> None:
    _bound_this_process()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each would take memory for a frame of its own
    image = _shrunk(_load(sys.stdin.buffer.read(), file_format, enough), enough)
    sys.stdout.buffer.write(f"{image.mode} {image.width} {image.height}\n".encode("ascii"))
    for top in range(0, image.height, BAND_ROWS):
        band = image.crop((0, top, image.width, min(top + BAND_ROWS, image.height)))
        sys.stdout.buffer.write(band.tobytes())


def _bound_this_process() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such bounds
        return
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _load(data: bytes, file_format: str, enough: tuple[int, int]) -> Image.Image:
    """Decode an image; a JPEG 2000 at the smallest of its resolutions that is still enough."""
    image = Image.open(io.BytesIO(data), formats=(file_format,))
    halvings = 0
    if file_format == "JPEG2000":
        while image.width >> halvings + 1 >= enough[0] and image.height >> halvings + 1 >= enough[1]:
            halvings += 1
    for number in range(halvings, -1, -1):
        try:
            image = Image.open(io.BytesIO(data), formats=(file_format,))
            if number:
                setattr(image, "reduce", number)  # noqa: B010 (the base class has a method of that name)
            image.load()
            break
        except OSError:  # the file holds fewer resolutions, or is damaged
            if not number:
                raise
    return image


def _shrunk(image: Image.Image, enough: tuple[int, int]) -> Image.Image:
    if image.mode.startswith("I;16"):
        return image
    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.width <= enough[0] or image.height <= enough[1]:
        return image
    return image.resize(enough, Image.Resampling.HAMMING)


if __name__ == "__main__":
    try:
        _main(sys.argv[1], (int(sys.argv[2]), int(sys.argv[3])))
    except MemoryError:
        sys.exit(_OUT_OF_MEMORY)
