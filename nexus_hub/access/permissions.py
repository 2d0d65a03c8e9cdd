"""Permissions: what a user may do with servers, tools and bundles, as the database says it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import UUID

from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from nexus_hub.errors import NotAllowed, NotFound
from nexus_hub.escape import unescape
from nexus_hub.models import Level, Principal, ServerRef

PERMISSIONS = load("permissions")


@dataclass(frozen=True, slots=True)
class Permission:
    """A level, and at `approve` who may say yes: operators, the members of these groups, or also who asks."""

    level: Level
    approvers: frozenset[UUID] = frozenset()
    self_approval: bool = False

    @property
    def may_call(self) -> bool:
        """True if it may be called, be it after a yes."""
        return self.level != "list"


EVERYTHING = Permission("call")


@dataclass(frozen=True)
class Permissions:
    """The rights of one user; None stands for what the user does not even see.

    What is said of a tool goes before what is said of its server. The operator, and a user with an own server, may do
    everything; `servers` has all system servers that the user sees.
    """

    servers: Mapping[UUID, Permission] = field(default_factory=dict)
    tools: Mapping[tuple[UUID, str], Permission] = field(default_factory=dict)
    bundles: Mapping[UUID, Permission] = field(default_factory=dict)
    is_all: bool = False

    def of_server(self, ref: ServerRef) -> Permission | None:
        """Give what may be done with all that a server offers; None also for one of which only tools are seen."""
        if self.is_all or ref.server_type == "user":
            return EVERYTHING
        return self.servers.get(ref.server_ref_id)

    def of_tool(self, ref: ServerRef, name: str) -> Permission | None:
        """Give what may be done with a tool, by the server's own name of it."""
        if self.tools and not self.is_all and ref.server_type != "user":
            return self.tools.get((ref.server_ref_id, name)) or self.of_server(ref)
        return self.of_server(ref)

    def of(self, ref: ServerRef, tool: str | None = None) -> Permission | None:
        """Give what may be done with a tool, or without one with all else that a server offers."""
        return self.of_server(ref) if tool is None else self.of_tool(ref, tool)

    def of_bundle(self, bundle_id: UUID) -> Permission | None:
        """Give what may be done with all that is in a bundle, by its names there."""
        return EVERYTHING if self.is_all else self.bundles.get(bundle_id)

    def sees_server(self, ref: ServerRef) -> bool:
        """Tell if a server is seen: all of it, or a tool."""
        return self.of_server(ref) is not None or ref.server_ref_id in self._servers_of_tools

    @cached_property
    def _servers_of_tools(self) -> frozenset[UUID]:
        return frozenset(server for server, _ in self.tools)


OPERATORS = Permissions(is_all=True)


def require_call(permission: Permission | None, kind: str, name: object) -> Permission:
    """Give a permission on if what it is for may be called, be it after a yes.

    Raises:
        NotFound: it is not even seen.
        NotAllowed: it is seen alone.
    """
    if permission is None:
        raise NotFound(kind, name)
    if not permission.may_call:
        raise NotAllowed(f"You may see the {kind} {name} and not call it; an operator can grant that.")
    return permission


async def read_permissions(database: Database, user_id: UUID | None) -> Permissions:
    """Read what a user may do; a user id of None is the operator's.

    Raises:
        DatabaseUnavailable: it can't be read.
    """
    if user_id is None:
        return OPERATORS
    async with database.transaction(Principal(user_id)) as transaction:
        rows = await transaction.all(PERMISSIONS["permissions_of"], user_id=user_id)
    return _make_permissions(rows)


def _make_permissions(rows: list[dict[str, Any]]) -> Permissions:
    found: dict[str, dict[Any, Permission]] = {"server": {}, "tool": {}, "bundle": {}}
    for row in rows:
        key = (row["id"], unescape(row["tool_name"])) if row["target"] == "tool" else row["id"]
        found[row["target"]][key] = Permission(row["level"], frozenset(row["approvers"]), row["self_approval"])
    return Permissions(found["server"], found["tool"], found["bundle"])
