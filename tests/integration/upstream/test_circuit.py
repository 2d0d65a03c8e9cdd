"""Servers that die, fall silent and come back: what their callers notice, and how often the server is tried."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from nexus_hub.errors import HubError, OutcomeUnknown, UpstreamTimedOut, UpstreamUnavailable
from nexus_hub.upstream import connection, wire
from nexus_hub.upstream.circuit import CircuitOpen
from nexus_hub.upstream.config import HttpConfig, StdioConfig
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.requests import ToolCall
from tests.fixtures.moody import moody
from tests.fixtures.upstreams import free_port, own_server, target

TIMES = re.compile(r"has not answered since \d\d:\d\d:\d\dZ; it is tried again at \d\d:\d\d:\d\dZ\.")


@dataclass
class Hub:
    """Connections whose time a test moves."""

    connections: Connections
    time: list[float] = field(default_factory=lambda: [0.0])

    async def call(self, upstream: Target, tool: str = "echo", timeout: float | None = 30) -> Any:
        return await self.connections.request(upstream, ToolCall(tool), timeout=timeout)

    async def fail(self, upstream: Target, times: int = 1, tool: str = "echo", timeout: float | None = 30) -> HubError:
        """Call so many times, each after the pause that the one before has left."""
        error: HubError | None = None
        for _ in range(times):
            with pytest.raises(HubError) as caught:
                await self.call(upstream, tool, timeout)
            error = caught.value
            await self.look()
            if self.state(upstream) == "closed":
                self.wait()
        assert error is not None
        return error

    async def crowd(self, upstream: Target, count: int) -> Counter[str]:
        """Call so often at once, and count the outcomes by their class."""
        outcomes = await asyncio.gather(*(self.call(upstream) for _ in range(count)), return_exceptions=True)
        return Counter(type(outcome).__name__ for outcome in outcomes)

    def wait(self, seconds: float = 31) -> None:
        self.time[0] += seconds

    def state(self, upstream: Target) -> str:
        return self.connections.circuits.of(upstream.ref).state

    async def look(self) -> None:
        """Wait until servers that are being asked for a sign of life have given one, or have not."""
        looks = [task for task in asyncio.all_tasks() if task.get_name() == "upstream-look"]
        await asyncio.gather(*looks)


@pytest_asyncio.fixture
async def hub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hub]:
    monkeypatch.setattr(wire, "KNOCK_SECONDS", 0.3)
    monkeypatch.setattr(connection, "PATIENCE_SECONDS", 0.0)
    time = [0.0]
    async with Connections(log_dir=None, clock=lambda: time[0], jitter=lambda: 1.0) as connections:
        yield Hub(connections, time)


@pytest.fixture(params=[False, True], ids=["2025-11-25", "2026-07-28"])
def modern(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def test_a_dead_server_is_tried_three_times_and_then_left_alone(hub: Hub) -> None:
    upstream = target(HttpConfig(url=f"http://127.0.0.1:{free_port()}/mcp"), name="weather")
    first = await hub.fail(upstream, 3)
    assert type(first) is UpstreamUnavailable
    assert hub.state(upstream) == "open"
    refusal = await hub.fail(upstream)
    assert isinstance(refusal, CircuitOpen)
    assert "'weather'" in refusal.message
    assert TIMES.search(refusal.message)
    assert refusal.message.endswith("The last try: " + first.message)
    assert refusal.retry_after == pytest.approx(2)


async def test_while_it_is_open_nothing_is_sent_whoever_calls(hub: Hub, tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    upstream = target(StdioConfig(command="sh", args=("-c", f"echo once >> {tries}")))
    await hub.fail(upstream, 3)
    before = tries.read_text()
    assert await hub.crowd(upstream, 100) == {"CircuitOpen": 100}
    with pytest.raises(CircuitOpen):
        hub.connections.check(upstream)
    assert tries.read_text() == before


async def test_many_callers_at_once_make_one_attempt(hub: Hub, modern: bool) -> None:
    async with moody(modern=modern, mood="busy") as server:
        upstream = target(server.config)
        await hub.fail(upstream)
        alone = server.connections
        hub.wait()
        assert await hub.crowd(upstream, 100) == {"UpstreamUnavailable": 100}
        assert server.connections == 2 * alone
        hub.wait()
        await hub.crowd(upstream, 100)
        hub.wait()
        assert await hub.crowd(upstream, 100) == {"CircuitOpen": 99, "UpstreamUnavailable": 1}
        assert server.connections == 4 * alone


async def test_when_the_pause_is_over_one_finds_out_while_the_others_are_refused(hub: Hub, modern: bool) -> None:
    async with moody(modern=modern) as server:
        upstream = target(server.config)
        assert await hub.call(upstream)
        await server.stop()
        await hub.fail(upstream, 3)
        await server.start()
        assert (await hub.crowd(upstream, 5)) == {"CircuitOpen": 5}
        hub.wait()
        asked = server.asked["tools/call"]
        assert await hub.crowd(upstream, 50) == {"CircuitOpen": 49, "JsonObject": 1}
        assert server.asked["tools/call"] == asked + 1
        assert hub.state(upstream) == "closed"
        assert await hub.crowd(upstream, 50) == {"JsonObject": 50}


async def test_whoever_finds_out_in_vain_is_told_so_and_the_pause_grows(hub: Hub) -> None:
    upstream = target(HttpConfig(url=f"http://127.0.0.1:{free_port()}/mcp"))
    await hub.fail(upstream, 3)
    hub.wait(2)
    error = await hub.fail(upstream)
    assert type(error) is UpstreamUnavailable
    assert TIMES.search(error.message)
    assert error.retry_after == pytest.approx(4)
    assert isinstance(await hub.fail(upstream), CircuitOpen)


async def test_a_hanging_server_opens_it_after_a_few_time_outs(hub: Hub, modern: bool) -> None:
    async with moody(modern=modern, patience=2) as server:
        upstream = target(server.config)
        assert await hub.call(upstream)
        server.mood = "silent"
        assert isinstance(await hub.fail(upstream, 2, timeout=0.2), UpstreamTimedOut)
        assert hub.state(upstream) == "closed"
        await hub.fail(upstream, timeout=0.2)
        assert hub.state(upstream) == "open"
        assert isinstance(await hub.fail(upstream), CircuitOpen)
        hub.wait()
        assert type(await hub.fail(upstream, timeout=None)) is UpstreamUnavailable
        server.mood = "well"
        hub.wait()
        assert await hub.call(upstream)
        assert hub.state(upstream) == "closed"


async def test_callers_who_give_up_waiting_tell_as_much_as_time_outs(hub: Hub) -> None:
    async with moody() as server:
        upstream = target(server.config)
        assert await hub.call(upstream)
        server.mood = "silent"
        asked = server.asked["tools/call"]
        calls = [asyncio.create_task(hub.call(upstream, timeout=None)) for _ in range(3)]
        while server.asked["tools/call"] < asked + 3:
            await asyncio.sleep(0.01)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        await hub.look()
        assert hub.state(upstream) == "open"


async def test_one_slow_tool_never_opens_it(hub: Hub, modern: bool) -> None:
    async with moody(modern=modern) as server:
        upstream = target(server.config)
        assert isinstance(await hub.fail(upstream, 10, tool="slow", timeout=0.1), UpstreamTimedOut)
        assert hub.state(upstream) == "closed"
        assert server.asked["server/discover" if modern else "ping"] > 0
        assert await hub.call(upstream)


@pytest.mark.parametrize("habit", ["tool-error", "no-such-tool", "malformed", "limited", "refused", "broken"])
async def test_what_a_server_answers_to_calls_never_opens_it(hub: Hub, habit: str) -> None:
    async with moody() as server:
        upstream = target(server.config)
        assert await hub.call(upstream)
        server.only_calls, server.mood = True, habit
        for _ in range(10):
            await asyncio.gather(hub.call(upstream, habit), return_exceptions=True)
            await hub.look()
            hub.wait()
        assert hub.state(upstream) == "closed"
        server.mood = "well"
        assert await hub.call(upstream)


@pytest.mark.parametrize("mood", ["limited", "refused"])
async def test_a_server_that_turns_the_hub_away_is_named_by_its_reason_each_time(hub: Hub, mood: str) -> None:
    async with moody(mood=mood) as server:
        upstream = target(server.config)
        first = await hub.fail(upstream)
        last = await hub.fail(upstream, 5)
        assert last.message == first.message
        assert "HTTP" in last.message


@pytest.mark.parametrize("mood", ["busy", "broken", "dropping"])
async def test_a_server_that_fails_each_request_opens_it(hub: Hub, mood: str) -> None:
    async with moody() as server:
        upstream = target(server.config)
        assert await hub.call(upstream)
        server.mood = mood
        await hub.fail(upstream, 4)
        assert hub.state(upstream) == "open"
        asked = sum(server.asked.values())
        assert isinstance(await hub.fail(upstream), CircuitOpen)
        assert sum(server.asked.values()) == asked
        server.mood = "well"
        hub.wait()
        assert await hub.call(upstream)


async def test_an_answer_between_failures_keeps_it_closed(hub: Hub) -> None:
    async with moody() as server:
        upstream = target(server.config)
        for _ in range(6):
            server.mood = "dropping"
            await hub.fail(upstream)
            server.mood = "well"
            assert await hub.call(upstream)
        assert hub.state(upstream) == "closed"


async def test_the_answer_of_a_call_that_is_under_way_closes_it(hub: Hub) -> None:
    async with moody() as server:
        upstream = target(server.config)
        assert await hub.call(upstream)
        circuit = hub.connections.circuits.of(upstream.ref)
        call = asyncio.create_task(hub.call(upstream))
        await asyncio.sleep(0)
        circuit.follow(1e-9, 30)
        hub.time[0] += 1
        circuit.follow(0, 30)
        assert circuit.is_open
        assert await call
        assert not circuit.is_open


async def test_a_caller_who_goes_away_does_not_end_the_finding_out(hub: Hub) -> None:
    async with moody(patience=2) as server:
        upstream = target(server.config)
        await server.stop()
        await hub.fail(upstream, 3)
        server.mood = "silent"
        await server.start()
        hub.wait()
        finding = asyncio.create_task(hub.call(upstream))
        while not server.connections:
            await asyncio.sleep(0.01)
        finding.cancel()
        await asyncio.wait([finding])
        assert isinstance(await hub.fail(upstream), CircuitOpen)
        await hub.look()
        assert hub.state(upstream) == "open"


async def test_an_inspection_finds_out_too(hub: Hub) -> None:
    async with moody() as server:
        upstream = target(server.config)
        await server.stop()
        await hub.fail(upstream, 3)
        await server.start()
        assert await hub.connections.inspect(upstream)
        assert hub.state(upstream) == "closed"
        assert await hub.call(upstream)


async def test_a_changed_configuration_is_tried_at_once(hub: Hub) -> None:
    async with moody() as server:
        upstream = target(HttpConfig(url=f"http://127.0.0.1:{free_port()}/mcp"))
        await hub.fail(upstream, 3)
        assert await hub.call(replace(upstream, config=server.config, revision=2))
        assert hub.state(upstream) == "closed"


async def test_a_child_that_hangs_is_replaced_by_another_one(hub: Hub, tmp_path: Path) -> None:
    upstream = target(own_server("mortal", str(tmp_path / "log"), "never", "1"))

    async def note(text: str, timeout: float) -> Any:
        return await hub.connections.request(upstream, ToolCall("note", {"text": text}), timeout=timeout)

    assert await note("first", 30)
    for _ in range(3):
        with pytest.raises(UpstreamTimedOut):
            await note("hang", 0.2)
    await hub.look()
    assert hub.state(upstream) == "open"
    hub.wait()
    assert await note("again", 30)
    assert len({line.split()[1] for line in (tmp_path / "log").read_text().splitlines()}) == 2


async def test_a_tool_that_kills_its_server_takes_no_other_tool_with_it(hub: Hub) -> None:
    upstream = target(own_server("habits"))
    for _ in range(5):
        assert isinstance(await hub.fail(upstream, tool="die"), OutcomeUnknown)
        hub.wait()
    assert hub.state(upstream) == "closed"
    assert await hub.call(upstream)


async def test_one_users_hanging_calls_leave_room_for_another_user(hub: Hub) -> None:
    async with moody() as server:
        upstream = target(server.config)
        ann = uuid4()
        hanging = [
            asyncio.create_task(hub.connections.request(upstream, ToolCall("slow"), timeout=None, user_id=ann))
            for _ in range(64)
        ]
        while server.asked["tools/call"] < 32:
            await asyncio.sleep(0.01)
        assert await hub.call(upstream)
        assert await hub.connections.inspect(upstream)
        assert server.asked["tools/call"] == 33
        assert not any(call.done() for call in hanging)
        for call in hanging:
            call.cancel()
        await asyncio.wait(hanging)
