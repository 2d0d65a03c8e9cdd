"""Sight: the tools in memory that one caller sees, as the permissions and the caller's own servers have it."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from nexus_hub.access.permissions import Permissions
from nexus_hub.catalog.documents import OfferedTools
from nexus_hub.models import Principal, ServerRef
from nexus_hub.search.document import ToolDocument


class Offerer(NamedTuple):
    """A server and its owner (None: it is the system's): a group of the index."""

    ref: ServerRef
    owner: UUID | None


@dataclass(frozen=True, slots=True)
class Sight:
    """The tools that a caller sees; those who see the same share one, and so do their searches.

    `servers` are the system's that are seen, None being all; `tools` are single ones, by server and own name. `owner`
    is the user whose own servers are seen too, or with `all_owners` those of all users are. The caller's own tools
    hide the system's of the same names.
    """

    servers: frozenset[UUID] | None
    tools: frozenset[tuple[UUID, str]] = frozenset()
    owner: UUID | None = None
    all_owners: bool = False
    own_names: frozenset[str] = frozenset()

    def __call__(self, group: Hashable, documents: Sequence[ToolDocument]) -> bool | Sequence[bool]:
        """Tell which tools of a group are seen."""
        if not isinstance(group, Offerer):
            return False
        if group.owner is not None:
            return self.all_owners or group.owner == self.owner
        server = group.ref.server_ref_id
        if self.servers is None or server in self.servers:
            hidden = self.own_names and not self.own_names.isdisjoint(one.name for one in documents)
            return [one.name not in self.own_names for one in documents] if hidden else True
        single = [
            (server, one.own_name) in self.tools and one.name not in self.own_names
            for one in (documents if self.tools else ())
        ]
        return single if any(single) else False

    def count_bytes(self, offered: OfferedTools) -> int:
        """Count the bytes of the definitions of a server's tools that are seen."""
        seen = self(Offerer(offered.ref, offered.owner), offered.documents)
        if isinstance(seen, bool):
            return sum(offered.sizes) if seen else 0
        return sum(size for size, is_seen in zip(offered.sizes, seen, strict=True) if is_seen)


def make_sight(
    principal: Principal, permissions: Permissions, offered: Mapping[ServerRef, OfferedTools], *, with_own: bool
) -> Sight:
    """Make the sight of a caller, with or without the caller's own servers, or for the operator those of all users."""
    if principal.is_operator:
        return Sight(None, all_owners=with_own)
    own = [one for one in offered.values() if one.owner == principal.user_id] if with_own else []
    return Sight(
        servers=None if permissions.is_all else frozenset(permissions.servers),
        tools=frozenset(permissions.tools),
        owner=principal.user_id if own else None,
        own_names=frozenset(tool.name for one in own for tool in one.documents),
    )
