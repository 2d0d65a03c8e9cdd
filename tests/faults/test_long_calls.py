"""Calls of minutes run to their end on the first attempt, and who watches them gets over restarts of the API."""

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from nexus_hub.client import Event, HubClient
from tests.fixtures.hub import HABITS, Hub, process, until
from tests.fixtures.upstreams import found_everything, free_port

pytestmark = pytest.mark.stack


@dataclass
class LongRunning:
    """A tool that takes as long as it is told, and reports its steps."""

    name: str
    duration: str
    steps: str
    message: str | None = None

    def call(self, seconds: int, steps: int) -> dict[str, Any]:
        """The body of a job."""
        return {"name": self.name, "arguments": {self.duration: seconds, self.steps: steps}}


def of_everything(server: str) -> LongRunning:
    """The tool of the reference server, of the era 2025-11-25: it says numbers."""
    return LongRunning(f"{server}__trigger-long-running-operation", "duration", "steps")


def of_habits(server: str) -> LongRunning:
    """The tool of our server, of the era 2026-07-28: it says a message too."""
    return LongRunning(f"{server}__steps", "seconds", "count", "step {}")


@dataclass
class Place:
    """A hub and its long-running tools, over stdio and streamable HTTP."""

    hub: Hub
    tools: list[LongRunning]


@pytest.fixture(scope="module")
def place(quiet_hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A hub with servers of both transports and, where Node.js is there, of both eras."""
    directory = tmp_path_factory.mktemp("long")
    everything = found_everything()
    with ExitStack() as stack:
        stdio = {"habits": HABITS} | ({"everything": [everything]} if everything else {})
        port, other = free_port(), free_port()
        http = {"habits": (port, [*HABITS, "--port", str(port)])}
        if everything:
            http["everything"] = (other, [everything, "streamableHttp"])
        for name, (number, command) in http.items():
            stack.enter_context(process(directory, name, command, os.environ | {"PORT": str(number)}))
        for number, _ in http.values():
            until(partial(accepts, number), 60, "a server")
        hub, tools = quiet_hub, []
        for name, command in stdio.items():
            make = of_habits if name == "habits" else of_everything
            assert hub.run("server", "add", f"{name}-stdio", "--command", *command).code == 0
            url = f"http://127.0.0.1:{http[name][0]}/mcp"
            assert hub.run("server", "add", f"{name}-http", "--url", url).code == 0
            tools += [make(f"{name}-stdio"), make(f"{name}-http")]
        yield Place(hub, tools)


def accepts(port: int) -> bool:
    """Tell if somebody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def heard(client: HubClient, job_id: str, steps: int) -> Event:
    """The event that says that a call has come so far."""
    async with aclosing(client.events(job_id)) as events:
        async for event in events:
            if event.name == "progress" and event.data["progress"]["progress"] >= steps:
                return event
    raise AssertionError("the job ended, or its stream")


async def watched(client: HubClient, job_id: str) -> list[dict[str, Any]]:
    """All that a watcher of a job is given, to its end."""
    return [row async for row in client.watch(job_id)]


@asynccontextmanager
async def job_watch(hub: Hub, job_id: str) -> AsyncIterator[tuple[list[str], asyncio.Task[int]]]:
    """`nexus-hub job watch`: the lines that it has written so far, and its exit code to wait for."""
    command = [*hub.program, "job", "watch", job_id]
    run = await asyncio.create_subprocess_exec(*command, env=hub.environment, stdout=asyncio.subprocess.PIPE)
    lines: list[str] = []

    async def follow() -> int:
        assert run.stdout is not None
        while line := await run.stdout.readline():
            lines.append(line.decode().rstrip())
        return await run.wait()

    try:
        yield lines, asyncio.create_task(follow())
    finally:
        if run.returncode is None:
            run.kill()
            await run.wait()


def restart(hub: Hub) -> None:
    """Kill the API and wait until it is back."""
    hub.back("api", hub.kill("api"))


def notes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each word on the progress, in the order in which it was heard."""
    said = [row["progress"] for row in rows if row.get("progress")]
    return [note for number, note in enumerate(said) if number == 0 or said[number - 1] != note]


def steps_in(lines: list[str]) -> list[int]:
    """The steps that `job watch` has shown."""
    found = (re.match(r"● running   attempt 1 · (\d+)/\d+ \(\d+%\)", line) for line in lines)
    return [int(match[1]) for match in found if match]


async def outlives(place: Place, seconds: int, steps: int, kills: list[int]) -> None:
    """Call all tools at the same time, kill the API after so many steps, and see all calls through."""
    hub = place.hub
    async with HubClient(hub.url, hub.key) as client, asyncio.timeout(seconds + 300):
        jobs = [(await client.submit(tool.call(seconds, steps)))["id"] for tool in place.tools]
        watchers = [asyncio.create_task(watched(client, job)) for job in jobs]
        async with job_watch(hub, jobs[0]) as (lines, ended):
            for step in kills:
                await asyncio.gather(*(heard(client, job, step) for job in jobs))
                while not steps_in(lines):
                    await asyncio.sleep(0.1)
                await asyncio.to_thread(restart, hub)
                rows = [await client.job(job) for job in jobs]
                assert {row["status"] for row in rows} == {"running"}
                assert min(row["progress"]["progress"] for row in rows) >= step
            histories = [await watcher for watcher in watchers]
            assert await ended == 0
    for tool, rows in zip(place.tools, histories, strict=True):
        assert (rows[-1]["status"], rows[-1]["attempt"], rows[-1]["error"]) == ("completed", 1, None), tool
        said = notes(rows)
        numbers = [note["progress"] for note in said]
        assert numbers == sorted(set(numbers))
        assert numbers[0] <= kills[0]
        assert numbers[-1] == steps
        for note in said:
            message = tool.message and tool.message.format(int(note["progress"]))
            assert (note["total"], note["message"]) == (steps, message)
        run = await asyncio.to_thread(hub.flow_run, rows[-1]["flow_run_id"])
        assert (run["state"]["name"], run["run_count"]) == ("Completed", 1)
    shown = steps_in(lines)
    assert shown == sorted(set(shown))
    assert shown[0] <= kills[0] <= kills[-1] < shown[-1]
    assert "● completed attempt 1" in lines


async def test_calls_of_75_seconds_complete_on_their_first_attempt_though_the_api_dies(place: Place) -> None:
    await outlives(place, seconds=75, steps=25, kills=[5])


@pytest.mark.slow
async def test_calls_of_ten_minutes_complete_on_their_first_attempt_though_the_api_dies_twice(place: Place) -> None:
    await outlives(place, seconds=600, steps=60, kills=[10, 40])
