"""What calls the worker: many rings before a look are one, and what is due rings by itself."""

import asyncio
from datetime import UTC, datetime, timedelta

from deployments.bell import Bell


async def test_many_rings_are_one() -> None:
    bell = Bell()
    for _ in range(3):
        bell.ring()
    await bell.wait()
    bell.silence()
    assert not await rings(bell, 0.1)


async def test_what_rings_during_a_look_calls_for_another() -> None:
    bell = Bell()
    bell.ring()
    bell.silence()
    bell.ring()
    assert await rings(bell, 5)


async def test_it_rings_when_a_run_is_due() -> None:
    bell = Bell()
    due = datetime.now(UTC) + timedelta(seconds=0.3)
    bell.ring_at(due)
    assert await rings(bell, 30)
    assert datetime.now(UTC) >= due


async def test_runs_that_are_due_together_share_a_timer() -> None:
    bell = Bell()
    due = datetime(2100, 1, 1, tzinfo=UTC)
    for _ in range(1000):
        bell.ring_at(due)
    assert len(bell._timers) == 1
    bell.close()


async def test_what_was_due_long_ago_rings_now() -> None:
    bell = Bell()
    bell.ring_at(datetime(2000, 1, 1, tzinfo=UTC))
    assert await rings(bell, 30)


async def test_a_closed_bell_rings_no_more() -> None:
    bell = Bell()
    bell.ring_at(datetime.now(UTC) + timedelta(seconds=0.1))
    bell.close()
    assert not await rings(bell, 0.6)


async def rings(bell: Bell, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await bell.wait()
    except TimeoutError:
        return False
    return True
