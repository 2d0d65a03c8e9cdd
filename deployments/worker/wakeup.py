"""The bell that calls the worker to look for runs: now, or when one is due. Many calls before a look are one."""

import asyncio
import math
from datetime import UTC, datetime

GRAIN_SECONDS = 0.25
"""Runs that are due closer together than this ring once."""


class Wakeup:
    """Rung by whoever knows of work; the worker waits for it, and silences it when it looks."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def wake(self) -> None:
        """There may be work."""
        self._woken.set()

    def wake_at(self, due: datetime) -> None:
        """There will be work at that time, or up to `GRAIN_SECONDS` later."""
        grain = math.ceil(due.timestamp() / GRAIN_SECONDS)
        if grain not in self._timers:
            delay = grain * GRAIN_SECONDS - datetime.now(UTC).timestamp()
            self._timers[grain] = asyncio.get_running_loop().call_later(max(delay, 0), self._due, grain)

    def clear(self) -> None:
        """A look begins: it answers all that rang before."""
        self._woken.clear()

    async def wait(self) -> None:
        """Until it rings."""
        await self._woken.wait()

    def close(self) -> None:
        """Forget what is due."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _due(self, grain: int) -> None:
        del self._timers[grain]
        self.wake()
