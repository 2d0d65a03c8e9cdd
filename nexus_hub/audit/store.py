"""The audit as it is read, and how long it is kept."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from nexus_hub.audit.writer import AUDIT
from nexus_hub.db.pool import Database
from nexus_hub.errors import InvalidRequest
from nexus_hub.models import Principal
from nexus_hub.paging import Page, check_limit, decode, encode, page

PURGED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """The entries that are asked for; `action` may end in a dot, and then stands for all that begin with it."""

    since: datetime | None = None
    until: datetime | None = None
    actor_id: UUID | None = None
    actor: str | None = None
    action: str | None = None
    server: str | None = None
    search: str | None = None

    def check(self) -> None:
        """Check that its times say which zone they are in.

        Raises:
            InvalidRequest: one does not.
        """
        for name, at in (("since", self.since), ("until", self.until)):
            if at is not None and at.tzinfo is None:
                raise InvalidRequest(f"{name} must say its zone, such as 2026-01-31T09:30:00Z.")


async def list_entries(
    database: Database, principal: Principal, wanted: AuditFilter, *, limit: int = 50, cursor: str | None = None
) -> Page[dict[str, Any]]:
    """List a page of entries, newest first: all for an operator, a user's own for a user.

    Raises:
        InvalidRequest: a limit outside 1..1000, a cursor of no list, or a time without a zone.
    """
    wanted.check()
    limit = check_limit(limit)
    after_at, after_id = decode(cursor, (datetime.fromisoformat, UUID))
    async with database.transaction(principal, bounded=True) as transaction:
        rows = await transaction.all(
            AUDIT["list_entries"],
            is_operator=principal.is_operator,
            since=wanted.since,
            until=wanted.until,
            actor_id=wanted.actor_id if principal.is_operator else principal.user_id,
            actor=wanted.actor,
            action=wanted.action,
            server=wanted.server,
            search=wanted.search,
            after_at=after_at,
            after_id=after_id,
            limit=limit + 1,
        )
    return page(rows, limit, lambda row: encode(row["at"].isoformat(), row["id"]))


async def purge(database: Database, days: int) -> int:
    """Take away what is older than so many days; how many entries."""
    purged = PURGED_AT_ONCE
    total = 0
    while purged >= PURGED_AT_ONCE:
        async with database.transaction() as transaction:
            purged = await transaction.only(AUDIT["purge"], int, days=days)
        total += purged
    return total
