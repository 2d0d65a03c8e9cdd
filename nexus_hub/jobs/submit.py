"""From a request to a stored job."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from nexus_hub.calls.arguments import check_prompt_arguments, check_tool_arguments
from nexus_hub.calls.schemas import Schema
from nexus_hub.catalog import read
from nexus_hub.db.pool import Database
from nexus_hub.jobs import store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.jobs.store import ResolvedRequest
from nexus_hub.models import Principal, ServerRef
from nexus_hub.servers import registry
from nexus_hub.telemetry.bus import emit
from nexus_hub.telemetry.events import BatchStored, JobStored, JobTags

LONGEST_CHECKS_SECONDS = 2.0
"""Time that one request may take to be held against schemas; what is left is checked when it runs."""
KEPT_NAMES = 50
"""Tools and prompts, with their definitions, that one request keeps in memory."""
CHECKED_AT_ONCE = 20
"""After so many jobs others get their turn."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A name that was found: the server, its own name of the tool or prompt, and what it says of it."""

    ref: ServerRef
    name: str | None = None
    definition: dict[str, Any] = field(default_factory=dict)
    schema: Schema | None = None


class Resolver:
    """Finds what names stand for, to one principal; the last ones are kept."""

    def __init__(self, database: Database, principal: Principal) -> None:
        self._database = database
        self._principal = principal
        self._known: dict[tuple[str, str], Resolved] = {}
        self._checking_seconds = 0.0

    async def resolve(self, request: JobRequest) -> ResolvedRequest:
        """Find the server that a request goes to, and its own name of the tool or prompt.

        Raises:
            NotFound: the principal sees no such tool, prompt or server.
            InvalidArguments: the arguments do not fit.
        """
        request.check()
        key = request.job_type, request.name
        if key not in self._known:
            if len(self._known) == KEPT_NAMES:
                del self._known[next(iter(self._known))]
            self._known[key] = await self._find(request)
        named = self._known[key]
        if self._checking_seconds < LONGEST_CHECKS_SECONDS:
            began = time.monotonic()
            _check(request, named)
            self._checking_seconds += time.monotonic() - began
        return request, named.ref, named.name

    async def _find(self, request: JobRequest) -> Resolved:
        if request.job_type == "resource_fetch":
            server = await registry.find(self._database, self._principal, request.name)
            return Resolved(ServerRef(server.server_type, server.id))
        kind: read.NamedKind = "tool" if request.job_type == "tool_invoke" else "prompt"
        entry = await read.find(self._database, self._principal, kind, request.name)
        ref = ServerRef(entry.server_type, entry.server_ref_id)
        schema = Schema(entry.definition.get("inputSchema") or {}) if kind == "tool" else None
        return Resolved(ref, entry.name, entry.definition, schema)


def _check(request: JobRequest, named: Resolved) -> None:
    if named.schema is not None:
        check_tool_arguments(request.name, named.schema, request.arguments)
    elif request.job_type == "prompt_execute":
        check_prompt_arguments(request.name, named.definition, request.arguments)


async def submit(
    database: Database, principal: Principal, request: JobRequest, *, flow_run_id: UUID | None = None
) -> tuple[dict[str, Any], bool]:
    """Check and store a request; the job's row, and whether it is new. Nothing is stored of a bad one.

    Raises:
        NotFound, InvalidRequest, InvalidArguments, TooLarge: the request can't be used.
        Conflict: the idempotency key stands for another request.
    """
    began = time.monotonic()
    _, ref, name = resolved = await Resolver(database, principal).resolve(request)
    row, is_new = await store.add(database, principal, *resolved, flow_run_id=flow_run_id)
    if is_new:
        tool = name if request.job_type == "tool_invoke" else None
        job = JobTags(row["id"], None, ref.server_ref_id, None, tool, principal.user_id, flow_run_id)
        emit(JobStored(job, (time.monotonic() - began) * 1000))
    return row, is_new


async def submit_batch(
    database: Database, principal: Principal, requests: Sequence[JobRequest]
) -> tuple[list[UUID], UUID, int]:
    """Check and store requests that share a flow run, all or none.

    Returns the jobs' ids in order, their batch, and how many of them are new.

    Raises:
        NotFound, InvalidRequest, InvalidArguments, TooLarge, Conflict: as for `submit`; the message says which one.
    """
    began, names, batch_id = time.monotonic(), Resolver(database, principal), uuid4()
    resolved = []
    for number, request in enumerate(requests):
        with store.numbered(number):
            resolved.append(await names.resolve(request))
        if number % CHECKED_AT_ONCE == 0:
            await asyncio.sleep(0)
    ids, new = await store.add_batch(database, principal, resolved, batch_id)
    if new:
        emit(BatchStored(batch_id, new, principal.user_id, (time.monotonic() - began) * 1000))
    return ids, batch_id, new
