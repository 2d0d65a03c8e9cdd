"""How much do traces cost: while they are off, and while a collector takes every span?

Off: nanoseconds of the seam for each span, held against a direct call's time. On: two hubs on the same machine, one of
which sends all its spans to a collector that keeps them; the same server, calls by turns within each round, one at a
time. Direct calls through `/mcp` in the newer era, and jobs that come alone, from their rows: `completed_at` less
`created_at`. The ratio is that of the medians of all rounds.
"""

import argparse
import asyncio
import sys
import tempfile
import time
import timeit
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime

from benchmarks.processes import reachable
from benchmarks.report import machine, percentile, publish, table
from benchmarks.wire import MODERN, Caller
from nexus_hub.client import HubClient
from nexus_hub.telemetry import tracing
from tests.fixtures.hub import Hub, running
from tests.fixtures.traces import collecting
from tests.fixtures.upstreams import UPSTREAMS

OFF, ON = "off", "on"
SPANS_OF_A_CALL = 4
"""A direct call asks the seam for so many spans, and as often for the current one's context."""
WARM_UPS = 20
Times = dict[str, list[float]]


def seam() -> float:
    """Seconds for a span while traces are off, with an attribute, and a look for the current context."""

    def work() -> None:
        with tracing.span("work", attributes={"id": 1}):
            tracing.current_context()

    loops = 200_000
    return min(timeit.repeat(work, number=loops, repeat=7)) / loops


async def by_turns(rounds: int, calls: int, ways: dict[str, Callable[[], Awaitable[float]]]) -> Times:
    """Seconds of each way, a few calls of one after the other's in each round."""
    times: Times = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways) if number % 2 else list(reversed(ways)):
            times[name] += [await ways[name]() for _ in range(calls)]
    return times


async def measured(hubs: dict[str, Hub], rounds: int, calls: int, jobs: int) -> tuple[Times, Times]:
    """Direct calls and jobs of both hubs."""
    async with AsyncExitStack() as stack:
        direct: dict[str, Callable[[], Awaitable[float]]] = {}
        durable: dict[str, Callable[[], Awaitable[float]]] = {}
        for name, hub in hubs.items():
            caller = await stack.enter_async_context(Caller(f"{hub.url}/mcp", MODERN, hub.key))
            client = await stack.enter_async_context(HubClient(hub.url, hub.key))
            direct[name] = _timed(caller)
            durable[name] = _job(client)
            for _ in range(WARM_UPS):
                await direct[name]()
            await durable[name]()
        return await by_turns(rounds, calls, direct), await by_turns(rounds, jobs, durable)


def _timed(caller: Caller) -> Callable[[], Awaitable[float]]:
    async def call() -> float:
        began = time.perf_counter()
        await caller.call("habits__echo", n=1)
        return time.perf_counter() - began

    return call


def _job(client: HubClient) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        job = await client.request("POST", "/v1/jobs", {"name": "habits__echo", "arguments": {"n": 1}})
        while job["status"] not in {"completed", "failed"}:
            await asyncio.sleep(0.1)
            job = await client.request("GET", f"/v1/jobs/{job['id']}")
        completed, created = (datetime.fromisoformat(job[name]) for name in ("completed_at", "created_at"))
        return (completed - created).total_seconds()

    return run


def report(direct: Times, durable: Times, spans: int, nanoseconds: float) -> str:
    """The tables."""
    rows = []
    for what, times in (("direct call", direct), ("job that comes alone", durable)):
        for percent in (50, 95):
            off, on = (percentile(times[name], percent) for name in (OFF, ON))
            row = [f"{what}, p{percent}", f"{len(times[OFF])}", f"{off * 1000:.2f} ms", f"{on * 1000:.2f} ms"]
            rows.append([*row, f"{on / off:.3f}"])
    call = percentile(direct[OFF], 50)
    cost = nanoseconds * SPANS_OF_A_CALL / 1e9 / call
    while_off = table(
        ["one span while off", "spans of a direct call", "of a direct call's p50"],
        [[f"{nanoseconds:.0f} ns", str(SPANS_OF_A_CALL), f"{cost:.4%} (target: under 2%)"]],
    )
    return (
        f"# How much do traces cost?\n\n{__doc__.partition(chr(10))[2].strip()}\n\n{while_off}\n\n"
        f"{table(['', 'calls', 'off', 'on', 'on / off'], rows)}\n\n{spans:,} spans arrived.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--calls", type=int, default=50, help="direct calls of each hub in each round")
    parser.add_argument("--jobs", type=int, default=5, help="jobs of each hub in each round")
    parser.add_argument("--seam", action="store_true", help="only what a span costs while traces are off")
    asked = parser.parse_args()
    nanoseconds = seam() * 1e9
    if asked.seam:
        sys.stdout.write(f"{nanoseconds:.0f} ns for one span while off\n")
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        collecting() as collector,
        running(reachable(folder) / OFF) as off,
        running(reachable(folder) / ON, NEXUS_OTLP_ENDPOINT=collector.url) as on,
    ):
        hubs = {OFF: off, ON: on}
        for hub in hubs.values():
            command = (sys.executable, str(UPSTREAMS / "habits.py"))
            assert hub.run("server", "add", "habits", "--command", *command).code == 0
        direct, durable = asyncio.run(measured(hubs, asked.rounds, asked.calls, asked.jobs))
        text = report(direct, durable, len(collector.spans()), nanoseconds)
        publish("traces", f"{text}\n{machine(off.app_url)}\n")


if __name__ == "__main__":
    main()
