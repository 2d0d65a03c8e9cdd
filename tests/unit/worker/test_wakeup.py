"""What calls the worker: many rings before a look are one, and what is due rings by itself."""

import asyncio
from datetime import UTC, datetime, timedelta

from deployments.worker.wakeup import Wakeup


async def test_many_rings_are_one() -> None:
    wakeup = Wakeup()
    for _ in range(3):
        wakeup.wake()
    await wakeup.wait()
    wakeup.clear()
    assert not await rings(wakeup, 0.1)


async def test_what_rings_during_a_look_calls_for_another() -> None:
    wakeup = Wakeup()
    wakeup.wake()
    wakeup.clear()
    wakeup.wake()
    assert await rings(wakeup, 5)


async def test_it_rings_when_a_run_is_due() -> None:
    wakeup = Wakeup()
    due = datetime.now(UTC) + timedelta(seconds=0.3)
    wakeup.wake_at(due)
    assert await rings(wakeup, 30)
    assert datetime.now(UTC) >= due


async def test_runs_that_are_due_together_share_a_timer() -> None:
    wakeup = Wakeup()
    due = datetime(2100, 1, 1, tzinfo=UTC)
    for _ in range(1000):
        wakeup.wake_at(due)
    assert len(wakeup._timers) == 1
    wakeup.close()


async def test_what_was_due_long_ago_rings_now() -> None:
    wakeup = Wakeup()
    wakeup.wake_at(datetime(2000, 1, 1, tzinfo=UTC))
    assert await rings(wakeup, 30)


async def test_a_closed_bell_rings_no_more() -> None:
    wakeup = Wakeup()
    wakeup.wake_at(datetime.now(UTC) + timedelta(seconds=0.1))
    wakeup.close()
    assert not await rings(wakeup, 0.6)


async def rings(wakeup: Wakeup, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await wakeup.wait()
    except TimeoutError:
        return False
    return True
