"""What one who follows jobs is told: where they stand now, then each change, in order."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from nexus_hub.db.pool import Database
from nexus_hub.errors import DatabaseUnavailable, NotFound
from nexus_hub.jobs import store
from nexus_hub.live.feed import Follower, Signal, unended
from nexus_hub.live.listener import ChangeEvent, JobChange
from nexus_hub.models import TERMINAL

RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One thing that is told; `version` is the job's."""

    event: ChangeEvent | Literal["resync"]
    data: dict[str, Any]
    version: int | None = None


Stream = AsyncIterator[StreamEvent | None]
"""None: nothing has happened for a while."""


async def begin_feed(database: Database, follower: Follower, patience: float) -> Stream:
    """All jobs that the follower sees and that have not ended, then each change; after so many idle seconds a None.

    Raises:
        DatabaseUnavailable: before anything is told.
    """
    async with database.transaction(follower.principal) as transaction:
        rows = await unended(transaction, follower.principal)
    return _feed(follower, [JobChange.from_row(row) for row in rows], patience)


async def begin_job(database: Database, follower: Follower, job_id: UUID, patience: float) -> Stream:
    """A job's row, then the row after each change, until it has ended; after so many idle seconds a None.

    Of a change that is over by the time it is told there is no row any more: it is told as in a feed.

    Raises:
        NotFound: the follower sees no such job.
        DatabaseUnavailable: before anything is told.
    """
    row = await store.get(database, follower.principal, job_id)
    return _job(database, follower, row, patience)


async def _feed(follower: Follower, first: Sequence[JobChange], patience: float) -> Stream:
    for change in filter(follower.is_news, first):
        yield _brief(change)
    while (heard := await follower.next(patience)) is not Signal.END:
        if isinstance(heard, JobChange):
            yield _brief(heard)
        else:
            yield StreamEvent("resync", {}) if heard is Signal.RESYNC else None


async def _job(database: Database, follower: Follower, row: dict[str, Any], patience: float) -> Stream:
    follower.is_news(JobChange.from_row(row))
    yield _whole(row)
    while row["status"] not in TERMINAL:
        heard = await follower.next(patience)
        if heard is Signal.END:
            return
        if heard is Signal.IDLE:
            yield None
        elif isinstance(heard, JobChange) and follower.is_over(heard):
            yield _brief(heard)
        elif (found := await _row(database, follower, row["id"])) is None:
            return
        elif isinstance(heard, JobChange) and found["version"] != heard.version:
            yield _brief(heard)
        elif isinstance(heard, JobChange) or follower.is_news(JobChange.from_row(found)):
            row = found
            yield _whole(row, heard.event if isinstance(heard, JobChange) else "state")


async def _row(database: Database, follower: Follower, job_id: UUID) -> dict[str, Any] | None:
    """A job's row as soon as the database answers; None if it is gone, or the follower is."""
    while not follower.is_let_go:
        try:
            return await store.get(database, follower.principal, job_id)
        except NotFound:
            return None
        except DatabaseUnavailable:
            await asyncio.sleep(RETRY_SECONDS)
    return None


def _brief(change: JobChange) -> StreamEvent:
    return StreamEvent(change.event, change.brief(), change.version)


def _whole(row: dict[str, Any], event: ChangeEvent = "state") -> StreamEvent:
    return StreamEvent(event, row, row["version"])
