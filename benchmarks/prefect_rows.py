"""How many rows and bytes does a run leave in Prefect's database, alone, shared by 1,000 jobs, and by schedule?

On one hub, against an echo server: the rows of all of Prefect's tables, and their bytes with indexes, before and after
15 jobs that have a run each, 2 batches of 1,000 jobs, and 10 runs of `check-jobs` as its schedule starts it. The sizes
are taken after a VACUUM, so that what was updated and is free again does not count.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence

import psycopg

from benchmarks.batch import ended, job
from benchmarks.processes import Processes, reachable
from benchmarks.report import machine, publish, table
from benchmarks.ways import REQUEST_SECONDS, Subject, echo_server
from nexus_hub.client import HubClient
from tests.fixtures.hub import Hub, running

ALONE, BATCHES, PER_BATCH, SCHEDULED = 15, 2, 1000, 10
SETTLE_SECONDS = 20
"""Prefect writes its events later on."""
CLOSED_SECONDS = 5
"""A run that has nothing to do takes no more jobs after this time."""
TABLES = b"""
    SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_class c
    WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"""
EVENTS = {"events", "event_resources"}


def weigh(hub: Hub) -> dict[str, tuple[int, int]]:
    """Count the rows and bytes of each of Prefect's tables."""
    with psycopg.connect(hub.prefect_database_url, autocommit=True) as connection:
        connection.execute("VACUUM")
        sizes: dict[str, int] = dict(connection.execute(TABLES).fetchall())
        rows = {name: connection.execute(f'SELECT count(*) FROM "{name}"'.encode()).fetchone() for name in sizes}
    return {name: ((rows[name] or (0,))[0], size) for name, size in sizes.items()}


async def alone(subject: Subject) -> int:
    """Give each job a run, one after the other; how many runs that were."""
    runs = set()
    for number in range(ALONE):
        runs |= await runs_of(subject, [(await subject.client.submit(job(number)))["id"]])
    return len(runs)


async def shared(subject: Subject) -> int:
    """Let 1,000 jobs share a run, some times; how many runs that were."""
    runs = set()
    for _ in range(BATCHES):
        runs |= await runs_of(subject, await subject.client.submit_batch([job(number) for number in range(PER_BATCH)]))
        await asyncio.sleep(CLOSED_SECONDS)
    return len(runs)


async def runs_of(subject: Subject, ids: Sequence[str]) -> set[str]:
    """Name the runs of jobs, once these have ended."""
    return {str(row["flow_run_id"]) for row in await ended(subject, ids)}


async def scheduled(subject: Subject) -> int:
    """Run a flow that looks after the hub, as its schedule does."""
    with subject.hub.prefect() as prefect:
        deployment = prefect.get("/deployments/name/check-jobs/check-jobs").json()["id"]
        for _ in range(SCHEDULED):
            run = prefect.post(f"/deployments/{deployment}/create_flow_run", json={}).json()["id"]
            await asyncio.to_thread(subject.hub.flow_run, run)
    return SCHEDULED


async def added_by(subject: Subject, work: Callable[[Subject], Awaitable[int]]) -> list[float]:
    """Give the rows and bytes that a run adds: those of events, and all others."""
    before = weigh(subject.hub)
    runs = await work(subject)
    await asyncio.sleep(SETTLE_SECONDS)
    after = weigh(subject.hub)
    added = {name: [new - old for new, old in zip(after[name], before[name], strict=True)] for name in after}
    parts = [[one for name, one in added.items() if (name in EVENTS) is events] for events in (False, True)]
    return [sum(one[kind] for one in part) / runs for part in parts for kind in (0, 1)]


async def measured(hub: Hub, upstream: int) -> str:
    """Measure all three; the report."""
    on = machine(hub.app_url)
    ways = {"a job alone": alone, "1,000 jobs that share a run": shared, "a scheduled run": scheduled}
    async with HubClient(hub.url, hub.key, timeout=REQUEST_SECONDS) as client:
        subject = Subject(hub, client, Processes.of(hub, upstream=upstream))
        await alone(subject)
        found = {name: await added_by(subject, way) for name, way in ways.items()}
    head = ["run of", "rows", "bytes", "rows of events", "bytes of events"]
    rows = [[name, *(f"{one:,.0f}" for one in added)] for name, added in found.items()]
    return "\n\n".join([f"# {(__doc__ or '').strip()}", table(head, rows), on]) + "\n"


async def main() -> None:
    """Start a hub and the echo server, measure, and stop them."""
    async with echo_server() as echo:
        with tempfile.TemporaryDirectory(prefix="nexus-hub-bench-") as directory, running(reachable(directory)) as hub:
            added = hub.run("server", "add", "echo", "--url", echo.url)
            assert added.code == 0, added.err
            publish("prefect_rows", await measured(hub, echo.process.pid))


if __name__ == "__main__":
    asyncio.run(main())
