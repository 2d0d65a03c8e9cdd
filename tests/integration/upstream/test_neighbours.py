"""Twenty servers side by side, most of them bad neighbours: the calls to each of the others all complete."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest_asyncio

from nexus_hub.errors import HubError
from nexus_hub.upstream.config import HttpConfig, StdioConfig
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.requests import ToolCall
from tests.fixtures.moody import Moody, moody
from tests.fixtures.upstreams import free_port, own_server, target

CALLS = 40
"""Calls to each good server, all at the same time as those to the others."""
USERS = [uuid4() for _ in range(4)]


@dataclass
class Street:
    """Servers by their habits."""

    good: dict[str, Target] = field(default_factory=dict)
    bad: dict[str, Target] = field(default_factory=dict)
    served: dict[str, Moody] = field(default_factory=dict)


@pytest_asyncio.fixture
async def street(tmp_path: Path) -> AsyncIterator[Street]:
    async with AsyncExitStack() as stack:
        found = Street()

        async def serve(name: str, **options: object) -> Target:
            server = await stack.enter_async_context(moody(**options))
            found.served[name] = server
            return target(server.config, name=name)

        for number in range(4):
            found.good[f"good-{number}"] = await serve(f"good-{number}", modern=number % 2 == 0)
        for mood in ("silent", "busy", "broken", "dropping", "limited", "refused"):
            found.bad[mood] = await serve(mood, mood=mood)
        found.bad["chatty"] = await serve("chatty", mood="chatty")
        found.bad["chatty-modern"] = await serve("chatty-modern", mood="chatty", modern=True)
        found.bad["large"] = await serve("large", tools=5000)
        found.bad["changing"] = await serve("changing")
        found.served["changing"].changes_tools = True
        found.bad["hanging"] = await serve("hanging")
        found.bad["dead"] = target(HttpConfig(url=f"http://127.0.0.1:{free_port()}/mcp"), name="dead")
        found.bad["unresolved"] = target(HttpConfig(url="http://nowhere.invalid/mcp"), name="unresolved")
        found.bad["missing"] = target(StdioConfig(command="no-such-command"), name="missing")
        found.bad["ends-at-once"] = target(StdioConfig(command="true"), name="ends-at-once")
        found.bad["exits"] = target(own_server("mortal", str(tmp_path / "log"), "exit", "1"), name="exits")
        yield found


async def pester(connections: Connections, name: str, upstream: Target) -> None:
    """Call a bad server without an end, on behalf of several users, and read its listings."""
    tool = {"hanging": "slow", "exits": "note"}.get(name, "echo")

    async def call(number: int) -> None:
        while True:
            with suppress(HubError):
                user = USERS[number % len(USERS)]
                request = ToolCall(tool, {"text": "x"})
                await connections.request(upstream, request, timeout=5, user_id=user, on_progress=_hear)
            await asyncio.sleep(0.05)

    async def read() -> None:
        while True:
            with suppress(HubError):
                await connections.inspect(upstream, timeout=10)
            await asyncio.sleep(0.5)

    await asyncio.gather(*(call(number) for number in range(4)), read())


@asynccontextmanager
async def pestering(connections: Connections, bad: dict[str, Target]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Pester all bad servers as long as the block runs."""
    tasks = [asyncio.create_task(pester(connections, *one)) for one in bad.items()]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _hear(_progress: float, _total: float | None, _message: str | None) -> None:
    """Take a notice of progress."""


async def test_what_a_caller_of_each_other_server_notices_is_nothing(street: Street) -> None:
    assert len(street.good) + len(street.bad) == 20
    async with Connections(log_dir=None) as connections, AsyncExitStack() as stack:
        for upstream in street.good.values():
            assert await connections.request(upstream, ToolCall("echo"), timeout=60)
        opened = {name: street.served[name].asked["initialize"] for name in street.good}
        neighbours = await stack.enter_async_context(pestering(connections, street.bad))
        outcomes: dict[str, Counter[str]] = {name: Counter() for name in street.good}

        async def use(name: str, upstream: Target, number: int) -> None:
            try:
                user = USERS[number % len(USERS)]
                await connections.request(upstream, ToolCall("echo"), timeout=60, user_id=user)
                outcomes[name]["completed"] += 1
            except HubError as error:
                outcomes[name][error.code] += 1

        for first in range(0, CALLS, 10):
            await asyncio.gather(
                *(
                    use(name, upstream, number)
                    for number in range(first, first + 10)
                    for name, upstream in street.good.items()
                )
            )
        assert outcomes == {name: {"completed": CALLS} for name in street.good}
        assert {name: street.served[name].asked["initialize"] for name in street.good} == opened
        assert not any(neighbour.done() for neighbour in neighbours)
        for name in street.good:
            assert street.served[name].asked["tools/call"] == CALLS + 1
        await _settle(connections, street)


async def _settle(connections: Connections, street: Street) -> None:
    """Wait until the circuits of those that are not there are open; those of the good ones are closed."""
    gone = {"dead", "unresolved", "missing", "ends-at-once", "busy", "broken", "dropping"}
    async with asyncio.timeout(60):
        while {name for name in gone if not connections.circuits.of(street.bad[name].ref).is_open}:
            await asyncio.sleep(0.05)
    for name, upstream in street.good.items():
        assert not connections.circuits.of(upstream.ref).is_open, name
