"""Does the API stay as it is? 10,000 calls and 1,000 sessions through `/mcp`, and what is left of them.

Upstreams: a server over HTTP, one over stdio, and a command that ends after each call. Half of the calls come in
sessions of the older era, five in each; half of the sessions are closed, the others are left by their clients, as most
clients do. After each tenth the memory of the API, its open files and sockets, its children, and its connections to the
server over HTTP are noted.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.mcp_client import McpCaller, at_once, caller_client
from benchmarks.processes import Processes, reachable
from benchmarks.report import machine, publish, table
from benchmarks.ways import echo_server
from nexus_hub.home.layout import Home
from tests.fixtures.hub import Hub, running
from tests.fixtures.upstreams import UPSTREAMS

PLACES = 16
STEPS = 10
CALLS_OF_A_SESSION = 5
WARMING = 200


@dataclass(frozen=True)
class Reading:
    """The API's process at one moment."""

    calls: int
    sessions: int
    failed: int
    megabytes: float
    files: int
    to_upstream: int
    children: int
    seconds: float

    def row(self) -> list[str]:
        return [
            f"{self.calls:,}",
            f"{self.sessions:,}",
            str(self.failed),
            f"{self.megabytes:.1f}",
            str(self.files),
            str(self.to_upstream),
            str(self.children),
            f"{self.seconds:.0f}",
        ]


@dataclass
class Run:
    """The hub under test, and what was done to it."""

    hub: Hub
    api: psutil.Process
    port: int
    began: float
    calls: int = 0
    sessions: int = 0
    failed: int = 0

    def read(self) -> Reading:
        """Look at the API's process."""
        sockets = [one for one in self.api.net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED]
        return Reading(
            self.calls,
            self.sessions,
            self.failed,
            self.api.memory_info().rss / 2**20,
            self.api.num_fds(),
            sum(bool(one.raddr) and one.raddr.port == self.port for one in sockets),
            len(self.api.children(recursive=True)),
            time.monotonic() - self.began,
        )

    async def step(self, calls: int, sessions: int) -> None:
        """Make calls of both eras, of all three servers."""
        async with caller_client(self.hub.key) as http:
            caller = McpCaller(http, f"{self.hub.url}/mcp")

            async def plain(number: int) -> None:
                tool = "exits__note" if number % 50 == 0 else "habits__echo" if number % 5 == 0 else "echo__echo"
                self._count(await caller.call(tool, {"n": number, "text": "x"} if "exits" in tool else {"n": number}))

            async def session(number: int) -> None:
                opened = await caller.open()
                self.sessions += 1
                for call in range(CALLS_OF_A_SESSION):
                    tool = "habits__echo" if call % 5 == 0 else "echo__echo"
                    self._count(await caller.call_in(opened, tool, {"n": call}))
                if number % 2:
                    await caller.close(opened)

            await asyncio.gather(
                at_once(calls - sessions * CALLS_OF_A_SESSION, PLACES // 2, plain),
                at_once(sessions, PLACES // 2, session),
            )

    def _count(self, good: bool) -> None:
        self.calls += 1
        self.failed += not good


def register(hub: Hub, url: str, directory: Path) -> None:
    with httpx.Client(base_url=hub.url, headers={"Authorization": f"Bearer {hub.key}"}, timeout=120) as api:
        mortal = [sys.executable, str(UPSTREAMS / "mortal.py"), str(directory / "log"), "exit", "1"]
        for body in (
            {"name": "echo", "url": url},
            {"name": "habits", "command": sys.executable, "args": [str(UPSTREAMS / "habits.py")]},
            {"name": "exits", "command": mortal[0], "args": mortal[1:]},
        ):
            added = api.post("/v1/servers", json=body)
            assert added.status_code == 201, added.text


async def run(hub: Hub, asked: argparse.Namespace) -> str:
    async with echo_server() as server:
        with tempfile.TemporaryDirectory() as directory:
            register(hub, server.url, reachable(directory))
            port = int(server.url.split(":")[2].split("/")[0])
            tested = Run(hub, Processes.of(hub).parts["api"], port, time.monotonic())
            await tested.step(WARMING, WARMING // 2 // CALLS_OF_A_SESSION)
            readings = [tested.read()]
            for _ in range(STEPS):
                await tested.step(asked.calls // STEPS, asked.sessions // STEPS)
                readings.append(tested.read())
            await asyncio.sleep(asked.rest)
            readings.append(tested.read())
    return describe(hub, asked, readings)


def describe(hub: Hub, asked: argparse.Namespace, readings: list[Reading]) -> str:
    head = ["calls", "sessions", "failed", "MB of the API", "its open files", "to the upstream", "children", "seconds"]
    first, last = readings[0], readings[-1]
    growth = (last.megabytes - first.megabytes) * 1024 / max(last.calls - first.calls, 1)
    middle = readings[len(readings) // 2]
    return (
        f"# Many calls, many sessions\n\n{machine(Home(hub.home).role_url('postgres', 'hub'))}\n\n"
        f"{asked.calls:,} calls and {asked.sessions:,} sessions, {PLACES} at a time; the last line is after"
        f" {asked.rest:.0f} s of rest. Half of the sessions are never closed by their clients.\n\n"
        f"{table(head, [reading.row() for reading in readings])}\n\n"
        f"Memory: {first.megabytes:.1f} MB after the first {first.calls} calls, {middle.megabytes:.1f} in the middle,"
        f" {last.megabytes:.1f} at the end: {growth:.2f} KB a call.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--sessions", type=int, default=1_000)
    parser.add_argument("--rest", type=float, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, running(reachable(directory)) as hub:
        publish("sessions", asyncio.run(run(hub, asked)))


if __name__ == "__main__":
    main()
