"""From a request to a stored job."""

from uuid import UUID

from nexus_hub.catalog import read
from nexus_hub.db.pool import Database
from nexus_hub.jobs import store
from nexus_hub.jobs.arguments import check_prompt_arguments, check_tool_arguments
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.models import Principal, ServerRef
from nexus_hub.servers import registry


async def resolve(database: Database, principal: Principal, request: JobRequest) -> tuple[ServerRef, str | None]:
    """The server that a request goes to, and its own name of the tool or prompt.

    Raises:
        NotFound: the principal sees no such tool, prompt or server.
        InvalidArguments: the arguments do not fit.
    """
    request.check()
    if request.job_type == "resource_fetch":
        server = await registry.find(database, principal, request.name)
        return ServerRef(server["server_type"], server["id"]), None
    kind: read.NamedKind = "tool" if request.job_type == "tool_invoke" else "prompt"
    entry = await read.find(database, principal, kind, request.name)
    ref = ServerRef(entry["server_type"], entry["server_ref_id"])
    if kind == "tool":
        check_tool_arguments(request.name, entry["definition"].get("inputSchema") or {}, request.arguments)
    else:
        check_prompt_arguments(request.name, entry["definition"], request.arguments)
    return ref, entry["name"]


async def submit(
    database: Database, principal: Principal, request: JobRequest, *, flow_run_id: UUID | None = None
) -> tuple[UUID, bool]:
    """Check and store a request; the job's id, and whether it is new. Nothing is stored of a bad one.

    Raises:
        NotFound, InvalidRequest, InvalidArguments, TooLarge: the request can't be used.
        Conflict: the idempotency key stands for another request.
    """
    ref, name = await resolve(database, principal, request)
    return await store.add(database, principal, request, ref, name, flow_run_id=flow_run_id)
