"""What is kept for visitors is bounded and cannot be guessed."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import EXAMPLES

from dynamicvit.app import explorer
from dynamicvit.app.state import AppState, BoundedCache, ModelThread
from dynamicvit.errors import ImageError
from dynamicvit.images import DecodedImage


def picture(side: int) -> DecodedImage:
    return DecodedImage(np.zeros((side, side, 3), np.uint8), "PNG")


def test_least_recently_used_entry_is_forgotten() -> None:
    cache: BoundedCache[str, int] = BoundedCache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    cache.get("a")
    cache.put("c", 3)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]


def test_newest_entry_stays_even_over_budget() -> None:
    cache: BoundedCache[str, int] = BoundedCache(10, cost=lambda value: value)
    cache.put("small", 1)
    cache.put("large", 11)
    assert cache.get("large") == 11
    assert cache.get("small") is None


def test_pictures_are_bounded_by_their_bytes() -> None:
    state = AppState(image_bytes=2 * 8 * 8 * 3)
    keys = [state.add_image(picture(8)).key for _ in range(3)]
    assert state.image(keys[2]).key == keys[2]
    assert state.image(keys[1]).key == keys[1]
    with pytest.raises(ImageError, match="add it again"):
        state.image(keys[0])


def test_a_key_says_where_the_crop_lies(checkpoints: Path) -> None:
    state = AppState(checkpoints, EXAMPLES)
    key = state.add_image(picture(64)).key
    moved = state.image(f"{key}@0.00,1.00")
    assert (moved.key, moved.crop_at, moved.image) == (f"{key}@0.00,1.00", (0.0, 1.0), state.image(key).image)
    assert state.image("cat@0.50,0.50").key == state.image("cat").key == "cat"
    assert state.prepared(moved, state.load(None)).crop.left == 0.0


@pytest.mark.parametrize("key", ["cat@", "cat@2.00,0.00", "cat@0.5,0.5", "cat@0.50,0.50@0.50,0.50", "@0.00,0.00", ""])
def test_a_key_with_no_place_of_a_crop_is_refused(key: str) -> None:
    with pytest.raises(ImageError):
        AppState(examples=EXAMPLES).image(key)


def test_what_was_computed_of_a_forgotten_picture_or_model_is_let_go(checkpoints: Path) -> None:
    state = AppState(checkpoints, image_bytes=2**20)
    loaded = state.load(None)
    prepared = weakref.ref(state.prepared(state.add_image(picture(64)), loaded))
    assert prepared() is not None
    for _ in range(10):
        state.add_image(picture(200))
    gc.collect()
    assert prepared() is None


def test_large_pictures_push_out_each_other_alone() -> None:
    state = AppState(image_bytes=400_000)
    idle = state.add_image(picture(100)).key
    large = [state.add_image(picture(300)).key for _ in range(3)]
    assert state.image(idle).key == idle
    assert state.image(large[2]).key == large[2]
    with pytest.raises(ImageError):
        state.image(large[1])


def test_same_picture_of_two_visitors_gets_two_long_keys() -> None:
    state = AppState()
    first, second = state.add_image(picture(8)), state.add_image(picture(8))
    assert first.key != second.key
    assert len(first.key) >= 20


def test_all_work_runs_on_one_thread_in_the_order_of_asking() -> None:
    run, begun = ModelThread(), threading.Event()
    order: list[str] = []
    first = threading.Thread(target=lambda: run(lambda: (begun.set(), time.sleep(0.05), order.append("first"))))
    first.start()
    begun.wait(5)
    names = {run(lambda: (order.append("second"), threading.current_thread().name)[1]) for _ in range(3)}
    first.join()
    assert order == ["first", "second", "second", "second"]
    assert len(names) == 1
    assert threading.current_thread().name not in names


def test_an_error_of_the_work_reaches_who_asked_and_the_thread_lives_on() -> None:
    run = ModelThread()
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 / 0)
    assert run(lambda: 2) == 2


def test_what_the_page_opens_with_is_there_before_it_is_asked_for(checkpoints: Path, tmp_path: Path) -> None:
    state = AppState(checkpoints, EXAMPLES)
    state.open_ahead()
    state.run = lambda work: pytest.fail("computed again")
    assert "answer" in explorer.first_scene(state)
    AppState(tmp_path, EXAMPLES).open_ahead()  # without a model the page says so


def test_a_gpu_without_memory_left_gives_way_to_the_cpu_and_the_page_says_so(
    checkpoints: Path, state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = ("cat", state.first_model(), {"keep_ratio": 0.43})
    usual = explorer.analyse(state, *ask, "en")
    full = AppState(checkpoints, EXAMPLES)
    full.device = torch.device("meta")  # stands for the GPU, which no model is on here
    model = full.load(None).model.to_empty(device="cpu")
    model.load_state_dict(state.load(None).model.state_dict())
    moves: list[object] = []
    monkeypatch.setattr(model, "to", moves.append)
    passes = iter([model.forward_stages] * 3)

    def forward_stages(*arguments: object) -> object:
        if not moves:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return next(passes)(*arguments)

    monkeypatch.setattr(model, "forward_stages", forward_stages)
    answer = explorer.analyse(full, *ask, "en")
    assert moves == [full.device] == [torch.device("cpu")]
    assert answer["note"].startswith("The graphics card's memory was not enough, so the app now computes on the CPU")
    assert answer | {"note": usual["note"]} == usual
    assert explorer.analyse(full, *ask, "zh")["note"].startswith("显存不足")
