"""Calls behind jobs: looked up, listed and waited for under the names that a caller knows."""

import asyncio
import math
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from nexus_hub.errors import DatabaseUnavailable, NotFound, TookTooLong
from nexus_hub.escape import unescape
from nexus_hub.jobs import store
from nexus_hub.jobs.progress import ProgressRelay
from nexus_hub.jobs.requests import JobBounds
from nexus_hub.live.feed import Feed, Signal
from nexus_hub.live.listener import JobChange
from nexus_hub.models import TERMINAL, JobStatus, Principal
from nexus_hub.orchestration.submission import Submission
from nexus_hub.paging import Page, check_limit, decode, encode, page
from nexus_hub.upstream.requests import OnProgress

JOB_CALLS = load("gateway_jobs")
LONGEST_WAIT_SECONDS = 3600.0
"""The time after which one who waits for ever looks at the clock again."""
RETRY_SECONDS = 1.0
Row = dict[str, Any]


class JobParts(Protocol):
    """The parts of a process that calls behind jobs need; a `Runtime` has them."""

    @property
    def database(self) -> Database:
        """The hub's database."""

    @property
    def feed(self) -> Feed:
        """The changes of jobs."""

    @property
    def job_bounds(self) -> JobBounds:
        """The bounds of jobs."""

    @property
    def submission(self) -> Submission:
        """New jobs, and the end of those that are cancelled."""


@dataclass(frozen=True, slots=True)
class KnownCall:
    """A job's call by names: `tool` is the one under which it is listed, or what comes nearest to it.

    `seconds`: since it began, or else since it was stored; until its end if it has one.
    """

    id: UUID
    tool: str
    status: JobStatus
    seconds: float
    server_ref_id: UUID | None = None
    called_as: str | None = None


async def find_call(database: Database, principal: Principal, job_id: UUID) -> KnownCall:
    """Find the call of a job.

    Raises:
        NotFound: the principal sees no such job.
    """
    async with database.transaction(principal) as transaction:
        row = await transaction.one(JOB_CALLS["call_of_job"], id=job_id)
    if row is None:
        raise NotFound("job", job_id)
    return KnownCall(row["id"], name_of(row), row["status"], row["seconds"], row["server_ref_id"], row["called_as"])


def name_of(row: Row) -> str:
    """Name what a job calls; arguments, such as a resource's URI, are no part of it."""
    if row["called_as"]:
        shown = f"a resource of {row['called_as']}" if row["job_type"] == "resource_fetch" else row["called_as"]
        return str(shown)
    escaped = row["params_escaped"]
    if row["namespaced_name"]:
        return str(unescape(row["namespaced_name"]))
    server = row["server"] or "a removed server"
    if row["job_type"] == "resource_fetch":
        return f"a resource of {server}"
    called = unescape(row["called"]) if escaped else row["called"]
    return f"{server}__{called}" if called else server


async def list_calls(
    database: Database,
    principal: Principal,
    list_name: str,
    *,
    status: JobStatus | None = None,
    server_ref_id: UUID | None = None,
    bundle: str | None = None,
    job_type: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Row]:
    """List a page of calls, newest first; a cursor is good for the list of that name and these filters only.

    Raises:
        InvalidRequest: a limit outside 1..1000, or a cursor of no or of another list.
    """
    tag = f"{list_name}/{status or ''}/{server_ref_id or bundle or ''}"

    def check_tag(text: str) -> str:
        if text != tag:
            raise ValueError
        return text

    limit = check_limit(limit)
    _, after_created_at, after_id = decode(cursor, (check_tag, datetime.fromisoformat, UUID))
    async with database.transaction(principal, bounded=True) as transaction:
        rows = await transaction.all(
            JOB_CALLS["list_calls"],
            all_users=principal.is_operator,
            user_id=principal.user_id,
            status=status,
            server_ref_id=server_ref_id,
            bundle=bundle,
            job_type=job_type,
            after_created_at=after_created_at,
            after_id=after_id,
            limit=limit + 1,
        )
    return page(rows, limit, lambda row: encode(tag, row["created_at"].isoformat(), row["id"]))


async def wait_for_end(
    parts: JobParts,
    principal: Principal,
    job_id: UUID,
    seconds: float | None,
    *,
    on_progress: OnProgress | None = None,
    take_turn: store.TakeTurn = store.take_no_turn,
) -> Row:
    """Wait until a job has ended, for so many seconds at most (None: as long as it takes); its row as it is then.

    Its changes are heard of and not asked for; its progress is passed on meanwhile.

    Raises:
        NotFound: the principal sees no such job.
    """
    ends = math.inf if seconds is None else time.monotonic() + seconds
    relay = None if on_progress is None else ProgressRelay(on_progress)
    with parts.feed.follow(principal, job_id) as follower:
        row = await store.get(parts.database, principal, job_id, take_turn)
        while row["status"] not in TERMINAL and (left := ends - time.monotonic()) > 0:
            follower.take_note(JobChange.from_row(row))
            received = await follower.next(min(left, LONGEST_WAIT_SECONDS))
            if received is Signal.END:
                break
            if received is Signal.IDLE or (isinstance(received, JobChange) and follower.is_superseded(received)):
                continue
            row = await _read_again(parts.database, principal, row, take_turn)
            if relay is not None:
                await relay.tell(row["progress"])
    return row


async def _read_again(database: Database, principal: Principal, row: Row, take_turn: store.TakeTurn) -> Row:
    """Read a job's row anew; while the database is away, the row that is known has to do, and the feed says more."""
    try:
        return await store.get(database, principal, row["id"], take_turn)
    except (DatabaseUnavailable, TookTooLong):
        await asyncio.sleep(RETRY_SECONDS)
        return row
