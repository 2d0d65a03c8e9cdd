"""Parts under a supervisor: order, restarts, an orderly end, nothing left."""

import asyncio
import os
import signal
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import psutil
import pytest

from nexus_hub.errors import StartFailed
from nexus_hub.home.layout import Home
from nexus_hub.stack import state as states
from nexus_hub.stack.services import Backoff, Service
from nexus_hub.stack.state import PartState, StackState
from nexus_hub.stack.supervisor import Step, Supervisor, command_step
from tests.integration.stack.conftest import StartStack, still_alive
from tests.integration.stack.plans import broken, program, web


@asynccontextmanager
async def supervised(home: Home, *plan: Service | Step) -> AsyncIterator[Supervisor]:
    home.create()
    with home.lock():
        async with Supervisor(home, plan) as supervisor:
            yield supervisor


async def until(supervisor: Supervisor, wanted: Callable[[StackState], bool]) -> StackState:
    async with asyncio.timeout(60):
        while not wanted(supervisor.state()):
            await asyncio.sleep(0.02)
    return supervisor.state()


def part(state: StackState, name: str) -> PartState:
    return next(one for one in state.parts if one.name == name)


def process_of(state: StackState, name: str) -> psutil.Process:
    return psutil.Process(part(state, name).pid)


async def answers(one: PartState) -> bool:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(f"http://127.0.0.1:{one.port}/")).is_success


async def test_what_comes_after_a_service_starts_when_that_is_healthy(home: Home) -> None:
    first = web("first")
    found: list[bool] = []

    async def look() -> None:
        found.append(await answers(PartState(name="first", port=first.port)))

    async with supervised(
        home, first, Step("look", look, after=("first",)), web("second", after=("look",))
    ) as supervisor:
        await supervisor.start()
        state = supervisor.state()
        assert [(one.name, one.phase) for one in state.parts] == [("first", "up"), ("look", "done"), ("second", "up")]
        assert state.phase == "ready"
    assert found == [True]


async def test_what_needs_nothing_starts_side_by_side(home: Home) -> None:
    met = asyncio.Barrier(2)

    async def meet() -> None:
        await met.wait()

    async with supervised(
        home, Step("one", meet), Step("other", meet), Step("last", meet_nobody, after=("other",))
    ) as (supervisor):
        await supervisor.start()
        assert [one.phase for one in supervisor.state().parts] == ["done", "done", "done"]


async def meet_nobody() -> None:
    return


async def test_what_the_plan_leaves_out_is_not_waited_for(home: Home) -> None:
    async with supervised(home, web("api", after=("postgres",))) as supervisor:
        await supervisor.start()
        assert supervisor.state().phase == "ready"


async def test_a_failure_ends_the_start_of_what_goes_on_beside_it(home: Home) -> None:
    slow = Service(name="slow", command=program("-c", "import time; time.sleep(600)"), probe=broken("x").probe)
    with pytest.raises(StartFailed, match="bad did not come up"):
        async with supervised(home, slow, broken("bad")) as supervisor:
            await supervisor.start()
    assert not [child for child in psutil.Process().children() if "time.sleep(600)" in " ".join(child.cmdline())]


async def test_stop_ends_the_last_part_first(home: Home) -> None:
    ended: list[str] = []

    def watch(state: StackState) -> None:
        ended.extend(one.name for one in state.parts if one.phase == "stopped" and one.name not in ended)

    home.create()
    async with Supervisor(home, [web("a"), web("b"), web("c")], on_change=watch) as supervisor:
        await supervisor.start()
    assert ended == ["c", "b", "a"]


async def test_a_killed_part_comes_back_and_the_others_stay(home: Home) -> None:
    async with supervised(home, web("stays"), web("falls")) as supervisor:
        await supervisor.start()
        before = supervisor.state()
        process_of(before, "falls").kill()
        after = await until(
            supervisor, lambda state: part(state, "falls").restarts == 1 and part(state, "falls").healthy
        )
        assert part(after, "falls").pid != part(before, "falls").pid
        assert await answers(part(after, "falls"))
        assert part(after, "stays").pid == part(before, "stays").pid
        assert part(after, "stays").restarts == 0
    assert b"SIGKILL; starting again in 0.05 s" in (home.logs / "falls.log").read_bytes()


async def test_what_a_killed_part_had_started_is_killed_too(home: Home) -> None:
    async with supervised(home, web("parent", "child")) as supervisor:
        await supervisor.start()
        parent = process_of(supervisor.state(), "parent")
        children = parent.children()
        assert children
        parent.kill()
        await until(supervisor, lambda state: part(state, "parent").restarts == 1)
        assert still_alive(children) == []


async def test_stop_leaves_no_process_of_stubborn_parts_with_children(home: Home) -> None:
    async with supervised(home, web("stubborn", "stubborn", "child", grace=0.5)) as supervisor:
        await supervisor.start()
        process = process_of(supervisor.state(), "stubborn")
        family = [process, *process.children(recursive=True)]
        assert len(family) == 2
    assert still_alive(family) == []
    assert [one.phase for one in supervisor.state().parts] == ["stopped"]


async def test_a_part_that_does_not_come_up_names_itself_and_shows_its_log(home: Home) -> None:
    async with supervised(
        home, web("good"), broken("bad", after=("good",)), web("never", after=("bad",))
    ) as supervisor:
        with pytest.raises(StartFailed, match=r"bad did not come up: it ended with exit code 1.*bad\.log") as failure:
            await supervisor.start()
        good = process_of(supervisor.state(), "good")
    assert "no paper" in failure.value.tail
    assert still_alive([good]) == []
    assert part(supervisor.state(), "never").pid is None


async def test_a_part_without_a_sign_of_life_is_given_up(home: Home) -> None:
    mute = Service(
        name="mute", command=program("-c", "import time; time.sleep(600)"), probe=broken("x").probe, start_timeout=0.5
    )
    with pytest.raises(StartFailed, match=r"no sign of life within 0\.5 s"):
        async with supervised(home, mute) as supervisor:
            await supervisor.start()
    assert not [child for child in psutil.Process().children() if "time.sleep(600)" in " ".join(child.cmdline())]


async def test_a_program_that_is_a_step_fails_the_start_by_its_exit_code(home: Home) -> None:
    with pytest.raises(StartFailed, match="deploy did not come up: it ended with exit code 3"):
        async with supervised(home, command_step("deploy", program("-c", "raise SystemExit(3)"), home)) as supervisor:
            await supervisor.start()


async def test_the_state_is_for_its_owner_and_tells_pids_ports_and_health(home: Home) -> None:
    async with supervised(home, web("api")) as supervisor:
        await supervisor.start()
        stored = states.read(home.state_file)
        assert stored == supervisor.state()
        assert stored is not None
        assert stored.pid == os.getpid()
        assert part(stored, "api").healthy
        assert part(stored, "api").port
        assert stat.S_IMODE(home.state_file.stat().st_mode) == 0o600
        assert stat.S_IMODE((home.logs / "api.log").stat().st_mode) == 0o600


def test_back_off_doubles_to_its_limit_and_starts_again_after_calm() -> None:
    backoff, delay, delays = Backoff(), 0.0, []
    for _ in range(8):
        delay = backoff.following(delay, healthy_for=1)
        delays.append(delay)
    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]
    assert backoff.following(delay, healthy_for=30) == 0.2


def test_a_killed_supervisor_leaves_no_process_and_the_next_one_starts(start: StartStack) -> None:
    first = start("two_webs")
    first.ready()
    webs = [process for process in first.processes() if process.name() != "sleep"]
    assert len(webs) == 3
    strays = [process for process in first.processes() if process not in webs]
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    left = still_alive(webs)
    for stray in strays:  # the parts' own children learn of it by their closed pipes; this one has none
        stray.kill()
    assert left == []
    second = start("two_webs")
    assert all(one.healthy for one in second.ready().parts)
