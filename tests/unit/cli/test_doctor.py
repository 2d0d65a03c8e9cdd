"""What the doctor says of a Prefect that is not as the hub needs it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest

from nexus_hub.cli import doctor
from nexus_hub.cli.checks import Check, run_check
from nexus_hub.orchestration.prefect_client import PrefectClient
from nexus_hub.servers.registry import ListedServer

SERVER = ListedServer(
    server_type="system",
    id=UUID(int=1),
    user_id=None,
    name="s",
    transport="http",
    endpoint="http://a",
    limit_per_minute=None,
    user_limit_per_minute=None,
    enabled=True,
    revision=1,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    status=None,
    last_refresh_at=None,
    next_refresh_at=None,
    omitted=[],
    last_error_code=None,
    circuit="closed",
    circuit_since=None,
    circuit_until=None,
    protocol_version=None,
    server_info=None,
    tools=3,
    resources=0,
    prompts=0,
)


def prefect(answer: httpx.Response) -> PrefectClient:
    """A Prefect that always gives this answer."""
    made = PrefectClient("http://prefect/api", None)
    made._http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer), base_url="http://prefect/api")
    return made


async def seen(look: Any, answer: httpx.Response) -> Check:
    """The check that a look at this Prefect makes."""
    return await run_check("x", look(prefect(answer)), "Do something.")


async def test_a_pool_of_another_type_is_wrong_and_can_only_be_replaced() -> None:
    check = await seen(doctor._check_pool, httpx.Response(200, json={"type": "process"}))
    assert (check.ok, check.detail) == (False, "The work pool nexus is of type process, not nexus.")
    assert "delete" in str(check.advice)


@pytest.mark.parametrize("look", [doctor._check_pool, doctor._check_deployments, doctor._check_worker])
async def test_what_prefect_does_not_know_is_wrong(look: Any) -> None:
    assert not (await seen(look, httpx.Response(404))).ok


@pytest.mark.parametrize(
    ("seconds", "well"), [([], False), ([3600], False), ([91], False), ([5], True), ([3600, 5], True)]
)
async def test_a_worker_has_to_be_heard_of_lately(seconds: list[int], well: bool) -> None:
    now = datetime.now(UTC)
    workers = [
        {"name": f"worker {age}", "last_heartbeat_time": (now - timedelta(seconds=age)).isoformat()} for age in seconds
    ]
    assert (await seen(doctor._check_worker, httpx.Response(200, json=workers))).ok is well


@pytest.mark.parametrize(
    ("server", "well", "says"),
    [
        ({"status": "ready", "enabled": True}, True, "ready, 3 tools"),
        ({"status": "failing", "enabled": True, "last_error_code": "x"}, False, "failing (x)"),
        ({"status": None, "enabled": True}, False, "never read"),
        ({"status": "needs-login", "enabled": True, "login_kind": "oauth"}, False, "nobody has logged in at it"),
        ({"status": "failing", "enabled": False}, True, "disabled"),
    ],
)
def test_a_server_is_well_once_it_was_read(server: dict[str, Any], well: bool, says: str) -> None:
    check = doctor._judge_server(replace(SERVER, **server))
    assert (check.name, check.ok) == ("server:s", well)
    assert says in check.detail


async def test_a_scheduler_without_planned_runs_is_given_time_and_the_doctor_says_so_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "FIRST_RUNS_SECONDS", 0)
    said: list[str] = []
    check = await seen(partial(doctor._check_scheduler, say=said.append), httpx.Response(200, json=[]))
    assert said == ["Prefect has no planned runs; waiting up to 0 s for its scheduler to make some ..."]
    assert (check.ok, check.detail) == (False, "Prefect's scheduler makes no more runs: runs reach 0 minutes ahead.")
