"""Clips in and out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from full_disk import room_for
from numpy.typing import NDArray

from dynamicvit import video
from dynamicvit.errors import VideoError
from dynamicvit.video import ClipReader, ClipWriter

WIDTH, HEIGHT = 96, 64


def frame(level: int) -> NDArray[np.uint8]:
    """Red on the left, grey of a level on the right."""
    pixels = np.full((HEIGHT, WIDTH, 3), level, np.uint8)
    pixels[:, : WIDTH // 2] = (220, 20, 20)
    return pixels


def write_clip(stem: Path, levels: list[int], rate: float = 10.0) -> Path:
    with ClipWriter(stem, rate) as writer:
        for level in levels:
            writer.write(frame(level))
    assert writer.path is not None
    return writer.path


def write_mp4(path: Path) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (WIDTH, HEIGHT))
    for _ in range(5):
        writer.write(frame(100)[..., ::-1].copy())
    writer.release()
    return path


def write_timed(path: Path, numbers: list[int]) -> Path:
    """An MKV clip whose frames stand at multiples of 1/30 s; frame n is of level 4 n."""
    source = path.with_suffix(".mp4")
    size, codec = (WIDTH, HEIGHT), cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(source), cv2.CAP_FFMPEG, codec, 30.0, size)
    for index in range(len(numbers)):
        writer.write(frame(4 * index))
    writer.release()
    packets = cv2.VideoCapture(str(source), cv2.CAP_FFMPEG)
    packets.set(cv2.CAP_PROP_FORMAT, -1)  # as they are, not decoded
    raw = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, 30.0, size, [cv2.VIDEOWRITER_PROP_RAW_VIDEO, 1])
    for number in numbers:
        _, packet = packets.read()
        raw.set(cv2.VIDEOWRITER_PROP_KEY_FLAG, packets.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME))
        raw.set(cv2.VIDEOWRITER_PROP_PTS, number)
        raw.write(packet)
    raw.release()
    packets.release()
    return path


def with_matrix(path: Path, matrix: tuple[float, float, float, float]) -> Path:
    """Change how an MP4 clip is to be shown: a, b, c, d of its track's matrix."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # a, b, u, c, d, v of the track's matrix, 16.16 fixed point
    for place, value in zip((0, 4, 12, 16), matrix, strict=True):
        data[at + place : at + place + 4] = round(value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    return path


def levels_of(frames: list[NDArray[np.uint8]]) -> list[int]:
    return [round(float(pixels[:, WIDTH // 2 + 8 :].mean())) for pixels in frames]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    levels = [20, 60, 100, 140, 180, 220]
    path = write_clip(tmp_path / "clip", levels)
    with ClipReader(path) as clip:
        assert clip.rate == pytest.approx(10.0)
        assert clip.seconds == pytest.approx(0.6)
        frames = list(clip.frames())
    assert all(pixels.shape == (HEIGHT, WIDTH, 3) for pixels in frames)
    assert levels_of(frames) == pytest.approx(levels, abs=8)
    red = frames[0][:, : WIDTH // 2 - 8].mean(axis=(0, 1))
    assert red[0] > red[2] + 100


def test_clip_is_in_a_format_that_browsers_play(tmp_path: Path) -> None:
    assert write_clip(tmp_path / "clip", [0]).read_bytes().find(b"V_VP8") > 0


def test_where_the_format_cannot_be_written_a_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "CODEC", "none")
    with pytest.raises(VideoError, match="cannot write WebM"):
        write_clip(tmp_path / "other", [0])


@pytest.mark.parametrize(("rate", "expected"), [(10.0, 20), (5.0, 10), (4.0, 8), (2.5, 5), (30.0, 20)])
def test_fewer_frames_a_second_keep_the_pace(tmp_path: Path, rate: float, expected: int) -> None:
    path = write_clip(tmp_path / "clip", [10 * step for step in range(20)])
    with ClipReader(path) as clip:
        frames = list(clip.frames(rate))
    assert len(frames) == expected
    steps = np.diff(levels_of(frames))
    assert np.abs(steps - 10 * 20 / expected).max() <= 14  # 10 a frame, and a frame more or less where 10 / rate is odd


@pytest.mark.parametrize(
    ("matrix", "shape", "red_side"),
    [
        ((0, 1, -1, 0), (WIDTH, HEIGHT), "top"),
        ((-1, 0, 0, -1), (HEIGHT, WIDTH), "right"),
        ((0, -1, 1, 0), (WIDTH, HEIGHT), "bottom"),
    ],
    ids=["90", "180", "270"],
)
def test_clip_of_a_turned_telephone_is_upright(
    tmp_path: Path, matrix: tuple[int, int, int, int], shape: tuple[int, int], red_side: str
) -> None:
    path = with_matrix(write_mp4(tmp_path / "clip.mp4"), matrix)
    with ClipReader(path) as clip:
        first = next(clip.frames())
    assert first.shape == (*shape, 3)
    half = {"top": first[: shape[0] // 3], "bottom": first[-shape[0] // 3 :], "right": first[:, -shape[1] // 3 :]}
    red = half[red_side].mean(axis=(0, 1))
    assert red[0] > red[2] + 100


def test_frame_before_a_gap_is_held(tmp_path: Path) -> None:
    path = write_timed(tmp_path / "clip.mkv", [*range(30), *range(300, 330)])  # still from second 1 to 10
    with ClipReader(path) as clip:
        levels = levels_of(list(clip.frames(4.0)))
    # At 0, 0.25, 0.5 and 0.75 s, then the last one before the gap, then at 10, 10.25 s and so on.
    expected = [0, 28, 60, 88, *[116] * 36, 120, 148, 180, 208]
    assert len(levels) == len(expected)
    assert levels == pytest.approx(expected, abs=8)


def test_clip_that_begins_with_a_gap_or_is_mostly_gap_keeps_its_pace(tmp_path: Path) -> None:
    path = write_timed(tmp_path / "clip.mkv", [0, 600, 615, 630])
    with ClipReader(path) as clip:
        levels = levels_of(list(clip.frames(2.0)))
    assert levels == pytest.approx([0] * 40 + [4, 8, 12], abs=4)


def test_clip_whose_first_frame_comes_late_begins_with_it(tmp_path: Path) -> None:
    path = write_timed(tmp_path / "clip.mkv", [3000 + number for number in range(60)])  # second 100 to 102
    with ClipReader(path) as clip:
        assert clip.seconds == pytest.approx(2.0)
        levels = levels_of(list(clip.frames(2.0)))
    assert levels == pytest.approx([0, 60, 120, 180], abs=8)


@pytest.mark.parametrize(
    ("matrix", "shape"),
    [
        ((4 / 3, 0, 0, 1), (HEIGHT, 128)),
        ((1, 0, 0, 4 / 3), (85, WIDTH)),
        ((0, 1, -4 / 3, 0), (128, HEIGHT)),  # as FFmpeg understands a scale with a turn
        ((100, 0, 0, 1), (HEIGHT, WIDTH)),
    ],
    ids=["wide", "high", "wide and turned", "not credible"],
)
def test_pixels_that_are_not_square_are_shown_in_their_shape(
    tmp_path: Path, matrix: tuple[float, float, float, float], shape: tuple[int, int]
) -> None:
    path = with_matrix(write_mp4(tmp_path / "clip.mp4"), matrix)
    with ClipReader(path) as clip:
        assert next(clip.frames()).shape == (*shape, 3)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"this is no clip at all", "not a clip"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "not a clip"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not a clip"),
        (b"\x00\x00\x00\x18ftypisom" + bytes(200), "cannot be read"),
        (b"\x1a\x45\xdf\xa3" + bytes(200), "cannot be read"),
    ],
)
def test_what_is_no_clip_is_refused_in_a_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=sentence):
        ClipReader(path)


def test_missing_clip_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="cannot be opened"):
        ClipReader(tmp_path / "none.mp4")


def test_frames_that_are_too_large_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "clip", [0])
    monkeypatch.setattr(video, "MAX_PIXELS", WIDTH * HEIGHT - 1)
    with pytest.raises(VideoError, match="scale it down"):
        ClipReader(path)


def test_clip_that_breaks_off_gives_the_frames_before(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip", list(range(0, 250, 5)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with ClipReader(path) as clip:
        assert 0 < len(list(clip.frames())) < 50


def test_a_clip_for_which_the_disk_has_no_room_is_not_taken_for_whole(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (10, 160, 160, 3), dtype=np.uint8)

    def write() -> None:
        with ClipWriter(tmp_path / "clip", 8.0) as writer:
            for pixels in noise:
                writer.write(pixels)

    with room_for(4000), pytest.raises(VideoError, match="disk is full"):
        write()
