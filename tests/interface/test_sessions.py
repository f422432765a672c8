"""What is kept for visitors is bounded and cannot be guessed."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from dynamicvit.errors import ImageError
from dynamicvit.images import DecodedImage
from dynamicvit.interface.sessions import BoundedCache, FairLock, PictureStore


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
    store = PictureStore(budget_bytes=2 * 8 * 8 * 3)
    keys = [store.add(picture(8), "").key for _ in range(3)]
    assert store.get(keys[2]).key == keys[2]
    assert store.get(keys[1]).key == keys[1]
    with pytest.raises(ImageError, match="add it again"):
        store.get(keys[0])


def test_same_picture_of_two_visitors_gets_two_long_keys() -> None:
    store = PictureStore()
    first, second = store.add(picture(8), ""), store.add(picture(8), "")
    assert first.key != second.key
    assert len(first.key) >= 20


def test_lock_lets_one_thread_in_at_a_time() -> None:
    lock, inside, most = FairLock(), [], []

    def visit() -> None:
        for _ in range(20):
            with lock:
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.0005)
                inside.pop()

    threads = [threading.Thread(target=visit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 80
    assert max(most) == 1


def test_lock_is_not_kept_by_a_thread_that_takes_it_again_and_again() -> None:
    lock, rounds, stop = FairLock(), [], threading.Event()

    def measure() -> None:
        while not stop.is_set():
            with lock:
                time.sleep(0.005)
                rounds.append(1)

    thread = threading.Thread(target=measure)
    thread.start()
    while len(rounds) < 3:
        time.sleep(0.001)
    before = len(rounds)
    with lock:
        waited = len(rounds) - before
    stop.set()
    thread.join()
    assert waited <= 2
