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
from dynamicvit.images import MAX_PIXELS

# Both play in Chromium as OpenCV writes them. H.264 is not among them: OpenCV's wheels cannot write it.
FORMATS = ((".webm", "VP90"), (".webm", "VP80"))
CREDIBLE_RATES = (1.0, 240.0)  # recordings of browsers carry the clock's 1000 in place of a frame rate
USUAL_RATE = 30.0

# Containers by their first bytes. Anything else that FFmpeg opens is refused, play lists above all: they make it open
# other files.
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_MATROSKA, _RIFF, _OGG = b"\x1a\x45\xdf\xa3", b"RIFF", b"OggS"


class ClipReader:
    """A video file, open for reading; a context manager.

    Attributes:
        rate: frames a second; :data:`USUAL_RATE` where the file tells nothing credible.
        seconds: length that the file declares; None where it tells nothing credible.

    Raises:
        VideoError: the file is no clip that can be read, or its frames are too large.
    """

    def __init__(self, path: Path) -> None:
        _check_container(path)
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise VideoError("The clip cannot be read; save it as MP4 or WebM.")
        width, height = (self._capture.get(key) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MAX_PIXELS:
            self._capture.release()
            raise VideoError(f"The clip's frames have more than {MAX_PIXELS // 1_000_000} megapixels; scale it down.")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        is_credible = CREDIBLE_RATES[0] <= rate <= CREDIBLE_RATES[1]
        self.rate: float = rate if is_credible else USUAL_RATE
        self.seconds: float | None = count / rate if is_credible and count > 0 else None

    def __enter__(self) -> ClipReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()

    def frames(self, rate: float = math.inf) -> Iterator[NDArray[np.uint8]]:
        """Give frames from where reading stands, (H, W, 3) uint8 RGB and upright, at most ``rate`` a second.

        They are chosen by their times, so that a clip with an uneven rate keeps its pace. The last ones of a damaged
        clip are missing without a word, as in a player.
        """
        due = 0.0
        while self._capture.grab():
            if self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0 < due - 1e-3:
                continue
            has_frame, pixels = self._capture.retrieve()
            if has_frame:
                yield cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
            due += 1.0 / rate


class ClipWriter:
    """Writes frames of one size to a video file; a context manager.

    Args:
        stem: path of the file without its ending, which the format brings.
        rate: frames a second.
    """

    def __init__(self, stem: Path, rate: float) -> None:
        self._stem = stem
        self._rate = rate
        self._writer: cv2.VideoWriter | None = None
        self.path: Path | None = None

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append a frame, (H, W, 3) uint8 RGB with an even height and width.

        Raises:
            VideoError: OpenCV can write none of the formats here.
        """
        if self._writer is None:
            self._writer, self.path = self._open(frame.shape[1], frame.shape[0])
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def _open(self, width: int, height: int) -> tuple[cv2.VideoWriter, Path]:
        for suffix, codec in FORMATS:
            path = self._stem.with_suffix(suffix)
            code = cv2.VideoWriter.fourcc(*codec)
            writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, self._rate, (width, height))
            if writer.isOpened():
                return writer, path
        raise VideoError("OpenCV cannot write WebM clips here; install opencv-python-headless from PyPI.")


def _check_container(path: Path) -> None:
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
