"""Circuits, shared by the processes of the hub through the rows of their servers."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

from nexus_hub.db.pool import Database, json_parameter
from nexus_hub.models import ServerRef, ServerType
from nexus_hub.servers.registry import SERVERS
from nexus_hub.upstream.circuit import CircuitReport, Circuits

LOOK_SECONDS = 2.0
"""Between two looks at what the other processes have found."""
REST_SECONDS = 5.0
"""The row of one server is written this often at most, whatever its circuit does."""


class SharedCircuits:
    """Writes down the circuits that change in this process, many in one go, and follows those of the others.

    A server that stays dead is written when it is tried in vain, twice a minute at most. Nothing is asked per call.
    """

    def __init__(self, database: Database, circuits: Circuits, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._circuits = circuits
        self._clock = clock
        self._changed: set[ServerRef] = set()
        self._written_at: dict[ServerRef, float] = {}
        self._open_elsewhere: set[ServerRef] = set()
        self._wakeup = asyncio.Event()
        circuits.on_change = self._note

    async def keep_sharing(self) -> None:
        """Write and look until cancelled: at once when a circuit has changed here, else every two seconds."""
        while True:
            await self.share()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wakeup.wait()
            self._wakeup.clear()

    async def share(self) -> None:
        """Write what has changed here, and take over what has changed elsewhere."""
        changed = self._take_changed()
        try:
            async with self._database.transaction() as transaction:
                if changed:
                    changes = [self._describe(ref) for ref in sorted(changed, key=str)]
                    await transaction.run(SERVERS["note_circuits"], changes=json_parameter(changes))
                rows = await transaction.all(SERVERS["open_circuits"])
        except BaseException:
            self._changed |= changed
            raise
        self._follow([_read(**row) for row in rows])

    def _note(self, ref: ServerRef) -> None:
        self._changed.add(ref)
        if ref not in self._written_at:
            self._wakeup.set()

    def _take_changed(self) -> set[ServerRef]:
        """Take those whose rows have had their rest."""
        now = self._clock()
        self._written_at = {ref: at for ref, at in self._written_at.items() if now - at < REST_SECONDS}
        changed = self._changed - self._written_at.keys()
        self._changed -= changed
        self._written_at |= dict.fromkeys(changed, now)
        return changed

    def _describe(self, ref: ServerRef) -> dict[str, Any]:
        found = self._circuits.find_open(ref)
        return {
            "server_type": ref.server_type,
            "server_ref_id": str(ref.server_ref_id),
            "circuit": "open" if found else "closed",
            "seconds_since": found.seconds_since if found else None,
            "seconds_left": found.seconds_left if found else None,
        }

    def _follow(self, found: list[CircuitReport]) -> None:
        """Open what is open elsewhere; what was, and is no more, is tried by the next call."""
        for one in found:
            if one.ref not in self._changed:
                self._circuits.of(one.ref).follow(one.seconds_since, one.seconds_left)
        open_elsewhere = {one.ref for one in found}
        for ref in self._open_elsewhere - open_elsewhere - self._changed:
            self._circuits.of(ref).try_now()
            self._circuits.forget(ref)
        self._open_elsewhere = open_elsewhere


def _read(server_type: ServerType, server_ref_id: UUID, seconds_since: float, seconds_left: float) -> CircuitReport:
    return CircuitReport(ServerRef(server_type, server_ref_id), seconds_since, seconds_left)
