"""Children of stdio servers: how many there are at once, which of them goes for another, and that none is left."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from nexus_hub.errors import UpstreamUnavailable
from nexus_hub.upstream.children import Children, NoPlaceError
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.orphans import end_orphans
from nexus_hub.upstream.requests import ToolCall
from nexus_hub.upstream.session import Session
from tests.fixtures.peers import PlayedPeer
from tests.fixtures.upstreams import ROOT, own_command, own_server, target

OVER = 60
BUSY = r"all 2 commands that this process may run are at work \(NEXUS_MAX_CHILDREN\)"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a signal for the death of a parent")


def habits(name: str) -> Target:
    return target(own_server("habits"), name=name)


async def pid(connections: Connections, upstream: Target) -> int:
    result = await connections.request(upstream, ToolCall("echo"), timeout=OVER)
    return int(result["structuredContent"]["pid"])


async def hangs(connections: Connections, upstream: Target, folder: Path) -> "asyncio.Task[object]":
    """A call that is under way until it is cancelled."""
    folder.mkdir()
    call = ToolCall("hang", {"folder": str(folder)})
    hanging = asyncio.create_task(connections.request(upstream, call, timeout=None))
    async with asyncio.timeout(OVER):
        while not (folder / "began").exists():
            await asyncio.sleep(0.02)
    return hanging


async def ends(*pids: int) -> None:
    async with asyncio.timeout(OVER):
        while any(map(is_alive, pids)):
            await asyncio.sleep(0.02)


def is_alive(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_the_idle_child_that_was_used_longest_ago_goes_for_another() -> None:
    async with Connections(log_dir=None, children=Children(2)) as connections:
        one, two, three = (habits(name) for name in ("one", "two", "three"))
        first, second = await pid(connections, one), await pid(connections, two)
        assert await pid(connections, one) == first
        third = await pid(connections, three)
        await ends(second)
        assert len(connections.children) == 2
        assert [await pid(connections, one), await pid(connections, three)] == [first, third]
        assert await pid(connections, two) != second


async def test_no_child_at_work_goes_for_another_and_the_error_says_so(tmp_path: Path) -> None:
    async with Connections(log_dir=None, children=Children(2, patience=0.1)) as connections:
        one, two, three = (habits(name) for name in ("one", "two", "three"))
        hanging = [await hangs(connections, upstream, tmp_path / upstream.name) for upstream in (one, two)]
        for _ in range(4):
            with pytest.raises(UpstreamUnavailable, match=BUSY) as found:
                await connections.inspect(three)
            assert found.value.retry_after
        assert connections.circuits.find_open(three.ref) is None
        connections.check(three)
        assert not any(call.done() for call in hanging)
        hanging[0].cancel()
        assert await pid(connections, three)
        assert not hanging[1].done()
        hanging[1].cancel()


async def test_a_call_that_holds_a_slot_is_refused_and_a_job_waits_until_there_is_room(tmp_path: Path) -> None:
    async with Connections(log_dir=None, children=Children(2, patience=0.05)) as connections:
        one, two, three = (habits(name) for name in ("one", "two", "three"))
        hanging = [await hangs(connections, upstream, tmp_path / upstream.name) for upstream in (one, two)]
        with pytest.raises(UpstreamUnavailable, match=BUSY):
            await connections.request(three, ToolCall("echo"), timeout=OVER, has_slot=True)
        with pytest.raises(UpstreamUnavailable, match="not free or open in time"):
            await connections.request(three, ToolCall("echo"), timeout=0.3)
        waiting = asyncio.create_task(pid(connections, three))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        hanging[0].cancel()
        assert await waiting
        hanging[1].cancel()


async def test_as_many_children_close_as_others_wait_for() -> None:
    async with Connections(log_dir=None, children=Children(3)) as connections:
        before = [await pid(connections, habits(f"old-{number}")) for number in range(3)]
        after = await asyncio.gather(*(pid(connections, habits(f"new-{number}")) for number in range(2)))
        assert len(set(after)) == 2
        await ends(*before[:2])
        assert is_alive(before[2])


class Busy(Session):
    """A session that is never idle."""

    is_idle = is_closing = False

    def __init__(self) -> None:
        """Open nothing."""


async def test_callers_of_one_server_leave_room_for_the_first_child_of_another() -> None:
    children = Children(4, patience=0.01)
    with ExitStack() as held:
        for _ in range(3):
            await children.wait_for_place("one", "one")
            held.enter_context(children.hold(Busy(), "one"))
        with pytest.raises(NoPlaceError, match="all 4 commands that this process may run but 1, "):
            await children.wait_for_place("one", "one")
        await children.wait_for_place("two", "two")


async def test_one_server_has_so_many_children_and_no_more() -> None:
    """A server that asks what nothing ties to a call has a child for each caller."""
    async with Connections(log_dir=None, children=Children(10, 3)) as connections:
        upstream = target(own_server("asking", "--legacy"))
        people = [PlayedPeer(number) for number in range(6)]
        for peer in people:
            await connections.request(upstream, ToolCall("name", {"who": "x"}), timeout=OVER, peer=peer)
            assert len(connections.children) <= 3
        assert await pid(connections, habits("another"))


async def test_the_number_and_the_memory_of_children_are_known() -> None:
    async with Connections(log_dir=None) as connections:
        assert (len(connections.children), connections.children.measure_memory()) == (0, 0)
        await pid(connections, habits("one"))
        assert len(connections.children) == 1
        assert connections.children.measure_memory() > 1024 * 1024
    assert len(connections.children) == 0


async def test_a_child_of_a_process_that_waits_for_signals_can_be_told_to_end() -> None:
    """The worker's main thread waits for SIGTERM, which is blocked in all its threads."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        async with Connections(log_dir=None) as connections:
            result = await connections.request(target(own_server("stubborn")), ToolCall("pids"), timeout=OVER)
            os.kill(result["structuredContent"]["pids"][0], signal.SIGTERM)
            await ends(result["structuredContent"]["pids"][0])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass
class Holder:
    """A process of the hub that has a stubborn child."""

    process: asyncio.subprocess.Process

    async def pids(self) -> list[int]:
        """The ids of that child and of its own child, which it tells by a call."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"again\n")
        async with asyncio.timeout(OVER):
            pids: list[int] = json.loads(await self.process.stdout.readline())
        return pids

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def holding(*options: str) -> AsyncIterator[tuple[Holder, list[int]]]:
    """Such a process, and the ids."""
    holder = Holder(
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.fixtures.holder",
            *own_command("stubborn", *options),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
    )
    pids: list[int] = []
    try:
        pids = await holder.pids()
        yield holder, pids
    finally:
        for one in [process for process in pids if is_alive(process)]:
            os.kill(one, signal.SIGKILL)
        if holder.process.returncode is None:
            await holder.kill()


@LINUX
async def test_the_child_of_a_process_that_is_killed_is_told_to_end_and_what_it_leaves_is_ended() -> None:
    async with holding() as (holder, (child, grandchild)):
        assert end_orphans() == 0
        await holder.kill()
        await ends(child)
        end_orphans()
        await ends(grandchild)


@LINUX
async def test_a_child_that_takes_no_signal_is_ended_by_the_next_process() -> None:
    async with holding("--deaf") as (holder, pids):
        await holder.kill()
        assert all(map(is_alive, pids))
        end_orphans()
        await ends(*pids)


@LINUX
async def test_the_child_of_a_frozen_process_stays_and_serves_after_it() -> None:
    async with holding() as (holder, pids):
        holder.process.send_signal(signal.SIGSTOP)
        assert end_orphans() == 0
        assert all(map(is_alive, pids))
        holder.process.send_signal(signal.SIGCONT)
        assert await holder.pids() == pids
