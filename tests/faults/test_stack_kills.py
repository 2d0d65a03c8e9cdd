"""The whole hub under `nexus-hub up`: each part killed in turn, the supervisor killed, the end."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import psutil
import pytest

from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from tests.integration.stack.conftest import base, environment, home, settings, still_alive

__all__ = ["base", "home", "settings"]
pytestmark = pytest.mark.stack
PATIENCE = 180


def hub(variables: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nexus_hub", *words],
        env=variables,
        text=True,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )


@pytest.fixture
def running(settings: Settings) -> Iterator[Mapping[str, str]]:
    """A hub that is up; the environment that names it."""
    variables = environment(settings, settings.home)
    started = hub(variables, "up", "--detach")
    assert started.returncode == 0, started.stderr
    yield variables
    hub(variables, "down")


def parts(variables: Mapping[str, str]) -> dict[str, Any]:
    return {part["name"]: part for part in json.loads(hub(variables, "status", "--json").stdout)["parts"]}


def until_back(variables: Mapping[str, str], name: str, restarts: int) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = parts(variables)
        if found[name]["restarts"] == restarts and all(part["healthy"] for part in found.values()):
            return found
        time.sleep(0.2)
    raise AssertionError(f"{name} did not come back: {found}")


def family(home: Home) -> list[psutil.Process]:
    supervisor = psutil.Process(home.running_pid())
    return [supervisor, *supervisor.children(recursive=True)]


def test_each_killed_part_comes_back_and_down_leaves_nothing(running: Mapping[str, str], home: Home) -> None:
    before = parts(running)
    assert list(before) == ["postgres", "prefect", "api", "worker"]
    for name in before:
        psutil.Process(before[name]["pid"]).kill()
        after = until_back(running, name, restarts=1)
        assert after[name]["pid"] != before[name]["pid"]
    assert [part["restarts"] for part in parts(running).values()] == [1, 1, 1, 1]
    everything = family(home)
    assert len(everything) > 5
    assert hub(running, "down").returncode == 0
    assert still_alive(everything) == []
    assert hub(running, "status").returncode == 1


def test_a_hub_whose_supervisor_was_killed_starts_again(running: Mapping[str, str], home: Home) -> None:
    everything = family(home)
    os.kill(everything[0].pid, 9)
    assert still_alive(everything) == []
    again = hub(running, "up", "--detach")
    assert again.returncode == 0, again.stderr
    assert all(part["healthy"] for part in parts(running).values())


def test_prefect_is_closed_to_strangers(running: Mapping[str, str], settings: Settings, home: Home) -> None:
    with httpx.Client(base_url=settings.prefect_url, trust_env=False) as client:
        assert client.get("/admin/version").status_code == 401
        user, _, password = home.prefect_auth().partition(":")
        assert client.get("/admin/version", auth=(user, password)).is_success
        preflight = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
        assert client.options("/flow_runs/", headers=preflight).status_code == 400
    assert home.prefect_auth_file.stat().st_mode & 0o777 == 0o600
