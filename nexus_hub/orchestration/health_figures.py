"""Figures of the hub's health: the queue, the jobs of the last hour, and the servers that are not well."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from nexus_hub.jobs import monitoring
from nexus_hub.jobs.approvals import APPROVALS
from nexus_hub.jobs.queue import QueueReport, read_queue
from nexus_hub.models import OPERATOR, Principal, ServerType

HEALTH = load("health")
MINUTES = 60
SETTLING_MINUTES = 3
"""A job's end may be seen a while after its time: it is its transaction's."""
JOBS_OF_A_MINUTE = 300
"""Of which it is read how long they took."""
JOBS_OF_AN_HOUR = 20_000
"""Of which it is read at which server they ended."""
MOST_SERVERS = 50
MOST_APPROVALS = 1000
"""Calls that wait for a yes are counted up to here."""


@dataclass(frozen=True, slots=True)
class HealthMinute:
    """Jobs that ended in a minute, and how long the newest of them took."""

    at: datetime
    ended: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True, slots=True)
class ServerHour:
    """Jobs of a server that ended within the hour, of the newest ones of all servers."""

    server_type: ServerType
    server_ref_id: UUID
    server: str
    ended: int
    failed: int
    unknown: int
    p50_ms: float | None
    p95_ms: float | None
    top_error: str | None


@dataclass(frozen=True, slots=True)
class UnwellServer:
    """A server that gives no sign of life, or whose catalog can't be read."""

    server_type: ServerType
    server_ref_id: UUID
    name: str
    is_silent: bool


@dataclass(frozen=True, slots=True)
class NeededLogin:
    """A server that wants a login of the principal; `reason` says why one that there was is over."""

    server_type: ServerType
    server_ref_id: UUID
    name: str
    kind: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class QueueSums:
    """The open jobs; None where the database gave no answer."""

    waiting: int | None = None
    running: int | None = None
    later: int | None = None
    oldest_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """Numbers of all jobs, or of one user's."""

    queue: QueueSums = field(default_factory=QueueSums)
    minutes: list[HealthMinute] = field(default_factory=list)
    by_server: list[ServerHour] = field(default_factory=list)
    unwell: list[UnwellServer] = field(default_factory=list)
    logins: list[NeededLogin] = field(default_factory=list)
    approvals: int = 0
    """Calls that wait for a yes that the principal may give."""
    is_large: bool = False
    """True if the documented alert is on: there are more than 1,000,000 jobs."""


async def read_figures(database: Database, principal: Principal, known: Sequence[HealthMinute] = ()) -> Figures:
    """Read the figures of what the principal sees; of minutes that are `known` and over, nothing is read again.

    Raises:
        TookTooLong: see `Database.transaction`.
    """
    whose = {"all_users": principal.is_operator, "user_id": principal.user_id}
    over = known[:-SETTLING_MINUTES]
    since = over[-1].at + timedelta(minutes=1) if over else None
    queue = _sum(await read_queue(database, principal))
    async with database.transaction(principal, bounded=True) as transaction:
        minutes = await transaction.all(
            HEALTH["hour_minutes"], HealthMinute, **whose, since=since, of_each=JOBS_OF_A_MINUTE
        )
        servers = await transaction.all(
            HEALTH["hour_servers"], ServerHour, **whose, most=JOBS_OF_AN_HOUR, most_servers=MOST_SERVERS
        )
        unwell = await transaction.all(HEALTH["unwell_servers"], UnwellServer, **whose, most_servers=MOST_SERVERS)
    async with database.transaction(OPERATOR, bounded=True) as transaction:  # the query itself says whose they are
        logins = await transaction.all(HEALTH["needed_logins"], NeededLogin, **whose, most_servers=MOST_SERVERS)
        approvals = await transaction.only(APPROVALS["count_mine"], int, **whose, most=MOST_APPROVALS)
    is_large = principal.is_operator and (await monitoring.table_alert(database)).status != "OK"
    return Figures(queue, [*over, *minutes][-MINUTES:], servers, unwell, logins, approvals, is_large)


def _sum(queue: QueueReport) -> QueueSums:
    ages = [user.oldest_seconds for user in queue.users if user.oldest_seconds is not None]
    return QueueSums(queue.waiting, queue.running, queue.later, max(ages, default=None))
