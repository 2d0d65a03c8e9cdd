"""A fleet without Prefect's servers: its parts come back, find each other after a cut, and fail over."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import psycopg
import pytest

from deployments.fleet import Fleet
from tests.fixtures.hub import until

PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
MISSING = [name for name in ("haproxy", "redis-server") if shutil.which(name, path=PATH) is None]
IS_ROOT = os.geteuid() == 0
NOTICED_SECONDS = 120
"""Far more than the 25 s that the documentation promises."""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=f"needs {' and '.join(MISSING)}")]
isolated = pytest.mark.skipif(not IS_ROOT, reason="parts are cut off by root alone")


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(api=2, workers=0, prefect=0, services=0, standby=True, isolated=IS_ROOT) as started:
        yield started


def create_user(fleet: Fleet) -> str:
    """Create a user behind the proxy; its name."""
    name = f"user-{uuid4()}"
    key = {"Authorization": f"Bearer {fleet.service_key}"}
    httpx.post(f"{fleet.url}/v1/users", json={"name": name}, headers=key, timeout=60).raise_for_status()
    return name


def is_ready(fleet: Fleet) -> bool:
    try:
        return httpx.get(f"{fleet.url}/readyz", timeout=60).is_success
    except httpx.TransportError:
        return False


def sessions(fleet: Fleet, name: str) -> int:
    """Count the sessions that PostgreSQL has for a part."""
    with psycopg.connect(fleet.admin_url, autocommit=True) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE client_addr = %s"
        return int((connection.execute(query, [fleet.part(name).place.host]).fetchone() or [0])[0])


@pytest.mark.parametrize("name", ["api-1", "redis", "proxy", "postgres", "standby"])
def test_a_killed_part_comes_back(fleet: Fleet, name: str) -> None:
    part = fleet.part(name)
    killed = part.processes()
    part.kill()
    until(lambda: part.is_running and part.pid != killed[0].pid and part.is_healthy, 60, "the part")
    assert not [process for process in killed if process.is_running()]
    until(lambda: is_ready(fleet), 60, "the hub")


def test_a_part_that_is_stopped_stays_so_until_it_is_started(fleet: Fleet) -> None:
    part = fleet.part("api-2")
    part.stop()
    assert not part.is_running
    assert is_ready(fleet)
    part.start()
    assert part.is_healthy


def test_a_frozen_part_is_left_alone_and_the_others_serve(fleet: Fleet) -> None:
    part = fleet.part("api-1")
    pid = part.pid
    part.freeze()
    try:
        assert psutil.Process(pid).status() == psutil.STATUS_STOPPED
        until(lambda: httpx.get(f"{fleet.url}/v1/servers", timeout=60).status_code == 401, 60, "another API")
    finally:
        part.thaw()
    assert part.pid == pid


@isolated
def test_postgresql_ends_the_sessions_of_an_api_that_was_cut_off(fleet: Fleet) -> None:
    create_user(fleet)
    until(lambda: sessions(fleet, "api-1") > 0, 60, "the sessions of the API")
    fleet.part("api-1").cut()
    try:
        until(lambda: sessions(fleet, "api-1") == 0, NOTICED_SECONDS, "the end of the sessions")
        create_user(fleet)
    finally:
        fleet.part("api-1").restore()
    until(lambda: sessions(fleet, "api-1") > 0, 60, "the sessions of the API")


@isolated
def test_the_hub_goes_on_after_postgresql_was_cut_off(fleet: Fleet) -> None:
    fleet.part("postgres").cut()
    try:
        until(lambda: not is_ready(fleet), NOTICED_SECONDS, "the hub to notice")
    finally:
        fleet.part("postgres").restore()
    until(lambda: is_ready(fleet), 60, "the hub")
    create_user(fleet)


def test_nothing_outlives_a_runner_that_is_killed_and_the_next_one_removes_its_directory() -> None:
    with started("--api", "1") as (runner, said):
        family = psutil.Process(runner.pid).children(recursive=True)
        assert len(family) > 4, said
        runner.send_signal(signal.SIGKILL)
    directory = directory_in(said)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    with started("--api", "0", "--standby", ignored=signal.SIGINT) as (runner, said):
        assert f"removed {directory}, of a fleet that was killed" in said
        assert not directory.exists()
        family = psutil.Process(runner.pid).children(recursive=True)
        redis = next(process for process in family if process.name() == "redis-server")
        redis.kill()
        assert runner.stdout is not None
        again = runner.stdout.readline()
        assert re.fullmatch(r"redis: it was ended by signal SIGKILL; started again, pid \d+\n", again)
        assert psutil.pid_exists(int(again.split()[-1]))
        shared = set[str]().union(*map(shared_memory, family))
        assert shared
        for process in family:  # frozen ones end like the others
            if process.is_running() and process.name() == "postgres":
                process.suspend()
        runner.send_signal(signal.SIGINT)
        assert runner.stdout.read() == f"Stopping\nstopped; removed {directory_in(said)}\n"
    assert runner.returncode == 0
    assert not directory_in(said).exists()
    assert not [file for file in shared if Path(file).exists()]
    assert not psutil.wait_procs(family, timeout=0)[1]


@contextmanager
def started(*options: str, ignored: signal.Signals | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a fleet by its command line, perhaps as one that ignores a signal; the program, and its words so far."""
    counts = ("--workers", "0", "--prefect", "0", "--services", "0", *options)
    command = [sys.executable, "-m", "deployments.fleet", *counts]
    before = None if ignored is None else signal.signal(ignored, signal.SIG_IGN)
    try:
        runner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    finally:
        if ignored is not None:
            signal.signal(ignored, before)
    with runner:
        try:
            assert runner.stdout is not None
            said = ""
            while "End it" not in said:
                line = runner.stdout.readline()
                assert line, said
                said += line
            yield runner, said
        finally:
            runner.terminate()


def directory_in(said: str) -> Path:
    """Find the fleet's directory in the words of its program."""
    return next(Path(line.split()[1]).parent for line in said.splitlines() if line.startswith("Logs"))


def shared_memory(process: psutil.Process) -> set[str]:
    """Name the files of PostgreSQL's shared memory that a process has."""
    try:
        return {area.path for area in process.memory_maps() if area.path.startswith("/dev/shm/PostgreSQL.")}
    except psutil.Error:
        return set()


def test_a_fail_over_loses_nothing_and_the_hub_goes_on(fleet: Fleet) -> None:
    """The last test: the fleet has no standby after it."""
    names = {create_user(fleet) for _ in range(20)}
    fleet.fail_over()
    until(lambda: is_ready(fleet), 60, "the hub")
    names.add(create_user(fleet))
    with psycopg.connect(fleet.admin_url) as connection:
        stored = {name for (name,) in connection.execute("SELECT name FROM users")}
    assert names <= stored
