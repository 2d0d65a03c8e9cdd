"""`/v1/changes`: what servers changed of their catalogs, what of it waits for approval, and the approval."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field

from nexus_hub.api.access import HEAVY, Asking, RuntimeOf
from nexus_hub.api.answers import answers
from nexus_hub.api.bodies import Body
from nexus_hub.api.problems import Json
from nexus_hub.api.queries import Cursor, Limit, Truth
from nexus_hub.api.servers import require_manager
from nexus_hub.catalog import changes, tools
from nexus_hub.errors import InvalidRequest
from nexus_hub.models import ServerRef, ServerType
from nexus_hub.telemetry.trail import note

router = APIRouter(prefix="/v1", tags=["servers"])


class SeenTool(Body):
    """A tool by the server's own name, with the hash of the definition that was looked at."""

    name: str
    hash: str = Field(pattern="^[0-9a-fA-F]{64}$")


class ApprovedTools(Body):
    """Tools to approve, all of them or none."""

    tools: list[SeenTool] = Field(max_length=changes.MOST_TOOLS)


@router.get("/changes", dependencies=HEAVY)
async def list_changes(
    principal: Asking,
    runtime: RuntimeOf,
    server: str | None = None,
    pending: Truth = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Any:
    """List what changed, word by word, the newest first; or with `pending` the tools that wait for approval.

    An operator sees what every server changed, a user what the user's own servers did.
    """
    found = await changes.list_changes(
        runtime.database, principal, server=server, pending=pending, limit=limit, cursor=cursor
    )
    return Json(found)


@router.get("/servers/{server_type}/{server_ref_id}/tools", dependencies=HEAVY, responses=answers(403, 404))
async def list_server_tools(
    server_type: ServerType,
    server_ref_id: UUID,
    principal: Asking,
    runtime: RuntimeOf,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Any:
    """List all tools that a server has, also those that are switched off or held; for who looks after it."""
    await require_manager(runtime, principal, server_type, server_ref_id, "list all tools of")
    ref = ServerRef(server_type, server_ref_id)
    return Json(await tools.list_all_tools(runtime.database, ref, limit=limit, cursor=cursor))


@router.post("/servers/{server_type}/{server_ref_id}/tools:approve", responses=answers(403, 404, 409))
async def approve_tools(
    server_type: ServerType, server_ref_id: UUID, body: ApprovedTools, principal: Asking, runtime: RuntimeOf
) -> Any:
    """Approve tools that are held, as they were looked at; of a system server for operators only."""
    await require_manager(runtime, principal, server_type, server_ref_id, "approve tools of")
    note(target=f"{len(body.tools)} tools")
    seen = {one.name: one.hash for one in body.tools}
    if len(seen) < len(body.tools):
        raise InvalidRequest("A tool is named twice.")
    ref = ServerRef(server_type, server_ref_id)
    await changes.approve(runtime.database, principal, ref, seen)
    runtime.direct.forget(ref)
    return {"approved": len(seen)}
