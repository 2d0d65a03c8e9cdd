"""Turns: who gets one, who waits for one, and who is sent away."""

import asyncio
from contextlib import AsyncExitStack, suppress
from uuid import uuid4

import pytest

from nexus_hub.access import turns
from nexus_hub.access.turns import Turns
from nexus_hub.errors import TooManyRequests
from nexus_hub.models import OPERATOR, Principal

ANN, BOB, EVE = (Principal(uuid4()) for _ in range(3))


class Work:
    """Work that takes turns, and how much of it ran at the same time."""

    def __init__(self, taken: Turns) -> None:
        self.turns = taken
        self.running = self.most = self.done = 0
        self.go_on = asyncio.Event()

    async def run(self, principal: Principal) -> None:
        """Work until told to go on."""
        async with self.turns.turn(principal):
            self.running += 1
            self.most = max(self.most, self.running)
            await self.go_on.wait()
            await asyncio.sleep(0)
            self.running -= 1
            self.done += 1


async def settle() -> None:
    """Let all that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def is_refused(taken: Turns, principal: Principal) -> bool:
    try:
        async with taken.turn(principal):
            return False
    except TooManyRequests:
        return True


async def test_no_more_of_a_user_runs_at_once_than_is_let_in_and_all_of_it_runs() -> None:
    work = Work(Turns("work", per_user=2))
    tasks = [asyncio.create_task(work.run(ANN)) for _ in range(9)]
    await settle()
    assert work.running == 2
    work.go_on.set()
    await asyncio.gather(*tasks)
    assert (work.most, work.done) == (2, 9)


async def test_a_user_who_waits_holds_up_no_other() -> None:
    taken = Turns("work", per_user=1, in_all=2, patience=0)
    async with taken.turn(ANN):
        assert await is_refused(taken, ANN)
        assert not await is_refused(taken, BOB)


async def test_all_users_together_are_bounded_too_and_so_is_the_operator() -> None:
    taken = Turns("work", per_user=1, in_all=2, patience=0)
    async with taken.turn(OPERATOR), taken.turn(OPERATOR):
        assert await is_refused(taken, ANN)
        assert await is_refused(taken, OPERATOR)
    async with taken.turn(ANN), taken.turn(BOB):
        assert await is_refused(taken, EVE)
    assert not await is_refused(taken, EVE)


async def test_the_operator_has_no_bound_where_there_is_none_in_all() -> None:
    taken = Turns("work", per_user=1, patience=0)
    async with AsyncExitStack() as stack:
        for _ in range(500):
            await stack.enter_async_context(taken.turn(OPERATOR))


async def test_who_would_wait_behind_too_many_is_sent_away_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MOST_WAITING", 3)
    work = Work(Turns("work", per_user=1, patience=3600))
    tasks = [asyncio.create_task(work.run(ANN)) for _ in range(4)]
    await settle()
    assert await is_refused(work.turns, ANN)
    work.go_on.set()
    await asyncio.gather(*tasks)
    assert not await is_refused(work.turns, ANN)


async def test_a_refusal_says_what_is_bounded_and_when_to_come_back() -> None:
    taken = Turns("event streams", per_user=1, in_all=4, patience=0)
    async with taken.turn(ANN):
        with pytest.raises(
            TooManyRequests, match="event streams, of which 1 are let in for each user and 4 in all"
        ) as no:
            async with taken.turn(ANN):
                pass
    assert (no.value.status, no.value.retry_after) == (429, 1)


async def test_a_turn_ends_with_its_block_however_that_ends() -> None:
    taken = Turns("work", per_user=1, in_all=1, patience=3600)
    with suppress(ValueError):
        async with taken.turn(ANN):
            raise ValueError
    async with taken.turn(ANN):
        waiting = asyncio.create_task(is_refused(taken, ANN))
        await settle()
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
    assert not await is_refused(taken, ANN)
    assert not await is_refused(taken, BOB)
    assert not taken._lanes
