"""The rate limit of a server, kept in the database so that all processes share it."""

from dataclasses import dataclass
from uuid import UUID

from nexus_hub.db.pool import Database, Transaction
from nexus_hub.db.queries import load

JOBS = load("jobs")


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a call may go now; `retry_after` in seconds when it may not, `remaining` calls when it may."""

    allowed: bool
    remaining: int | None
    retry_after: float


async def take(
    transaction: Transaction, server_id: UUID, user_id: UUID | None, limit_per_minute: int | None
) -> Decision:
    """Take one call from a server's limit; no sliding minute holds more calls than the limit."""
    if limit_per_minute is None:
        return Decision(allowed=True, remaining=None, retry_after=0)
    row = await transaction.one(
        JOBS["take_rate_limit"], server_id=str(server_id), user_id=user_id, limit_per_minute=limit_per_minute
    )
    if row is None:
        return Decision(allowed=False, remaining=0, retry_after=1)
    return Decision(row["allowed"], row["remaining"], row["retry_after"] or 0)


async def purge(database: Database) -> int:
    """Delete the counts that no limit looks at any more; how many rows that were."""
    async with database.transaction() as transaction:
        return await transaction.run(JOBS["purge_rate_limits"])
