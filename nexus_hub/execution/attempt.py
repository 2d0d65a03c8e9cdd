"""Attempts of jobs as a worker holds them: the claim, the call, and what came of it."""

import math
import time
from asyncio import Task
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from nexus_hub.calls.pipeline import PreparedCall
from nexus_hub.errors import HubError, NotFound
from nexus_hub.jobs.store import Job
from nexus_hub.json_object import JsonObject
from nexus_hub.models import JobStatus, ServerRef
from nexus_hub.telemetry.events import JobTags
from nexus_hub.telemetry.trace_context import find_trace_id
from nexus_hub.upstream.circuit import CircuitOpen
from nexus_hub.upstream.connections import Target
from nexus_hub.upstream.requests import PromptGet, ResourceRead, ToolCall, UpstreamRequest

LONGEST_MESSAGE = 1000


class ClaimStale(HubError):
    """The job was cancelled, or another claim holds it: whatever this one brings is of no use."""

    code = "claim-stale"
    status = 409


class Released(HubError):
    """The worker stops; the call was not sent or may be repeated, so that another worker goes on with the attempt."""

    code = "released"
    status = 503


class Attempt:
    """A claim of a job, as it is worked on. It holds credentials, so that it shows none of itself.

    `claimed_at` is a time of the monotonic clock before which the claim was not there: its lease runs from then on.
    """

    def __init__(self, job: Job, claimed_at: float | None = None, flow_run_id: UUID | None = None) -> None:
        self.job = job
        self.flow_run_id = flow_run_id
        self.call: PreparedCall | None = None
        self.result: Mapping[str, Any] | None = None
        self.failure: HubError | None = None
        self.stale = False
        self.closed = False
        self.shutting_down = False
        self.progress: dict[str, Any] | None = None
        self.repeatable = job.retry == "always" or job.job_type != "tool_invoke"
        self.in_flight: Task[JsonObject] | None = None
        self.claimed_at = self.renewed_at = time.monotonic() if claimed_at is None else claimed_at

    def __repr__(self) -> str:
        return f"Attempt({self.id}, {self.number})"

    @property
    def id(self) -> UUID:
        """The job's id."""
        return self.job.id

    @property
    def number(self) -> int:
        """The number of the attempt, from 1."""
        return self.job.attempt

    @property
    def seconds(self) -> float:
        """The time since it was claimed."""
        return time.monotonic() - self.claimed_at

    @property
    def claim_id(self) -> UUID:
        """The claim under which it is held."""
        return self.job.claim_id

    @property
    def claim(self) -> dict[str, Any]:
        """The columns that a write must match."""
        return {"id": self.id, "claim_id": self.claim_id}

    @property
    def ref(self) -> ServerRef:
        """The job's server.

        Raises:
            NotFound: the row names none that can exist.
        """
        if self.job.server_type is None or self.job.server_ref_id is None:
            raise NotFound("server", "of this job")
        return ServerRef(self.job.server_type, self.job.server_ref_id)

    @property
    def tags(self) -> JobTags:
        """The ids by which events name it."""
        job, server = self.job, self.target.name if self.target else None
        return JobTags(
            self.id,
            self.number,
            job.server_ref_id,
            server,
            job.tool_name,
            job.user_id,
            self.flow_run_id,
            job.job_type,
            find_trace_id(job.trace_context),
        )

    @property
    def target(self) -> Target | None:
        """The job's server with its credentials, once they are open."""
        return self.call.target if self.call else None

    @property
    def snooze_seconds(self) -> float | None:
        """The time after which the same attempt goes on, since nothing was tried yet; None if it has failed."""
        match self.failure:
            case Released():
                return 0
            case CircuitOpen() as refusal:
                return refusal.retry_after
            case _:
                return None

    def request(self) -> UpstreamRequest:
        """Make the request that is sent upstream."""
        params = self.job.params
        match self.job.job_type:
            case "tool_invoke":
                return ToolCall(self.job.tool_name or "", params)
            case "resource_fetch":
                return ResourceRead(str(params.get("uri", "")))
            case _:
                return PromptGet(str(params.get("name", "")), params.get("arguments") or {})

    def mark_stale(self) -> None:
        """Stop working on it: the claim is gone."""
        self.stale = True
        self._cancel_call()

    def shutdown(self) -> None:
        """Stop working on it: the worker stops."""
        self.shutting_down = True
        self._cancel_call()

    def note_progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Take a note of how far the call has come, in place of the one before."""
        known, whole = _finite(progress), _finite(total)
        fraction = min(max(known / whole, 0.0), 1.0) if known is not None and whole and whole > 0 else None
        message = (message or "")[:LONGEST_MESSAGE] or None
        self.progress = {"progress": known, "total": whole, "fraction": fraction, "message": message}

    def drop_result(self) -> None:
        """Keep no more of a result than that there is one: it is large, and written down."""
        self.result = JsonObject(b"{}")
        self.in_flight = None

    def _cancel_call(self) -> None:
        if self.in_flight is not None:
            self.in_flight.cancel()


def _finite(value: float | None) -> float | None:
    """Leave out a number that JSON does not know."""
    return value if value is not None and math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class NotClaimed:
    """The reason that a job was not taken: it has ended, is taken already, or has to wait until `available_at`."""

    status: JobStatus | None
    available_at: datetime | None = None


Outcome = Literal["completed", "failed", "cancelled", "requeued", "stale"]
"""The end of an attempt; stale: another claim holds the job, or its row is gone."""
