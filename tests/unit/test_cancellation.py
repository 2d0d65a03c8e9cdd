"""A task that is stopped ends, even if it swallows a cancellation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from nexus_hub import cancellation
from nexus_hub.cancellation import cancel_and_wait, in_own_task


async def test_a_task_that_swallows_the_first_cancellation_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancellation, "REPEAT_SECONDS", 0.01)
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while swallowed < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
        await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await cancel_and_wait(task)
    assert (task.cancelled(), swallowed) == (True, 3)


async def test_a_task_that_has_ended_stays_as_it_is_and_its_error_shows() -> None:
    async def failing() -> None:
        raise ValueError("why")

    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="why"):
        await cancel_and_wait(task)


@asynccontextmanager
async def of_one_task(*, fails: bool = False) -> AsyncIterator[str]:
    """A context that has to be left by the task that entered it."""
    entered_by = asyncio.current_task()
    if fails:
        raise OSError
    try:
        yield "open"
    finally:
        assert asyncio.current_task() is entered_by


async def test_a_context_in_its_own_task_may_be_left_by_another_one() -> None:
    async with AsyncExitStack() as stack:
        assert await asyncio.create_task(stack.enter_async_context(in_own_task(of_one_task()))) == "open"


async def test_an_error_of_whoever_uses_the_context_or_of_the_context_itself_shows() -> None:
    with pytest.raises(ZeroDivisionError):
        async with in_own_task(of_one_task()):
            raise ZeroDivisionError
    with pytest.raises(OSError):
        async with in_own_task(of_one_task(fails=True)):
            pass
