"""How long does the clean-up of 500,000 old jobs take, and how long does it keep others waiting?

Of 1,000,000 jobs half have ended over 7 days ago. Two ways to delete them, each on its own copy of the same database,
in turns:

- clean-up: the hub's own, in batches of 1,000 rows, each a transaction; once more while another transaction is held
  open, so that PostgreSQL can't let go of what was deleted;
- floor: the documented function `cleanup_job_results_manual()`, one transaction.

Meanwhile a writer updates one job after the other, by turns a running one and one that is about to be deleted (of the
2,000 that are next in line, or of all in the case of the function). How long each update takes, waits and all, is what
the table shows; that of a job that has ended is refused in the end, or finds it gone. Without any clean-up: the same
writer for two seconds.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any
from uuid import UUID

import psycopg

from benchmarks.many_jobs import copied, filled, server
from benchmarks.report import machine, milliseconds, percentile, publish, table
from nexus_hub.db.pool import Database
from nexus_hub.orchestration.cleanup import BATCH, Cleanup
from nexus_hub.orchestration.prefect_client import PrefectClient
from tests.fixtures.postgres import HubDatabase

ROWS, ROUNDS = 1_000_000, 1
PAUSE = 0.001
NOBODY, FLOOR, HUB = "no clean-up", "floor: the documented function", "clean-up"
HELD = "clean-up, a transaction held open"


@dataclass
class Writer:
    """Updates jobs until it is told to stop; how long each took, in seconds."""

    database: HubDatabase
    live: Sequence[UUID]
    doomed: Sequence[UUID]
    next_in_line: range
    waits_live: list[float] = field(default_factory=list)
    waits_doomed: list[float] = field(default_factory=list)
    stopped: bool = False

    async def run(self) -> None:
        options = "-c nexus.scope=service"
        async with await psycopg.AsyncConnection.connect(
            self.database.app_url, autocommit=True, options=options
        ) as connection:
            while not self.stopped:
                self.waits_live.append(await _updated(connection, random.choice(self.live)))
                if doomed := self.doomed[self.next_in_line.start : self.next_in_line.stop]:
                    self.waits_doomed.append(await _updated(connection, random.choice(doomed)))


async def _updated(connection: psycopg.AsyncConnection[Any], job_id: UUID) -> float:
    await asyncio.sleep(PAUSE)
    began = time.perf_counter()
    try:
        await connection.execute("UPDATE job_results SET heartbeat_at = now() WHERE id = %s", [job_id])
    except psycopg.Error as error:
        if error.sqlstate != "NX001":  # the job has ended
            raise
    return time.perf_counter() - began


@dataclass
class Times:
    """What all rounds of one way came to."""

    deleted: int = 0
    seconds: list[float] = field(default_factory=list)
    live: list[float] = field(default_factory=list)
    doomed: list[float] = field(default_factory=list)


Way = Callable[[Cleanup, Writer], Awaitable[int]]


async def by_nobody(_cleanup: Cleanup, _writer: Writer) -> int:
    """Two seconds without any clean-up."""
    await asyncio.sleep(2)
    return 0


async def by_function(_cleanup: Cleanup, writer: Writer) -> int:
    """One statement; how many rows it deleted."""
    url = writer.database.app_url
    async with await psycopg.AsyncConnection.connect(url, options="-c nexus.scope=service") as connection:
        cursor = await connection.execute("SELECT total_deleted FROM cleanup_job_results_manual()")
        (deleted,) = await cursor.fetchone() or (0,)
        return int(deleted)


async def by_cleanup(cleanup: Cleanup, writer: Writer) -> int:
    """The hub's own, as its flow runs it; how many rows it deleted."""

    async def told(counts: dict[str, Any]) -> None:
        done = counts.get("deleted_completed", 0)
        writer.next_in_line = range(done, done + 2 * BATCH)

    return (await cleanup.run(7, 1, told)).total_deleted


async def by_cleanup_held_up(cleanup: Cleanup, writer: Writer) -> int:
    """The hub's own, while a transaction sees the table as it was before."""
    async with await psycopg.AsyncConnection.connect(writer.database.admin_url) as holder:
        await holder.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await holder.execute("SELECT FROM job_results LIMIT 1")
        return await by_cleanup(cleanup, writer)


async def measured(way: Way, database: HubDatabase, times: Times) -> None:
    """One round of one way, with a writer beside it. Nothing here needs Prefect's word."""
    live, doomed = await _ids(database)
    writer = Writer(database, live, doomed, range(len(doomed)) if way is by_function else range(2 * BATCH))
    async with (
        Database(database.app_url, name="benchmark") as pool,
        PrefectClient("http://127.0.0.1:9/api", None) as nowhere,
    ):
        task = asyncio.create_task(writer.run())
        await asyncio.sleep(0.2)
        began = time.perf_counter()
        times.deleted += await way(Cleanup(pool, nowhere), writer)
        times.seconds.append(time.perf_counter() - began)
        writer.stopped = True
        await task
    times.live += writer.waits_live
    times.doomed += writer.waits_doomed


async def _ids(database: HubDatabase) -> tuple[list[UUID], list[UUID]]:
    async with await psycopg.AsyncConnection.connect(database.admin_url) as connection:
        live = await connection.execute("SELECT id FROM job_results WHERE status = 'running'")
        doomed = await connection.execute(
            "SELECT id FROM job_results WHERE completed_at < now() - interval '7 days' ORDER BY completed_at, id"
        )
        return [row[0] for row in await live.fetchall()], [row[0] for row in await doomed.fetchall()]


def _report(found: dict[str, Times], on: str) -> str:
    rows = [
        [
            way,
            f"{times.deleted // ROUNDS:,}",
            f"{median(times.seconds):.1f} s",
            f"{len(times.live) + len(times.doomed):,}",
            milliseconds(percentile(times.live + times.doomed, 50)),
            milliseconds(percentile(times.live + times.doomed, 99)),
            milliseconds(max(times.live)),
            milliseconds(max(times.doomed)),
        ]
        for way, times in found.items()
    ]
    head = ["way", "deleted", "took (median)", "updates", "p50", "p99", "longest, running job", "longest, doomed job"]
    parts = [f"# {(__doc__ or '').strip()}", f"{ROUNDS} rounds of each.", table(head, rows), on]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Fill a database, measure all ways on copies of it."""
    ways: dict[str, Way] = {NOBODY: by_nobody, FLOOR: by_function, HUB: by_cleanup, HELD: by_cleanup_held_up}
    found = {name: Times() for name in ways}
    with server() as url, filled(url, ROWS) as original:
        on = machine(url)
        for _ in range(ROUNDS):
            for name, way in ways.items():
                with copied(url, original) as database:
                    asyncio.run(measured(way, database, found[name]))
    assert found[FLOOR].deleted == found[HUB].deleted == found[HELD].deleted == ROUNDS * ROWS // 2
    publish("cleanup", _report(found, on))


if __name__ == "__main__":
    main()
