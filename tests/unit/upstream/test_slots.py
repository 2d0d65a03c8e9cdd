"""Slots of a server: one user's hanging requests leave some to others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_hub.errors import TooMany
from nexus_hub.upstream import slots
from nexus_hub.upstream.slots import FairSlots

ANN, BOB, EVE = "ann", "bob", "eve"


class Crowd:
    """Users who take slots and keep them."""

    def __init__(self, slots: FairSlots) -> None:
        self.slots = slots
        self.held: list[tuple[str | None, AsyncExitStack]] = []
        self.waiting: list[tuple[str | None, asyncio.Task[None]]] = []

    async def come(self, user: str | None, times: int = 1) -> None:
        for _ in range(times):
            self.waiting.append((user, asyncio.create_task(self._take(user))))
        await self.settle()

    async def _take(self, user: str | None) -> None:
        stack = AsyncExitStack()
        await stack.enter_async_context(self.slots.take(user))
        self.held.append((user, stack))

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        self.waiting = [(user, task) for user, task in self.waiting if not task.done()]

    async def leave(self, user: str | None) -> None:
        found = next(one for one in self.held if one[0] == user)
        self.held.remove(found)
        await found[1].aclose()
        await self.settle()

    def count(self, user: str | None) -> int:
        return sum(one == user for one, _ in self.held)


@asynccontextmanager
async def crowd(places: int, share: float = 0.5) -> AsyncIterator[Crowd]:
    there = Crowd(FairSlots("srv", places, share))
    try:
        yield there
    finally:
        for _, task in there.waiting:
            task.cancel()
        await asyncio.gather(*(task for _, task in there.waiting), return_exceptions=True)
        for _, stack in there.held:
            await stack.aclose()


async def test_one_user_takes_half_and_leaves_the_rest_to_others() -> None:
    async with crowd(64) as users:
        await users.come(ANN, 64)
        assert users.count(ANN) == 32
        await users.come(BOB)
        assert users.count(BOB) == 1


async def test_a_user_with_nothing_under_way_gets_a_slot_though_several_others_hang() -> None:
    async with crowd(64) as users:
        for number in range(12):
            await users.come(f"user-{number}", 64)
        await users.come(BOB)
        assert users.count(BOB) == 1


async def test_the_operator_and_the_hub_itself_are_users_like_others() -> None:
    async with crowd(4) as users:
        await users.come(None, 10)
        assert users.count(None) == 2
        await users.come("hub")
        assert users.count("hub") == 1
        await users.leave(None)
        assert users.count(None) == 1, "half of what the other leaves"
        await users.leave("hub")
        assert users.count(None) == 2


async def test_a_slot_that_gets_free_goes_to_the_user_with_the_least_under_way() -> None:
    async with crowd(1) as users:
        await users.come(ANN)
        await users.come(BOB)
        await users.come(EVE)
        assert [user for user, _ in users.held] == [ANN, BOB, EVE]
        await users.come(ANN, 3)
        await users.come("new")
        await users.come("newer")
        assert users.count("newer") == 0
        await users.leave(EVE)
        assert users.count("newer") == 1
        assert users.count(ANN) == 1


async def test_with_all_of_the_share_one_user_takes_everything() -> None:
    async with crowd(5, share=1) as users:
        await users.come(ANN, 9)
        assert users.count(ANN) == 5


@pytest.mark.parametrize("given_up", [0, 1, 2])
async def test_whoever_gives_up_waiting_costs_nobody_a_slot(given_up: int) -> None:
    async with crowd(2) as users:
        await users.come(ANN, 4)
        assert users.count(ANN) == 1
        users.waiting[given_up][1].cancel()
        await users.settle()
        await users.leave(ANN)
        assert users.count(ANN) == 1
        await users.leave(ANN)
        assert (users.count(ANN), users.waiting) == (1, [])


async def test_who_has_little_patience_is_refused_and_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    async with crowd(2) as users:
        await users.come(ANN, 2)
        with pytest.raises(TooMany, match="'srv' is at work on 1 calls of yours, and takes 2 at a time"):
            async with users.slots.take(ANN, patience=0):
                pass
        monkeypatch.setattr(slots, "MOST_WAITING", 1)
        with pytest.raises(TooMany):
            async with users.slots.take(ANN, patience=3600):
                pass
        await users.leave(ANN)
        assert (users.count(ANN), users.waiting) == (1, [])


async def test_a_turn_that_comes_with_a_cancellation_is_passed_on() -> None:
    async with crowd(1) as users:
        await users.come(ANN, 3)
        (_, first), (_, second) = users.waiting
        _, stack = users.held.pop()
        await stack.aclose()
        first.cancel()
        await users.settle()
        assert second.done()
        assert users.count(ANN) == 1


@given(st.lists(st.tuples(st.sampled_from([ANN, BOB, EVE, None]), st.booleans()), max_size=60), st.integers(1, 8))
def test_no_order_of_comings_and_goings_breaks_the_bounds(steps: list[tuple[str | None, bool]], places: int) -> None:
    async def run() -> None:
        async with crowd(places) as users:
            for user, comes in steps:
                if comes:
                    await users.come(user)
                elif users.count(user):
                    await users.leave(user)
                taken = {one: users.count(one) for one, _ in users.held}
                assert all(own == 1 or own <= places / 2 for own in taken.values())
                assert len(users.held) <= places + len(taken)
                waiting = {one for one, _ in users.waiting}
                assert all(taken.get(one) for one in waiting), "who has nothing under way does not wait"

    asyncio.run(run())
