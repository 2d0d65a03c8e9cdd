"""Parts that hang: ended and started again, unless they are alive, and not for ever."""

import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest

from nexus_hub.home import files
from nexus_hub.home.layout import Home
from nexus_hub.stack import probes, services
from nexus_hub.stack import state as states
from nexus_hub.stack.probes import BUSY, HEALTHY, SILENT, Probe, Sign
from nexus_hub.stack.services import Service
from nexus_hub.stack.state import PartState, StackState
from nexus_hub.stack.supervisor import Supervisor
from tests.integration.stack.conftest import StartStack, still_alive
from tests.integration.stack.plans import QUICK, program, web

PATIENCE = 0.3


@asynccontextmanager
async def supervised(home: Home, service: Service) -> AsyncIterator[Supervisor]:
    home.create()
    async with Supervisor(home, [service]) as supervisor:
        await supervisor.start()
        yield supervisor


async def until(wanted: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not wanted():
            await asyncio.sleep(0.02)


def only(supervisor: Supervisor) -> PartState:
    return supervisor.state().parts[0]


def impatient(service: Service, patience: float = PATIENCE) -> Service:
    return replace(service, patience=patience, interval=0.05)


def sleeper(probe: Probe, *code: str, patience: float = PATIENCE) -> Service:
    """A program that only sleeps, and whose health is said by the test."""
    command = program("-c", "\n".join(code or ("import time", "time.sleep(600)")))
    return impatient(Service(name="part", command=command, probe=probe, backoff=QUICK), patience)


async def test_a_frozen_part_is_killed_with_its_family_and_comes_back(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "HUNG_GRACE_SECONDS", 0.2)
    async with supervised(home, impatient(web("part", "child"))) as supervisor:
        frozen = psutil.Process(only(supervisor).pid)
        family = [frozen, *frozen.children(recursive=True)]
        assert len(family) == 2
        for process in family:
            process.suspend()
        await until(lambda: only(supervisor).restarts == 1 and only(supervisor).healthy)
        assert only(supervisor).pid != frozen.pid
        assert still_alive(family) == []
    assert b"it has answered nothing for " in (home.logs / "part.log").read_bytes()


async def test_a_part_that_heeds_no_sigterm_is_killed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "HUNG_GRACE_SECONDS", 0.2)
    deaf = ("import signal, time", "signal.signal(signal.SIGTERM, signal.SIG_IGN)", "time.sleep(600)")
    signs = iter([HEALTHY])

    async def probe() -> Sign:
        return next(signs, SILENT)

    async with supervised(home, sleeper(probe, *deaf)) as supervisor:
        process = psutil.Process(only(supervisor).pid)
        await until(lambda: only(supervisor).restarts == 1)
        assert still_alive([process]) == []


@pytest.mark.parametrize("answers", [[BUSY], [SILENT, SILENT, BUSY], [SILENT, HEALTHY]], ids=["busy", "slow", "odd"])
async def test_a_part_that_answers_now_and_then_is_left_alone(home: Home, answers: list[Sign]) -> None:
    asked: list[Sign] = [HEALTHY]

    async def probe() -> Sign:
        asked.append(answers[len(asked) % len(answers)])
        return asked[-1] if len(asked) > 2 else HEALTHY

    async with supervised(home, sleeper(probe, patience=0.5)) as supervisor:
        pid = only(supervisor).pid
        await until(lambda: len(asked) > 40)
        assert (only(supervisor).pid, only(supervisor).restarts) == (pid, 0)


async def test_a_probe_that_fails_itself_is_no_silence_and_does_not_end_the_watch(home: Home) -> None:
    asked: list[int] = []

    async def probe() -> Sign:
        asked.append(1)
        if 1 < len(asked) < 20:
            raise RuntimeError("secret")
        return HEALTHY

    async with supervised(home, sleeper(probe)) as supervisor:
        await until(lambda: len(asked) > 25)
        assert only(supervisor).restarts == 0
        assert supervisor.state().failing == ["watch-part"]
        assert states.read(home.state_file) is not None


async def test_a_part_that_hangs_again_and_again_is_left_in_the_end(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "HANGS_LIMIT", 2)
    up: list[int] = []

    async def probe() -> Sign:
        """Healthy once in each life."""
        restarts = only(supervisor).restarts if up else 0
        if restarts not in up:
            up.append(restarts)
            return HEALTHY
        after.append(1) if restarts == 2 else None
        return SILENT

    after: list[int] = []
    async with supervised(home, sleeper(probe, patience=0.1)) as supervisor:
        await until(lambda: len(after) > 20)
        assert only(supervisor).restarts == 2
        assert psutil.Process(only(supervisor).pid).is_running()


async def test_failing_loops_of_a_part_are_in_the_state(home: Home) -> None:
    async def probe() -> Sign:
        return Sign(True, True, ("listen",))

    async with supervised(home, sleeper(probe)) as supervisor:
        await until(lambda: only(supervisor).failing == ["listen"])
        stored = states.read(home.state_file)
        assert stored is not None
        assert stored.parts[0].failing == ["listen"]


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_a_full_disk_costs_only_what_could_not_be_written(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async with supervised(home, impatient(web("part"))) as supervisor:
        monkeypatch.setattr(states, "write_private", full_disk)
        monkeypatch.setattr(files, "rotate", full_disk)
        killed = only(supervisor).pid
        assert killed
        os.kill(killed, signal.SIGKILL)
        await until(lambda: only(supervisor).restarts == 1 and only(supervisor).healthy)


async def test_a_view_that_fails_does_not_end_the_supervision(home: Home) -> None:
    def broken(state: StackState) -> None:
        raise BrokenPipeError

    home.create()
    async with Supervisor(home, [impatient(web("part"))], on_change=broken) as supervisor:
        await supervisor.start()
        os.kill(only(supervisor).pid or 0, signal.SIGKILL)
        await until(lambda: only(supervisor).restarts == 1 and only(supervisor).healthy)


async def test_a_heartbeat_counts_by_its_changes_and_not_by_the_clock(tmp_path: Path) -> None:
    now, file = [0.0], tmp_path / "worker.json"
    probe = probes.heartbeat(file, max_age=15, clock=lambda: now[0])
    assert await probe() == SILENT
    file.write_text('{"failing": ["poll"]}')
    assert await probe() == Sign(True, True, ("poll",))
    os.utime(file, (2**33, 2**33))  # the machine's clock was set
    assert (await probe()).healthy
    now[0] = 16
    assert await probe() == SILENT
    os.utime(file)
    assert (await probe()).healthy


@pytest.mark.parametrize("text", [b"", b"[]", b"7", b'{"failing": 7}', b'{"failing": null}', b"\xff"])
def test_what_a_part_says_oddly_names_no_loops(text: bytes) -> None:
    assert probes.read_failing(text) == ()


async def test_a_server_that_refuses_a_connection_is_alive(postgres_admin_url: str, tmp_path: Path) -> None:
    nobody = psycopg.conninfo.make_conninfo(postgres_admin_url, dbname="there-is-none")
    assert await probes.postgres(postgres_admin_url)() == HEALTHY
    assert await probes.postgres(nobody)() == BUSY
    assert await probes.postgres(f"postgresql://x@/x?host={tmp_path}")() == SILENT


async def test_a_log_is_rotated_while_its_part_writes(home: Home) -> None:
    chatty = ("import sys, time", "while True:", "    sys.stdout.write('x' * 262144)", "    time.sleep(0.001)")
    bound = 10 * 1024 * 1024

    async def probe() -> Sign:
        return HEALTHY

    def logs() -> list[Path]:
        return sorted(home.logs.glob("part.log.*"))

    async with supervised(home, sleeper(probe, *chatty)):
        await until(lambda: len(logs()) == 3)
        assert {path.name for path in logs()} == {"part.log.1", "part.log.2", "part.log.3"}
        assert all(path.stat().st_size <= bound for path in logs())


def test_a_temporary_stack_ends_with_who_holds_its_input_and_leaves_no_home(start: StartStack) -> None:
    running = start("two_webs", options=("temporary",))
    running.ready()
    everything = running.processes()
    home = running.home.path
    assert running.process.stdin is not None
    running.process.stdin.close()
    running.process.stdin = None
    running.process.wait(timeout=60)
    for process in everything:  # the fake part's child has no pipe to learn by
        if process.is_running() and process.name() == "sleep":
            process.kill()
    assert still_alive(everything) == []
    assert not home.exists()
