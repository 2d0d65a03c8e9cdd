"""How fast are tools found among 500, 5,000 and 50,000, for users who see different ones, and how soon after a change?

The tools of LiveMCPBench, put in as often as it takes, each time as servers of other names, lie in the catalog of a
PostgreSQL of this run's own, all closed. Three users ask its requests, `limit=10` and compact, as search mode does: one
was granted all servers, one two thirds of them, and one three servers and a tool of each of a hundred others. `in
memory` is what the hub does; `PostgreSQL` is its search by words, which it did before and does as long as there is no
index. Both are asked in turns, one request at a time.

`a change` is the time from the commit of a server's new descriptions, and of a tool more, until a search finds that.
`held up` is the longest that the event loop was kept from its other work, as a task of its own measures it. Memory is
that of the process.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from benchmarks.report import machine, percentile, publish, table
from benchmarks.tool_search import SOURCE, VARIABLE
from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.catalog import read
from nexus_hub.catalog.read import ToolFilters
from nexus_hub.db.migrate import migrate
from nexus_hub.db.pool import Database
from nexus_hub.live.tool_index import make_index
from nexus_hub.models import Principal, ServerRef
from tests.fixtures.finding import Finding, add_user, put
from tests.fixtures.postgres import APP, OWNER, HubDatabase, created_database, embedded_server, ensure_role

SIZES = (500, 5_000, 50_000)
REQUESTS, CHANGES = 30, 20
TICK_SECONDS = 0.001
MOST_SECONDS = 60.0
FILTERS = ToolFilters()
GRANTS = (
    b"WITH granted AS (INSERT INTO user_groups (name) VALUES (%(name)s) RETURNING id), "
    b"member AS (INSERT INTO group_members (group_id, user_id) SELECT id, %(user)s FROM granted) "
    b"INSERT INTO access_grants (group_id, level, server_ref_id, tool_name) "
    b"SELECT granted.id, 'call', server, tool "
    b"FROM granted, unnest(%(servers)s::uuid[], %(tools)s::text[]) AS one (server, tool)"
)
Ask = Callable[[str], Awaitable[Any]]


@dataclass
class Loop:
    """The event loop: the longest that it was held up since that was taken last."""

    longest: float = 0

    async def watch(self) -> None:
        """Take note of each time that a short sleep took longer."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(TICK_SECONDS)
            self.longest = max(self.longest, time.perf_counter() - began - TICK_SECONDS)

    def take(self) -> float:
        """Give that, and begin anew."""
        longest, self.longest = self.longest, 0
        return longest


@asynccontextmanager
async def watched() -> AsyncIterator[Loop]:
    """The loop, watched as long as the block runs."""
    loop = Loop()
    task = asyncio.create_task(loop.watch())
    yield loop
    await cancel_and_wait(task)


@dataclass
class Way:
    """A way to search, how long it took, and the longest that it held up the loop."""

    ask: Ask
    seconds: list[float]
    held: float = 0

    def cells(self) -> list[str]:
        """Give its cells of a table."""
        return [*(f"{percentile(self.seconds, p) * 1000:.1f} ms" for p in (50, 95)), _milliseconds(self.held)]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


async def fill(database: Database, tools: list[dict[str, Any]], count: int) -> list[tuple[ServerRef, list[Any]]]:
    """Put so many tools in, as those of closed servers."""
    servers: dict[str, list[dict[str, Any]]] = {}
    for number in range(count):
        tool, copy = tools[number % len(tools)], number // len(tools)
        kept = {name: tool[name] for name in ("name", "description", "inputSchema", "annotations") if tool.get(name)}
        plain = "".join(one if one.isalnum() else "-" for one in tool["server"])[:24].strip("-")
        servers.setdefault(f"{plain}-{copy}", []).append(kept)
    return [(await put(database, name, *offered, access="closed"), offered) for name, offered in servers.items()]


async def add_users(database: Database, servers: list[tuple[ServerRef, list[Any]]]) -> dict[str, Principal]:
    """Add the three users."""
    whole: list[tuple[ServerRef, str | None]] = [(ref, None) for ref, _ in servers]
    single = [(ref, str(tools[0]["name"])) for ref, tools in servers[3:103]]
    grants = {"all": whole, "two-thirds": [one for at, one in enumerate(whole) if at % 3], "few": [*whole[:3], *single]}
    users = {name: await add_user(database, name) for name in grants}
    async with database.transaction() as transaction:
        for name, granted in grants.items():
            ids, tools = [ref.server_ref_id for ref, _ in granted], [tool for _, tool in granted]
            await transaction.run(GRANTS, name=name, user=users[name].user_id, servers=ids, tools=tools)
    return users


async def time_searches(finding: Finding, user: Principal, queries: Sequence[str], loop: Loop) -> tuple[Way, Way]:
    """Ask in both ways in turns, after one request of each that does not count."""
    database = finding.database
    before = Way(lambda query: read.list_tools(database, user, FILTERS, query=query, limit=10, compact=True), [])
    now = Way(lambda query: finding.finder.find_tools(user, FILTERS, query=query, limit=10, compact=True), [])
    for query in (queries[0], *queries):
        for way in (before, now):
            loop.take()
            began = time.perf_counter()
            await way.ask(query)
            way.seconds.append(time.perf_counter() - began)
            way.held = max(way.held, loop.take())
    for way in (before, now):
        del way.seconds[0]
    return before, now


async def time_change(finding: Finding, user: Principal, server: tuple[ServerRef, list[Any]], added: str) -> float:
    """Change all descriptions of a server and add a tool; the seconds until a search by its name finds that."""
    ref, offered = server
    changed = [tool | {"description": f"{added}: {tool.get('description', '')}"} for tool in offered]
    name = finding.index.offered[ref].name
    await put(finding.database, name, {"name": added}, *changed, ref=ref)
    began = time.perf_counter()
    while time.perf_counter() - began < MOST_SECONDS:
        page = await finding.finder.find_tools(user, FILTERS, query=added, limit=1)
        if page.items and page.items[0].name.endswith(added):
            return time.perf_counter() - began
        await asyncio.sleep(0.002)
    raise TimeoutError(added)


async def measure_size(
    database: Database, made: HubDatabase, tools: list[dict[str, Any]], queries: list[str], count: int
) -> tuple[list[list[str]], list[str]]:
    """Measure one size; the rows of both tables."""
    servers = await fill(database, tools, count)
    users = await add_users(database, servers)
    with psycopg.connect(made.admin_url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    before = psutil.Process().memory_info().rss
    finding, rows = Finding(database, made.app_url, make_index), []
    async with watched() as loop:
        began = time.perf_counter()
        async with finding.live():
            await finding.index.catch_up()
            built, held = time.perf_counter() - began, loop.take()
            for name, user in users.items():
                old, new = await time_searches(finding, user, queries, loop)
                ratio = statistics.median(new.seconds) / statistics.median(old.seconds)
                rows.append([f"{count:,}", name, *old.cells(), *new.cells(), f"{ratio:.2f}"])
            memory = (psutil.Process().memory_info().rss - before) / 2**20
            loop.take()
            late = [
                await time_change(finding, users["all"], servers[at % len(servers)], f"added_{at}")
                for at in range(CHANGES)
            ]
            changes = [f"{percentile(late, p) * 1000:.0f} ms" for p in (50, 95)]
            return rows, [
                f"{count:,}",
                f"{built:.1f} s",
                _milliseconds(held),
                f"{memory:.0f} MB",
                *changes,
                _milliseconds(loop.take()),
            ]


async def measured(admin_url: str, data: Path, sizes: Sequence[int]) -> str:
    """Measure all sizes; the report."""
    tools = json.loads((data / "tools.json").read_text(encoding="utf-8"))
    asked = [one["query"] for one in json.loads((data / "queries_dev.json").read_text(encoding="utf-8"))]
    queries = asked[:: max(1, len(asked) // REQUESTS)][:REQUESTS]
    searches: list[list[str]] = []
    indexes: list[list[str]] = []
    on = machine(admin_url)
    for size in sizes:
        with created_database(admin_url, template=None) as made:
            await migrate(made.owner_url, app_url=made.app_url)
            async with Database(made.app_url, name="benchmark", statement_seconds=60) as database:
                rows, index = await measure_size(database, made, tools, queries, size)
        searches += rows
        indexes.append(index)
    ways = [f"{way}: {what}" for way in ("PostgreSQL", "in memory") for what in ("p50", "p95", "held up")]
    head = ["tools", "built in", "held up", "memory", "a change: p50", "p95", "held up"]
    parts = [
        f"# {(__doc__ or '').strip()}",
        f"{len(queries)} requests of each user.",
        table(["tools", "granted", *ways, "p50, ratio"], searches),
        "The index:",
        table(head, indexes),
        on,
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Start a PostgreSQL of its own, measure, and stop it; without the data say where it comes from."""
    parser = argparse.ArgumentParser(description="Measure how fast tools are found.")
    parser.add_argument("--data", default=os.environ.get(VARIABLE), help=f"the directory of the data; or {VARIABLE}")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="tools; other ones than usual keep nothing")
    chosen = parser.parse_args()
    data = Path(chosen.data or "livemcpbench")
    if not (data / "tools.json").is_file() or not (data / "queries_dev.json").is_file():
        sys.stdout.write(f"{SOURCE}\n")
        return
    with embedded_server() as admin_url:
        with psycopg.connect(admin_url, autocommit=True) as connection:
            ensure_role(connection, OWNER, "LOGIN CREATEROLE PASSWORD 'nexus-test'")
            ensure_role(connection, APP, "LOGIN PASSWORD 'nexus-test'")
        report = asyncio.run(measured(admin_url, data, chosen.sizes))
    if tuple(chosen.sizes) == SIZES:
        publish("tool_search_speed", report)
    else:
        sys.stdout.write(report)


if __name__ == "__main__":
    main()
