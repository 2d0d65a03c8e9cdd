"""The troubles that are tried, each with what it is and how long it lasts."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.faults.dependencies import troubles
from tests.faults.dependencies.troubles import Trouble

HOUR = 3600
HOME_OF_API, HOME_OF_WORKER, DATABASE = "api-1", "worker-1", "postgres"
SKEWED = ("api-1", "worker-1")
"""Parts whose clocks can be set."""


@dataclass(frozen=True, slots=True)
class Case:
    """A trouble in words, and the seconds that it lasts."""

    words: str
    trouble: Trouble
    seconds: float = 0
    standby: bool = False
    """It takes a fleet of its own, with a standby."""


CASES: Mapping[str, Case] = {
    "redis-flushed": Case("Redis: FLUSHALL", troubles.redis_flushed),
    "redis-empty": Case("Redis dies, away for 10 s, comes back empty", troubles.redis_empty, 10),
    "postgres-restarted": Case("PostgreSQL: immediate restart", troubles.postgres_restarted),
    "connections": Case(
        "PostgreSQL: others take all connections that are left for 60 s", troubles.connections_exhausted, 60
    ),
    "connections-lost": Case(
        "PostgreSQL: all sessions of the hub and of Prefect are ended, and others take all connections for 60 s",
        troubles.connections_lost_and_exhausted,
        60,
    ),
    "prefect-away": Case("Prefect: all servers away for 60 s", troubles.prefect_away, 60),
    "prefect-away-long": Case("Prefect: all servers away for 10 minutes", troubles.prefect_away, 600),
    "home-full": Case(
        "disk full: `NEXUS_HOME` of an API process and of a worker, for 60 s",
        troubles.disk_full(HOME_OF_API, HOME_OF_WORKER),
        60,
    ),
    "postgres-full": Case("disk full: PostgreSQL, for 60 s", troubles.disk_full(DATABASE), 60),
    "worker-ahead": Case(
        "clock: 1 h ahead on a worker's machine for 90 s, then right", troubles.clock_set("worker-1", HOUR), 90
    ),
    "worker-behind": Case(
        "clock: 1 h behind on a worker's machine for 90 s, then right", troubles.clock_set("worker-1", -HOUR), 90
    ),
    "api-ahead": Case(
        "clock: 1 h ahead on an API process's machine for 90 s, then right", troubles.clock_set("api-1", HOUR), 90
    ),
    "api-behind": Case(
        "clock: 1 h behind on an API process's machine for 90 s, then right", troubles.clock_set("api-1", -HOUR), 90
    ),
    "failover": Case("PostgreSQL: fails over to its standby", troubles.failed_over, standby=True),
}
