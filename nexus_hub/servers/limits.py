"""Limits of servers that are there, changed."""

from dataclasses import dataclass

from nexus_hub.db.pool import Database
from nexus_hub.models import ServerRef
from nexus_hub.rate_limit.limiter import Limits
from nexus_hub.servers.checks import check_limits
from nexus_hub.servers.policies import SERVERS


@dataclass(frozen=True, slots=True)
class LimitChange:
    """Change of a server's limits; `says` has the names of the members that count, and None takes a limit away."""

    says: frozenset[str] = frozenset()
    per_minute: int | None = None
    per_user: int | None = None


async def change_limits(database: Database, ref: ServerRef, change: LimitChange) -> None:
    """Change the limits of a server; calls that come from now on keep to them.

    Raises:
        InvalidConfig: see `check_limits`.
    """
    check_limits(Limits(change.per_minute, change.per_user), of_user=ref.server_type == "user")
    if not change.says:
        return
    async with database.transaction(bounded=True) as transaction:
        await transaction.one(
            SERVERS["set_limits"],
            server_type=ref.server_type,
            id=ref.server_ref_id,
            per_minute=change.per_minute,
            per_user=change.per_user,
            says_server="limit_per_minute" in change.says,
            says_user="user_limit_per_minute" in change.says,
        )
