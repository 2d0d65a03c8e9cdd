"""Does anybody notice bad neighbours? Calls to a good server through `/mcp`, alone and among nineteen bad ones.

All in one run on one hub, in turns: the good server's calls one at a time and 16 at a time, first while nobody calls
the others, then while each of them is called by two clients and some are read anew: dead, silent, hanging in calls,
failing, dropping connections, refusing, flooding callers with notices, with 5,000 tools, changing its tools, and
commands that end after each call, at once, or hang.
"""

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.mcp_client import McpCaller, at_once, caller_client
from benchmarks.processes import Processes, reachable
from benchmarks.report import machine, percentile, publish, table
from benchmarks.street import BAD
from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.home.layout import Home
from tests.fixtures.hub import Hub, running
from tests.fixtures.upstreams import ROOT, UPSTREAMS

PLACES = (1, 16)
CALLERS = 2
"""Clients of each bad neighbour, each of which sends a call a moment after the one before has ended."""
PAUSE_SECONDS = 0.5
"""Shorter, and the calls themselves fill the processor: that would say nothing about neighbours."""
READ_SECONDS = 5.0
SETTLE_SECONDS = 3.0


@dataclass
class Figures:
    """What the calls to the good server took, in seconds, by how many there were at the same time."""

    seconds: dict[int, list[float]] = field(default_factory=lambda: {places: [] for places in PLACES})
    failed: int = 0
    cpu: float = 0.0

    def row(self, name: str) -> list[str]:
        cells = [name]
        for places in PLACES:
            taken = self.seconds[places]
            cells += [f"{percentile(taken, percent) * 1000:.1f} ms" for percent in (50, 99)]
        calls = sum(map(len, self.seconds.values()))
        return [*cells, str(calls), str(self.failed), f"{self.cpu / calls * 1000:.1f} ms"]


class Street:
    """The servers over HTTP, in a process of their own."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.urls: dict[str, str] = json.loads(self._read())

    def go(self, word: str) -> None:
        """Change the moods."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        assert self._read() == "done\n"

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def street() -> Iterator[Street]:
    """Start the servers; they end with the block."""
    command = [sys.executable, "-m", "benchmarks.street"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Street(process)
        finally:
            process.terminate()


def register(hub: Hub, street: Street, directory: Path) -> list[str]:
    """Register all servers while they are well; the names of the bad neighbours' tools."""
    mortal = str(UPSTREAMS / "mortal.py")
    commands = {
        "exits": [sys.executable, mortal, str(directory / "exits"), "exit", "1"],
        "exits-early": [sys.executable, mortal, str(directory / "exits-early"), "each", "1"],
        "stuck": [sys.executable, mortal, str(directory / "stuck"), "never", "1"],
    }
    with httpx.Client(base_url=hub.url, headers={"Authorization": f"Bearer {hub.key}"}, timeout=120) as api:
        for name, url in street.urls.items():
            added = api.post("/v1/servers", json={"name": name, "url": url, "connect_seconds": 5})
            assert added.status_code == 201, added.text
        for name, (program, *args) in commands.items():
            added = api.post("/v1/servers", json={"name": name, "command": program, "args": args})
            assert added.status_code == 201, added.text
    return [f"{name}__echo" for name in BAD] + [f"{name}__note" for name in commands]


@asynccontextmanager
async def pestered(hub: Hub, tools: list[str], outcomes: Counter[str]) -> AsyncIterator[None]:
    """Call every bad neighbour as long as the block runs, and have some of them read anew."""
    async with caller_client(hub.key) as http:
        callers = [asyncio.create_task(_pester(http, hub, tool, outcomes)) for tool in tools for _ in range(CALLERS)]
        reader = asyncio.create_task(_read_anew(http, hub))
        await asyncio.sleep(SETTLE_SECONDS)
        try:
            yield
        finally:
            for task in (*callers, reader):
                with suppress(Exception):
                    await cancel_and_wait(task)


async def _pester(http: httpx.AsyncClient, hub: Hub, tool: str, outcomes: Counter[str]) -> None:
    caller = McpCaller(http, f"{hub.url}/mcp")
    text = "hang" if tool.startswith("stuck") else "x"
    while True:
        try:
            async with asyncio.timeout(10):
                outcomes[f"{tool} {'answered' if await caller.call(tool, {'text': text}) else 'refused'}"] += 1
        except TimeoutError:
            outcomes[f"{tool} given up"] += 1
        except (httpx.HTTPError, ValueError):
            outcomes[f"{tool} failed"] += 1
        await asyncio.sleep(PAUSE_SECONDS)


async def _read_anew(http: httpx.AsyncClient, hub: Hub) -> None:
    while True:
        for name in ("large", "changing", "chatty-1"):
            with suppress(httpx.HTTPError):
                server = (await http.get(f"{hub.url}/v1/servers/{name}")).json()
                await http.post(f"{hub.url}/v1/servers/{server['server_type']}/{server['id']}/sync")
        await asyncio.sleep(READ_SECONDS)


async def measure(hub: Hub, processes: Processes, calls: int, into: Figures) -> None:
    """Call the good server."""
    before = processes.seconds()
    async with caller_client(hub.key) as http:
        caller = McpCaller(http, f"{hub.url}/mcp")

        async def one(number: int) -> float:
            began = time.perf_counter()
            into.failed += not await caller.call("good__echo", {"n": number})
            return time.perf_counter() - began

        for places in PLACES:
            into.seconds[places] += await at_once(calls, places, one)
    into.cpu += processes.since(before)["api"]


async def run(hub: Hub, asked: argparse.Namespace) -> str:
    with street() as servers, tempfile.TemporaryDirectory() as directory:
        tools = register(hub, servers, reachable(directory))
        processes = Processes.of(hub)
        alone, among, outcomes = Figures(), Figures(), Counter[str]()
        await measure(hub, processes, 50, Figures())
        for _ in range(asked.rounds):
            servers.go("well")
            await asyncio.sleep(SETTLE_SECONDS)
            await measure(hub, processes, asked.calls, alone)
            servers.go("bad")
            async with pestered(hub, tools, outcomes):
                await measure(hub, processes, asked.calls, among)
        circuits = await shown_circuits(hub)
    return describe(hub, asked, alone, among, outcomes, circuits)


async def shown_circuits(hub: Hub) -> dict[str, str]:
    """The circuits as the hub shows them."""
    async with caller_client(hub.key) as http:
        items: list[dict[str, Any]] = (await http.get(f"{hub.url}/v1/servers")).json()["items"]
    return {item["name"]: item["circuit"]["state"] for item in items}


def describe(
    hub: Hub,
    asked: argparse.Namespace,
    alone: Figures,
    among: Figures,
    outcomes: Counter[str],
    circuits: dict[str, str],
) -> str:
    head = [
        "the good server's calls",
        "p50, 1",
        "p99, 1",
        "p50, 16",
        "p99, 16",
        "calls",
        "failed",
        "API's CPU per call",
    ]
    ratios = [
        f"{percentile(among.seconds[places], percent) / percentile(alone.seconds[places], percent):.2f}x"
        for places in PLACES
        for percent in (50, 99)
    ]
    rows = [alone.row("alone"), among.row("among 19 bad ones"), ["ratio", *ratios, "", "", ""]]
    neighbours = [
        [
            tool.split("__")[0],
            circuits.get(tool.split("__")[0], ""),
            *(str(outcomes[f"{tool} {word}"]) for word in ("answered", "refused", "given up", "failed")),
        ]
        for tool in sorted({key.split(" ")[0] for key in outcomes})
    ]
    titles = ["neighbour", "circuit at the end", "answered", "refused", "given up after 10 s", "failed"]
    return (
        f"# Bad neighbours\n\n{machine(Home(hub.home).role_url('postgres', 'hub'))}\n\n"
        f"{asked.rounds} rounds of {asked.calls} calls one at a time and as many 16 at a time, in turns. The API's CPU"
        f" among bad ones holds what it spends on their calls, too.\n\n"
        f"{table(head, rows)}\n\nWhat the callers of the others met meanwhile:\n\n{table(titles, neighbours)}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=200)
    asked = parser.parse_args()
    gc.freeze()  # else each full collection goes through all that is imported, which counts as the hub's time
    with tempfile.TemporaryDirectory() as directory, running(reachable(directory)) as hub:
        publish("neighbours", asyncio.run(run(hub, asked)))


if __name__ == "__main__":
    main()
