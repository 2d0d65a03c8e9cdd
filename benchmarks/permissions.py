"""What do permissions cost a call, and does the time of an answer tell a hidden tool from one that is not there?

One API in this process, on a real database, without Prefect. The first table asks for something hidden and for
something that does not exist, in turns in an order by chance, each way many times; "ratio" is that of the medians with
a bootstrap interval of 95%, and "noise" is the same for two names of which neither exists. An outsider learns something
where the two intervals lie apart. The lists and searches of a user who sees none of the hidden tools are timed in turns
with those of a second hub, which has none. The last table prepares a direct call with the check and without it, in
turns.
"""

import argparse
import asyncio
import gc
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
import psycopg

from benchmarks.report import machine, publish, table
from nexus_hub.access.permissions import EVERYTHING, Permission
from nexus_hub.calls.lookup import ServerCache
from nexus_hub.calls.pipeline import Pipeline
from nexus_hub.db.migrate import migrate
from nexus_hub.models import ServerRef
from nexus_hub.upstream.requests import ToolCall
from tests.fixtures.allowed import close_hub, grant, store_server
from tests.fixtures.postgres import HubDatabase, created_database, embedded_server, ensure_roles
from tests.fixtures.served import Served, serving
from tests.fixtures.upstreams import free_port

TOOLS = 20
RESAMPLES = 2000
MCP = {"MCP-Protocol-Version": "2025-11-25", "Accept": "application/json, text/event-stream"}
Ask = Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]


@dataclass
class Way:
    """A way to ask for something by name."""

    name: str
    ask: Ask
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def row(self) -> list[str]:
        """Make the row of a table out of what was measured."""
        hidden, absent, other = (np.array(self.seconds[kind]) for kind in ("hidden", "absent", "other"))
        return [
            self.name,
            str(len(hidden)),
            f"{median(absent) * 1000:.2f} ms",
            _ratio(hidden, absent),
            _ratio(other, absent),
        ]


def _ratio(ones: Any, others: Any) -> str:
    """Give the ratio of two medians with its interval."""
    chance = np.random.default_rng(16)
    medians = [np.median(chance.choice(part, (RESAMPLES, len(part))), axis=1) for part in (ones, others)]
    low, high = np.percentile(medians[0] / medians[1], (2.5, 97.5))
    return f"{np.median(ones) / np.median(others):.3f} ({low:.3f} to {high:.3f})"


def _by_get(path: str) -> Ask:
    return lambda client, name: client.get(path.format(name))


async def _submit(client: httpx.AsyncClient, name: str) -> httpx.Response:
    return await client.post("/v1/jobs", json={"name": f"{name}__tool-1", "arguments": {}})


def _by_mcp(method: str, member: str, form: str) -> Ask:
    async def ask(client: httpx.AsyncClient, name: str) -> httpx.Response:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {member: form.format(name)}}
        return await client.post("/mcp", json=body, headers=MCP)

    return ask


def make_ways() -> list[Way]:
    """Make all ways that are measured."""
    return [
        Way("GET /v1/tools/{name}", _by_get("/v1/tools/{}__tool-1")),
        Way("GET /v1/tools?server=", _by_get("/v1/tools?server={}")),
        Way("GET /v1/tools?query=", _by_get("/v1/tools?query={}__tool-1")),
        Way("GET /v1/servers/{name}", _by_get("/v1/servers/{}")),
        Way("POST /v1/jobs", _submit),
        Way("/mcp: tools/call", _by_mcp("tools/call", "name", "{}__tool-1")),
        Way("/mcp: prompts/get", _by_mcp("prompts/get", "name", "{}__ask")),
        Way("/mcp: resources/read", _by_mcp("resources/read", "uri", "{}://one")),
        Way("/mcp/{name}", lambda client, name: client.post(f"/mcp/{name}", json={}, headers=MCP)),
    ]


async def compare(client: httpx.AsyncClient, ways: list[Way], rounds: int) -> None:
    """Ask in all ways for names of the same length: one that is hidden, and two that do not exist."""
    names = {"hidden": "secret", "absent": "absent", "other": "nobody"}
    chance = random.Random(16)
    asked = [(way, kind) for way in ways for kind in names]
    for number in range(rounds + 10):
        chance.shuffle(asked)
        for way, kind in asked:
            began = time.perf_counter()
            answer = await way.ask(client, names[kind])
            if number >= 10:
                way.seconds.setdefault(kind, []).append(time.perf_counter() - began)
            assert answer.status_code in {200, 404, 400}, answer.text


async def settle(database: HubDatabase) -> None:
    """Bring the planner's statistics up to date: plans shall differ by nothing but what is hidden."""
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as connection:
        await connection.execute("VACUUM ANALYZE")


async def time_lists(clients: Sequence[httpx.AsyncClient], paths: list[str], rounds: int) -> dict[str, list[Any]]:
    """Read lists of several hubs in turns, in an order by chance; the seconds of each hub, list by list."""
    chance = random.Random(16)
    asked = [(path, number) for path in paths for number in range(len(clients))]
    found: dict[str, list[list[float]]] = {path: [[] for _ in clients] for path in paths}
    for turn in range(rounds + 10):
        chance.shuffle(asked)
        for path, number in asked:
            began = time.perf_counter()
            (await clients[number].get(path)).raise_for_status()
            if turn >= 10:
                found[path][number].append(time.perf_counter() - began)
    return {path: [np.array(one) for one in seconds] for path, seconds in found.items()}


class _Unasked(Pipeline):
    """The way of a call as it was before there were permissions."""

    async def _permit(self, *_: object) -> Permission:
        return EVERYTHING


async def prepare_in_turns(served: Served, ref: ServerRef, user_id: Any, rounds: int, size: int) -> list[str]:
    """Prepare a direct call with the check and without it."""
    runtime, request = served.runtime, ToolCall("tool-1", {})
    servers = ServerCache(runtime.database, runtime.servers, seconds=3600)
    execution = runtime.execution
    parts = servers, execution.limiter, execution.connections, execution.permissions, execution.bundles
    ways: dict[bool, Pipeline] = {False: _Unasked(*parts), True: Pipeline(*parts)}
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for number in range(rounds + 2):
        for checked in (False, True) if number % 2 else (True, False):
            prepare, began = ways[checked].prepare, time.process_time()
            for _ in range(size):
                await prepare(ref, user_id, request)
            if number >= 2:
                seconds[checked].append((time.process_time() - began) / size)
    more = median(b - a for a, b in zip(seconds[False], seconds[True], strict=True))
    cells = [f"{median(seconds[checked]) * 1e6:.1f} us" for checked in (False, True)]
    return [*cells, f"{more * 1e6:.1f} us", _ratio(np.array(seconds[True]), np.array(seconds[False]))]


@dataclass
class Filled:
    """A hub with tools that a user sees, and with as many that are hidden from that user or with none."""

    served: Served
    client: httpx.AsyncClient
    user_id: Any
    seen: ServerRef


@asynccontextmanager
async def filled(database: HubDatabase, place: Path, count: int, *, hides: bool) -> AsyncIterator[Filled]:
    """Serve a hub, fill it, and have a client of its user."""
    limits = {"user_requests": 64, "user_calls": 64}
    async with serving(database, place, free_port(), **limits) as served:
        servers, tools = served.runtime.servers, [f"tool-{number}" for number in range(TOOLS)]
        shown = ["shown", *(f"open-{number}" for number in range(count))]
        refs = [await store_server(servers, name, tools) for name in shown]
        for name in ["secret", *(f"hidden-{number}" for number in range(count))] if hides else []:
            await store_server(servers, name, tools)
        ann, token = await served.user("ann")
        await close_hub(served.database)
        for name in shown:
            await grant(served.database, ann, "call", server=name)
        await settle(database)
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=60) as client:
            yield Filled(served, client, ann.user_id, refs[0])


async def measure(
    database: HubDatabase, without_hidden: HubDatabase, place: Path, asked: argparse.Namespace
) -> list[str]:
    """Fill two hubs, and make all tables."""
    async with (
        filled(database, place / "one", asked.servers, hides=True) as hub,
        filled(without_hidden, place / "other", asked.servers, hides=False) as other,
    ):
        ways = make_ways()
        await compare(hub.client, ways, asked.rounds)
        sys.stderr.write("names are compared\n")
        paths = ["/v1/tools?limit=100", "/v1/tools?query=frobs", "/v1/servers"]
        seconds = await time_lists([hub.client, other.client], paths, asked.rounds)
        cost = await prepare_in_turns(hub.served, hub.seen, hub.user_id, 40, 500)
    lists = [[path, f"{median(other) * 1000:.2f} ms", _ratio(one, other)] for path, (one, other) in seconds.items()]
    return [
        f"## Hidden or not there: {(asked.servers + 1) * TOOLS} tools seen, as many hidden",
        table(["way", "times", "not there, p50", "ratio of hidden", "noise"], [way.row() for way in ways]),
        "## Lists and searches, with as many hidden tools as seen ones, against a hub without them",
        table(["list", "without, p50", "ratio with hidden tools"], lists),
        "## To prepare a direct call, processor time",
        table(["without the check", "with it", "more", "ratio"], [cost]),
        machine(database.admin_url),
    ]


def main() -> None:
    """Start a PostgreSQL, measure, and stop it."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--rounds", type=int, default=400, help="how often each name is asked for in each way")
    options.add_argument("--servers", type=int, default=25, help="servers that are seen, and that are hidden")
    options.add_argument("--show", action="store_true", help="only show the result")
    asked = options.parse_args()
    gc.freeze()
    with tempfile.TemporaryDirectory(prefix="nexus-hub-bench-") as place, embedded_server() as admin_url:
        ensure_roles(admin_url)
        with (
            created_database(admin_url, template=None) as database,
            created_database(admin_url, template=None) as other,
        ):
            for one in (database, other):
                asyncio.run(migrate(one.owner_url, app_url=one.app_url))
            parts = asyncio.run(measure(database, other, Path(place), asked))
    text = "\n\n".join([f"# {(__doc__ or '').strip()}", *parts]) + "\n"
    if asked.show:
        sys.stdout.write(text)
    else:
        publish("permissions", text)


if __name__ == "__main__":
    main()
