"""The way of one attempt: claim, limit, open, call, record. Both lanes run these same steps."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4

import psycopg

from nexus_hub.catalog import read
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
from nexus_hub.jobs.arguments import check_tool_arguments
from nexus_hub.jobs.requests import DEFAULT_TIMEOUT_SECONDS
from nexus_hub.jobs.store import JOBS, readable
from nexus_hub.models import TERMINAL, JobStatus, ServerRef
from nexus_hub.rate_limit.limiter import Limiter, Limits
from nexus_hub.servers.registry import Servers
from nexus_hub.stopping import stop
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.requests import PromptGet, ResourceRead, ToolCall, UpstreamRequest

logger = logging.getLogger(__name__)

LEASE_SECONDS = 30
HEARTBEAT_SECONDS = 10
FIRST_BACKOFF_SECONDS = 2
LONGEST_BACKOFF_SECONDS = 300


NEVER_SENT = (UpstreamUnavailable, DatabaseUnavailable)
"""Failures of an attempt before its call went out: another attempt is safe."""
UNSTORABLE = (RecursionError, psycopg.DataError, *TOO_LARGE)
"""What a result raises that is nested too deep, or too large for the database."""


class ClaimLost(HubError):
    """The job was cancelled, or another claim holds it: whatever this one brings is of no use."""

    code = "claim-lost"
    status = 409


class Attempt:
    """One claim of a job, as it is worked on. It holds credentials, so that it shows none of itself."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.target: Target | None = None
        self.limits = Limits()
        self.result: dict[str, Any] | None = None
        self.failure: HubError | None = None
        self.lost = False
        self.repeatable = job["retry"] == "always" or job["job_type"] != "tool_invoke"
        self.in_flight: asyncio.Task[dict[str, Any]] | None = None
        self._began = time.monotonic()

    def __repr__(self) -> str:
        return f"Attempt({self.id}, {self.number})"

    @property
    def id(self) -> UUID:
        """The job's id."""
        job_id: UUID = self.job["id"]
        return job_id

    @property
    def number(self) -> int:
        """Which attempt this is, from 1."""
        number: int = self.job["attempt"]
        return number

    @property
    def seconds(self) -> float:
        """How long ago it was claimed."""
        return time.monotonic() - self._began

    @property
    def claim(self) -> dict[str, Any]:
        """What a write must match."""
        return {"id": self.id, "claim_id": self.job["claim_id"]}

    @property
    def ref(self) -> ServerRef:
        """The job's server.

        Raises:
            NotFound: the row names none that can exist.
        """
        if self.job["server_type"] is None or self.job["server_ref_id"] is None:
            raise NotFound("server", "of this job")
        return ServerRef(self.job["server_type"], self.job["server_ref_id"])

    def request(self) -> UpstreamRequest:
        """What is sent upstream."""
        params = self.job["params"]
        match self.job["job_type"]:
            case "tool_invoke":
                return ToolCall(self.job["tool_name"] or "", params)
            case "resource_fetch":
                return ResourceRead(str(params.get("uri", "")))
            case _:
                return PromptGet(str(params.get("name", "")), params.get("arguments") or {})

    def lose(self) -> None:
        """Stop working on it: the claim is gone."""
        self.lost = True
        if self.in_flight is not None:
            self.in_flight.cancel()


@dataclass(frozen=True, slots=True)
class NotClaimed:
    """Why a job was not taken: it has ended, is taken already, or has to wait until `available_at`."""

    status: JobStatus | None
    available_at: datetime | None = None


Outcome = Literal["completed", "failed", "cancelled", "requeued", "lost"]


@dataclass
class Execution:
    """The steps, with what they need."""

    database: Database
    servers: Servers
    connections: Connections
    limiter: Limiter
    max_result_bytes: int
    lease_seconds: float = LEASE_SECONDS
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    held: dict[UUID, Attempt] = field(default_factory=dict)

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
        """Keep the lease alive as long as the block runs; a lost claim cancels the call in it."""
        self.held[attempt.id] = attempt
        heartbeat = asyncio.create_task(self._beat(attempt))
        try:
            yield
        finally:
            await stop(heartbeat)
            self.held.pop(attempt.id, None)

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
                    renewed = await self._renew(attempt)
                expires = began + self.lease_seconds
                if not renewed:
                    attempt.lose()
            except Exception as error:  # whatever it is, the lease goes on running out
                logger.warning("a lease could not be renewed: %s", type(error).__name__)
            if attempt.repeatable and time.monotonic() + self.heartbeat_seconds > expires:
                attempt.lose()

    async def _renew(self, attempt: Attempt) -> int:
        async with self.database.transaction() as transaction:
            return await transaction.run(JOBS["renew_lease"], lease_seconds=self.lease_seconds, **attempt.claim)

    async def open(self, attempt: Attempt) -> None:
        """Open the server's credentials and check the arguments of a job that plain SQL stored.

        Raises:
            NotFound, CannotOpen, InvalidArguments: the job can't be run.
        """
        attempt.target, row = await self.servers.open(attempt.ref)
        if attempt.job["user_id"] is not None and row["user_id"] not in (None, attempt.job["user_id"]):
            raise NotFound("server", attempt.ref)  # plain SQL can store a job for a server of somebody else
        attempt.limits = Limits(row["limit_per_minute"], row["user_limit_per_minute"])
        if attempt.job["job_type"] == "tool_invoke":
            await self._check_tool(attempt)

    async def _check_tool(self, attempt: Attempt) -> None:
        tool = await read.tool_definition(self.database, attempt.ref, attempt.job["tool_name"])
        hints = tool.get("annotations") or {}
        attempt.repeatable |= any(hints.get(hint) is True for hint in ("readOnlyHint", "idempotentHint"))
        check_tool_arguments(str(attempt.job["tool_name"]), tool.get("inputSchema") or {}, attempt.job["params"])

    async def admit(self, attempt: Attempt) -> float:
        """Take the call from the server's limits, then note that it goes out; seconds to wait, or 0.

        Raises:
            ClaimLost: the job was cancelled in the meantime.
        """
        decision = await self.limiter.take(attempt.ref.server_ref_id, attempt.job["user_id"], attempt.limits)
        if not decision.allowed:
            return max(decision.retry_after, 0.1)
        async with self.database.transaction() as transaction:
            marked = await transaction.run(JOBS["mark_sent"], **attempt.claim)
        if not marked:
            attempt.lose()
            raise ClaimLost
        return 0

    async def call(self, attempt: Attempt) -> None:
        """Send the request upstream and keep what comes back.

        Raises:
            UpstreamError: see nexus_hub.errors.
            ClaimLost: the job was cancelled; the upstream was told.
        """
        if attempt.target is None:
            raise NotFound("server", attempt.ref)
        if attempt.lost:
            raise ClaimLost
        attempt.in_flight = asyncio.create_task(
            self.connections.request(
                attempt.target,
                attempt.request(),
                timeout=attempt.job["timeout_seconds"] or DEFAULT_TIMEOUT_SECONDS,
                on_progress=lambda progress, total, message: self._progress(attempt, progress, total, message),
            )
        )
        try:
            attempt.result = await attempt.in_flight
        except asyncio.CancelledError:
            if attempt.lost:
                raise ClaimLost from None
            attempt.in_flight.cancel()
            raise

    async def _progress(self, attempt: Attempt, progress: float, total: float | None, message: str | None) -> None:
        note = escape({"progress": progress, "total": total, "message": (message or "")[:1000] or None})
        with suppress(DatabaseUnavailable):
            async with self.database.transaction() as transaction:
                await transaction.run(JOBS["record_progress"], progress=json_parameter(note), **attempt.claim)

    async def postpone(self, attempt: Attempt, delay: float) -> datetime | None:
        """Put a job back for the same attempt, later; when, or None if the claim is gone."""
        async with self.database.transaction() as transaction:
            row = await transaction.one(JOBS["postpone_job"], delay=delay, **attempt.claim)
        return row["available_at"] if row else None

    async def record(self, attempt: Attempt) -> Outcome:
        """Write down how the attempt ended, or put the job back for another one.

        Raises:
            DatabaseUnavailable: nothing was written; call it again.
        """
        failure = attempt.failure
        again = isinstance(failure, NEVER_SENT) or (attempt.repeatable and isinstance(failure, OutcomeUnknown))
        if failure is not None and again and await self._requeue(attempt, failure):
            return "requeued"
        if isinstance(failure, ClaimLost):
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
        delay = min(FIRST_BACKOFF_SECONDS * 2 ** (attempt.number - 1), LONGEST_BACKOFF_SECONDS)
        async with self.database.transaction() as transaction:
            return bool(
                await transaction.run(JOBS["requeue_job"], delay=delay, error_code=failure.code, **attempt.claim)
            )

    async def _finish(self, attempt: Attempt, failure: HubError | None) -> bool:
        if failure is None:
            failure = InternalError() if attempt.result is None else self._oversize(attempt)
        if failure is not None:
            attempt.result = None
        async with self.database.transaction() as transaction:
            return bool(
                await transaction.run(
                    JOBS["finish_job"],
                    status="failed" if failure else "completed",
                    result=json_parameter(escape(attempt.result)),
                    error=escape(failure.message) if failure else None,
                    error_code=failure.code if failure else None,
                    **attempt.claim,
                )
            )

    def _oversize(self, attempt: Attempt) -> HubError | None:
        size = len(json.dumps(attempt.result))
        return TooLarge("A result", size, self.max_result_bytes) if size > self.max_result_bytes else None

    async def _lost(self, attempt: Attempt) -> Outcome:
        async with self.database.transaction() as transaction:
            row = await transaction.one(JOBS["get_job"], id=attempt.id)
        ours = row is not None and row["attempt"] == attempt.number
        return row["status"] if row and ours and row["status"] in TERMINAL else "lost"


class NotStorable(HubError):
    """A result that the database refuses even when it is escaped, such as one nested too deep."""

    code = "result-not-storable"

    def __init__(self) -> None:
        super().__init__("The call was answered, but the database refuses to store the result.")
