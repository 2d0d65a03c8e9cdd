"""The two ways to run a job that benchmarks compare: through a hub, and as its flow alone in this process."""

import asyncio
import os
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from benchmarks.processes import Processes
from deployments.worker.serve import PREFECT_DEFAULTS
from nexus_hub.client import HubClient
from nexus_hub.home.layout import Home
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.jobs.submit import submit
from nexus_hub.models import OPERATOR
from nexus_hub.runtime import Runtime, open_runtime
from nexus_hub.settings import load
from nexus_hub.stack.environments import environment
from tests.fixtures.hub import Hub
from tests.fixtures.upstreams import ROOT, Process, free_port, start

WARM_UPS = 5
SETTLE_SECONDS = 5
"""After a round the server goes on for a moment with what the round has left it."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.4, 1.4
REQUEST_SECONDS = 300
"""A batch of 1,000 jobs is one request."""


@dataclass(frozen=True)
class Subject:
    """A running hub, the operator's client of its API, and the processes whose work counts."""

    hub: Hub
    client: HubClient
    processes: Processes


@dataclass(frozen=True)
class Bench(Subject):
    """What both ways need: the library in this process, too, and the job that is run again and again."""

    runtime: Runtime
    request: JobRequest


def join(hub: Hub) -> None:
    """Make this process one of the hub's, as its worker is; before Prefect is imported."""
    os.environ.update(hub.environment)
    os.environ.update(PREFECT_DEFAULTS | environment(load(), Home(hub.home), "worker"))


@asynccontextmanager
async def opened(hub: Hub, request: JobRequest, **others: int) -> AsyncIterator[Bench]:
    """What both ways need, on a hub that was joined; `others` are the pids of processes that count besides its own."""
    from deployments.worker.prefect_internals import share_clients
    from tasks.context import use

    processes = Processes.of(hub, **others)
    async with (
        HubClient(hub.url, hub.key, timeout=REQUEST_SECONDS) as client,
        open_runtime(load(), "benchmark") as runtime,
        share_clients(),
    ):
        use(runtime)
        yield Bench(hub, client, processes, runtime, request)


@asynccontextmanager
async def echo_server() -> AsyncIterator[Process]:
    """The echo server in a process of its own, ended after the block."""
    port = free_port()
    server = await start(sys.executable, str(ROOT / "benchmarks" / "echo.py"), str(port), port=port)
    try:
        yield server
    finally:
        await server.kill()


async def by_hub(bench: Bench) -> tuple[float, UUID]:
    """Through the API; seconds, and the job."""
    began = time.perf_counter()
    job = await bench.client.submit({"name": bench.request.name, "arguments": bench.request.arguments})
    await ended(bench, job["id"])
    return time.perf_counter() - began, UUID(job["id"])


async def by_floor(bench: Bench) -> float:
    """The flow alone, in this process; seconds."""
    from deployments.registry import DEPLOYED
    from deployments.worker.engine import prepare

    flow: Any = prepare(next(one for one in DEPLOYED if one.entrypoint == "flows.invoke.invoke_tool"))
    # With a run noted the job counts as dispatched, and the hub leaves it alone.
    job, _ = await submit(bench.runtime.database, OPERATOR, bench.request, flow_run_id=uuid4())
    job_id = job["id"]
    began = time.perf_counter()
    await flow(job_id=job_id, attempt=1, return_state=True)
    took = time.perf_counter() - began
    await ended(bench, str(job_id))
    return took


async def ended(bench: Bench, job_id: str) -> None:
    """Wait for the end of a job, which has to be a good one in its first attempt."""
    *_, last = [job async for job in bench.client.watch(job_id, timeout=120)]
    assert (last["status"], last["attempt"]) == ("completed", 1), last


async def pause(shortest: float = SHORTEST_PAUSE, longest: float = LONGEST_PAUSE) -> None:
    """Wait for a random time, in which the server finishes the run before."""
    await asyncio.sleep(random.uniform(shortest, longest))


async def in_turns(bench: Bench, jobs: int) -> tuple[list[tuple[float, UUID]], list[float]]:
    """So many jobs one at a time, by turns through the hub and alone: what each way returned."""
    hub, floor = [], []
    for _ in range(WARM_UPS + jobs):
        await pause()
        hub.append(await by_hub(bench))
        await pause()
        floor.append(await by_floor(bench))
    return hub[WARM_UPS:], floor[WARM_UPS:]


async def idle(processes: Processes, seconds: float) -> dict[str, float]:
    """The share of a core that each process takes while nothing happens."""
    await asyncio.sleep(SETTLE_SECONDS)
    before = processes.seconds()
    await asyncio.sleep(seconds)
    return {name: used / seconds for name, used in processes.since(before).items()}
