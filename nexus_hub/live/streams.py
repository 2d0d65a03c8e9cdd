"""Event streams: a snapshot, then every change in order."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal
from uuid import UUID

from nexus_hub.db.pool import Database
from nexus_hub.errors import DatabaseUnavailable, NotFound, TookTooLong, TooMany
from nexus_hub.jobs import store
from nexus_hub.live.feed import Follower, Signal, read_unended
from nexus_hub.live.listener import ChangeEvent, JobChange
from nexus_hub.models import TERMINAL

RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """An event of a stream; `version` is the job's."""

    event: ChangeEvent | Literal["resync"]
    data: dict[str, Any]
    version: int | None = None
    change: JobChange | None = None
    """The change that it tells of, where it tells nothing else: its event is the same for all followers."""


Stream = AsyncIterator[StreamEvent | None]
"""Events in order; None: nothing has happened for a while."""


@dataclass(frozen=True, slots=True)
class ReadTurns:
    """Turns of a stream: `read` makes the block within which a row is read, `large` takes that of a large result."""

    read: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
    large: store.TakeTurn = store.take_no_turn


NO_TURNS = ReadTurns()


async def begin_feed(database: Database, follower: Follower, patience: float) -> Stream:
    """Begin with the jobs that the follower sees and that have not ended; then each change, a None when idle.

    Raises:
        DatabaseUnavailable, TookTooLong: before the first event.
    """
    async with database.transaction(follower.principal) as transaction:
        rows = await read_unended(transaction, follower.principal)
    return _stream_feed(follower, [JobChange.from_row(row) for row in rows], patience)


async def begin_job(
    database: Database, follower: Follower, job_id: UUID, patience: float, turns: ReadTurns = NO_TURNS
) -> Stream:
    """Begin with a job's row; then the row after each change, until it has ended, a None when idle.

    The row of a change that another one has followed is gone: such a change is sent as in a feed.

    Raises:
        NotFound: the follower sees no such job.
        DatabaseUnavailable, TookTooLong, TooMany: before the first event.
    """
    async with turns.read():
        row = await store.get(database, follower.principal, job_id, turns.large)
    return _stream_job(database, follower, row, patience, turns)


async def _stream_feed(follower: Follower, first: Sequence[JobChange], patience: float) -> Stream:
    for change in filter(follower.take_note, first):
        yield _brief_event(change)
    while (received := await follower.next(patience)) is not Signal.END:
        if isinstance(received, JobChange):
            yield _brief_event(received)
        else:
            yield StreamEvent("resync", {}) if received is Signal.RESYNC else None


async def _stream_job(
    database: Database, follower: Follower, row: dict[str, Any], patience: float, turns: ReadTurns
) -> Stream:
    job_id, has_ended = row["id"], row["status"] in TERMINAL
    follower.take_note(JobChange.from_row(row))
    yield _row_event(row)
    del row  # which may be large, and a stream is open for long
    while not has_ended:
        received = await follower.next(patience)
        if received is Signal.END:
            return
        if received is Signal.IDLE:
            yield None
        elif isinstance(received, JobChange) and follower.is_superseded(received):
            yield _brief_event(received)
        elif (found := await _read_row(database, follower, job_id, turns)) is None:
            return
        elif isinstance(received, JobChange) and found["version"] != received.version:
            yield _brief_event(received)
        elif isinstance(received, JobChange) or follower.take_note(JobChange.from_row(found)):
            has_ended = found["status"] in TERMINAL
            yield _row_event(found, received.event if isinstance(received, JobChange) else "state")
        found = None


async def _read_row(database: Database, follower: Follower, job_id: UUID, turns: ReadTurns) -> dict[str, Any] | None:
    """Read a job's row as soon as the database answers; None if it is gone, or the follower is closed."""
    while not follower.closed:
        try:
            async with turns.read():
                return await store.get(database, follower.principal, job_id, turns.large)
        except NotFound:
            return None
        except (DatabaseUnavailable, TookTooLong, TooMany):
            await asyncio.sleep(RETRY_SECONDS)
    return None


@lru_cache(maxsize=1000)
def _brief_event(change: JobChange) -> StreamEvent:
    return StreamEvent(change.event, change.brief(), change.version, change)


def _row_event(row: dict[str, Any], event: ChangeEvent = "state") -> StreamEvent:
    return StreamEvent(event, row, row["version"])
