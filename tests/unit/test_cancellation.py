"""A task that is stopped ends, even if it swallows a cancellation."""

import asyncio

import pytest

from nexus_hub import cancellation
from nexus_hub.cancellation import cancel_and_wait


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
