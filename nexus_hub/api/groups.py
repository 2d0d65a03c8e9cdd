"""`/v1/groups`, `/v1/access` and `/v1/users/{user}/permissions`: who may use what; operators manage it."""

from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field

from nexus_hub.access import access_grants, groups
from nexus_hub.access.access_grants import Access, GrantWish
from nexus_hub.api.access import Operating, RuntimeOf
from nexus_hub.api.answers import answers
from nexus_hub.api.bodies import Body
from nexus_hub.api.queries import Cursor, Limit, described
from nexus_hub.api.users import AccountOf
from nexus_hub.models import Level
from nexus_hub.telemetry.trail import note

router = APIRouter(prefix="/v1", tags=["access"], responses=answers(403))
_Claims = list[str]


class NewGroup(Body):
    """A group to add; `claims` are the names that an outside issuer has for it."""

    name: str = described(..., pattern="^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")
    claims: _Claims = Field(default_factory=list)


class GroupChange(Body):
    """Change of a group's name or claims; what is not said stays."""

    name: str | None = described(None, pattern="^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")
    claims: _Claims | None = None


class NewGrant(Body):
    """A grant of a server, of a tool (beside its server by its own name, else by the namespaced one), or a bundle."""

    level: Level
    server: str | None = None
    tool: str | None = None
    bundle: str | None = None
    approvers: str | None = None
    self_approval: bool = False


class AccessChange(Body):
    """The default to set, for what no grant speaks of."""

    default: Literal["open", "closed"]


@router.get("/groups")
async def list_groups(_operator: Operating, runtime: RuntimeOf, limit: Limit = 100, cursor: Cursor = None) -> Any:
    """List groups by name, with their members and grants."""
    return await groups.list_groups(runtime.database, limit=limit, cursor=cursor)


@router.post("/groups", status_code=201, responses=answers(409))
async def add_group(body: NewGroup, _operator: Operating, runtime: RuntimeOf) -> Any:
    """Add a group."""
    note(target=body.name)
    added = await groups.add(runtime.database, body.name, body.claims)
    runtime.notice_permissions()
    return added


@router.get("/groups/{group}", responses=answers(404))
async def show_group(group: str, _operator: Operating, runtime: RuntimeOf) -> Any:
    """Show a group by its name or id."""
    return await groups.find(runtime.database, group)


@router.patch("/groups/{group}", responses=answers(404, 409))
async def change_group(group: str, body: GroupChange, _operator: Operating, runtime: RuntimeOf) -> Any:
    """Change a group's name or claims."""
    changed = await groups.change(runtime.database, group, name=body.name, claims=body.claims)
    runtime.notice_permissions()
    return changed


@router.delete("/groups/{group}", status_code=204, responses=answers(404, 409))
async def remove_group(group: str, _operator: Operating, runtime: RuntimeOf) -> None:
    """Remove a group, with all that it was granted."""
    removed = await groups.remove(runtime.database, group)
    note(target=removed.name)
    runtime.notice_permissions()


@router.put("/groups/{group}/members/{user}", status_code=204, responses=answers(404, 409))
async def join_group(group: str, user: str, _operator: Operating, runtime: RuntimeOf) -> None:
    """Put a user into a group."""
    await groups.join(runtime.database, group, user)
    runtime.notice_permissions()


@router.delete("/groups/{group}/members/{user}", status_code=204, responses=answers(404, 409))
async def leave_group(group: str, user: str, _operator: Operating, runtime: RuntimeOf) -> None:
    """Take a user out of a group; who is there by a claim stays."""
    await groups.leave(runtime.database, group, user)
    runtime.notice_permissions()


@router.post("/groups/{group}/grants", status_code=201, responses=answers(404, 409))
async def grant_access(group: str, body: NewGrant, _operator: Operating, runtime: RuntimeOf) -> Any:
    """Grant something to a group; a grant of the same thing that there is becomes this one."""
    wish = GrantWish(**body.model_dump())
    what = "/".join(part[:100] for part in (wish.bundle, wish.server, wish.tool) if part)
    note(target=f"{group[:64]}: {wish.level} {what}")
    _, made = await access_grants.grant(runtime.database, group, wish)
    runtime.notice_permissions()
    return made


@router.delete("/groups/{group}/grants/{grant_id}", status_code=204, responses=answers(404))
async def revoke_access(group: str, grant_id: UUID, _operator: Operating, runtime: RuntimeOf) -> None:
    """Take a grant back."""
    revoked = await access_grants.revoke(runtime.database, group, grant_id)
    note(target=f"{revoked.name}: {grant_id}")
    runtime.notice_permissions()


@router.get("/access")
async def show_access(_operator: Operating, runtime: RuntimeOf) -> dict[str, Access]:
    """Show what holds where no grant speaks."""
    return {"default": await access_grants.read_default(runtime.database)}


@router.patch("/access")
async def change_access(body: AccessChange, _operator: Operating, runtime: RuntimeOf) -> dict[str, Access]:
    """Set what holds where no grant speaks, and neither a server nor a bundle says anything of itself."""
    note(target=body.default)
    await access_grants.set_default(runtime.database, body.default)
    runtime.notice_permissions()
    return {"default": body.default}


@router.get("/users/{user}/permissions", responses=answers(404))
async def show_permissions(
    account: AccountOf, runtime: RuntimeOf, limit: Limit = 100, cursor: Cursor = None
) -> dict[str, Any]:
    """Show what a user may do, and by which grants; by none: by the default. A user asks for `me`."""
    return await access_grants.explain(runtime.database, account, limit=limit, cursor=cursor)
