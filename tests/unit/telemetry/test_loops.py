"""Loops: no error ends one, and those that fail are known by name."""

import asyncio

import pytest

from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.errors import DatabaseUnavailable
from nexus_hub.telemetry.bus import subscribe
from nexus_hub.telemetry.events import TelemetryEvent
from nexus_hub.telemetry.loops import FailingLoops, keep_running, outlasting, tell_failure


class Signal(BaseException):
    """A library's own, as Prefect has some that are no Exceptions."""


ERRORS = [ValueError, OSError, TimeoutError, asyncio.CancelledError, Signal, RecursionError, MemoryError]


@pytest.mark.parametrize("error", ERRORS)
async def test_a_loop_begins_anew_whatever_ends_it(error: type[BaseException]) -> None:
    rounds: list[int] = []
    seen: list[TelemetryEvent] = []

    async def run() -> None:
        rounds.append(1)
        raise error("secret")

    with subscribe(seen.append):
        loop = asyncio.create_task(keep_running("tested", run, first=0.001))
        async with asyncio.timeout(30):
            while len(rounds) < 3:
                await asyncio.sleep(0.001)
        await cancel_and_wait(loop)
    assert loop.cancelled()
    assert "loop=tested" in str(seen[0])
    assert error.__name__ in str(seen[0])
    assert "secret" not in str(seen[0])


async def test_a_loop_that_returns_begins_anew_and_is_told_of() -> None:
    rounds: list[int] = []
    failing = FailingLoops()

    async def run() -> None:
        rounds.append(1)

    with subscribe(failing):
        loop = asyncio.create_task(keep_running("tested", run, first=0.001))
        async with asyncio.timeout(30):
            while len(rounds) < 2:
                await asyncio.sleep(0.001)
        await cancel_and_wait(loop)
    assert failing.names() == ["tested"]


async def test_who_cancels_a_loop_ends_it() -> None:
    async def run() -> None:
        await asyncio.sleep(600)

    loop = asyncio.create_task(keep_running("tested", run))
    await asyncio.sleep(0)
    loop.cancel()
    await asyncio.wait([loop])
    assert loop.cancelled()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_the_process_is_let_through(error: type[BaseException]) -> None:
    with pytest.raises(error), outlasting("tested"):
        raise error


def test_a_failure_counts_for_a_while_and_other_events_do_not() -> None:
    now = [0.0]
    failing = FailingLoops(lately=10, clock=lambda: now[0])
    with subscribe(failing):
        tell_failure("b", DatabaseUnavailable())
        now[0] = 5
        tell_failure("a", ValueError("x"))
    assert failing.names() == ["a", "b"]
    now[0] = 12
    assert failing.names() == ["a"]
