"""The wake-up that calls the worker to poll: now, or when a run is due. Many calls before a poll are one."""

import asyncio
import math
from datetime import datetime

from nexus_hub.clock import RemoteClock

GRAIN_SECONDS = 0.25
"""Runs that are due closer together than this wake the worker once."""


class Wakeup:
    """Called by those who know of work; the worker waits for it, and clears it when it polls."""

    def __init__(self, clock: RemoteClock | None = None) -> None:
        self._clock = clock or RemoteClock()
        self._woken = asyncio.Event()
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def wake(self) -> None:
        """Call now: there may be work."""
        self._woken.set()

    def wake_at(self, due: datetime) -> None:
        """Call at that time, or up to `GRAIN_SECONDS` later."""
        grain = math.ceil(due.timestamp() / GRAIN_SECONDS)
        if grain not in self._timers:
            delay = grain * GRAIN_SECONDS - self._clock.time()
            self._timers[grain] = asyncio.get_running_loop().call_later(max(delay, 0), self._wake_due, grain)

    def clear(self) -> None:
        """Begin a poll, which answers all calls before it."""
        self._woken.clear()

    async def wait(self) -> None:
        """Wait for a call."""
        await self._woken.wait()

    def close(self) -> None:
        """Forget the runs that are due."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _wake_due(self, grain: int) -> None:
        del self._timers[grain]
        self.wake()
