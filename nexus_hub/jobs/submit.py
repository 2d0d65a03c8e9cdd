"""From a request to a stored job."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

from nexus_hub.access.permissions import Permissions, read_permissions, require_call
from nexus_hub.calls.arguments import check_prompt_arguments, check_tool_arguments
from nexus_hub.calls.bundled import refuse_kept_back
from nexus_hub.calls.schemas import Schema
from nexus_hub.calls.turns import take_turn
from nexus_hub.catalog import read
from nexus_hub.catalog.bundle_items import kept_back_by
from nexus_hub.catalog.bundle_read import InBundle, find_in_bundle, find_resource_in_bundle
from nexus_hub.catalog.entries import NamedEntry
from nexus_hub.db.pool import Database
from nexus_hub.errors import NotFound, NotOffered
from nexus_hub.jobs import store
from nexus_hub.jobs.approvals import Asker
from nexus_hub.jobs.requests import NO_BOUNDS, JobBounds, JobRequest
from nexus_hub.jobs.store import Place, ResolvedRequest
from nexus_hub.models import BundleCall, Principal, ServerRef
from nexus_hub.servers import registry
from nexus_hub.telemetry import tracing
from nexus_hub.telemetry.bus import emit
from nexus_hub.telemetry.events import BatchStored, JobStored, JobTags
from nexus_hub.telemetry.trail import note

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
    by_bundle: BundleCall | None = None
    kept_back: frozenset[str] = frozenset()
    """The arguments that its bundle fixes or hides."""

    @classmethod
    def in_bundle(cls, found: InBundle) -> "Resolved":
        """Make it of a name of a bundle."""
        schema = Schema(found.definition.get("inputSchema") or {}) if found.entry.kind == "tool" else None
        return cls(found.ref, found.name, found.definition, schema, found.call, kept_back_by(found.entry))

    @classmethod
    def of(cls, kind: read.NamedKind, entry: NamedEntry) -> "Resolved":
        """Make it of an entry of the catalog."""
        schema = Schema(entry.definition.get("inputSchema") or {}) if kind == "tool" else None
        return cls(ServerRef(entry.server_type, entry.server_ref_id), entry.name, entry.definition, schema)


class Resolver:
    """Finds what names stand for, to one principal; the last ones are kept."""

    def __init__(self, database: Database, principal: Principal, bounds: JobBounds = NO_BOUNDS) -> None:
        self._bounds = bounds
        self._database = database
        self._principal = principal
        self._known: dict[tuple[str, str], Resolved] = {}
        self._permissions: Permissions | None = None
        self._checking_seconds = 0.0

    async def resolve(self, request: JobRequest) -> ResolvedRequest:
        """Find the server that a request goes to, and its own name of the tool or prompt.

        Raises:
            NotFound, NotOffered: the principal sees no such tool, prompt or server, or it is switched off.
            NotAllowed: the principal may see it, and not call it.
            InvalidArguments: the arguments do not fit.
        """
        request.check(self._bounds.timeout_seconds)
        key = request.job_type, request.name
        named = self._known.get(key) or await self._find(request)
        if named.by_bundle is None or request.uri is None:  # a bundle has the resources of several servers
            if key not in self._known and len(self._known) == KEPT_NAMES:
                del self._known[next(iter(self._known))]
            self._known[key] = named
        if self._checking_seconds < LONGEST_CHECKS_SECONDS:
            async with take_turn():
                began = time.monotonic()
                check_arguments(request, named)
                self._checking_seconds += time.monotonic() - began
        return replace(request, by_bundle=named.by_bundle), named.ref, named.name

    async def _find(self, request: JobRequest) -> Resolved:
        named = await self._look_up(request)
        if self._permissions is None:
            self._permissions = await read_permissions(self._database, self._principal.user_id)
        require_named(self._permissions, request, named)
        return named

    async def _look_up(self, request: JobRequest) -> Resolved:
        try:
            return await self._find_of_server(request)
        except NotFound as error:
            missing = error
        try:
            return Resolved.in_bundle(await self._find_in_bundle(request))
        except NotFound:
            raise missing from None

    async def _find_in_bundle(self, request: JobRequest) -> InBundle:
        if request.job_type == "resource_fetch":
            return await find_resource_in_bundle(self._database, self._principal, request.name, request.uri or "")
        kind: read.NamedKind = "tool" if request.job_type == "tool_invoke" else "prompt"
        return await find_in_bundle(self._database, self._principal, kind, request.name)

    async def _find_of_server(self, request: JobRequest) -> Resolved:
        if request.job_type == "resource_fetch":
            server = await registry.find(self._database, self._principal, request.name)
            if not server.enabled:
                raise NotOffered.server(server.name)
            return Resolved(ServerRef(server.server_type, server.id))
        kind: read.NamedKind = "tool" if request.job_type == "tool_invoke" else "prompt"
        return Resolved.of(kind, await read.find(self._database, self._principal, kind, request.name))


def require_named(permissions: Permissions, request: JobRequest, named: Resolved) -> None:
    """Let a request through that may be made of what its name stands for.

    Raises:
        NotFound, NotAllowed: it may not.
    """
    if named.by_bundle is not None:
        return  # it was found as one that may be called
    is_tool = request.job_type == "tool_invoke"
    kind = "tool" if is_tool else "prompt" if request.job_type == "prompt_execute" else "server"
    require_call(permissions.of(named.ref, named.name if is_tool else None), kind, request.name)


def check_arguments(request: JobRequest, named: Resolved) -> None:
    """Hold a request's arguments against what its tool or prompt takes.

    Raises:
        InvalidArguments: they do not fit.
    """
    refuse_kept_back(named.kept_back, request.name, request.arguments)
    if named.schema is not None:
        check_tool_arguments(request.name, named.schema, request.arguments)
    elif request.job_type == "prompt_execute":
        check_prompt_arguments(request.name, named.definition, request.arguments)


async def submit(
    database: Database,
    principal: Principal,
    request: JobRequest,
    bounds: JobBounds = NO_BOUNDS,
    *,
    resolved: ResolvedRequest | None = None,
    flow_run_id: UUID | None = None,
    queued: bool = False,
    take_turn: store.TakeTurn = store.take_no_turn,
    asker: Asker | None = None,
) -> tuple[dict[str, Any], Place | None]:
    """Check and store a request; the job's row, and its place if it is new. Nothing is stored of a bad one.

    One that is `resolved` was checked before. One that needs a person's yes waits for it, if there is an `asker`.

    Raises:
        NotFound, InvalidRequest, InvalidArguments, TooLarge: the request can't be used.
        Conflict: the idempotency key stands for another request.
        TooMany: the user has as many open jobs as are allowed.
    """
    began = time.monotonic()
    note(arguments=request.audited)
    resolved = resolved or await Resolver(database, principal, bounds).resolve(request)
    request, ref, name = resolved
    note(called_as=request.by_bundle and request.by_bundle.called_as)
    ask = None if asker is None else await asker.find(principal, *resolved)
    with tracing.span("job.store", "producer") as span:
        row, place = await store.add(
            database,
            principal,
            *resolved,
            most_open=bounds.open_jobs,
            flow_run_id=flow_run_id,
            queued=queued,
            take_turn=take_turn,
            ask=ask,
        )
        span.set({"nexus.job.id": row["id"]})
    if place is not None:
        tool = name if request.job_type == "tool_invoke" else None
        job = JobTags(
            row["id"], None, ref.server_ref_id, None, tool, principal.user_id, flow_run_id, trace_id=row["trace_id"]
        )
        emit(JobStored(job, (time.monotonic() - began) * 1000))
    return row, place


async def submit_batch(
    database: Database,
    principal: Principal,
    requests: Sequence[JobRequest],
    bounds: JobBounds = NO_BOUNDS,
    *,
    on_checked: Callable[[UUID], None] | None = None,
    asker: Asker | None = None,
) -> tuple[list[UUID], UUID, int]:
    """Check and store requests, all or none; `on_checked` is called with their batch before they are stored.

    Returns the jobs' ids in order, their batch, and how many of them are new.

    Raises:
        NotFound, InvalidRequest, InvalidArguments, TooLarge, Conflict: as for `submit`; the message says which one.
        TooMany: with all of them the user would have more open jobs than are allowed.
    """
    began, names, batch_id = time.monotonic(), Resolver(database, principal, bounds), uuid4()
    note(arguments=[request.audited for request in requests])
    resolved = []
    for number, request in enumerate(requests):
        with store.numbered(number):
            resolved.append(await names.resolve(request))
        if number % CHECKED_AT_ONCE == 0:
            await asyncio.sleep(0)
    asks = [] if asker is None else [await asker.find(principal, *one) for one in resolved]
    if on_checked is not None:
        on_checked(batch_id)
    with tracing.span("job.store", attributes={"nexus.batch.id": batch_id, "nexus.batch.jobs": len(resolved)}):
        ids, new = await store.add_batch(database, principal, resolved, batch_id, most_open=bounds.open_jobs, asks=asks)
    if new:
        emit(BatchStored(batch_id, new, principal.user_id, (time.monotonic() - began) * 1000))
    return ids, batch_id, new
