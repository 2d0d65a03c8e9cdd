"""How late do 1,000 watchers of one API process hear of the ends of jobs, and how many do they miss?

Each watcher has an event stream of all jobs open while 500 jobs end one after the other, so many a second, and while
the connection on which the API listens is killed three times. Times are from just before the statement that ends a job
is sent until a watcher has read the event. PostgreSQL is one of its own, with fsync; there is no Prefect.
"""

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import psycopg

from benchmarks.many_jobs import filled, server
from benchmarks.report import machine, percentile, publish, table
from nexus_hub.vault.keys import VaultKey
from tests.fixtures.hub import answers, until
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.upstreams import free_port

KEY = "the-service-key-of-this-benchmark"
CUTS, CUT_SECONDS = 3, 2.5
AT_ONCE = 20
ENDED = 100
ADD_RUNNING = """
    INSERT INTO job_results (id, job_type, server_id, tool_name, status, attempt, claim_id, lease_expires_at,
                             started_at, dispatched_at)
    SELECT id, 'tool_invoke', 'hub', 'echo', 'running', 1, gen_random_uuid(), now() + interval '1 d', now(), now()
    FROM unnest(%s::uuid[]) AS id
"""
END = "UPDATE job_results SET status = 'completed', result = '{\"content\": []}' WHERE id = %s"
CUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'nexus-hub listen'
"""


@dataclass
class Api:
    """One API process, without Prefect."""

    port: int
    process: psutil.Popen
    database: HubDatabase

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def megabytes(self) -> float:
        return float(self.process.memory_info().rss) / 2**20


@contextmanager
def served_alone(database: HubDatabase, **more: str) -> Iterator[Api]:
    """Run one API process on a database."""
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        variables = {
            "NEXUS_HOME": home,
            "NEXUS_PORT": str(port),
            "NEXUS_DATABASE_URL": database.app_url,
            "NEXUS_SERVICE_KEY": KEY,
            "VAULT_ENCRYPTION_KEY": VaultKey.generate().reveal(),
            "PREFECT_API_URL": "http://127.0.0.1:1/api",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("NEXUS_", "PREFECT_", "PG"))}
        with Path(home, "log").open("wb") as log:
            command = [sys.executable, "-m", "nexus_hub", "api"]
            process = psutil.Popen(command, env=kept | variables | more, stdout=log, stderr=log)
        try:
            until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), 60, "the API")
            yield Api(port, process, database)
        finally:
            process.terminate()
            process.wait(30)


@dataclass
class Watchers:
    """Streams of all jobs: the ends that each has told, and how late."""

    ended_at: dict[str, float]
    waits: dict[str, list[float]] = field(default_factory=dict)
    told: int = 0
    twice: int = 0

    async def watch(self, port: int, opened: asyncio.Semaphore, count: list[int]) -> set[str]:
        """Follow until cancelled; the jobs whose ends were told."""
        known: set[str] = set()
        async with opened:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
            head = f"GET /v1/jobs/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {KEY}\r\n\r\n"
            writer.write(head.encode())
            assert b" 200 " in await reader.readline()
            while (await reader.readline()).strip():
                pass
        count[0] += 1
        try:
            while line := await reader.readline():
                if line.startswith(b"data: ") and b'"completed"' in line:
                    self._note(json.loads(line[6:])["id"], known)
        finally:
            writer.close()
        return known

    def _note(self, job_id: str, known: set[str]) -> None:
        now = time.perf_counter()
        if job_id in known:
            self.twice += 1
            return
        known.add(job_id)
        self.told += 1
        self.waits.setdefault(job_id, []).append(now - self.ended_at[job_id])


async def watchers(api: Api, asked: argparse.Namespace) -> str:
    """Let jobs end before many watchers."""
    jobs = [uuid4() for _ in range(asked.jobs)]
    seen = Watchers({})
    before = api.megabytes()
    opened, count = asyncio.Semaphore(AT_ONCE), [0]
    streams = [asyncio.create_task(seen.watch(api.port, opened, count)) for _ in range(asked.watchers)]
    while count[0] < asked.watchers:
        await asyncio.sleep(0.05)
        assert not any(stream.done() for stream in streams), "a stream has ended"
    following = api.megabytes()
    cut_at = await end_all(api.database.admin_url, jobs, seen, asked.rate)
    expected, deadline = asked.jobs * asked.watchers, time.monotonic() + 60
    while seen.told < expected and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    after = api.megabytes()
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*streams, return_exceptions=True)
    cut_off = {name for name, at in seen.ended_at.items() if any(0 <= at - cut < CUT_SECONDS for cut in cut_at)}
    calm = [wait for name, waits in seen.waits.items() if name not in cut_off for wait in waits]
    every = [wait for waits in seen.waits.values() for wait in waits]
    rows = [
        ["ends told", f"{seen.told:,} of {expected:,}; **missed: {expected - seen.told}**, told twice: {seen.twice}"],
        ["times that the listener was killed", str(len(cut_at))],
        ["from commit to event, while it listens, p50 / p95 / most", _times(calm)],
        [f"the same with the {len(cut_off)} jobs that ended within {CUT_SECONDS} s of a kill", _times(every)],
        ["memory of the API: before, with all streams, after", f"{before:.0f} / {following:.0f} / {after:.0f} MB"],
        ["of it for a stream", f"{(following - before) * 1024 / asked.watchers:.0f} kB"],
    ]
    head = [f"{asked.watchers:,} watchers, {asked.jobs} jobs, {asked.rate:g} a second", ""]
    return table(head, rows)


async def end_all(admin_url: str, jobs: list[UUID], seen: Watchers, rate: float) -> list[float]:
    """End jobs one after the other, and cut the listener off meanwhile; when that was."""
    cut_at: list[float] = []
    async with await psycopg.AsyncConnection.connect(admin_url, autocommit=True) as admin:
        began = time.perf_counter()
        for number, job_id in enumerate(jobs):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            if number and number % (len(jobs) // (CUTS + 1)) == 0 and len(cut_at) < CUTS:
                cut_at.append(time.perf_counter())
                await admin.execute(CUT)
            await add_running(admin, job_id)
            seen.ended_at[str(job_id)] = time.perf_counter()
            await admin.execute(END, [job_id])
    return cut_at


async def add_running(admin: psycopg.AsyncConnection[Any], job_id: UUID) -> None:
    """Add a running job without a word of it."""
    await admin.execute("SET session_replication_role = replica")
    await admin.execute(ADD_RUNNING, [[job_id]])
    await admin.execute("RESET session_replication_role")


def _times(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return "-"
    found = percentile(seconds, 50), percentile(seconds, 95), max(seconds)
    return " / ".join(f"{1000 * one:,.0f}" for one in found) + " ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watchers", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--rate", type=float, default=4, help="ends per second; each goes to every watcher")
    asked = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with server() as url:
        on = machine(url)
        with (
            filled(url, ENDED, live=False) as database,
            served_alone(database, NEXUS_MAX_CONNECTIONS=str(asked.watchers + 200)) as api,
        ):
            found = asyncio.run(watchers(api, asked))
    publish("watchers", "\n\n".join([f"# {(__doc__ or '').strip()}", on, found]) + "\n")


if __name__ == "__main__":
    main()
