"""A scheduler of Prefect's that is dead is seen by every API, with the real parts; its own probes see nothing."""

import os
import shutil
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import pytest

from deployments.fleet import Fleet
from tests.fixtures.hub import until

PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
SECONDS = 300
APIS = ("api-1", "api-2")
LAST_RUNS = b"""
    DELETE FROM flow_run
    WHERE auto_scheduled AND state_type = 'SCHEDULED' AND expected_start_time > now() + interval '54 minutes'
"""
"""Those that would have been used up after ten minutes at most."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(shutil.which(name, path=PATH) is None for name in ("haproxy", "redis-server")),
        reason="needs haproxy and redis-server",
    ),
]


def test_the_end_of_the_scheduler_is_told_by_every_api_and_makes_none_unready() -> None:
    with Fleet(api=2, workers=1, prefect=1, services=1) as fleet:
        until(seen_by_all(fleet, "ok"), SECONDS, "a scheduler that lives")
        fleet.part("services-1").kill(restart=False)
        with psycopg.connect(fleet.prefect_database_url) as connection:
            connection.execute(LAST_RUNS)
        until(seen_by_all(fleet, "warn"), SECONDS, "the end of the scheduler")
        assert httpx.get(f"{fleet.prefect_url}/ready", auth=fleet.prefect_auth, trust_env=False).status_code == 200
        fleet.part("services-1").start()
        until(seen_by_all(fleet, "ok"), SECONDS, "a scheduler that lives again")


def seen_by_all(fleet: Fleet, state: str) -> Callable[[], bool]:
    """Tell if all APIs are ready, and say that of the scheduler."""
    return lambda: all(_ask(fleet.part(name).place.address) == (200, state) for name in APIS)


def _ask(address: str) -> tuple[int, Any]:
    answer = httpx.get(f"http://{address}/readyz", trust_env=False, timeout=10)
    return answer.status_code, answer.json().get("parts", {}).get("scheduler", {}).get("state")
