"""Loops that run beside the work of a process: no error ends one, and those that fail are known by name."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from nexus_hub.telemetry.bus import emit
from nexus_hub.telemetry.defects import describe_error
from nexus_hub.telemetry.events import LoopFailed, TelemetryEvent

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
CALM_SECONDS = 60.0
"""A loop that has run for so long begins with the shortest pause again."""
LATELY_SECONDS = 120.0
"""A failure counts for so long: longer than any loop takes to come round again."""


def tell_failure(loop: str, error: BaseException) -> None:
    """Tell that a loop met an error, by its code or its class and place: its message may hold anything."""
    emit(LoopFailed(loop, describe_error(error)))


@contextmanager
def outlasting(loop: str) -> Iterator[None]:
    """Let no error of one round end the loop; it is told of.

    A cancellation that nobody asked of this task is an error like any other: libraries let some escape.
    """
    try:
        yield
    except BaseException as error:
        if _ends_the_task(error):
            raise
        tell_failure(loop, error)


async def keep_running(loop: str, run: Callable[[], Awaitable[None]], *, first: float = FIRST_PAUSE_SECONDS) -> None:
    """Run a loop until cancelled; one that ends, whatever by, begins anew after a pause that doubles."""
    pause = 0.0
    while True:
        began = time.monotonic()
        with outlasting(loop):
            await run()
            raise LoopEnded
        calm = time.monotonic() - began >= CALM_SECONDS
        pause = first if calm or not pause else min(pause * 2, LONGEST_PAUSE_SECONDS)
        await asyncio.sleep(pause)


class LoopEnded(Exception):
    """A loop that ended by itself, which none should."""


class FailingLoops:
    """Subscriber that knows the loops of this process that failed lately."""

    def __init__(self, *, lately: float = LATELY_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._lately = lately
        self._clock = clock
        self._failed: dict[str, float] = {}

    def __call__(self, event: TelemetryEvent) -> None:
        """Take note of a failure."""
        if isinstance(event, LoopFailed):
            self._failed[event.loop] = self._clock()

    def names(self) -> list[str]:
        """Name them, in the order of the alphabet."""
        oldest = self._clock() - self._lately
        return sorted(name for name, at in self._failed.items() if at >= oldest)


def _ends_the_task(error: BaseException) -> bool:
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
