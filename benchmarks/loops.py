"""Clients with one job at a time: each sends a job, waits for its end, and sends the next."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from benchmarks.report import milliseconds, percentile, table
from benchmarks.ways import REQUEST_SECONDS, SETTLE_SECONDS, Bench, by_floor, by_hub
from deployments.registry import DEPLOYED
from nexus_hub.client import HubClient
from tests.fixtures.hub import Hub

Way = Callable[[Bench], Awaitable[float]]
ROUNDS = 2
MANY, SOME, FLOORS = 32, 8, 8


@dataclass
class Loop:
    """Rounds of so many clients; jobs is how many they run together in all rounds."""

    way: Way
    clients: int
    jobs: int
    took: list[float] = field(default_factory=list)
    """Seconds of each job."""
    seconds: float = 0
    runs: int = 0
    """Flow runs that Prefect saw start."""
    cpu: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return len(self.took) / self.seconds

    def milliseconds_of(self, *names: str) -> float:
        """What these processes spent on a job."""
        return sum(self.cpu[name] for name in names) / len(self.took) * 1000

    async def round(self, bench: Bench) -> None:
        """Run a share of the jobs; each client has connections of its own."""
        before, since = bench.processes.seconds(), datetime.now(UTC)
        left = iter(range(max(self.jobs // ROUNDS, self.clients)))

        async def client(own: Bench) -> None:
            for _ in left:
                self.took.append(await self.way(own))

        async with AsyncExitStack() as stack:
            opened = [
                await stack.enter_async_context(HubClient(bench.hub.url, bench.hub.key, timeout=REQUEST_SECONDS))
                for _ in range(self.clients)
            ]
            began = time.perf_counter()
            await asyncio.gather(*(client(replace(bench, client=one)) for one in opened))
            self.seconds += time.perf_counter() - began
        await asyncio.sleep(SETTLE_SECONDS)
        self.runs += started_runs(bench.hub, since)
        for name, spent in bench.processes.since(before).items():
            self.cpu[name] = self.cpu.get(name, 0) + spent


async def sent(bench: Bench) -> float:
    """A job through the hub; seconds."""
    took, _ = await by_hub(bench)
    return took


@dataclass
class Loops:
    """All of them: the floor, one client of the hub, some and many."""

    floor: Loop
    one: Loop
    some: Loop
    many: Loop

    @classmethod
    def of(cls, jobs: int) -> "Loops":
        """Many clients run so many jobs, some a third of them, the floor and one client a sixth."""
        return cls(
            Loop(by_floor, FLOORS, jobs // 6),
            Loop(sent, 1, jobs // 6),
            Loop(sent, SOME, jobs // 3),
            Loop(sent, MANY, jobs),
        )

    def all(self) -> dict[str, Loop]:
        """Each by its name."""
        return {
            f"floor: {FLOORS} flows at a time": self.floor,
            "hub: 1 client": self.one,
            f"hub: {SOME} clients": self.some,
            f"hub: {MANY} clients": self.many,
        }

    async def run(self, bench: Bench) -> "Loops":
        """Run them in turns."""
        for _ in range(ROUNDS):
            for loop in self.all().values():
                await loop.round(bench)
        return self

    def table(self) -> str:
        """What each came to."""
        names = list(self.floor.cpu)
        head = [
            "way",
            "jobs",
            "jobs/s",
            "of the floor's",
            "p50",
            "p95",
            "flow runs",
            *(f"CPU per job: {n}" for n in names),
        ]
        rows = [
            [
                way,
                str(len(loop.took)),
                f"{loop.rate:.1f}",
                f"{loop.rate / self.floor.rate:.2f}",
                *(milliseconds(percentile(loop.took, p)) for p in (50, 95)),
                str(loop.runs),
                *(f"{loop.milliseconds_of(name):.0f} ms" for name in names),
            ]
            for way, loop in self.all().items()
        ]
        return table(head, rows)


def started_runs(hub: Hub, since: datetime) -> int:
    """The flow runs of jobs that Prefect saw start since then."""
    flows = [deployed.name for deployed in DEPLOYED if "job" in deployed.tags]
    asked = {"flow_runs": {"start_time": {"after_": since.isoformat()}}, "flows": {"name": {"any_": flows}}}
    with hub.prefect() as prefect:
        count: int = prefect.post("/flow_runs/count", json=asked).raise_for_status().json()
    return count
