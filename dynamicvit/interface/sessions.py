"""What visitors share and what is kept for each of them, in bounded memory."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from dynamicvit.errors import ImageError
from dynamicvit.images import DecodedImage

MAX_PICTURE_BYTES = 512 * 2**20

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """A mapping for several threads that forgets what was used least recently.

    Args:
        budget: what all entries together may cost; the newest entry stays even if it costs more alone.
        cost: of one value; 1 when not given, so that the budget is a number of entries.
    """

    def __init__(self, budget: int, cost: Callable[[V], int] = lambda value: 1) -> None:
        self._budget = budget
        self._cost = cost
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """Give the value of a key, None when it is unknown or forgotten."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key]

    def put(self, key: K, value: V) -> None:
        """Remember a value and forget the oldest ones until the budget is kept."""
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            while len(self._entries) > 1 and sum(map(self._cost, self._entries.values())) > self._budget:
                self._entries.popitem(last=False)


class ModelThread:
    """Runs all that the models compute on one thread, first come, first served.

    A lock around several threads would not do: OpenMP keeps a team of workers for every thread that ever computed, and
    two teams get in each other's way; a forward pass then takes twice as long (measured on two cores).
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="model")

    def __call__(self, work: Callable[[], V]) -> V:
        """Wait for one's turn, run ``work`` and give what it gives or raise what it raises."""
        return self._executor.submit(work).result()


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that a visitor opened, under an id that nobody can guess; the title is empty for an upload."""

    key: str
    title: str
    image: DecodedImage
    file_name: str = ""


class PictureStore:
    """The pictures that visitors opened last; an example keeps its id, so any number of visitors share one copy."""

    def __init__(self, budget_bytes: int = MAX_PICTURE_BYTES) -> None:
        self._pictures: BoundedCache[str, Picture] = BoundedCache(budget_bytes, lambda p: p.image.pixels.nbytes)

    def add(self, image: DecodedImage, title: str, file_name: str = "") -> Picture:
        """Keep a picture under a new id."""
        picture = Picture(secrets.token_urlsafe(16), title, image, file_name)
        self._pictures.put(picture.key, picture)
        return picture

    def get(self, key: str) -> Picture:
        """Give the picture of an id.

        Raises:
            ImageError: the id is unknown, or the picture was forgotten.
        """
        picture = self._pictures.get(key)
        if picture is None:
            raise ImageError("This picture is no longer in the app's memory; add it again.")
        return picture
