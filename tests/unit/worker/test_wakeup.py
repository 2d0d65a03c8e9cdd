"""The calls that wake the worker: many before a poll are one, and a run that is due calls by itself."""

import asyncio
from datetime import UTC, datetime, timedelta

from deployments.worker.wakeup import Wakeup
from nexus_hub.clock import RemoteClock


async def test_many_calls_are_one() -> None:
    wakeup = Wakeup()
    for _ in range(3):
        wakeup.wake()
    await wakeup.wait()
    wakeup.clear()
    assert not await wakes(wakeup, 0.1)


async def test_a_call_during_a_poll_asks_for_another() -> None:
    wakeup = Wakeup()
    wakeup.wake()
    wakeup.clear()
    wakeup.wake()
    assert await wakes(wakeup, 5)


async def test_it_wakes_when_a_run_is_due() -> None:
    wakeup = Wakeup()
    due = datetime.now(UTC) + timedelta(seconds=0.3)
    wakeup.wake_at(due)
    assert await wakes(wakeup, 30)
    assert datetime.now(UTC) >= due


async def test_a_run_is_due_by_prefects_clock() -> None:
    clock = RemoteClock()
    clock.note(datetime.now(UTC).timestamp() + 3600)
    wakeup = Wakeup(clock)
    wakeup.wake_at(datetime.now(UTC) + timedelta(seconds=3600.1))
    assert await wakes(wakeup, 30)
    wakeup.wake_at(datetime.now(UTC) + timedelta(seconds=7200))
    wakeup.clear()
    assert not await wakes(wakeup, 0.1)
    wakeup.close()


async def test_runs_that_are_due_together_share_a_timer() -> None:
    wakeup = Wakeup()
    due = datetime(2100, 1, 1, tzinfo=UTC)
    for _ in range(1000):
        wakeup.wake_at(due)
    assert len(wakeup._timers) == 1
    wakeup.close()


async def test_a_run_that_was_due_long_ago_wakes_now() -> None:
    wakeup = Wakeup()
    wakeup.wake_at(datetime(2000, 1, 1, tzinfo=UTC))
    assert await wakes(wakeup, 30)


async def test_it_wakes_no_more_once_it_is_closed() -> None:
    wakeup = Wakeup()
    wakeup.wake_at(datetime.now(UTC) + timedelta(seconds=0.1))
    wakeup.close()
    assert not await wakes(wakeup, 0.6)


async def wakes(wakeup: Wakeup, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await wakeup.wait()
    except TimeoutError:
        return False
    return True
