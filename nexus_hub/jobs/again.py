"""The same call anew: a request made of a job that is there."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from nexus_hub.access.permissions import read_permissions
from nexus_hub.calls.turns import take_turn
from nexus_hub.catalog import read
from nexus_hub.catalog.bundle_read import find_of_entry, find_resource_in_bundle
from nexus_hub.catalog.bundles import EntryKind
from nexus_hub.db.pool import Database
from nexus_hub.errors import InvalidRequest, NotFound
from nexus_hub.jobs import store
from nexus_hub.jobs.requests import JobBounds, JobRequest
from nexus_hub.jobs.store import ResolvedRequest
from nexus_hub.jobs.submit import Resolved, check_arguments, require_named
from nexus_hub.json_object import JsonObject
from nexus_hub.json_text import read as read_json
from nexus_hub.models import BundleCall, Principal, ServerRef
from nexus_hub.servers import registry


class NoLongerOffered(NotFound):
    """The tool, prompt or server of a job is gone, or was never the asker's to call."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(kind, name)
        self.args = (f"This job can't be run again: no {kind} {name[:200]!r} of its server is offered to you now.",)


async def prepare_again(
    database: Database, principal: Principal, job_id: UUID, bounds: JobBounds
) -> tuple[JobRequest, ResolvedRequest]:
    """Make the request of a job once more, with its params as they were sent, to be stored for who asks now.

    Raises:
        NotFound: the principal sees no such job.
        NoLongerOffered: what it calls is not there for the principal.
        NotAllowed: the principal may see it, and not call it.
        InvalidRequest: it is the row of a maintenance flow, or names no server.
        InvalidArguments: its arguments do not fit what the tool takes now.
    """
    job = await store.get(database, principal, job_id, whole=True)
    if job["job_type"] not in {"tool_invoke", "prompt_execute", "resource_fetch"} or job["server_ref_id"] is None:
        raise InvalidRequest(f"The job {job_id} is no call of a server, so that it can't be run again.")
    params = read_json(job["params"].text) if isinstance(job["params"], JsonObject) else {}
    named, name = await _find(database, principal, job, params)
    request = _make_request(job, params, name, bounds)
    request.check(bounds.timeout_seconds)
    require_named(await read_permissions(database, principal.user_id), request, named)
    async with take_turn():
        check_arguments(request, named)
    request = replace(request, by_bundle=named.by_bundle)
    return request, (request, named.ref, named.name)


async def _find(
    database: Database, principal: Principal, job: dict[str, Any], params: dict[str, Any]
) -> tuple[Resolved, str]:
    """Find what the job called, and the name by which people call it."""
    if job["called_as"] is not None:
        return await _find_in_bundle(database, principal, job, params)
    ref = ServerRef(job["server_type"], job["server_ref_id"])
    if job["job_type"] == "resource_fetch":
        try:
            return Resolved(ref), (await registry.find(database, principal, str(ref.server_ref_id))).name
        except NotFound:
            raise NoLongerOffered("server", str(ref)) from None
    kind: read.NamedKind = "tool" if job["job_type"] == "tool_invoke" else "prompt"
    own_name = job["tool_name"] if kind == "tool" else params.get("name")
    entry = await read.find_own(database, principal, kind, ref, str(own_name))
    if entry is None:
        raise NoLongerOffered(kind, str(own_name))
    return Resolved.of(kind, entry), entry.namespaced_name


async def _find_in_bundle(
    database: Database, principal: Principal, job: dict[str, Any], params: dict[str, Any]
) -> tuple[Resolved, str]:
    call = BundleCall(job["bundle_entry_id"], job["called_as"])
    kind: EntryKind = "tool" if job["job_type"] == "tool_invoke" else "prompt"
    try:
        if job["job_type"] == "resource_fetch":
            found = await find_resource_in_bundle(database, principal, call.bundle, str(params.get("uri")))
        else:
            own_name = job["tool_name"] if kind == "tool" else params.get("name")
            found = await find_of_entry(database, principal, kind, call, str(own_name))
    except NotFound:
        raise NoLongerOffered(kind, call.called_as) from None
    return Resolved.in_bundle(found), found.call.called_as


def _make_request(job: dict[str, Any], params: dict[str, Any], name: str, bounds: JobBounds) -> JobRequest:
    is_prompt = job["job_type"] == "prompt_execute"
    return JobRequest(
        job_type=job["job_type"],
        name=name,
        arguments=params.get("arguments") or {} if is_prompt else params if job["job_type"] == "tool_invoke" else {},
        uri=params.get("uri") if job["job_type"] == "resource_fetch" else None,
        timeout_seconds=min(job["timeout_seconds"] or bounds.default_timeout_seconds, bounds.timeout_seconds),
        max_attempts=job["max_attempts"],
        retry=job["retry"],
    )
