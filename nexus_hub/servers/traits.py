"""Traits of servers: for whom one is there, its tags, its pin, and how long its catalog is good."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nexus_hub.db.pool import Database, Transaction
from nexus_hub.errors import InvalidRequest
from nexus_hub.models import ServerRef
from nexus_hub.servers.policies import SERVERS

MOST_TAGS = 20
SHORTEST_TTL_SECONDS = 60
LONGEST_TTL_SECONDS = 366 * 24 * 3600
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


@dataclass(frozen=True, slots=True)
class TraitChange:
    """Change of a server's traits; `says` has the names of the members that count.

    `access` None is as the hub's default has it, `ttl_seconds` None the hub's own time.
    """

    says: frozenset[str] = frozenset()
    access: Literal["open", "closed"] | None = None
    tags: Sequence[str] = ()
    pin: bool = False
    ttl_seconds: int | None = None

    def check(self, ref: ServerRef) -> None:
        """Hold it against the rules.

        Raises:
            InvalidRequest: a tag or a time outside its range, or access to a user's server, which is the user's alone.
        """
        if "access" in self.says and ref.server_type == "user":
            raise InvalidRequest("A user's own server is there for its owner alone; access is said of system servers.")
        if len(self.tags) > MOST_TAGS or not all(_TAG.fullmatch(tag) for tag in self.tags):
            rule = "1 to 32 letters, digits and ._- with a letter or digit first"
            raise InvalidRequest(f"A server has up to {MOST_TAGS} tags of {rule}.")
        if self.ttl_seconds is not None and not SHORTEST_TTL_SECONDS <= self.ttl_seconds <= LONGEST_TTL_SECONDS:
            raise InvalidRequest(
                f"ttl_seconds must lie within {SHORTEST_TTL_SECONDS} and {LONGEST_TTL_SECONDS}, or be null."
            )


NO_TRAITS = TraitChange()


async def change_traits(database: Database, ref: ServerRef, change: TraitChange) -> None:
    """Change the traits of a server that is there.

    Raises:
        InvalidRequest: see `TraitChange.check`.
    """
    async with database.transaction(bounded=True) as transaction:
        await store_traits(transaction, ref, change)


async def store_traits(transaction: Transaction, ref: ServerRef, change: TraitChange) -> None:
    """Store the traits of a server in a transaction; see `change_traits`."""
    change.check(ref)
    if not change.says:
        return
    said: dict[str, Any] = {f"says_{name}": name in change.says for name in ("access", "tags", "pin", "ttl_seconds")}
    await transaction.one(
        SERVERS[f"set_{ref.server_type}_traits"],
        id=ref.server_ref_id,
        access=change.access,
        tags=list(dict.fromkeys(change.tags)),
        pin=change.pin,
        ttl_seconds=change.ttl_seconds,
        **said,
    )
