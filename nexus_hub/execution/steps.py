"""Attempts of jobs from their claim to their end: the calls of `calls.pipeline`, with a row beside each."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from nexus_hub.access.permissions import Permissions, read_permissions
from nexus_hub.calls.cache import TtlCache
from nexus_hub.calls.lookup import ServerCache
from nexus_hub.calls.pipeline import CallSteps, Pipeline, PreparedCall
from nexus_hub.catalog.bundles import Bundles, read_bundles
from nexus_hub.db.pool import Database
from nexus_hub.errors import DatabaseUnavailable, HubError, InternalError, NotFound, OutcomeUnknown, RateLimited
from nexus_hub.execution.attempt import Attempt, ClaimStale, NotClaimed, Outcome, Released
from nexus_hub.execution.group_commit import GroupCommit
from nexus_hub.execution.leases import HEARTBEAT_SECONDS, LEASE_SECONDS, Leases, claims_of
from nexus_hub.execution.recorder import PROGRESS_SECONDS, Recorder
from nexus_hub.execution.task_peer import InputDesk
from nexus_hub.jobs.approvals import use_approval
from nexus_hub.jobs.endings import tell_closed
from nexus_hub.jobs.requests import DEFAULT_TIMEOUT_SECONDS
from nexus_hub.jobs.store import JOBS, Job, JobState
from nexus_hub.rate_limit.limiter import Limiter
from nexus_hub.servers.registry import Servers
from nexus_hub.telemetry import tracing
from nexus_hub.telemetry.bus import emit, report_defect
from nexus_hub.telemetry.events import CallRefused, CallReturned, JobClaimed, JobTags
from nexus_hub.telemetry.loops import keep_running
from nexus_hub.upstream.circuit import CircuitOpen
from nexus_hub.upstream.connections import Connections

PERMISSIONS_KEPT_SECONDS = 300.0
"""No call waits for a reading of what its user may do, nor for a database that is away, if the last is no older."""


@dataclass
class Execution:
    """The durable lane of a process: claims of jobs, the steps of their calls, their leases and their ends."""

    database: Database
    servers: Servers
    connections: Connections
    limiter: Limiter
    max_result_bytes: int
    lease_seconds: float = LEASE_SECONDS
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    progress_seconds: float = PROGRESS_SECONDS
    jitter: Callable[[], float] = random.random
    permissions_seconds: float = 0
    """The time after which what a user may do is read anew; above 0 changes have to be told of."""
    draining: bool = False
    """The process is about to stop: no batch takes more jobs."""
    shutting_down: bool = False
    """The process stops: what is held is released."""

    def __post_init__(self) -> None:
        self.leases = Leases(self.database, self.lease_seconds, self.heartbeat_seconds)
        self.recorder = Recorder(self.database, self.max_result_bytes, self.progress_seconds, self.jitter)
        self.inputs = InputDesk(self.database)
        self.permissions: TtlCache[UUID | None, Permissions] = TtlCache(
            partial(read_permissions, self.database),
            self.permissions_seconds,
            kept_seconds=min(self.permissions_seconds, 1) * PERMISSIONS_KEPT_SECONDS,
        )
        self.bundles: TtlCache[None, Bundles] = TtlCache(
            self._read_bundles,
            self.permissions_seconds,
            kept_seconds=min(self.permissions_seconds, 1) * PERMISSIONS_KEPT_SECONDS,
        )
        self._pipeline = self._make_pipeline()
        self._sent = GroupCommit(self._mark_sent)

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Give what runs as long as the process does: one loop renews all leases, one writes all progress."""
        return (
            keep_running("leases", self.leases.keep_renewing),
            keep_running("progress", self.recorder.keep_writing_progress),
        )

    def drain(self) -> None:
        """Let no batch take more jobs, since the process is about to stop."""
        self.draining = True

    def shutdown(self) -> None:
        """Stop the work on all jobs that are held here, since the process stops: they are released."""
        self.draining = self.shutting_down = True
        for attempt in self.leases.held.values():
            attempt.shutdown()

    def mark_stale(self, job_id: UUID) -> None:
        """Stop the work on a job whose row has ended, if it is held here."""
        self.leases.mark_stale(job_id)

    async def claim(self, job_id: UUID, attempt: int, flow_run_id: UUID | None) -> Attempt | NotClaimed:
        """Take a job: pending -> running under a new claim id, or say why not."""
        began = time.monotonic()
        async with self.database.transaction() as transaction:
            job = await transaction.one(
                JOBS["claim_job"],
                Job,
                id=job_id,
                attempt=attempt,
                claim_id=uuid4(),
                flow_run_id=flow_run_id,
                lease_seconds=self.lease_seconds,
            )
            if job is not None:
                return Attempt(job, began, flow_run_id)
            known = await transaction.one(JOBS["job_state"], JobState, id=job_id)
        if known is None:
            return NotClaimed(None)
        waits = known.status == "pending" and known.attempt == attempt - 1
        return NotClaimed(known.status, known.available_at if waits else None)

    async def claim_queued(self, ids: list[UUID], flow_run_id: UUID) -> list[Job]:
        """Take jobs out of the queue, each under a claim of its own; those that somebody else has are left out.

        One that can't be taken, such as one stored by SQL in a form that nobody reads, fails alone.
        """
        try:
            async with self.database.transaction() as transaction:
                return await transaction.all(
                    JOBS["claim_queued"], Job, ids=ids, flow_run_id=flow_run_id, lease_seconds=self.lease_seconds
                )
        except DatabaseUnavailable:
            raise
        except Exception as error:
            if len(ids) > 1:
                return [job for job_id in ids for job in await self.claim_queued([job_id], flow_run_id)]
            report_defect(error, JobTags(ids[0]))
            async with self.database.transaction() as transaction:
                failed = await transaction.all(JOBS["fail_queued"], id=ids[0])
            tell_closed(failed, "failed", InternalError.code)
            return []

    @contextmanager
    def hold(self, attempt: Attempt) -> Iterator[None]:
        """Keep the lease alive as long as the block runs; a claim that goes stale ends the call, a shutdown too."""
        emit(JobClaimed(attempt.tags, attempt.job.waited_ms))
        if self.shutting_down:
            attempt.shutdown()
        with self.leases.hold(attempt), _trace(attempt) as span:
            tracing.mark("job.claim", began=attempt.claimed_at)
            try:
                yield
            finally:
                self.recorder.forget_progress(attempt)
                if attempt.failure is not None:
                    span.fail(attempt.failure.code)

    def make_steps(self, *, known_seconds: float = 0) -> CallSteps[Attempt]:
        """Give the steps of an attempt; what is known of servers and tools is good for so many seconds.

        A removed server, or a key that was changed, may be used that long.
        """
        return CallSteps(partial(self.open, pipeline=self._make_pipeline(known_seconds)), self.admit, self.call)

    async def open(self, attempt: Attempt, *, pipeline: Pipeline | None = None) -> None:
        """Open the server's credentials and check the arguments of a job that plain SQL stored.

        Raises:
            NotFound, NotAllowed, CannotOpen, InvalidArguments: the job can't be run.
        """
        prepare = (pipeline or self._pipeline).prepare
        approval = partial(use_approval, self.database, attempt.id)
        attempt.call = await prepare(
            attempt.ref, attempt.job.user_id, attempt.request(), approval, attempt.job.by_bundle
        )
        attempt.repeatable |= attempt.call.repeatable

    async def admit(self, attempt: Attempt) -> float:
        """Take the call from the server's limits, then note that it goes out; seconds to wait, or 0.

        It waits for a server that does not answer, too; `attempt.failure` says so. Repeated after the database was
        away in between, it takes from the limits once more.

        Raises:
            ClaimStale: the job was cancelled in the meantime.
        """
        try:
            wait = await self._pipeline.admit(_prepared(attempt))
        except CircuitOpen as refusal:
            attempt.failure = refusal
            emit(CallRefused(attempt.tags, refusal.code, refusal.retry_after * 1000))
            return refusal.retry_after
        if wait:
            emit(CallRefused(attempt.tags, RateLimited.code, wait * 1000))
            return wait
        if not await self._sent(attempt):
            attempt.mark_stale()
            raise ClaimStale
        return 0

    async def call(self, attempt: Attempt) -> None:
        """Send the request upstream and keep what comes back.

        Raises:
            UpstreamError: see nexus_hub.errors.
            ClaimStale: the job was cancelled; the upstream was told.
            Released: the worker stops, and another one may call; the upstream was told.
        """
        call = _prepared(attempt)
        if attempt.stale:
            raise ClaimStale
        if attempt.shutting_down:
            raise Released
        attempt.in_flight = asyncio.create_task(
            self._pipeline.call(
                call,
                timeout=attempt.job.timeout_seconds or DEFAULT_TIMEOUT_SECONDS,
                on_progress=partial(self.recorder.note_progress, attempt),
                peer=self.inputs.peer_of(attempt),
            )
        )
        began, code = time.monotonic(), None
        try:
            attempt.result = await attempt.in_flight
        except HubError as error:
            code = error.code
            raise
        except Exception:
            code = InternalError.code
            raise
        except asyncio.CancelledError:
            code = "cancelled"
            if attempt.stale:
                raise ClaimStale from None
            if attempt.shutting_down:
                raise (Released() if attempt.repeatable else OutcomeUnknown(call.shown_server)) from None
            attempt.in_flight.cancel()
            raise
        finally:
            emit(CallReturned(attempt.tags, (time.monotonic() - began) * 1000, code))

    async def snooze(self, attempt: Attempt, delay: float) -> datetime | None:
        """Put a job back for the same attempt, later; when, or None if the claim is gone."""
        return await self.recorder.snooze(attempt, delay)

    async def record(self, attempt: Attempt) -> Outcome:
        """Write down how the attempt ended; see `Recorder.record`."""
        return await self.recorder.record(attempt)

    def _make_pipeline(self, known_seconds: float = 0) -> Pipeline:
        return self.make_pipeline(ServerCache(self.database, self.servers, seconds=known_seconds))

    def make_pipeline(self, servers: ServerCache) -> Pipeline:
        """Make the way of calls on what is known of servers."""
        return Pipeline(servers, self.limiter, self.connections, self.permissions, self.bundles)

    async def _read_bundles(self, _all: None) -> Bundles:
        return await read_bundles(self.database)

    async def _mark_sent(self, attempts: list[Attempt]) -> list[UUID]:
        async with self.database.transaction() as transaction:
            return await transaction.all(JOBS["mark_sent"], UUID, **claims_of(attempts))


def _trace(attempt: Attempt) -> tracing.Span:
    """Make the span of an attempt, which has begun with its claim; the job's trace goes on with it."""
    if not tracing.is_on():
        return tracing.NO_SPAN
    job = attempt.job
    tags: tracing.Attributes = {
        "nexus.job.id": job.id,
        "nexus.job.attempt": job.attempt,
        "nexus.job.waited_ms": job.waited_ms,
        "nexus.flow_run.id": attempt.flow_run_id,
        "user.id": job.user_id,
    }
    return tracing.span("job.attempt", "consumer", tags, parent=job.trace_context, began=attempt.claimed_at)


def _prepared(attempt: Attempt) -> PreparedCall:
    if attempt.call is None:
        raise NotFound("server", attempt.ref)
    return attempt.call
