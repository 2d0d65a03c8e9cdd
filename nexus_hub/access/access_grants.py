"""Grants to groups, the default where none speaks, and the reasons of what a user may do."""

from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from nexus_hub.access import groups, users
from nexus_hub.access.groups import GROUPS, Grant, Group
from nexus_hub.db.pool import Database, Transaction
from nexus_hub.errors import Conflict, InvalidRequest, NotFound
from nexus_hub.escape import escape, unescape
from nexus_hub.models import Level
from nexus_hub.paging import Page, check_limit, decode, encode, page

Access = Literal["open", "closed"]
LONGEST_TOOL = 1000


@dataclass(frozen=True, slots=True)
class GrantWish:
    """A grant as it is asked for: of a server, a tool, or a bundle, by names or ids.

    A tool is named as its server does, beside the server, or by its namespaced name alone.
    """

    level: Level
    server: str | None = None
    tool: str | None = None
    bundle: str | None = None
    approvers: str | None = None
    self_approval: bool = False

    def check(self) -> None:
        """Hold it against the rules.

        Raises:
            InvalidRequest: it names nothing, or too much; or says who approves what needs no approval.
        """
        if bool(self.bundle) == bool(self.server or self.tool):
            raise InvalidRequest("A grant is of a server, a tool of it, or a bundle: name one of them.")
        if self.tool is not None and not 0 < len(self.tool) <= LONGEST_TOOL:
            raise InvalidRequest(f"The name of a tool has 1 to {LONGEST_TOOL} characters.")
        if self.level != "approve" and (self.approvers or self.self_approval):
            raise InvalidRequest("approvers and self_approval go with the level approve alone.")


@dataclass(frozen=True, slots=True)
class _Target:
    server_ref_id: UUID | None = None
    tool_name: str | None = None
    bundle_id: UUID | None = None


async def grant(database: Database, group_ref: str, wish: GrantWish) -> tuple[Group, Grant]:
    """Grant something to a group; a grant of the same thing that there is becomes this one.

    Raises:
        InvalidRequest: see `GrantWish.check`.
        NotFound: there is no such group, server, tool or bundle.
    """
    wish.check()
    group = await groups.find(database, group_ref)
    approvers = None if wish.approvers is None else (await groups.find(database, wish.approvers)).id
    async with database.transaction() as transaction:
        target = await _find_target(transaction, wish)
        grant_id = await transaction.only(
            GROUPS["grant_access"],
            UUID,
            group_id=group.id,
            level=wish.level,
            server_ref_id=target.server_ref_id,
            tool_name=target.tool_name,
            bundle_id=target.bundle_id,
            approvers=approvers,
            self_approval=wish.self_approval,
        )
        made = (await groups.read_grants(transaction, [group.id]))[group.id]
    return group, next(one for one in made if one.id == grant_id)


async def revoke(database: Database, group_ref: str, grant_id: UUID) -> Group:
    """Take a grant back.

    Raises:
        NotFound: there is no such group, or no such grant to it.
    """
    group = await groups.find(database, group_ref)
    async with database.transaction() as transaction:
        if await transaction.one(GROUPS["revoke_access"], UUID, group_id=group.id, id=grant_id) is None:
            raise NotFound(f"grant to the group {group.name}", grant_id)
    return group


async def read_default(database: Database) -> Access:
    """Read what holds where no grant speaks, and neither a server nor a bundle says anything of itself."""
    async with database.transaction() as transaction:
        return "open" if await transaction.only(GROUPS["is_open"], bool) else "closed"


async def set_default(database: Database, access: Access) -> None:
    """Set what holds where nothing else is said."""
    async with database.transaction() as transaction:
        await transaction.run(GROUPS["set_default_access"], access=access)


async def explain(database: Database, user: str, *, limit: int, cursor: str | None) -> dict[str, Any]:
    """Say what a user may do, and by which grants; by none of them: by the default.

    Raises:
        NotFound: there is no such user.
        InvalidRequest: a limit outside 1..1000, or a cursor that is none of ours.
    """
    limit, user_id = check_limit(limit), await users.find(database, user)
    target, name, tool, last = decode(cursor, (str, str, str, UUID))
    after = {"after_target": target, "after_name": name, "after_tool": tool, "after_id": last}
    async with database.transaction(bounded=True) as transaction:
        of_user = await transaction.all(GROUPS["groups_of_user"], user_id=user_id)
        rows = await transaction.all(GROUPS["explain_permissions"], user_id=user_id, limit=limit + 1, **after)
    found: Page[dict[str, Any]] = page(
        rows, limit, lambda row: encode(row["target"], row["name"], row["tool"] or "", row["id"])
    )
    return {
        "user_id": user_id,
        "default": await read_default(database),
        "groups": of_user,
        "items": [row | {"tool": unescape(row["tool"])} for row in found.items],
        "next_cursor": found.next_cursor,
    }


async def _find_target(transaction: Transaction, wish: GrantWish) -> _Target:
    if wish.bundle is not None:
        return _Target(bundle_id=await _find(transaction, "bundle", wish.bundle))
    if wish.server is not None:
        tool = None if wish.tool is None else escape(wish.tool)
        return _Target(await _find(transaction, "system_server", wish.server), tool)
    row = await transaction.one(GROUPS["find_system_tool"], name=wish.tool)
    if row is None:
        raise NotFound("tool of a system server", wish.tool)
    return _Target(row["server_ref_id"], row["tool_name"])


async def _find(transaction: Transaction, kind: str, ref: str) -> UUID:
    found = await transaction.all(GROUPS[f"find_{kind}"], UUID, ref=ref[: groups.LONGEST_REF])
    if not found:
        raise NotFound(kind.replace("_", " "), ref)
    if len(found) > 1:
        raise Conflict(f"Several go by {ref[:100]!r}; name the one you mean by its id.")
    return found[0]
