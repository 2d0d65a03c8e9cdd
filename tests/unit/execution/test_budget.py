"""Budget of bytes: who may go, in which order, and what goes alone."""

import asyncio

import pytest

from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.execution.budget import ByteBudget


class Users:
    """Blocks that use a budget, until they are told to end."""

    def __init__(self, limit: int) -> None:
        self.budget = ByteBudget(limit)
        self.inside: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def begin(self, name: str, size: int) -> None:
        self.ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._use(name, size))
        await asyncio.sleep(0)

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await self.tasks[name]
        for _ in range(3):
            await asyncio.sleep(0)

    async def _use(self, name: str, size: int) -> None:
        async with self.budget.use(size):
            self.inside.append(name)
            try:
                await self.ends[name].wait()
            finally:
                self.inside.remove(name)


async def test_as_many_go_as_there_is_room_for_and_the_rest_in_their_order() -> None:
    users = Users(10)
    for name, size in (("a", 6), ("b", 4), ("c", 5), ("d", 1)):
        await users.begin(name, size)
    assert users.inside == ["a", "b"]
    await users.end("b")
    assert users.inside == ["a"], "d would fit, but c asked before it"
    await users.end("a")
    assert users.inside == ["c", "d"]
    for name in ("c", "d"):
        await users.end(name)


async def test_what_is_larger_than_the_budget_goes_alone() -> None:
    users = Users(10)
    for name, size in (("small", 1), ("huge", 1000), ("next", 1)):
        await users.begin(name, size)
    assert users.inside == ["small"]
    await users.end("small")
    assert users.inside == ["huge"]
    await users.end("huge")
    assert users.inside == ["next"]
    await users.end("next")


async def test_what_needs_no_room_never_waits() -> None:
    users = Users(10)
    await users.begin("all", 10)
    await users.begin("none", 0)
    assert users.inside == ["all", "none"]
    for name in ("all", "none"):
        await users.end(name)


@pytest.mark.parametrize("waits", [True, False], ids=["waiting", "inside"])
async def test_one_that_is_cancelled_leaves_its_room(waits: bool) -> None:
    users = Users(10)
    if waits:
        await users.begin("first", 10)
    await users.begin("cancelled", 10)
    await users.begin("last", 10)
    await cancel_and_wait(users.tasks["cancelled"])
    if waits:
        await users.end("first")
    await asyncio.sleep(0)
    assert users.inside == ["last"]
    await users.end("last")
