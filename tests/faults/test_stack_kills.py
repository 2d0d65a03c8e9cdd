"""The whole hub under `nexus-hub up`: each part killed in turn, the supervisor killed, the end."""

from typing import Any

import psutil
import pytest

from nexus_hub.home.layout import Home
from tests.fixtures.hub import Hub, until
from tests.integration.stack.conftest import still_alive

pytestmark = pytest.mark.stack
PATIENCE = 180


def parts(hub: Hub) -> dict[str, Any]:
    return {part["name"]: part for part in hub.run("status", "--json").json()["parts"]}


def until_back(hub: Hub, name: str, restarts: int) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = parts(hub)
        return found if found[name]["restarts"] == restarts and all(one["healthy"] for one in found.values()) else None

    return until(look, PATIENCE, f"the return of {name}")


def family(hub: Hub) -> list[psutil.Process]:
    supervisor = psutil.Process(Home(hub.home).running_pid())
    return [supervisor, *supervisor.children(recursive=True)]


def test_each_killed_part_comes_back(fragile_hub: Hub) -> None:
    before = parts(fragile_hub)
    optional = [name for name in ("postgres", "prefect") if name in before]
    assert list(before) == [*optional, "api", "worker"]
    for name in before:
        psutil.Process(before[name]["pid"]).kill()
        after = until_back(fragile_hub, name, restarts=before[name]["restarts"] + 1)
        assert after[name]["pid"] != before[name]["pid"]
    after = parts(fragile_hub)
    assert [after[name]["restarts"] - before[name]["restarts"] for name in before] == [1] * len(before)


def test_a_hub_whose_supervisor_was_killed_starts_again(fragile_hub: Hub) -> None:
    everything = family(fragile_hub)
    everything[0].kill()
    assert still_alive(everything) == []
    again = fragile_hub.run("up", "--detach")
    assert again.code == 0, again.err
    assert all(part["healthy"] for part in parts(fragile_hub).values())


def test_down_leaves_nothing(fragile_hub: Hub) -> None:
    everything = family(fragile_hub)
    assert len(everything) > 5
    assert fragile_hub.run("down").code == 0
    assert still_alive(everything) == []
    assert fragile_hub.run("status").code == 1
    assert fragile_hub.run("up", "--detach").code == 0
