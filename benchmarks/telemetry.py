"""What do the metrics cost: an event, a direct call, and a job?

In one process, with a real database and a server over standard input and output, without Prefect: blocks of calls with
the subscriber that counts for Prometheus and without it, in turns, the order changing. The ratio of a pair of blocks
next to each other is one sample. `job` is an attempt from its storing to its end, as a flow takes it; Prefect would
make it dearer, and the share of the metrics smaller.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import cycle
from uuid import uuid4

from benchmarks.report import machine, percentile, publish, table
from nexus_hub.db.migrate import migrate
from nexus_hub.db.pool import Database
from nexus_hub.execution.direct import DirectCall, DirectLane
from nexus_hub.execution.steps import Execution
from nexus_hub.jobs.requests import JobBounds, JobRequest
from nexus_hub.models import ServerRef
from nexus_hub.rate_limit.limiter import Limiter
from nexus_hub.servers.refresh import Refresher
from nexus_hub.servers.registry import Servers
from nexus_hub.telemetry.bus import emit, subscribe
from nexus_hub.telemetry.events import AttemptEnded, CallAnswered, JobTags, RequestAnswered, TelemetryEvent
from nexus_hub.telemetry.exposition import write_page
from nexus_hub.telemetry.metrics import Metrics
from nexus_hub.telemetry.server_labels import MOST_SERVERS
from nexus_hub.upstream.connections import Connections
from nexus_hub.upstream.requests import ToolCall
from nexus_hub.vault.keyring import FixedKeyring, Keyring
from nexus_hub.vault.keys import VaultKey
from nexus_hub.vault.sealing import Vault
from tests.fixtures.direct import DurableCalls
from tests.fixtures.library import Library, looping
from tests.fixtures.postgres import HubDatabase, created_database, embedded_server, ensure_roles
from tests.fixtures.upstreams import own_server

ARGUMENTS = {"text": "x"}
EVENTS = 200_000
TAGS = JobTags(uuid4(), 1, uuid4(), "srv", "echo", uuid4(), job_type="tool_invoke")


@dataclass
class Pairs:
    """Seconds of a call, of the processor and by the clock, in blocks without and with the metrics."""

    processor: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})
    clock: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})

    def row(self, name: str) -> list[str]:
        """A row of the table."""
        cells = [name]
        for seconds in (self.processor, self.clock):
            ratios = [with_ / without for without, with_ in zip(seconds[False], seconds[True], strict=True)]
            low, high = percentile(ratios, 25), percentile(ratios, 75)
            cells += [f"{statistics.median(seconds[False]) * 1e6:,.0f} us"]
            cells += [f"{statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})"]
        return cells


@asynccontextmanager
async def opened(database: HubDatabase) -> AsyncIterator[tuple[Library, DirectLane, ServerRef]]:
    """A library and a direct lane, with a warm server that echoes."""
    vault = Vault(FixedKeyring(Keyring(VaultKey.generate())))
    async with Database(database.app_url, name="benchmark") as pool, Connections(log_dir=None) as connections:
        servers = Servers(pool, vault, connections, allow_private=True)
        async with looping(Execution(pool, servers, connections, Limiter(pool), 1024 * 1024)) as execution:
            server = await servers.register("srv", own_server("habits"))
            lane = DirectLane(execution, DurableCalls().call, JobBounds())
            library = Library(pool, servers, Refresher(pool, servers), execution)
            yield library, lane, ServerRef("system", server.id)
            await lane.close()


async def in_turns(call: Callable[[], Awaitable[object]], rounds: int, size: int) -> Pairs:
    """Blocks of calls, without and with the metrics."""
    pairs, metrics = Pairs(), Metrics()
    for _ in range(size):
        await call()
    for _, order in zip(range(rounds), cycle([(False, True), (True, False)]), strict=False):
        for counted in order:
            with subscribe(metrics) if counted else nullcontext():
                clock, processor = time.perf_counter(), time.process_time()
                for _ in range(size):
                    await call()
                pairs.processor[counted].append((time.process_time() - processor) / size)
                pairs.clock[counted].append((time.perf_counter() - clock) / size)
    return pairs


def nanoseconds(event: TelemetryEvent, *, counted: bool) -> float:
    """What it costs to tell of an event."""
    metrics = Metrics()
    with subscribe(metrics) if counted else nullcontext():
        emit(event)
        began = time.process_time_ns()
        for _ in range(EVENTS):
            emit(event)
        return (time.process_time_ns() - began) / EVENTS


def page_milliseconds() -> tuple[float, int]:
    """How long a page with as many servers as there can be takes to write, and its bytes."""
    metrics = Metrics()
    for number in range(MOST_SERVERS):
        job = JobTags(uuid4(), 1, uuid4(), f"srv{number}", job_type="tool_invoke")
        for code in (None, "failed", "timed-out"):
            metrics(CallAnswered(job, 20, code))
    began = time.process_time()
    page, _ = write_page(metrics.collect())
    return (time.process_time() - began) * 1000, len(page)


async def measure(database: HubDatabase, rounds: int, size: int) -> str:
    """All tables."""
    request = JobRequest("tool_invoke", "srv__echo", ARGUMENTS)
    async with opened(database) as (library, lane, ref):

        async def direct() -> None:
            await lane.call(DirectCall(ref, ToolCall("echo", ARGUMENTS), None, "srv__echo"))

        async def job() -> None:
            await library.ran(await library.submitted(request))

        calls = await in_turns(direct, rounds, size)
        jobs = await in_turns(job, rounds, max(size // 4, 1))
    events: tuple[TelemetryEvent, ...] = (
        CallAnswered(TAGS, 12.5),
        AttemptEnded(TAGS, "completed", 12.5, None, 20),
        RequestAnswered("POST /mcp", 200, 12.5),
    )
    costs = [(type(one).__name__, nanoseconds(one, counted=False), nanoseconds(one, counted=True)) for one in events]
    page, size_of_page = page_milliseconds()
    head = ["", "processor, without", "ratio with metrics", "clock, without", "ratio with metrics"]
    return "\n\n".join(
        [
            table(head, [calls.row("direct call"), jobs.row("job")]),
            "Medians; in brackets the quartiles of the ratios.",
            table(
                ["event", "told, without metrics", "with them", "they cost"],
                [[name, f"{low:,.0f} ns", f"{high:,.0f} ns", f"{high - low:,.0f} ns"] for name, low, high in costs],
            ),
            f"A page with {MOST_SERVERS} servers takes {page:.0f} ms of the processor and has {size_of_page:,} bytes.",
        ]
    )


def main() -> None:
    """Measure, and keep the result."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=40, help="pairs of blocks")
    options.add_argument("--size", type=int, default=200, help="direct calls in a block; a fourth as many jobs")
    asked = options.parse_args()
    with embedded_server() as admin_url:
        ensure_roles(admin_url)
        with created_database(admin_url, template=None) as database:
            asyncio.run(migrate(database.owner_url, app_url=database.app_url))
            found = asyncio.run(measure(database, asked.rounds, asked.size))
            text = f"# Telemetry\n\n{machine(database.admin_url)}\n\n{found}\n"
    publish("telemetry", text)


if __name__ == "__main__":
    main()
