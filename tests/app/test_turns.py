"""Whose turn it is, whatever order visitors come in and whoever leaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dynamicvit.app.turns import Turn, Turns


async def stays() -> bool:
    return False


async def has_left() -> bool:
    return True


class Work:
    """Answers that are held back until the test lets them go; it notes which began."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.let_go = threading.Event()

    def __call__(self, name: str) -> Callable[[], str]:
        def answer() -> str:
            self.begun.append(name)
            assert self.let_go.wait(30)
            return name

        return answer


def ask(turns: Turns, work: Work, name: str, left: Callable[[], Awaitable[bool]] = stays) -> asyncio.Task[Any]:
    visitor, kind = name.split()
    return asyncio.create_task(turns.ask(visitor, kind, work(name), left))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


def test_visitors_are_served_in_turn() -> None:
    async def run() -> list[str]:
        turns, work = Turns(places=1), Work()
        first = ask(turns, work, "ann first")
        await until(lambda: work.begun == ["ann first"])
        rest = [ask(turns, work, name) for name in ("ann a", "ann b", "ann c", "bob a", "cid a")]
        await until(lambda: turns.waiting == 5)
        work.let_go.set()
        await asyncio.gather(first, *rest)
        return work.begun

    assert asyncio.run(run()) == ["ann first", "ann a", "bob a", "cid a", "ann b", "ann c"]


def test_the_place_of_a_question_is_the_order_in_which_it_begins() -> None:
    async def run() -> list[Any]:
        turns, work = Turns(places=1), Work()
        first = ask(turns, work, "ann first")
        await until(lambda: work.begun == ["ann first"])
        names = ("ann a", "ann b", "ann c", "bob a", "cid a")
        rest = [ask(turns, work, name) for name in names]
        await until(lambda: turns.waiting == 5)
        places = {turns.place(*name.split()): name for name in names}
        others = [turns.place("ann", "first"), turns.place("dan", "a")]
        work.let_go.set()
        await asyncio.gather(first, *rest)
        return [[places[number] for number in range(1, 6)], work.begun[1:], others]

    foreseen, begun, others = asyncio.run(run())
    assert foreseen == begun
    assert others == [0, 0]


def test_a_newer_question_takes_the_place_of_one_that_waits() -> None:
    async def run() -> list[Any]:
        turns, work = Turns(places=1), Work()
        first = ask(turns, work, "ann a")
        await until(lambda: work.begun == ["ann a"])
        older, newer = ask(turns, work, "bob a"), ask(turns, work, "bob a")
        await until(lambda: older.done())
        work.let_go.set()
        return [*(await asyncio.gather(first, older, newer)), len(work.begun)]

    assert asyncio.run(run()) == ["ann a", Turn.REPLACED, "bob a", 2]


def test_nothing_is_computed_for_a_visitor_who_left() -> None:
    async def run() -> list[Any]:
        turns, work = Turns(places=1), Work()
        first = ask(turns, work, "ann a")
        await until(lambda: work.begun == ["ann a"])
        gone, last = ask(turns, work, "bob a", has_left), ask(turns, work, "cid a")
        await until(lambda: turns.waiting == 2)
        work.let_go.set()
        return [*(await asyncio.gather(first, gone, last)), work.begun]

    assert asyncio.run(run()) == ["ann a", Turn.LEFT, "cid a", ["ann a", "cid a"]]


def test_when_too_many_wait_new_ones_are_refused_at_once() -> None:
    async def run() -> list[Any]:
        turns, work = Turns(places=1, most_waiting=2), Work()
        answered = [ask(turns, work, f"visitor{number} a") for number in range(3)]
        await until(lambda: turns.waiting == 2)
        refused = await ask(turns, work, "late a")
        work.let_go.set()
        return [refused, len(await asyncio.gather(*answered)), turns.waiting]

    assert asyncio.run(run()) == [Turn.BUSY, 3, 0]


def test_an_error_frees_the_place() -> None:
    async def run() -> Any:
        turns = Turns(places=1)
        failed = await asyncio.gather(turns.ask("ann", "a", lambda: 1 // 0, stays), return_exceptions=True)
        assert isinstance(failed[0], ZeroDivisionError)
        return await turns.ask("bob", "a", lambda: "answered", stays)

    assert asyncio.run(run()) == "answered"


def test_a_request_that_is_given_up_takes_no_place_with_it() -> None:
    async def run() -> list[Any]:
        turns, work = Turns(places=1), Work()
        first = ask(turns, work, "ann a")
        await until(lambda: work.begun == ["ann a"])
        waiting, last = ask(turns, work, "bob a"), ask(turns, work, "cid a")
        await until(lambda: turns.waiting == 2)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        left = turns.waiting
        work.let_go.set()
        answers = await asyncio.gather(first, last)
        # Given up at the moment of its turn: granted, but not yet told.
        at_once = asyncio.create_task(turns.ask("dan", "a", lambda: "answered", stays))
        await asyncio.sleep(0)
        at_once.cancel()
        await asyncio.gather(at_once, return_exceptions=True)
        async with asyncio.timeout(30):
            return [left, *answers, await turns.ask("eve", "a", lambda: "answered", stays)]

    assert asyncio.run(run()) == [1, "ann a", "cid a", "answered"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.booleans()), max_size=25))
def test_every_question_ends_and_no_place_is_lost(questions: list[tuple[str, str, bool]]) -> None:
    async def run() -> None:
        turns = Turns(places=2, most_waiting=5)
        asked = [
            turns.ask(visitor, kind, lambda: "answered", has_left if left else stays)
            for visitor, kind, left in questions
        ]
        async with asyncio.timeout(30):
            answers = await asyncio.gather(*asked)
        assert {answer for answer in answers if not isinstance(answer, Turn)} <= {"answered"}
        assert turns.waiting == 0
        later = (turns.ask(visitor, "x", lambda: "answered", stays) for visitor in "ab")
        assert await asyncio.gather(*later) == ["answered", "answered"]

    asyncio.run(run())
