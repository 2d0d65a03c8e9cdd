"""How long does a durable job take, against its own flow without any dispatch, and against Prefect's process worker?

Three ways to run `get_current_time` of mcp-server-time as a job, on one hub:

- hub: from `POST /v1/jobs` until the API's watcher (`HubClient.watch`) shows the end;
- floor: `await invoke_tool(job_id=...)` on a stored job in this process, which is warm: the same flow with the same
  storage of results, clients of Prefect that stay open, the same Prefect;
- process worker: the same flow from a deployment in a pool of type `process`, polled every second, from creating the
  run until the watcher shows the end.

One at a time, hub and floor take turns; pauses of random length let the server finish the run before. Then so many at
a time, again in turns, and what each process spent on a job of them. At the end what the hub costs while nothing
happens, and whether the worker's memory grows.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks.processes import reachable
from benchmarks.report import machine, milliseconds, percentile, publish, table
from benchmarks.ways import SETTLE_SECONDS, Bench, by_floor, by_hub, ended, idle, in_turns, join, opened, pause
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.jobs.store import JOBS
from nexus_hub.jobs.submit import submit
from nexus_hub.models import OPERATOR
from tests.fixtures.hub import TIME_SERVER, Hub, running

MEASURED, MEASURED_PROCESS = 30, 5
ROUNDS, CONCURRENCY = 2, 8
POOL = "benchmark-process"
REQUEST = JobRequest("tool_invoke", "time__get_current_time", {"timezone": "UTC"})
STEPS = (
    ("stored until its run is created in Prefect", "created_at", "dispatched_at"),
    ("until the flow claims it: the worker's look, and Prefect's steps before the flow", "dispatched_at", "started_at"),
    ("until its end is recorded: limit, credentials, call, record", "started_at", "completed_at"),
)
OUTSIDE = "before it is stored, and after its end until the watcher asks again"


@dataclass
class Times:
    """Seconds of all measured jobs."""

    hub: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    process: list[float] = field(default_factory=list)
    hub_jobs: list[UUID] = field(default_factory=list)


@dataclass
class Rate:
    """Rounds of many jobs: jobs per second, and the CPU seconds of each process."""

    per_second: list[float] = field(default_factory=list)
    cpu: list[dict[str, float]] = field(default_factory=list)


async def by_process_worker(bench: Bench, deployment: UUID) -> float:
    """The flow by Prefect's own worker; seconds."""
    from prefect.client.orchestration import get_client

    job, _ = await submit(bench.runtime.database, OPERATOR, REQUEST)
    job_id = job["id"]
    async with get_client() as prefect:
        began = time.perf_counter()
        parameters = {"job_id": str(job_id), "attempt": 1}
        run = await prefect.create_flow_run_from_deployment(deployment, parameters=parameters)
        async with bench.runtime.database.transaction() as transaction:
            assert await transaction.run(JOBS["mark_dispatched"], id=job_id, attempt=1, lost_runs=0, flow_run_id=run.id)
        await ended(bench, str(job_id))
    return time.perf_counter() - began


async def _in_turns(bench: Bench, times: Times) -> None:
    hub, times.floor = await in_turns(bench, MEASURED)
    times.hub, times.hub_jobs = [took for took, _ in hub], [job_id for _, job_id in hub]


async def _round(way: Callable[[Bench], Awaitable[Any]], bench: Bench, jobs: int) -> float:
    """So many jobs, some at a time; seconds."""
    slots = asyncio.Semaphore(CONCURRENCY)

    async def one() -> None:
        async with slots:
            await way(bench)

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(jobs)))
    return time.perf_counter() - began


async def _rates(bench: Bench, jobs: int) -> dict[str, Rate]:
    """Rounds of so many jobs, in turns."""
    rates = {"floor: the flow alone": Rate(), "hub": Rate()}
    for _ in range(ROUNDS):
        for (name, rate), way in zip(rates.items(), (by_floor, by_hub), strict=True):
            before = bench.processes.seconds()
            took = await _round(way, bench, jobs)
            await asyncio.sleep(SETTLE_SECONDS)
            rate.per_second.append(jobs / took)
            rate.cpu.append(bench.processes.since(before))
            sys.stderr.write(f"{name}: {rate.per_second[-1]:.2f} a second\n")
    return rates


def _rates_table(rates: dict[str, Rate], jobs: int) -> str:
    low = sum(rates["floor: the flow alone"].per_second)
    names = list(rates["hub"].cpu[0])
    rows = [
        [
            way,
            str(jobs * len(rate.cpu)),
            f"{sum(rate.per_second) / len(rate.per_second):.2f}",
            f"{sum(rate.per_second) / low:.2f}",
            *(milliseconds(sum(cpu[name] for cpu in rate.cpu) / len(rate.cpu) / jobs) for name in names),
        ]
        for way, rate in rates.items()
    ]
    return table(["way", "jobs", "jobs/s", "of the floor's", *(f"CPU per job: {name}" for name in names)], rows)


async def _idle(bench: Bench, seconds: float) -> str:
    """What worker and API cost while nothing happens."""
    used = await idle(bench.processes, seconds)
    both = {"worker and API together": used["worker"] + used["api"]}
    return table(["process", "of a core"], [[name, f"{share:.2%}"] for name, share in (used | both).items()])


async def _memory(bench: Bench, jobs: int) -> str:
    """The worker's memory over many jobs; what the first ones load is not a leak."""
    rows, part = [], max(jobs // 4, 1)
    for number in range(5):
        rows.append([f"{number * part:,}", f"{bench.processes.megabytes('worker'):.1f} MB"])
        if number < 4:
            await _round(by_hub, bench, part)
    return table(["jobs", "the worker's memory"], rows)


async def _process_worker(bench: Bench, times: Times) -> None:
    async with _process_pool(bench.hub) as deployment:
        await by_process_worker(bench, deployment)
        for _ in range(MEASURED_PROCESS):
            await pause()
            times.process.append(await by_process_worker(bench, deployment))


@asynccontextmanager
async def _process_pool(hub: Hub) -> AsyncIterator[UUID]:
    """A pool of type `process`, a worker of Prefect's own that polls it every second, and the flow deployed there."""
    made = hub.prefect_cli("work-pool", "create", POOL, "--type", "process")
    assert made.code == 0, made.err
    command = [sys.executable, "-P", "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    environment = os.environ | {"PREFECT_WORKER_QUERY_SECONDS": "1"}
    with tempfile.TemporaryDirectory() as directory, (Path(directory) / "log").open("wb") as log:
        worker = await asyncio.create_subprocess_exec(
            *command, cwd=directory, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield await _deployed()
        finally:
            worker.terminate()
            await worker.wait()


async def _deployed() -> UUID:
    from prefect.client.orchestration import get_client

    from flows.invoke import invoke_tool

    async with get_client() as prefect:
        flow_id = await prefect.create_flow(invoke_tool)
        return await prefect.create_deployment(
            flow_id=flow_id, name="benchmark", entrypoint="flows.invoke.invoke_tool", work_pool_name=POOL, pull_steps=[]
        )


async def _steps(bench: Bench, times: Times) -> list[list[str]]:
    """Where the time of the hub's jobs went, by what their rows say."""
    import psycopg
    from psycopg.rows import dict_row

    columns = "id, created_at, dispatched_at, started_at, completed_at"
    async with await psycopg.AsyncConnection.connect(bench.hub.app_url, row_factory=dict_row) as connection:
        await connection.execute("SELECT set_config('nexus.scope', 'service', true)")
        cursor = await connection.execute(
            f"SELECT {columns} FROM job_results WHERE id = ANY (%s)".encode(), (times.hub_jobs,)
        )
        rows: list[dict[str, Any]] = await cursor.fetchall()
    spent = {what: [(row[to] - row[since]).total_seconds() for row in rows] for what, since, to in STEPS}
    inside = {row["id"]: (row["completed_at"] - row["created_at"]).total_seconds() for row in rows}
    spent[OUTSIDE] = [took - inside[job_id] for took, job_id in zip(times.hub, times.hub_jobs, strict=True)]
    return [[what, *(milliseconds(percentile(seconds, p)) for p in (50, 95))] for what, seconds in spent.items()]


def _latencies(times: Times) -> str:
    ways = {"floor: the flow alone": times.floor, "hub": times.hub, "Prefect's process worker": times.process}
    floor = [percentile(times.floor, p) for p in (50, 95)]
    rows = [
        [
            way,
            str(len(seconds)),
            *(milliseconds(percentile(seconds, p)) for p in (50, 95)),
            *(f"{percentile(seconds, p) / low:.1f}" for p, low in zip((50, 95), floor, strict=True)),
        ]
        for way, seconds in ways.items()
    ]
    return table(["way", "jobs", "p50", "p95", "p50 / floor's", "p95 / floor's"], rows)


async def measured(hub: Hub, asked: argparse.Namespace) -> str:
    """Measure all that is asked for; the report."""
    on, times = machine(hub.app_url), Times()
    parts = [f"# {(__doc__ or '').strip()}", "One at a time:"]
    async with opened(hub, REQUEST) as bench:
        await _in_turns(bench, times)
        steps = await _steps(bench, times)
        rates = await _rates(bench, asked.jobs)
        nothing = (
            [f"While nothing happens, for {asked.idle_seconds:g} s:", await _idle(bench, asked.idle_seconds)]
            if asked.idle_seconds
            else []
        )
        memory = ["Memory:", await _memory(bench, asked.memory_jobs)] if asked.memory_jobs else []
        await _process_worker(bench, times)
    parts += [
        _latencies(times),
        "Where the hub's jobs spent their time, by their rows and this clock:",
        table(["step", "p50", "p95"], steps),
        f"{CONCURRENCY} at a time:",
        _rates_table(rates, asked.jobs),
        *nothing,
        *memory,
        on,
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Start a hub, measure, and stop it."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--jobs", type=int, default=100, help="jobs of a round; there are two rounds of each way")
    options.add_argument("--idle-seconds", type=float, default=300, help="how long nothing happens; 0 leaves it out")
    options.add_argument("--memory-jobs", type=int, default=2000, help="jobs over which memory is seen; 0: none")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="nexus-hub-bench-") as directory, running(reachable(directory)) as hub:
        added = hub.run("server", "add", "time", "--command", *TIME_SERVER)
        assert added.code == 0, added.err
        join(hub)
        publish("job_latency", asyncio.run(measured(hub, asked)))


if __name__ == "__main__":
    main()
