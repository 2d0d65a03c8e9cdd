"""`/readyz`: whether balancers may send requests to this process, and what its parts look like from here.

Nobody has to say who asks: the answer holds states, ages and numbers of migrations, no names, addresses or messages of
other programs. Prefect may be away, since jobs are taken all the same.
"""

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

from starlette.responses import Response

from nexus_hub.api.problems import Json, from_error
from nexus_hub.calls.cache import Cached
from nexus_hub.db.pool import Database
from nexus_hub.db.schema_version import SchemaVersion, read_schema_version
from nexus_hub.errors import DatabaseUnavailable, Draining, HubError, SchemaTooOld
from nexus_hub.orchestration.scheduler_watch import SchedulerWatch, judge_scheduler

LOOK_SECONDS = 0.5
"""A look at the database is good for so long: many probes cost no more than one."""
PATIENCE_SECONDS = 2.0
"""A database that takes longer is away; balancers wait for some seconds only."""
Parts = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Look:
    obstacle: HubError | None
    parts: Parts


_AWAY = _Look(DatabaseUnavailable(), {"database": {"state": "down"}})


class Readiness:
    """Answers whether this process is ready, by connections that the work of the hub does not use up."""

    def __init__(self, database: Database, watch: SchedulerWatch) -> None:
        self._database = database
        self._watch = watch
        self._look = Cached(self._look_at_database, LOOK_SECONDS)
        self._readings: set[asyncio.Task[SchemaVersion]] = set()

    async def answer(self, *, is_draining: bool) -> Response:
        """Answer 200, or 503 with the reason; nothing is looked at by a process that is about to stop."""
        if is_draining:
            return from_error(Draining())
        look = await self._look.get()
        parts = look.parts | _describe_prefect(self._watch)
        if look.obstacle is None:
            return Json({"status": "ok", "parts": parts})
        return from_error(look.obstacle, parts=parts)

    async def _look_at_database(self) -> _Look:
        reading = asyncio.create_task(read_schema_version(self._database))
        self._readings.add(reading)
        reading.add_done_callback(self._forget)
        await asyncio.wait({reading}, timeout=PATIENCE_SECONDS)
        if not reading.done():
            reading.cancel()  # on a server that hangs psycopg takes ten seconds to end what is cancelled
            return _AWAY
        try:
            version = reading.result()
        except DatabaseUnavailable:
            return _AWAY
        obstacle = SchemaTooOld(version.found, version.needed) if version.is_too_old else None
        return _Look(obstacle, {"database": {"state": "ok"}, "schema": _describe(version)})

    def _forget(self, reading: "asyncio.Task[SchemaVersion]") -> None:
        self._readings.discard(reading)
        if not reading.cancelled():
            reading.exception()


def _describe_prefect(watch: SchedulerWatch) -> Parts:
    """Describe Prefect as it was seen last; nobody asks it during a probe."""
    if not watch.has_looked:
        return {"prefect": {"state": "unknown"}, "scheduler": {"state": "unknown"}}
    if (schedule := watch.last) is None:
        return {"prefect": {"state": "down"}, "scheduler": {"state": "unknown"}}
    return {"prefect": {"state": "ok"}, "scheduler": {"state": judge_scheduler(schedule), **asdict(schedule)}}


def _describe(version: SchemaVersion) -> dict[str, Any]:
    state = "down" if version.is_too_old else "ok"
    return {"state": state, "migration": version.found, "needed": version.needed}
