"""`/v1/audit`: what was done, all of it for operators, their own for users."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query

from nexus_hub.access import users
from nexus_hub.api.access import HEAVY, Asking, RuntimeOf
from nexus_hub.api.answers import answers
from nexus_hub.api.queries import Cursor, Limit
from nexus_hub.audit.entries import NOBODY
from nexus_hub.audit.store import AuditFilter, list_entries
from nexus_hub.errors import NotAllowed

router = APIRouter(prefix="/v1/audit", tags=["audit"])


@router.get("", dependencies=HEAVY, responses=answers(403, 404))
async def list_audit(
    principal: Asking,
    runtime: RuntimeOf,
    since: datetime | None = None,
    until: datetime | None = None,
    user: Annotated[str | None, Query(description="A name or an id, `operator` or `nobody`; for operators.")] = None,
    action: Annotated[str | None, Query(description="Such as `tool.call`, or `tool.` for all of these.")] = None,
    server: str | None = None,
    search: Annotated[str | None, Query(max_length=200)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Any:
    """List entries, newest first."""
    if user is not None and not principal.is_operator:
        raise NotAllowed("Only an operator may ask for others; without `user` you see your own entries.")
    is_named = user in {"operator", NOBODY}
    actor_id = await users.find(runtime.database, user) if user is not None and not is_named else None
    wanted = AuditFilter(since, until, actor_id, user if is_named else None, action, server, search)
    return await list_entries(runtime.database, principal, wanted, limit=limit, cursor=cursor)
