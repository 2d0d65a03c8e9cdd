"""Gauges of the whole hub: what its database and Prefect say of it at the moment, read now and then."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nexus_hub.calls.cache import Cached
from nexus_hub.db.pool import Database, Transaction
from nexus_hub.db.queries import load
from nexus_hub.errors import DatabaseUnavailable, HubError
from nexus_hub.execution.shared_runs import WORKER_LISTENS
from nexus_hub.jobs.approvals import APPROVALS
from nexus_hub.orchestration.health import RunSchedule
from nexus_hub.orchestration.scheduler_watch import SchedulerWatch
from nexus_hub.telemetry.server_labels import MOST_SERVERS
from nexus_hub.telemetry.tally import Labels, MetricSpec
from nexus_hub.telemetry.text import printable
from nexus_hub.vault.keyring import KeyringSource

METRICS = load("metrics")
DATABASE_SECONDS = 5.0
"""A reading of the database is good for so long, however often somebody asks."""
LONGEST_SECONDS = 4.0
"""The time that the database has to answer in, well below the ten seconds that Prometheus waits."""
PART_SECONDS = 1.5
"""The time of one statement."""
MOST_JOBS = 20_000
"""So many open jobs are counted."""
MOST_KEYS = 50


def _gauge(name: str, labels: Labels, text: str) -> MetricSpec:
    return MetricSpec(f"nexus_{name}", "gauge", labels, text)


UP = _gauge("up", ("part",), "1 if that part answers: database, prefect.")
WORKERS = _gauge("workers", (), "Worker processes that listen for jobs.")
QUEUE = _gauge("queue_jobs", ("state",), "Open jobs, up to 20,000 of each: waiting, later (not due yet), running.")
OLDEST = _gauge("queue_oldest_seconds", (), "How long the job has waited that has waited longest; 0 if none waits.")
ROWS = _gauge("job_results_rows", ("status",), "Rows of job_results by estimate, `all` of them and by status.")
BYTES = _gauge("job_results_bytes", (), "Size of job_results on the disk, with its indexes.")
APPROVALS_WAITING = _gauge("approvals_waiting", (), "Calls that wait for a person's yes, up to 20,000.")
SERVERS = _gauge("servers", ("state",), "Servers by the state of their catalog: unknown, ready, failing.")
LOGINS = _gauge(
    "upstream_logins", ("state",), "Logins at servers: ready, needed (over); none: servers at which nobody has one."
)
CIRCUIT = _gauge("circuit_open", ("server",), "1 if the server's circuit is open: it does not answer.")
FAILURES = _gauge("catalog_failures", ("server",), "Vain tries in a row to read what the server offers.")
AGE = _gauge("catalog_age_seconds", ("server",), "Time since the server's catalog was last read.")
HELD = _gauge("tools_held", ("server",), "Tools that are new or have changed, and wait for approval.")
KEY_AGE = _gauge("vault_key_age_seconds", ("key_id", "role"), "Time since a key is known to seal.")
KEY_ROWS = _gauge("vault_key_rows", ("key_id", "role"), "Sealed values under a key; role: primary, other, missing.")
RUN_AGE = _gauge("scheduled_run_age_seconds", (), "Time since the newest run of the schedule was due.")
HORIZON = _gauge("schedule_horizon_seconds", (), "How far ahead Prefect's scheduler has made runs; 0: not at all.")
HUB_SPECS = (
    *(UP, WORKERS, QUEUE, OLDEST, APPROVALS_WAITING, ROWS, BYTES, SERVERS, LOGINS, CIRCUIT),
    *(FAILURES, AGE, HELD, KEY_AGE, KEY_ROWS, RUN_AGE, HORIZON),
)
Sample = tuple[MetricSpec, Labels, float]


@dataclass(frozen=True, slots=True)
class _ServerRow:
    name: str
    is_open: bool
    failures: int
    age_seconds: float | None
    is_failing: bool
    held: int


class HubGauges:
    """Reads the gauges. A database or a Prefect that is away leaves its part out, and is told of in `nexus_up`."""

    def __init__(
        self,
        database: Database,
        watch: SchedulerWatch,
        keyring: KeyringSource,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._watch = watch
        self._keyring = keyring
        self._of_database = Cached(self._read_database, DATABASE_SECONDS, clock)

    async def read(self) -> list[Sample]:
        """Read all of them, the database and Prefect side by side."""
        database, prefect = await asyncio.gather(self._of_database.get(), self._read_prefect())
        return [*database, *prefect]

    async def _read_database(self) -> list[Sample]:
        """Read part by part; one that takes too long at the moment is left out."""
        found: list[Sample] = []
        with suppress(DatabaseUnavailable, TimeoutError):
            async with asyncio.timeout(LONGEST_SECONDS):
                await self._database.ping()
                found.append((UP, ("database",), 1))
                for read in (_read_jobs, _read_size, _read_servers, _read_logins, self._read_keys):
                    with suppress(DatabaseUnavailable):
                        found += await self._read_part(read)
        return found or [(UP, ("database",), 0)]

    async def _read_part(self, read: Callable[[Transaction], Awaitable[Iterable[Sample]]]) -> Iterable[Sample]:
        async with self._database.transaction() as transaction:
            await transaction.run(METRICS["be_quick"], milliseconds=round(PART_SECONDS * 1000))
            return await read(transaction)

    async def _read_prefect(self) -> list[Sample]:
        schedule = await self._watch.look()
        if schedule is None:
            return [(UP, ("prefect",), 0)]
        return [(UP, ("prefect",), 1), *_describe_schedule(schedule)]

    async def _read_keys(self, transaction: Transaction) -> list[Sample]:
        """Describe the keys of the ring and those that are missing in it; a key that seals nothing has no age."""
        rows = {row["key_id"]: row for row in await transaction.all(METRICS["keys"], most_keys=MOST_KEYS)}
        try:
            held = self._keyring.current().keys()
        except HubError:
            held = ()
        roles = {key.id: "other" if number else "primary" for number, key in enumerate(held)}
        roles = dict.fromkeys((row or "unbound" for row in rows), "missing") | roles
        samples: list[Sample] = [
            (KEY_ROWS, (key_id, role), rows[key_id]["rows"] if key_id in rows else 0) for key_id, role in roles.items()
        ]
        aged = ((key_id, role) for key_id, role in roles.items() if key_id in rows)
        return samples + [(KEY_AGE, labels, rows[labels[0]]["age_seconds"]) for labels in aged]


async def _read_jobs(transaction: Transaction) -> list[Sample]:
    workers = await transaction.only(METRICS["workers"], int, worker=WORKER_LISTENS)
    open_jobs = await transaction.only(METRICS["open_jobs"], most_jobs=MOST_JOBS)
    approvals = await transaction.only(APPROVALS["count_waiting"], int, most=MOST_JOBS)
    return [
        (WORKERS, (), workers),
        *((QUEUE, (state,), open_jobs[state]) for state in ("waiting", "later", "running")),
        (OLDEST, (), open_jobs["oldest_seconds"]),
        (APPROVALS_WAITING, (), approvals),
    ]


async def _read_size(transaction: Transaction) -> list[Sample]:
    size = await transaction.only(METRICS["table_size"])
    statuses = {"all": "total_jobs"} | {one: one for one in ("completed", "failed", "pending", "running")}
    return [
        *((ROWS, (status,), size[column]) for status, column in statuses.items()),
        (BYTES, (), size["bytes"]),
    ]


async def _read_servers(transaction: Transaction) -> Iterable[Sample]:
    counts: dict[str, Any] = dict.fromkeys(("unknown", "ready", "failing"), 0)
    counts |= {row["status"]: row["servers"] for row in await transaction.all(METRICS["server_counts"])}
    rows = await transaction.all(METRICS["servers"], _ServerRow, most_servers=MOST_SERVERS)
    return [*((SERVERS, (state,), count) for state, count in counts.items()), *_describe_servers(rows)]


async def _read_logins(transaction: Transaction) -> Iterable[Sample]:
    counts: dict[str, Any] = dict.fromkeys(("ready", "needed", "none"), 0)
    counts |= {row["state"]: row["logins"] for row in await transaction.all(METRICS["login_counts"])}
    return [(LOGINS, (state,), count) for state, count in counts.items()]


def _describe_servers(rows: Iterable[_ServerRow]) -> Iterable[Sample]:
    for row in rows:
        labels = (printable(row.name),)
        yield CIRCUIT, labels, row.is_open
        yield FAILURES, labels, row.failures
        yield HELD, labels, row.held
        if row.age_seconds is not None:
            yield AGE, labels, row.age_seconds


def _describe_schedule(schedule: RunSchedule) -> Iterable[Sample]:
    yield HORIZON, (), schedule.horizon_seconds
    if schedule.age_seconds is not None:
        yield RUN_AGE, (), schedule.age_seconds
