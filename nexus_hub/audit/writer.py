"""Writer of the audit: in groups, beside the work that it tells of, and before the answer where that matters."""

import asyncio
from contextlib import ExitStack
from types import TracebackType
from typing import Self
from uuid import UUID

from nexus_hub.audit.counts import MINUTE_SECONDS, READS, Counts
from nexus_hub.audit.entries import AuditEntry
from nexus_hub.db.pool import Database, json_parameter
from nexus_hub.db.queries import load
from nexus_hub.errors import DatabaseUnavailable
from nexus_hub.execution.group_commit import GroupCommit
from nexus_hub.execution.recorder import UNSTORABLE
from nexus_hub.telemetry.bus import emit, report_defect, subscribe
from nexus_hub.telemetry.events import AuditLost
from nexus_hub.telemetry.loops import tell_failure
from nexus_hub.telemetry.trail import note_event

AUDIT = load("audit")
LINGER_SECONDS = 0.5
"""Entries wait so long for others that are written together with them."""
LARGEST_GROUP = 500
MOST_ENTRIES = 10_000
"""So many entries wait for a database that is away; further ones are lost, and counted."""
ANSWER_SECONDS = 5.0
"""An answer waits so long for its entry."""
RETRY_SECONDS = 1.0
CLOSE_SECONDS = 2.0


class AuditWriter:
    """Writes the entries of one process. What can't be written for long is lost, and the log says how many were."""

    def __init__(self, database: Database, key: bytes) -> None:
        self._database = database
        self._key = key
        self._soon = GroupCommit(self._until_written, apart=UNSTORABLE, largest=LARGEST_GROUP, linger=LINGER_SECONDS)
        self._now = GroupCommit(self._until_written, apart=UNSTORABLE, largest=LARGEST_GROUP)
        self._waiting: set[asyncio.Future[bool]] = set()
        self._refusals, self._reads = Counts(), Counts()
        self._minute: asyncio.TimerHandle | None = None
        self._subscription = ExitStack()
        self._lost = 0
        self._closing = False

    async def __aenter__(self) -> Self:
        self._subscription.enter_context(subscribe(note_event))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what waits, if the database takes it in a few seconds."""
        self._subscription.close()
        self._closing = True
        self.end_minute()
        self._soon.hurry()
        if self._waiting:
            await asyncio.wait(self._waiting, timeout=CLOSE_SECONDS)
        self._lost += len(self._waiting)
        self._tell_lost()

    def put(self, entry: AuditEntry) -> None:
        """Have an entry written soon; reads are counted, as refusals are."""
        if entry.action in READS:
            self._put_first(self._reads.read(entry))
        else:
            self._put(self._soon, entry)

    async def write(self, entry: AuditEntry) -> None:
        """Write an entry before the answer that waits for it; if the database is away, the answer goes before it."""
        if (written := self._put(self._now, entry)) is not None:
            await asyncio.wait({written}, timeout=ANSWER_SECONDS)

    def refuse(self, entry: AuditEntry) -> None:
        """Have a refusal written: the first of its kind in a minute by itself, the others of that minute as one."""
        self._put_first(self._refusals.refuse(entry))

    def _put_first(self, first: AuditEntry | None) -> None:
        if first is not None:
            self._put(self._soon, first)
        if self._minute is None:
            self._minute = asyncio.get_running_loop().call_later(MINUTE_SECONDS, self.end_minute)

    def end_minute(self) -> None:
        """Have the entries written that were counted."""
        if self._minute is not None:
            self._minute.cancel()
            self._minute = None
        for entry in (*self._refusals.drain(), *self._reads.drain()):
            self._put(self._soon, entry)

    def _put(self, group: GroupCommit[AuditEntry], entry: AuditEntry) -> "asyncio.Future[bool] | None":
        if len(self._waiting) >= MOST_ENTRIES:
            self._lost += 1
            return None
        written = group.put(entry)
        self._waiting.add(written)
        written.add_done_callback(self._on_written)
        return written

    def _on_written(self, written: "asyncio.Future[bool]") -> None:
        self._waiting.discard(written)
        error = None if written.cancelled() else written.exception()
        if error is not None or written.cancelled():
            self._lost += 1
            if error is not None and not isinstance(error, DatabaseUnavailable):
                report_defect(error)

    async def _until_written(self, entries: list[AuditEntry]) -> list[UUID]:
        """Write entries, again and again while the database is away."""
        rows = await asyncio.to_thread(lambda: [entry.with_digest(self._key) for entry in entries])
        while True:
            try:
                await self._insert(rows)
            except DatabaseUnavailable as error:
                if self._closing:
                    raise
                tell_failure("audit", error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._tell_lost()
                return [entry.id for entry in rows]

    async def _insert(self, entries: list[AuditEntry]) -> None:
        async with self._database.transaction() as transaction:
            await transaction.run(
                AUDIT["insert_entries"], entries=json_parameter([entry.as_row() for entry in entries])
            )

    def _tell_lost(self) -> None:
        """Tell how many entries were lost, now that they are written again."""
        if self._lost:
            emit(AuditLost(self._lost))
            self._lost = 0
