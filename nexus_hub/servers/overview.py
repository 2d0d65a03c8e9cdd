"""Overview of servers: each with its circuit, the age of its catalog, its limits in use, and what failed last."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from nexus_hub.db.pool import Database
from nexus_hub.models import Principal, ServerRef
from nexus_hub.rate_limit.limiter import Limiter
from nexus_hub.servers.registry import SERVERS, ListedServer
from nexus_hub.upstream.circuit import Circuits

MOST_ERRORS = 3
_WORDS = {
    "upstream-unavailable": "It can't be reached.",
    "upstream-timed-out": "It gave no answer in time.",
    "upstream-rejected": "It refused the request.",
    "outcome-unknown": "The connection was lost in the middle of an answer.",
    "malformed-result": "Its answer can't be read.",
    "circuit-open": "It has given no sign of life for a while and is left alone.",
    "login-needed": "It wants a login, and nobody has one that it takes.",
    "login-failed": "The login at its authorization server failed.",
    "cannot-open": "No key of the vault opens its configuration.",
    "unbound-value": "Its configuration has no key id, and a rotation has taken over all such ones.",
    "too-large": "It offers more than the hub takes.",
    "quota-used-up": "It offers more than its owner may have.",
    "forbidden-address": "It is at an address where users' servers may not be.",
}
"""Plain words for the codes with which catalogs can't be read; only codes are stored of that."""


@dataclass(frozen=True, slots=True)
class LastError:
    """A job that failed at a server."""

    server_ref_id: UUID
    at: datetime
    code: str | None
    error: str | None
    job_id: UUID


class Overviews:
    """Makes overviews of servers for whoever sees them."""

    def __init__(self, database: Database, limiter: Limiter, circuits: Circuits) -> None:
        self._database = database
        self._limiter = limiter
        self._circuits = circuits

    async def describe(self, principal: Principal, servers: Sequence[ListedServer]) -> list[dict[str, Any]]:
        """Describe servers that the principal sees; what failed there, only as far as its own jobs did.

        Raises:
            TookTooLong: see `Database.transaction`.
        """
        limited = [one.id for one in servers if one.limit_per_minute or one.user_limit_per_minute]
        used = await self._limiter.count(limited) if limited else {}
        errors = await self._read_errors(principal, [one.id for one in servers])
        return [
            self._describe(one, used.get(one.id, 0), errors[one.id]) | _hide_from(principal, one) for one in servers
        ]

    async def describe_one(self, principal: Principal, server: ListedServer) -> dict[str, Any]:
        """Describe one server, with how its tools are called."""
        (item,) = await self.describe(principal, [server])
        policies = {"durable": server.durable, "handle_seconds": server.handle_seconds, "tools": server.durable_tools}
        return item | {"policies": policies}

    async def _read_errors(
        self, principal: Principal, server_ref_ids: Sequence[UUID]
    ) -> defaultdict[UUID, list[dict[str, Any]]]:
        async with self._database.transaction(principal, bounded=True) as transaction:
            rows = await transaction.all(
                SERVERS["last_errors"],
                LastError,
                server_ref_ids=list(server_ref_ids),
                all_users=principal.is_operator,
                user_id=principal.user_id,
                most=MOST_ERRORS,
            )
        found = defaultdict[UUID, list[dict[str, Any]]](list)
        for row in rows:
            found[row.server_ref_id].append({"at": row.at, "code": row.code, "error": row.error, "job_id": row.job_id})
        return found

    def _describe(self, server: ListedServer, used: int, errors: list[dict[str, Any]]) -> dict[str, Any]:
        shown = asdict(server)
        since, until = shown.pop("circuit_since"), shown.pop("circuit_until")
        failures, expires_at = shown.pop("failures"), shown.pop("expires_at")
        kind, credentials = shown.pop("login_kind"), shown.pop("credentials")
        login = {
            "kind": kind,
            "credentials": credentials,
            "state": shown.pop("login_state"),
            "expires_at": shown.pop("login_expires_at"),
            "reason": shown.pop("login_reason"),
        }
        is_closed = server.circuit == "closed"
        reason = self._circuits.find_reason(ServerRef(server.server_type, server.id))
        has_limits = server.limit_per_minute is not None or server.user_limit_per_minute is not None
        return shown | {
            "circuit": {
                "state": server.circuit,
                "since": None if is_closed else since,
                "until": None if is_closed else until,
                "reason": None if is_closed else reason,
            },
            "catalog": {
                "tools": server.tools,
                "resources": server.resources,
                "prompts": server.prompts,
                "read_at": server.last_refresh_at,
                "expires_at": expires_at,
                "failures": failures,
                "error": server.last_error_code and _WORDS.get(server.last_error_code, server.last_error_code),
            },
            "limit": {
                "per_minute": server.limit_per_minute,
                "used": used if has_limits else None,
                "user_per_minute": server.user_limit_per_minute,
            },
            "login": login if kind else None,
            "last_errors": errors,
        }


def _hide_from(principal: Principal, server: ListedServer) -> dict[str, Any]:
    """Leave out what is said of tools that are not offered, for who does not look after the server."""
    is_known = principal.is_operator or server.user_id == principal.user_id
    return {} if is_known else {"off_tools": [], "held": 0}
