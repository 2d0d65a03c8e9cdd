"""Report on the hub's health: its parts, the queue, the last hour, and advice on what is wrong."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from nexus_hub.calls.cache import TtlCache
from nexus_hub.db.pool import Database
from nexus_hub.errors import DatabaseUnavailable, TookTooLong
from nexus_hub.models import Principal
from nexus_hub.orchestration.advice import advise
from nexus_hub.orchestration.health_figures import Figures, HealthMinute, ServerHour, read_figures
from nexus_hub.orchestration.parts import PartHealth, look_at_parts
from nexus_hub.orchestration.prefect_client import PrefectClient

KEPT_SECONDS = 5.0
"""A report is good for so long: many who watch cost no more than one."""
MOST_KEPT = 100
"""Users whose past minutes are kept."""


class HealthReports:
    """Makes reports, each at most every few seconds for each user."""

    def __init__(self, database: Database, prefect: PrefectClient, failing_loops: Callable[[], list[str]]) -> None:
        self._database = database
        self._prefect = prefect
        self._failing_loops = failing_loops
        self._parts = TtlCache[str, list[PartHealth]](self._look, KEPT_SECONDS)
        self._figures = TtlCache[Principal, Figures](self._read, KEPT_SECONDS)
        self._minutes: dict[Principal, list[HealthMinute]] = {}

    async def report(self, principal: Principal) -> dict[str, Any]:
        """Report on the parts, and on what the principal sees of queue and jobs.

        Numbers that the database does not give now are left out, so that the parts can still be seen.
        """
        parts, figures = await asyncio.gather(self._parts("all"), self._read_figures(principal))
        return {
            "parts": parts,
            "queue": figures.queue,
            "hour": {"minutes": figures.minutes, "by_server": [_show(one) for one in figures.by_server]},
            "advice": advise(parts, figures),
        }

    async def _look(self, _all: str) -> list[PartHealth]:
        return await look_at_parts(self._database, self._prefect, self._failing_loops)

    async def _read(self, principal: Principal) -> Figures:
        """Read what has changed; the minutes of those who looked last are kept."""
        found = await read_figures(self._database, principal, self._minutes.pop(principal, ()))
        self._minutes[principal] = found.minutes
        if len(self._minutes) > MOST_KEPT:
            del self._minutes[next(iter(self._minutes))]
        return found

    async def _read_figures(self, principal: Principal) -> Figures:
        try:
            return await self._figures(principal)
        except (DatabaseUnavailable, TookTooLong):
            return Figures()


def _show(one: ServerHour) -> dict[str, Any]:
    shown = asdict(one)
    del shown["unknown"]
    return shown
