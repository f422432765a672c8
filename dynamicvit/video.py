"""Clips in and out: frames from a video file, and frames into a file that browsers play."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from dynamicvit.errors import VideoError

Pixels = NDArray[np.uint8]

# VP9 takes several times as long for the same error; H.264 cannot be written by OpenCV's wheels.
SUFFIX, CODEC = ".webm", "VP80"
CREDIBLE_RATES = (1.0, 240.0)  # recordings of browsers carry the clock's 1000 in place of a frame rate
USUAL_RATE = 30.0
MAX_PIXELS = 36_000_000  # of a frame, a little more than 8K; a decoder holds a dozen frames at once
MAX_PIXEL_ASPECT = 4.0  # the widest pixels in use are 2.2 times as wide as high; beyond this the file is not believed
TIME_TOLERANCE = 1e-3  # seconds; WebM rounds times to it

# Containers by their first bytes. Anything else that FFmpeg opens is refused, play lists above all: they make it open
# other files.
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_MATROSKA, _RIFF, _OGG = b"\x1a\x45\xdf\xa3", b"RIFF", b"OggS"


class ClipReader:
    """A video file, open for reading; a context manager.

    Attributes:
        rate: frames a second on average; :data:`USUAL_RATE` where the file tells nothing credible.
        seconds: length from the first frame on that the file declares; None where it tells nothing credible.

    Raises:
        VideoError: the file is no clip that can be read, or its frames are too large.
    """

    def __init__(self, path: Path) -> None:
        start = _check_container(path)
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise VideoError("The clip cannot be read; save it as MP4 or WebM.")
        width, height = self._get(cv2.CAP_PROP_FRAME_WIDTH), self._get(cv2.CAP_PROP_FRAME_HEIGHT)
        if width * height > MAX_PIXELS:
            self._capture.release()
            raise VideoError(f"The clip's frames have more than {MAX_PIXELS // 1_000_000} megapixels; scale it down.")
        rate, count = self._get(cv2.CAP_PROP_FPS), self._get(cv2.CAP_PROP_FRAME_COUNT)
        self._is_grabbed = self._capture.grab()
        if start.startswith(_MATROSKA):
            # Matroska declares where the clip ends and not how long it is, and OpenCV makes a number of frames of it.
            count -= self._get(cv2.CAP_PROP_PTS)
        is_credible = CREDIBLE_RATES[0] <= rate <= CREDIBLE_RATES[1]
        self.rate: float = rate if is_credible else USUAL_RATE
        self.seconds: float | None = count / rate if is_credible and count > 0 else None

    def __enter__(self) -> ClipReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()

    def frames(self, rate: float = math.inf) -> Iterator[Pixels]:
        """Return the frames from where reading stands, (H, W, 3) uint8 RGB, upright and with square pixels.

        With a ``rate``, these are the frames that a player shows at each multiple of 1 / rate seconds, so that a clip
        with an uneven rate keeps its pace: a frame before a gap is held. But at more than the clip's own rate, no frame
        comes twice. The last ones of a damaged clip are missing without a word, as in a player.
        """
        if math.isinf(rate):
            yield from (self._displayed(frame) for _, frame in self._timed_frames())
            return
        shown, shown_at, due, usual = None, 0.0, 0.0, 1.0 / self.rate
        for at, frame in self._timed_frames():
            if shown is not None and at > shown_at:
                usual = min(usual, at - shown_at)
                times = max(0, math.ceil((at - TIME_TOLERANCE - due) * rate))
                is_held = at - shown_at > 1.5 * usual
                for _ in range(times if is_held else min(times, 1)):
                    yield self._displayed(shown)
                due += times / rate
            shown, shown_at = frame, at
        if shown is not None and due <= shown_at + TIME_TOLERANCE:
            yield self._displayed(shown)

    def _timed_frames(self) -> Iterator[tuple[float, Pixels]]:
        """Return each frame, BGR, with its time in seconds after the first one."""
        while self._is_grabbed:
            has_frame, pixels = self._capture.retrieve()
            if has_frame:
                yield self._get(cv2.CAP_PROP_POS_MSEC) / 1000.0, pixels
            self._is_grabbed = self._capture.grab()

    def _displayed(self, frame: Pixels) -> Pixels:
        """Return a frame in RGB, widened or heightened until its pixels are square."""
        rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        across, down = self._get(cv2.CAP_PROP_SAR_NUM), self._get(cv2.CAP_PROP_SAR_DEN)
        if not (across > 0 and down > 0 and 1 / MAX_PIXEL_ASPECT <= across / down <= MAX_PIXEL_ASPECT):
            return rgb
        if self._get(cv2.CAP_PROP_ORIENTATION_META) % 180 == 90:  # the frame was turned, its pixels' shape was not
            across, down = down, across
        height, width = rgb.shape[:2]
        size = round(width * max(1.0, across / down)), round(height * max(1.0, down / across))
        return rgb if size == (width, height) else cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR)

    def _get(self, key: int) -> float:
        return float(self._capture.get(key))


class ClipWriter:
    """Writes frames of one size to a video file; a context manager.

    Args:
        stem: path of the file without its ending, which the format brings.
        rate: frames a second.

    Raises:
        VideoError: at the end of the block, when not all of the clip was written.
    """

    def __init__(self, stem: Path, rate: float) -> None:
        self._stem = stem
        self._rate = rate
        self._writer: cv2.VideoWriter | None = None
        self.path: Path | None = None
        self._count = 0

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        self._writer.release()
        if kind is None and not self._is_whole():
            raise VideoError("The clip could not be written to its end: the disk is full.")

    def _is_whole(self) -> bool:
        """Return whether every frame can be read again; OpenCV reports no write that failed."""
        capture = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG)
        count = sum(1 for _ in iter(capture.grab, False))
        capture.release()
        return count == self._count

    def write(self, frame: Pixels) -> None:
        """Append a frame, (H, W, 3) uint8 RGB with an even height and width.

        Raises:
            VideoError: OpenCV cannot write the format here.
        """
        if self._writer is None:
            self._writer, self.path = self._open(frame.shape[1], frame.shape[0])
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self._count += 1

    def _open(self, width: int, height: int) -> tuple[cv2.VideoWriter, Path]:
        path = self._stem.with_suffix(SUFFIX)
        code = cv2.VideoWriter.fourcc(*CODEC)
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, self._rate, (width, height))
        if not writer.isOpened():
            raise VideoError("OpenCV cannot write WebM clips here; install opencv-python-headless from PyPI.")
        return writer, path


def _check_container(path: Path) -> bytes:
    """Return the first bytes of a file that is a container of a kind which refers to no other files."""
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError as error:
        raise VideoError(f"The clip cannot be opened: {error.strerror or error}.") from None
    if not start:
        raise VideoError("The clip is empty; choose another one.")
    is_avi = start.startswith(_RIFF) and start[8:12] == b"AVI "
    if not (start[4:8] in _BOXES or start.startswith((_MATROSKA, _OGG)) or is_avi):
        raise VideoError("This file is not a clip that can be read; save it as MP4, MOV, WebM or AVI.")
    return start
