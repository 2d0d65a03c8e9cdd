"""Watch on Prefect's scheduler: a process of the API looks every half a minute, and tells what it saw last.

Prefect's own probes see no dead scheduler. One that lives makes runs of `refresh-catalog` for an hour ahead, minute by
minute; how far the newest of them reaches tells.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Literal

from nexus_hub.calls.cache import Cached
from nexus_hub.errors import PrefectUnavailable
from nexus_hub.orchestration.health import RunSchedule, read_schedule
from nexus_hub.orchestration.prefect_client import PrefectClient

LOOK_SECONDS = 30.0
GOOD_SECONDS = 5.0
"""A look is good for so long, however often somebody asks; while Prefect gives no answer the next one comes as soon."""
LONGEST_SECONDS = 4.0
"""The time that Prefect has to answer in, well below the ten seconds that Prometheus waits."""
HORIZON_SECONDS = 55 * 60
"""A scheduler that lives keeps an hour's runs ready, but for a minute; ten minutes after its end there are fewer."""
State = Literal["ok", "warn", "down"]


class SchedulerWatch:
    """Looks at the schedule by itself, and for whoever asks; `last` is what it saw: None if Prefect gave no answer."""

    def __init__(self, prefect: PrefectClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._prefect = prefect
        self._cached = Cached(self._read, GOOD_SECONDS, clock)
        self.last: RunSchedule | None = None
        self.has_looked = False

    async def keep_looking(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(GOOD_SECONDS if self.last is None else LOOK_SECONDS)

    async def look(self) -> RunSchedule | None:
        """Look, unless somebody has done so a moment ago."""
        return await self._cached.get()

    async def _read(self) -> RunSchedule | None:
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                self.last = await read_schedule(self._prefect)
        except (PrefectUnavailable, TimeoutError):
            self.last = None
        self.has_looked = True
        return self.last


def judge_scheduler(schedule: RunSchedule) -> State:
    """Judge the scheduler by how far its runs reach; once there are none ahead, none begins any more."""
    if schedule.horizon_seconds >= HORIZON_SECONDS:
        return "ok"
    return "warn" if schedule.horizon_seconds > 0 else "down"
