"""A clip from end to end, without a page."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import EXAMPLES

from dynamicvit.app.inputs import TabRequest, tab_request
from dynamicvit.app.state import AppState
from dynamicvit.app.tabs import video
from dynamicvit.app.tabs.video import ClipProgress, ClipResult, describe_result, show_clip, show_stages
from dynamicvit.errors import VideoError
from dynamicvit.figures.frame import GAP, PANEL_PIXELS
from dynamicvit.images import read
from dynamicvit.video import ClipReader, ClipWriter

PORTRAIT = (240, 160)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Six frames, higher than wide, five a second."""
    picture = cv2.resize(read(EXAMPLES / "cat.jpg").pixels, PORTRAIT[::-1])
    with ClipWriter(tmp_path / "source", 5.0) as writer:
        for step in range(6):
            writer.write(np.roll(picture, 5 * step, axis=1))
    assert writer.path is not None
    return writer.path


def asked(**sent: object) -> TabRequest:
    return tab_request({"settings": {"keep_ratio": 0.5}, **sent})


def test_clip_becomes_a_clip_of_its_stages(state: AppState, clip: Path, tmp_path: Path) -> None:
    *states, result = show_clip(state, clip, tmp_path / "shown", asked())
    assert [step.done for step in states if isinstance(step, ClipProgress)] == [0, 1, 2, 3, 4, 5, 6]
    assert {step.total for step in states[1:]} == {6}
    assert isinstance(result, ClipResult)
    assert (result.frames, result.rate, result.source_rate, result.is_cut) == (6, 5.0, 5.0, False)
    with ClipReader(result.path) as shown:
        frames = list(shown.frames())
    assert len(frames) == 6
    assert frames[0].shape[1] == GAP + 4 * (PANEL_PIXELS + GAP)
    panels = [frames[0][GAP : GAP + PANEL_PIXELS, GAP + i * (PANEL_PIXELS + GAP) :][:, :PANEL_PIXELS] for i in range(4)]
    brightness = [float(pixels.mean()) for pixels in panels]
    assert brightness == sorted(brightness)  # each stage fades more


def test_narrow_page_gets_two_panels_a_row(state: AppState, clip: Path, tmp_path: Path) -> None:
    (*_, result) = show_clip(state, clip, tmp_path / "shown", asked(is_narrow=True))
    with ClipReader(result.path) as shown:
        assert next(shown.frames()).shape[1] == GAP + 2 * (PANEL_PIXELS + GAP)


def test_clip_is_cut_to_what_the_machine_can_do_and_says_so(
    state: AppState, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "_measure", lambda look, frame: 0.25)
    (*_, result) = show_clip(state, clip, tmp_path / "shown", asked(), budget_seconds=1.0)
    assert (result.frames, result.rate, result.is_cut) == (4, 4.0, True)
    line = describe_result(result)
    assert line["text"] == "video.cut"
    assert line["values"] == {"seconds": "1.0", "rate": "4", "source": "5", "milliseconds": "250"}


def test_example_clip_pans_over_the_first_example(state: AppState, tmp_path: Path) -> None:
    with ClipReader(video.write_pan(state, tmp_path / "example")) as example:
        frames = list(example.frames())
    assert (len(frames), example.rate, example.seconds) == (24, 8.0, pytest.approx(3.0, abs=0.2))
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 5


@pytest.mark.parametrize(("rate", "is_cut", "text"), [(10.0, False, "video.whole"), (5.0, False, "video.thinned")])
def test_clip_that_is_shown_whole_says_so(rate: float, is_cut: bool, text: str) -> None:
    assert describe_result(ClipResult(Path("x"), 10, rate, 10.0, 0.1, is_cut))["text"] == text


def test_time_of_a_frame_is_measured(state: AppState, clip: Path, tmp_path: Path) -> None:
    (*_, result) = show_clip(state, clip, tmp_path / "shown", asked())
    assert 0 < result.seconds_per_frame < 60


def test_clip_without_frames_is_refused_in_a_sentence(state: AppState, clip: Path, tmp_path: Path) -> None:
    data = clip.read_bytes()
    clip.write_bytes(data[: data.index(b"\x1f\x43\xb6\x75")])  # up to the first cluster of frames
    with pytest.raises(VideoError, match="save it as MP4 or WebM"):
        list(show_clip(state, clip, tmp_path / "shown", asked()))


def test_page_is_told_what_is_wrong(state: AppState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    empty = tmp_path / "empty.mp4"
    empty.touch()
    for upload, sentence in ((None, "no clip yet"), ({"path": str(empty)}, "is empty")):
        (values,) = show_stages(state, upload, None)
        assert sentence in values[0]["problem"]


def test_stopping_leaves_no_files(state: AppState, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    before = set(tmp_path.iterdir())
    run = show_stages(state, {"path": str(clip)}, None)
    next(run)
    assert set(tmp_path.iterdir()) != before
    run.close()
    assert set(tmp_path.iterdir()) == before
