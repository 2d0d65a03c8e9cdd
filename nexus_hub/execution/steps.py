"""The way of one attempt: claim, limit, open, call, record. Both lanes run these same steps."""

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, repeat
from typing import Any
from uuid import UUID, uuid4

import psycopg

from nexus_hub.calls.arguments import check_tool_arguments
from nexus_hub.calls.lookup import ServerCache
from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.db.pool import TOO_LARGE, Database, json_parameter
from nexus_hub.errors import (
    DatabaseUnavailable,
    HubError,
    InternalError,
    NotFound,
    OutcomeUnknown,
    TooLarge,
    UpstreamUnavailable,
)
from nexus_hub.escape import escape
from nexus_hub.execution.attempt import Attempt, ClaimStale, NotClaimed, Outcome, Released
from nexus_hub.execution.group_commit import GroupCommit
from nexus_hub.jobs.requests import DEFAULT_TIMEOUT_SECONDS
from nexus_hub.jobs.store import JOBS, readable
from nexus_hub.models import TERMINAL, JobStatus
from nexus_hub.rate_limit.limiter import Limiter, Limits
from nexus_hub.servers.registry import Servers
from nexus_hub.upstream.connections import Connections

logger = logging.getLogger(__name__)

LEASE_SECONDS = 30
HEARTBEAT_SECONDS = 10
FIRST_BACKOFF_SECONDS = 2
LONGEST_BACKOFF_SECONDS = 300
LONGEST_RETRY_AFTER_SECONDS = 3600
PROGRESS_SECONDS = 1.0
"""How often the row of a job takes a note of its progress at most; of those in between the latest is kept."""
LARGE_RESULT_BYTES = 256 * 1024
"""A larger result is written by itself: a group of them would be too much at once."""
RECORD_PAUSES = (0.5, 1, 2, 4, 8)

NEVER_SENT = (UpstreamUnavailable, DatabaseUnavailable)
"""Failures of an attempt before its call went out: another attempt is safe."""
UNSTORABLE = (RecursionError, psycopg.DataError, *TOO_LARGE)
"""What a result raises that is nested too deep, or too large for the database."""


@dataclass(frozen=True, slots=True)
class End:
    """How a claim of a job ended, as its row is to have it."""

    id: UUID
    claim_id: UUID
    status: JobStatus
    result: dict[str, Any] | None
    error: str | None
    error_code: str | None
    progress: dict[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        """In the form that `finish_jobs` takes."""
        return {
            "id": str(self.id),
            "claim_id": str(self.claim_id),
            "status": self.status,
            "result": self.result,
            "error": self.error,
            "error_code": self.error_code,
            "progress": self.progress,
        }


@dataclass
class Execution:
    """The steps, with what they need. What many jobs write at the same time is written in groups."""

    database: Database
    servers: Servers
    connections: Connections
    limiter: Limiter
    max_result_bytes: int
    lease_seconds: float = LEASE_SECONDS
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    progress_seconds: float = PROGRESS_SECONDS
    jitter: Callable[[], float] = random.random
    held: dict[UUID, Attempt] = field(default_factory=dict)
    closing: bool = False
    """Whether the process is about to stop: no batch takes more jobs."""
    leaving: bool = False
    """Whether the process stops: what is held is handed back."""

    def __post_init__(self) -> None:
        self._sent = GroupCommit(self._mark_sent)
        self._ends = GroupCommit(self._write_ends, apart=UNSTORABLE)

    async def claim(self, job_id: UUID, attempt: int, flow_run_id: UUID | None) -> Attempt | NotClaimed:
        """Take a job: pending -> running under a new claim id, or say why not."""
        async with self.database.transaction() as transaction:
            row = await transaction.one(
                JOBS["claim_job"],
                id=job_id,
                attempt=attempt,
                claim_id=uuid4(),
                flow_run_id=flow_run_id,
                lease_seconds=self.lease_seconds,
            )
            if row is not None:
                return Attempt(readable(row))
            known = await transaction.one(JOBS["get_job"], id=job_id)
        if known is None:
            return NotClaimed(None)
        waits = known["status"] == "pending" and known["attempt"] == attempt - 1
        return NotClaimed(known["status"], known["available_at"] if waits else None)

    @asynccontextmanager
    async def hold(self, attempt: Attempt) -> AsyncIterator[None]:
        """Keep the lease alive as long as the block runs, and write down progress; a lost claim cancels the call."""
        self.held[attempt.id] = attempt
        loops = [asyncio.create_task(loop) for loop in (self._beat(attempt), self._write_progress(attempt))]
        try:
            yield
        finally:
            for loop in loops:
                await cancel_and_wait(loop)
            self.held.pop(attempt.id, None)

    def close(self) -> None:
        """Let no batch take more jobs, since the process is about to stop."""
        self.closing = True

    def leave(self) -> None:
        """Stop the work on all jobs that are held here, since the process stops: they are handed back."""
        self.closing = self.leaving = True
        for attempt in self.held.values():
            attempt.leave()

    def lose(self, job_id: UUID) -> None:
        """Stop the work on a job whose row has ended, if it is held here."""
        if attempt := self.held.get(job_id):
            attempt.lose()

    async def _beat(self, attempt: Attempt) -> None:
        """Renew the lease; once it has run out, somebody else may be repeating the call: end it here."""
        expires = time.monotonic() + self.lease_seconds
        while not attempt.lost:
            await asyncio.sleep(self.heartbeat_seconds)
            began = time.monotonic()
            try:
                async with asyncio.timeout(self.heartbeat_seconds):
                    renewed = await self.renew([attempt])
                expires = began + self.lease_seconds
                if not renewed:
                    attempt.lose()
            except Exception as error:  # whatever it is, the lease goes on running out
                logger.warning("a lease could not be renewed: %s", type(error).__name__)
            if attempt.repeatable and time.monotonic() + self.heartbeat_seconds > expires:
                attempt.lose()

    async def renew(self, attempts: list[Attempt]) -> set[UUID]:
        """Renew the leases of these attempts; the claims that still hold."""
        if not attempts:
            return set()
        async with self.database.transaction() as transaction:
            rows = await transaction.all(JOBS["renew_leases"], lease_seconds=self.lease_seconds, **claims_of(attempts))
        return _claims(rows)

    async def open(self, attempt: Attempt, known: ServerCache | None = None) -> None:
        """Open the server's credentials and check the arguments of a job that plain SQL stored.

        Raises:
            NotFound, CannotOpen, InvalidArguments: the job can't be run.
        """
        known = known or ServerCache(self.database, self.servers)
        attempt.target, row = await known.server(attempt.ref)
        if attempt.job["user_id"] is not None and row.user_id not in (None, attempt.job["user_id"]):
            raise NotFound("server", attempt.ref)  # plain SQL can store a job for a server of somebody else
        attempt.limits = Limits(row.limit_per_minute, row.user_limit_per_minute)
        if attempt.job["job_type"] == "tool_invoke":
            tool = await known.tool(attempt.ref, attempt.job["tool_name"])
            attempt.repeatable |= tool.repeatable
            check_tool_arguments(str(attempt.job["tool_name"]), tool.schema, attempt.job["params"])

    async def admit(self, attempt: Attempt) -> float:
        """Take the call from the server's limits, then note that it goes out; seconds to wait, or 0.

        Raises:
            ClaimLost: the job was cancelled in the meantime.
        """
        decision = await self.limiter.take(attempt.ref.server_ref_id, attempt.job["user_id"], attempt.limits)
        if not decision.allowed:
            return max(decision.retry_after, 0.1)
        if not await self._sent(attempt):
            attempt.lose()
            raise ClaimStale
        return 0

    async def _mark_sent(self, attempts: list[Attempt]) -> set[UUID]:
        async with self.database.transaction() as transaction:
            return _claims(await transaction.all(JOBS["mark_sent"], **claims_of(attempts)))

    async def call(self, attempt: Attempt) -> None:
        """Send the request upstream and keep what comes back.

        Raises:
            UpstreamError: see nexus_hub.errors.
            ClaimLost: the job was cancelled; the upstream was told.
            HandedBack: the worker stops, and another one may call; the upstream was told.
        """
        if attempt.target is None:
            raise NotFound("server", attempt.ref)
        if attempt.lost:
            raise ClaimStale
        if attempt.leaving:
            raise Released
        attempt.in_flight = asyncio.create_task(
            self.connections.request(
                attempt.target,
                attempt.request(),
                timeout=attempt.job["timeout_seconds"] or DEFAULT_TIMEOUT_SECONDS,
                on_progress=attempt.news,
            )
        )
        try:
            attempt.result = await attempt.in_flight
        except asyncio.CancelledError:
            if attempt.lost:
                raise ClaimStale from None
            if attempt.leaving:
                raise (Released() if attempt.repeatable else OutcomeUnknown(attempt.target.name)) from None
            attempt.in_flight.cancel()
            raise

    async def note_progress(self, attempt: Attempt) -> None:
        """Write down how far the call has come; nothing is written under an older claim."""
        note = json_parameter(escape(attempt.progress))
        async with self.database.transaction() as transaction:
            await transaction.run(JOBS["record_progress"], progress=note, **attempt.claim)

    async def _write_progress(self, attempt: Attempt) -> None:
        while True:
            await attempt.has_news.wait()
            attempt.has_news.clear()
            with suppress(DatabaseUnavailable):
                await self.note_progress(attempt)
            await asyncio.sleep(self.progress_seconds)

    async def snooze(self, attempt: Attempt, delay: float) -> datetime | None:
        """Put a job back for the same attempt, later; when, or None if the claim is gone."""
        async with self.database.transaction() as transaction:
            row = await transaction.one(JOBS["snooze_job"], delay=delay, **attempt.claim)
        return row["available_at"] if row else None

    async def record(self, attempt: Attempt) -> Outcome:
        """Write down how the attempt ended, or put the job back for another one.

        While the database is away it waits: the answer of a call exists here and nowhere else.

        Raises:
            DatabaseUnavailable: the process stops before anything could be written.
        """
        pauses = chain(RECORD_PAUSES, repeat(RECORD_PAUSES[-1]))
        while True:
            try:
                return await self._record(attempt)
            except DatabaseUnavailable:
                if attempt.leaving:
                    raise
            await asyncio.sleep(next(pauses) * (1 + self.jitter()) / 2)

    async def _record(self, attempt: Attempt) -> Outcome:
        failure = attempt.failure
        again = isinstance(failure, NEVER_SENT) or (attempt.repeatable and isinstance(failure, OutcomeUnknown))
        if failure is not None and again and await self._requeue(attempt, failure):
            return "requeued"
        if isinstance(failure, ClaimStale):
            return await self._lost(attempt)
        try:
            ended = await self._finish(attempt, failure)
        except UNSTORABLE:
            attempt.result = None
            ended = await self._finish(attempt, NotStorable())
        if not ended:
            return await self._lost(attempt)
        return "completed" if attempt.result is not None else "failed"

    async def _requeue(self, attempt: Attempt, failure: HubError) -> bool:
        longest = min(FIRST_BACKOFF_SECONDS * 2 ** (attempt.number - 1), LONGEST_BACKOFF_SECONDS)
        asked = min(getattr(failure, "retry_after", None) or 0, LONGEST_RETRY_AFTER_SECONDS)
        delay = asked + longest * (1 + self.jitter()) / 2
        async with self.database.transaction() as transaction:
            return bool(
                await transaction.run(JOBS["requeue_job"], delay=delay, error_code=failure.code, **attempt.claim)
            )

    async def _finish(self, attempt: Attempt, failure: HubError | None) -> bool:
        size = len(json.dumps(attempt.result)) if failure is None else 0
        if failure is None:
            failure = InternalError() if attempt.result is None else self._oversize(size)
        if failure is not None:
            attempt.result = None
        end = End(
            id=attempt.id,
            claim_id=attempt.claim_id,
            status="failed" if failure else "completed",
            result=escape(attempt.result),
            error=escape(failure.message) if failure else None,
            error_code=failure.code if failure else None,
            progress=escape(attempt.progress),
        )
        if size > LARGE_RESULT_BYTES:
            return end.claim_id in await self._write_ends([end])
        return await self._ends(end)

    async def _write_ends(self, ends: list[End]) -> set[UUID]:
        said = json_parameter([end.as_json() for end in ends])
        async with self.database.transaction() as transaction:
            return _claims(await transaction.all(JOBS["finish_jobs"], ends=said))

    def _oversize(self, size: int) -> HubError | None:
        return TooLarge("A result", size, self.max_result_bytes) if size > self.max_result_bytes else None

    async def _lost(self, attempt: Attempt) -> Outcome:
        async with self.database.transaction() as transaction:
            row = await transaction.one(JOBS["get_job"], id=attempt.id)
        ours = row is not None and row["attempt"] == attempt.number
        return row["status"] if row and ours and row["status"] in TERMINAL else "lost"


def claims_of(attempts: Iterable[Attempt]) -> dict[str, list[UUID]]:
    """What a write to many must match."""
    pairs = [(attempt.id, attempt.claim_id) for attempt in attempts]
    return {"ids": [job_id for job_id, _ in pairs], "claim_ids": [claim_id for _, claim_id in pairs]}


def _claims(rows: list[dict[str, Any]]) -> set[UUID]:
    return {row["claim_id"] for row in rows}


class NotStorable(HubError):
    """A result that the database refuses even when it is escaped, such as one nested too deep."""

    code = "result-not-storable"

    def __init__(self) -> None:
        super().__init__("The call was answered, but the database refuses to store the result.")
