"""How soon do the console's Jobs paint, and do they stay usable while jobs move?

First paint: from the navigation until the frame after the first row is there, with 100 jobs and with 100,000, each in a
database and an API of its own, in turns. Frames: the time from one frame of the page to the next, and the tasks that
kept its thread for over 50 ms, while nothing moves, and while jobs are stored, begin and end, 200 changes per second.
Debian's Chromium, headless, logged in as the operator.
"""

import argparse
import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from playwright.async_api import Browser, Page, async_playwright

from benchmarks.many_jobs import server
from benchmarks.report import machine, milliseconds, percentile, publish, table
from nexus_hub.db.migrate import migrate
from tests.fixtures.console import FLAGS, find_chromium, log_in
from tests.fixtures.postgres import HubDatabase, created_database
from tests.fixtures.served import SERVICE_KEY, serving
from tests.fixtures.upstreams import free_port

FEW, MANY, ROUNDS, RATE, WRITERS, SECONDS = 100, 100_000, 9, 200, 4, 15
FILL = """
    INSERT INTO job_results (job_type, server_id, tool_name, status, created_at, started_at, completed_at, attempt)
    SELECT 'tool_invoke', 'srv', 'tool_' || n %% 50, 'completed', at, at, at + interval '1 second', 1
    FROM generate_series(1, %(count)s) AS n, LATERAL (SELECT now() - n * interval '3 seconds' AS at) AS time
"""
STORE = """
    INSERT INTO job_results (job_type, server_id, tool_name, flow_run_id, dispatched_at)
    VALUES ('tool_invoke', 'srv', 'moving', gen_random_uuid(), now()) RETURNING id
"""
BEGIN = """
    UPDATE job_results SET status = 'running', attempt = 1, claim_id = gen_random_uuid(), started_at = now(),
                           lease_expires_at = now() + interval '1 minute'
    WHERE id = %(id)s
"""
END = "UPDATE job_results SET status = 'completed' WHERE id = %(id)s"
WATCH = """
    window.frames_seen = []; window.long_tasks = [];
    new PerformanceObserver((list) => list.getEntries().forEach((one) => long_tasks.push(one.duration)))
        .observe({entryTypes: ['longtask']});
    let before = performance.now();
    const note = (now) => {
        frames_seen.push(now - before);
        before = now;
        if (!window.first_row && document.querySelector('main tbody tr')) window.first_row = now;
        requestAnimationFrame(note);
    };
    requestAnimationFrame(note);
"""


@dataclass(frozen=True)
class Frames:
    """Milliseconds between frames, of long tasks, and the changes meanwhile."""

    gaps: list[float]
    tasks: list[float]
    changes: int
    requests: int

    def row(self, name: str, seconds: float) -> list[str]:
        """A line of the table."""
        ordered = sorted(self.gaps)
        return [
            name,
            f"{self.changes / seconds:,.0f}",
            f"{len(self.gaps) / seconds:,.0f}",
            f"{percentile(ordered, 99):,.0f} ms",
            f"{ordered[-1]:,.0f} ms",
            f"{len(self.tasks)}, longest {max(self.tasks, default=0):,.0f} ms",
            str(self.requests),
        ]


@asynccontextmanager
async def _console(database: HubDatabase, home: Path, browser: Browser, count: int) -> AsyncIterator[Page]:
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as connection:
        await connection.execute("ALTER TABLE job_results DISABLE TRIGGER USER")
        await connection.execute(FILL.encode(), {"count": count})
        await connection.execute("ALTER TABLE job_results ENABLE TRIGGER USER")
        await connection.execute("ANALYZE job_results")
    async with serving(database, home, free_port()) as served:
        context = await browser.new_context(base_url=served.url, viewport={"width": 1280, "height": 900})
        await log_in(context, SERVICE_KEY)
        await context.add_init_script(WATCH)
        yield await context.new_page()
        await context.close()


async def _first_paint(page: Page) -> float:
    """Open Jobs; the seconds until the first row."""
    await page.goto("/")
    while not (found := await page.evaluate("window.first_row ?? 0")):  # the policy of the page forbids to wait in it
        await asyncio.sleep(0.02)
    return float(found) / 1000


async def _change(url: str, rate: float, seconds: float) -> int:
    """Store, begin and end jobs, one change at a time; how many changes there were."""
    changes, began = 0, time.monotonic()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("SET synchronous_commit = off")  # the page is measured, and not the disk
        for step in itertools.count():
            if time.monotonic() - began >= seconds:
                return changes
            found = await (await connection.execute(STORE.encode())).fetchone()
            assert found is not None
            for change in (BEGIN, END):
                await connection.execute(change.encode(), {"id": found[0]})
            changes += 3
            await asyncio.sleep(max(0.0, began + (step + 1) * 3 / rate - time.monotonic()))
    return changes


async def _frames(page: Page, url: str, rate: int, seconds: float) -> Frames:
    requests: list[str] = []
    page.on("request", lambda one: requests.append(one.url))
    await _first_paint(page)
    await page.wait_for_timeout(3000)
    await page.evaluate("frames_seen.length = long_tasks.length = 0")
    requests.clear()
    changes = 0
    if rate:
        changes = sum(await asyncio.gather(*(_change(url, rate / WRITERS, seconds) for _ in range(WRITERS))))
    else:
        await asyncio.sleep(seconds)
    gaps, tasks = await page.evaluate("[frames_seen, long_tasks]")
    return Frames(gaps, tasks, changes, len(requests))


async def measure(options: argparse.Namespace, server_url: str) -> str:
    """Measure both, and write it down."""
    with (
        created_database(server_url, template=None) as few,
        created_database(server_url, template=None) as many,
        TemporaryDirectory() as home,
    ):
        for database in (few, many):
            await migrate(database.owner_url, app_url=database.app_url)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
            async with (
                _console(few, Path(home), browser, FEW) as small,
                _console(many, Path(home), browser, options.many) as large,
            ):
                paints: dict[int, list[float]] = {FEW: [], options.many: []}
                for _ in range(ROUNDS):
                    paints[FEW].append(await _first_paint(small))
                    paints[options.many].append(await _first_paint(large))
                frames = [
                    (f"{rate} changes per second", await _frames(large, many.admin_url, rate, options.seconds))
                    for rate in (0, RATE)
                ]
            await browser.close()
        return _report(machine(many.admin_url), paints, frames, options.seconds)


def _report(described: str, paints: dict[int, list[float]], frames: list[tuple[str, Frames]], seconds: float) -> str:
    rows: list[list[Any]] = [
        [f"{count:,}", milliseconds(median(times)), milliseconds(min(times)), milliseconds(max(times))]
        for count, times in paints.items()
    ]
    first, last = (median(times) for times in paints.values())
    head = ["load", "changes/s", "frames/s", "p99 between frames", "longest", "tasks over 50 ms", "requests"]
    return "\n".join(
        [
            "# The console's Jobs\n",
            described,
            f"\n## First paint, {ROUNDS} times in turns\n",
            table(["jobs", "median", "least", "most"], rows),
            f"\nWith all of them it takes {last / first:.2f} times as long as with {FEW}.",
            f"\n## Frames, {seconds:g} s each\n",
            table(head, [one.row(name, seconds) for name, one in frames]),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--many", type=int, default=MANY)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    with server() as url:
        publish("console", asyncio.run(measure(options, url)))


if __name__ == "__main__":
    main()
