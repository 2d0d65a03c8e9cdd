"""What a job's page asks for: its timeline, and the same call anew."""

from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from tests.fixtures.served import SERVICE_KEY, Served
from tests.fixtures.upstreams import own_server

Asked = Any
ODD = b'{"tag": "a", "seconds": 1e400, "more": [1.0, 10000000000000000000000, -0.0]}'


@pytest.fixture
def asked(served: Served) -> Asked:
    async def ask(method: str, path: str, token: str = SERVICE_KEY, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        async with httpx.AsyncClient(base_url=served.url, headers=headers) as client:
            return await client.request(method, path, **more)

    return ask


async def change(served: Served, job_id: object, columns: str) -> None:
    """Change a row as its owner."""
    async with await psycopg.AsyncConnection.connect(served.admin_url, autocommit=True) as connection:
        await connection.execute(f"UPDATE job_results SET {columns} WHERE id = %s".encode(), [job_id])


async def events(asked: Asked, job_id: object, token: str = SERVICE_KEY) -> list[tuple[str, int | None, str | None]]:
    answer = (await asked("GET", f"/v1/jobs/{job_id}/timeline", token)).json()
    moments = [datetime.fromisoformat(item["at"]) for item in answer["items"]]
    assert moments == sorted(moments)
    return [(item["event"], item["attempt"], item["detail"]) for item in answer["items"]]


async def test_a_timeline_has_the_moments_of_the_row_in_their_order(served: Served, asked: Asked) -> None:
    job_id = await served.stored()
    assert await events(asked, job_id) == [("stored", None, None)]
    await change(served, job_id, "dispatched_at = now()")
    assert (await events(asked, job_id))[1:] == [("dispatched", 1, "to a shared run")]
    attempt = await served.claimed(job_id)
    await change(served, job_id, "sent_at = now()")
    await served.completed(attempt)
    assert await events(asked, job_id) == [
        ("stored", None, None),
        ("dispatched", 1, "to a run of its own"),
        ("claimed", 1, None),
        ("sent", 1, None),
        ("ended", 1, "completed"),
    ]


async def test_a_timeline_says_of_a_job_that_was_put_back_when_and_why(served: Served, asked: Asked) -> None:
    snoozed, rescued, cancelled = [await served.stored() for _ in range(3)]
    later = "available_at = now() + interval '1 hour', error_code ="
    await change(served, snoozed, f"{later} 'prefect-refused'")
    await change(served, rescued, f"{later} 'run-lost'")
    await asked("DELETE", f"/v1/jobs/{cancelled}")
    assert (await events(asked, snoozed))[1:] == [("snoozed", 1, "until then (prefect-refused)")]
    assert (await events(asked, rescued))[1:] == [("rescued", 1, "run-lost")]
    assert (await events(asked, cancelled))[1:] == [
        ("cancel_requested", None, None),
        ("ended", 0, "cancelled: cancelled"),
    ]


async def test_only_an_operator_is_told_where_the_flow_run_is(served: Served, asked: Asked) -> None:
    ann, token = await served.user("ann")
    _, bobs = await served.user("bob")
    job_id, run = await served.stored(ann), uuid4()
    path = f"/v1/jobs/{job_id}/timeline"
    assert (await asked("GET", path)).json()["flow_run_url"] is None
    await change(served, job_id, f"flow_run_id = '{run}', dispatched_at = now()")
    assert (await asked("GET", path)).json()["flow_run_url"] == f"http://127.0.0.1:1/runs/flow-run/{run}"
    assert (await asked("GET", path, token)).json()["flow_run_url"] is None
    assert (await asked("GET", path, bobs)).status_code == 404
    assert (await asked("GET", f"/v1/jobs/{uuid4()}/timeline")).status_code == 404


@pytest.fixture
async def server(served: Served, tmp_path: Path) -> UUID:
    """A system server `srv` with the tool `plain`, which takes anything."""
    added = await served.runtime.servers.register("srv", own_server("journaled", "--journal", str(tmp_path / "j")))
    async with await psycopg.AsyncConnection.connect(served.admin_url, autocommit=True) as connection:
        await connection.execute("UPDATE tool_cache SET definition = '{\"inputSchema\": {}}'")
    return added.id


async def test_a_job_is_run_again_with_its_params_as_they_were_sent(served: Served, asked: Asked, server: UUID) -> None:
    body = b'{"name": "srv__plain", "timeout_seconds": 77, "max_attempts": 4, "retry": "always", "arguments": %b}' % ODD
    first = await asked("POST", "/v1/jobs", content=body)
    again = await asked("POST", f"/v1/jobs/{first.json()['id']}:run-again")
    assert again.status_code == 202
    assert again.headers["location"] == f"/v1/jobs/{again.json()['id']}" != first.headers["location"]
    asks = ("job_type", "tool_name", "server_ref_id", "timeout_seconds", "max_attempts", "retry", "status", "attempt")
    assert [again.json()[key] for key in asks] == [first.json()[key] for key in asks]
    assert params(again) == params(first)
    assert b"1e400" in params(again)


def params(answer: httpx.Response) -> bytes:
    return answer.content.partition(b'"params":')[2].partition(b'"status"')[0]


async def test_who_runs_a_job_again_owns_the_new_one(served: Served, asked: Asked, server: UUID) -> None:
    ann, token = await served.user("ann")
    _, bobs = await served.user("bob")
    job = (await asked("POST", "/v1/jobs", token, content=b'{"name": "srv__plain"}')).json()
    path = f"/v1/jobs/{job['id']}:run-again"
    assert (await asked("POST", path, token)).json()["user_id"] == str(ann.user_id)
    assert (await asked("POST", path)).json()["user_id"] is None
    assert (await asked("POST", path, bobs)).status_code == 404


async def test_resources_and_prompts_are_run_again_too(served: Served, asked: Asked, server: UUID) -> None:
    async with await psycopg.AsyncConnection.connect(served.admin_url, autocommit=True) as connection:
        await connection.execute(
            "INSERT INTO prompt_cache (server_type, server_ref_id, prompt_name, namespaced_name, definition)"
            " VALUES ('system', %s, 'p', 'srv__p', '{}')",
            [server],
        )
    for body in (
        {"job_type": "resource_fetch", "name": {"server": "srv", "uri": "x://y"}},
        {"job_type": "prompt_execute", "name": "srv__p", "arguments": {}},
    ):
        job = (await asked("POST", "/v1/jobs", json=body)).json()
        again = await asked("POST", f"/v1/jobs/{job['id']}:run-again")
        assert again.status_code == 202
        assert again.json()["params"] == job["params"]


async def test_what_is_gone_is_not_run_again_and_is_named(served: Served, asked: Asked, server: UUID) -> None:
    job = (await asked("POST", "/v1/jobs", json={"name": "srv__plain"})).json()
    fetch = {"job_type": "resource_fetch", "name": {"server": "srv", "uri": "x://y"}}
    resource = (await asked("POST", "/v1/jobs", json=fetch)).json()
    async with served.database.transaction() as transaction:
        await transaction.run(b"DELETE FROM tool_cache WHERE tool_name = 'plain'")
    answer = await asked("POST", f"/v1/jobs/{job['id']}:run-again")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert "no tool 'plain' of its server is offered to you now" in answer.json()["error"]
    await asked("DELETE", f"/v1/servers/system/{server}")
    answer = await asked("POST", f"/v1/jobs/{resource['id']}:run-again")
    assert (answer.status_code, "no server" in answer.json()["error"]) == (404, True)


async def test_the_row_of_a_maintenance_flow_is_not_run_again(served: Served, asked: Asked) -> None:
    row = await served.runtime.mirror.add("cache_refresh", {"server": ""})
    answer = await asked("POST", f"/v1/jobs/{row}:run-again")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")
