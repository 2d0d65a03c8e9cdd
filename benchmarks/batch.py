"""How many jobs per second does a batch carry, against clients that send single jobs, and does the cost grow with it?

All on one hub, against an echo server (HTTP, a process of its own):

- single jobs: eight clients at once, each of which submits a job, waits for its end and submits the next;
- batches of 10, 100 and 1,000 jobs by `POST /v1/jobs:batch`, and 10,000 jobs in ten of them at once;
- time to start: from when the first job is stored (`created_at`: when its transaction began) until it is claimed;
  single jobs and batches of 100 and 1,000 in turns.

Rates are by the rows: jobs, over the time from the first `created_at` to the last `completed_at`.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import dict_row

from benchmarks.processes import Processes, reachable
from benchmarks.report import machine, milliseconds, percentile, publish, table
from benchmarks.ways import REQUEST_SECONDS, Subject, echo_server, pause
from nexus_hub.client import HubClient
from tests.fixtures.hub import Hub, running

CLIENTS, SINGLES = 8, 48
SIZES = (10, 100, 1000, 10_000)
TURNS, TURN_SIZES = 30, (1, 100, 1000)
PER_REQUEST = 1000
LONGEST_SECONDS = 1800


@dataclass
class Measured:
    """Seconds from the first job stored to the last one ended, and of processors, by part."""

    jobs: int
    seconds: float
    runs: int
    processor: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.jobs / self.seconds


def job(number: int) -> dict[str, Any]:
    return {"name": "echo__echo", "arguments": {"n": number}}


async def rows(subject: Subject, ids: Sequence[str]) -> list[dict[str, Any]]:
    columns = "status, attempt, flow_run_id, created_at, started_at, completed_at"
    async with await psycopg.AsyncConnection.connect(subject.hub.app_url, row_factory=dict_row) as connection:
        await connection.execute("SELECT set_config('nexus.scope', 'service', true)")
        cursor = await connection.execute(
            f"SELECT {columns} FROM job_results WHERE id = ANY (%s::uuid[])".encode(), (list(ids),)
        )
        return await cursor.fetchall()


async def ended(subject: Subject, ids: Sequence[str]) -> list[dict[str, Any]]:
    """The rows once all have ended, each in its first attempt; nobody looks while the first of them starts."""
    until = time.monotonic() + LONGEST_SECONDS
    while True:
        await asyncio.sleep(0.5 if len(ids) <= PER_REQUEST else 1)
        found = await rows(subject, ids)
        if all(row["completed_at"] for row in found):
            break
        assert time.monotonic() < until
    assert {(row["status"], row["attempt"]) for row in found} == {("completed", 1)}, found[:3]
    assert len(found) == len(ids)
    return found


def _measured(found: list[dict[str, Any]]) -> Measured:
    span = max(row["completed_at"] for row in found) - min(row["created_at"] for row in found)
    return Measured(len(found), span.total_seconds(), len({row["flow_run_id"] for row in found}))


async def single_jobs(subject: Subject) -> Measured:
    ids: list[str] = []

    async def client() -> None:
        while len(ids) < SINGLES:
            ids.append("")
            place = len(ids) - 1
            ids[place] = (await subject.client.submit(job(place)))["id"]
            async for _ in subject.client.watch(ids[place], timeout=300):
                pass

    before = subject.processes.seconds()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    processor = subject.processes.since(before)
    measured = _measured(await ended(subject, ids))
    measured.processor = processor
    return measured


async def batch(subject: Subject, size: int) -> Measured:
    before = subject.processes.seconds()
    requests = [
        [job(number) for number in range(at, min(at + PER_REQUEST, size))] for at in range(0, size, PER_REQUEST)
    ]
    answers = await asyncio.gather(*(subject.client.submit_batch(request) for request in requests))
    found = await ended(subject, [job_id for ids in answers for job_id in ids])
    processor = subject.processes.since(before)
    measured = _measured(found)
    measured.processor = processor
    return measured


async def to_start(subject: Subject, size: int) -> float:
    """Seconds from storing jobs until the first of them is claimed."""
    await pause()
    if size == 1:
        ids = [(await subject.client.submit(job(0)))["id"]]
    else:
        ids = await subject.client.submit_batch([job(number) for number in range(size)])
    found = await ended(subject, ids)
    first: float = (min(row["started_at"] for row in found) - found[0]["created_at"]).total_seconds()
    return first


def _rates(single: Measured, batches: dict[int, Measured]) -> str:
    head = ["way", "jobs", "flow runs", "seconds", "jobs/s", "ms per job", "rate / single jobs'"]
    ways = {"single jobs, 8 clients": single} | {f"batch of {size:,}": one for size, one in batches.items()}
    ways = {name.replace("batch of 10,000", "10 batches of 1,000 at once"): one for name, one in ways.items()}
    return table(
        head,
        [
            [
                way,
                f"{one.jobs:,}",
                str(one.runs),
                f"{one.seconds:.1f}",
                f"{one.rate:.1f}",
                f"{one.seconds / one.jobs * 1000:.1f}",
                f"{one.rate / single.rate:.1f}",
            ]
            for way, one in ways.items()
        ],
    )


def _processors(single: Measured, largest: Measured) -> str:
    head = ["milliseconds of a processor per job", *largest.processor, "all"]
    return table(
        head,
        [
            [
                way,
                *(f"{seconds / one.jobs * 1000:.1f}" for seconds in one.processor.values()),
                f"{sum(one.processor.values()) / one.jobs * 1000:.1f}",
            ]
            for way, one in {"single jobs": single, f"batch of {largest.jobs:,}": largest}.items()
        ],
    )


def _starts(starts: dict[int, list[float]]) -> str:
    return table(
        ["time to start of the first", "times", "p50", "p95"],
        [
            ["a single job" if size == 1 else f"a batch of {size:,}", str(len(seconds))]
            + [milliseconds(percentile(seconds, percent)) for percent in (50, 95)]
            for size, seconds in starts.items()
        ],
    )


async def measured(hub: Hub, upstream: int, most: int) -> str:
    """Measure everything; the report."""
    on = machine(hub.app_url)
    async with HubClient(hub.url, hub.key, timeout=REQUEST_SECONDS) as client:
        subject = Subject(hub, client, Processes.of(hub, upstream=upstream))
        await batch(subject, 10)
        await to_start(subject, 1)
        single = await single_jobs(subject)
        batches = {size: await batch(subject, size) for size in SIZES if size <= most}
        starts: dict[int, list[float]] = {size: [] for size in TURN_SIZES}
        for _ in range(TURNS):
            for size, seconds in starts.items():
                seconds.append(await to_start(subject, size))
    question = (__doc__ or "").strip()
    largest = batches[max(size for size in batches if size <= PER_REQUEST)]
    parts = [f"# {question}", _rates(single, batches), _processors(single, largest), _starts(starts), on]
    return "\n\n".join(parts) + "\n"


async def main(most: int) -> None:
    """Start a hub and the echo server, measure, and stop them."""
    async with echo_server() as echo:
        with tempfile.TemporaryDirectory(prefix="nexus-hub-bench-") as directory, running(reachable(directory)) as hub:
            added = hub.run("server", "add", "echo", "--url", echo.url)
            assert added.code == 0, added.err
            publish("batch", await measured(hub, echo.process.pid, most))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--most", type=int, default=SIZES[-1], help="the most jobs at once")
    asyncio.run(main(arguments.parse_args().most))
