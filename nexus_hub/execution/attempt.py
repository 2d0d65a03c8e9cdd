"""One attempt of a job as a worker holds it: its claim, what was asked, what became of it."""

import asyncio
import math
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from nexus_hub.errors import HubError, NotFound
from nexus_hub.models import JobStatus, ServerRef
from nexus_hub.rate_limit.limiter import Limits
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
    """One claim of a job, as it is worked on. It holds credentials, so that it shows none of itself."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.target: Target | None = None
        self.limits = Limits()
        self.result: dict[str, Any] | None = None
        self.failure: HubError | None = None
        self.lost = False
        self.leaving = False
        self.progress: dict[str, Any] | None = None
        self.has_news = asyncio.Event()
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
    def claim_id(self) -> UUID:
        """Under which claim it is held."""
        claim_id: UUID = self.job["claim_id"]
        return claim_id

    @property
    def claim(self) -> dict[str, Any]:
        """What a write must match."""
        return {"id": self.id, "claim_id": self.claim_id}

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
        self._cancel_call()

    def leave(self) -> None:
        """Stop working on it: the worker stops."""
        self.leaving = True
        self._cancel_call()

    async def news(self, progress: float, total: float | None, message: str | None) -> None:
        """Take a note of how far the call has come."""
        known, whole = _number(progress), _number(total)
        fraction = min(max(known / whole, 0.0), 1.0) if known is not None and whole and whole > 0 else None
        message = (message or "")[:LONGEST_MESSAGE] or None
        self.progress = {"progress": known, "total": whole, "fraction": fraction, "message": message}
        self.has_news.set()

    def _cancel_call(self) -> None:
        if self.in_flight is not None:
            self.in_flight.cancel()


def _number(value: float | None) -> float | None:
    """A number that JSON knows."""
    return value if value is not None and math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class NotClaimed:
    """Why a job was not taken: it has ended, is taken already, or has to wait until `available_at`."""

    status: JobStatus | None
    available_at: datetime | None = None


Outcome = Literal["completed", "failed", "cancelled", "requeued", "lost"]
