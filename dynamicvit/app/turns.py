"""Whose turn it is: questions are answered a few at a time, visitor by visitor, and not for those who left."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

PLACES = 3  # questions under way; the models compute one after the other anyway, the rest decodes and draws
MAX_WAITING = 60

V = TypeVar("V")


class Turn(Enum):
    """What became of a question that was not answered."""

    REPLACED = "a newer question of that kind came from the same visitor"
    LEFT = "the visitor left before it was its turn"
    BUSY = "too many were waiting"


@dataclass(eq=False)
class _Question:
    """One that waits, until its future says why it was not answered, or None for its turn, which takes a place."""

    settled: asyncio.Future[Turn | None]
    has_place: bool = False

    def settle(self, turn: Turn | None) -> None:
        self.has_place = turn is None
        self.settled.get_loop().call_soon_threadsafe(self._tell, turn)

    def _tell(self, turn: Turn | None) -> None:
        if not self.settled.done():  # the web server may have given the request up
            self.settled.set_result(turn)


class Turns:
    """A queue in which visitors follow each other, with one waiting question of each kind for a visitor.

    Waiting costs no thread: it is done on the event loop of the web server.

    Args:
        places: how many questions are under way at a time.
        most_waiting: from how many waiting questions on new ones are refused.
    """

    def __init__(self, places: int = PLACES, most_waiting: int = MAX_WAITING) -> None:
        self._free = places
        self._most_waiting = most_waiting
        self._threads = ThreadPoolExecutor(places, thread_name_prefix="answer")
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, OrderedDict[str, _Question]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many questions wait."""
        with self._lock:
            return self._count()

    def place(self, visitor: str, kind: str) -> int:
        """Return which of the waiting questions this is, 1 for the one that begins next; 0 when it does not wait."""
        with self._lock:
            order = sorted(
                (turn, number, name, what)
                for number, (name, own) in enumerate(self._waiting.items())
                for turn, what in enumerate(own)
            )
        return next((place for place, (*_, name, what) in enumerate(order, 1) if (name, what) == (visitor, kind)), 0)

    async def ask(
        self, visitor: str, kind: str, work: Callable[[], V], has_left: Callable[[], Awaitable[bool]]
    ) -> V | Turn:
        """Wait for one's turn and return what ``work`` returns, run in a thread, or why it was not run.

        Args:
            visitor: who asks; the visitors that wait are served in turn.
            kind: a newer question of the same kind takes the place of one that still waits.
            work: answers the question.
            has_left: whether nobody waits for the answer any more.
        """
        turn = await self._wait(visitor, kind)
        if turn is not None:
            return turn
        try:
            if await has_left():
                return Turn.LEFT
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._release()

    async def _wait(self, visitor: str, kind: str) -> Turn | None:
        mine = _Question(asyncio.get_running_loop().create_future())
        with self._lock:
            own = self._waiting.setdefault(visitor, OrderedDict())
            older = own.pop(kind, None)
            if older is not None:
                older.settle(Turn.REPLACED)
            elif self._count() >= self._most_waiting:
                if not own:
                    del self._waiting[visitor]
                return Turn.BUSY
            own[kind] = mine
            self._grant()
        try:
            return await mine.settled
        except asyncio.CancelledError:
            self._forget(visitor, kind, mine)
            raise

    def _forget(self, visitor: str, kind: str, mine: _Question) -> None:
        """Let nobody wait behind a question whose request was given up."""
        with self._lock:
            own = self._waiting.get(visitor, OrderedDict())
            if own.get(kind) is mine:
                del own[kind]
                if not own:
                    del self._waiting[visitor]
        if mine.has_place:
            self._release()

    def _release(self) -> None:
        with self._lock:
            self._free += 1
            self._grant()

    def _grant(self) -> None:
        """Let the first question of the visitor who waited longest begin, while there is a free place."""
        while self._free and self._waiting:
            visitor, own = self._waiting.popitem(last=False)
            _, first = own.popitem(last=False)
            if own:
                self._waiting[visitor] = own  # at the end: the others come before this one's next question
            self._free -= 1
            first.settle(None)

    def _count(self) -> int:
        return sum(map(len, self._waiting.values()))
