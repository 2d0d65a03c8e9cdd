"""What the pages of servers are told: circuits, catalogs, limits, last errors, and changes of limits."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from nexus_hub.models import Principal, ServerRef
from nexus_hub.rate_limit.limiter import Limits
from nexus_hub.upstream.config import HttpConfig, StdioConfig, expose_secrets
from nexus_hub.upstream.connections import Target
from nexus_hub.upstream.snapshot import Snapshot
from tests.fixtures.served import SERVICE_KEY, Served
from tests.fixtures.upstreams import own_server

Asked = Any


@pytest.fixture
def asked(served: Served) -> Asked:
    async def ask(method: str, path: str, token: str = SERVICE_KEY, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=served.url, headers=headers) as client:
            return await client.request(method, path, **more)

    return ask


async def store_server(served: Served, name: str, owner: UUID | None = None, limits: Limits | None = None) -> ServerRef:
    """Store a server with a tool `echo`, as if it had been tried."""
    ref = ServerRef("user" if owner else "system", uuid4())
    config = HttpConfig(url="https://x.invalid") if owner else StdioConfig(command="no-such-command")
    seen = Snapshot("2026-07-28", None, None, {}, tools=[{"name": "echo", "inputSchema": {"type": "object"}}])
    await served.runtime.servers._store(Target(ref, name, config, 1, guarded=False), owner, limits or Limits(), seen)
    return ref


async def fail_jobs(served: Served, ref: ServerRef, user: Principal, count: int, *, hours: int = 0) -> None:
    """Store failed jobs of a server."""
    async with await psycopg.AsyncConnection.connect(served.admin_url, autocommit=True) as connection:
        await connection.execute("ALTER TABLE job_results DISABLE TRIGGER USER")
        await connection.execute(
            "INSERT INTO job_results (user_id, job_type, server_id, server_type, server_ref_id, status, error,"
            " error_code, params, created_at, completed_at)"
            " SELECT %(user)s, 'tool_invoke', %(ref)s, %(type)s, %(ref)s, 'failed',"
            " 'No. ' || n, 'upstream-rejected', '{\"secret\": 1}', now(),"
            " now() - make_interval(hours => %(hours)s, secs => n)"
            " FROM generate_series(1, %(count)s) AS n",
            {
                "user": user.user_id,
                "ref": ref.server_ref_id,
                "type": ref.server_type,
                "hours": hours,
                "count": count,
            },
        )
        await connection.execute("ALTER TABLE job_results ENABLE TRIGGER USER")


async def test_a_server_shows_circuit_catalog_limit_owner_and_transport(served: Served, asked: Asked) -> None:
    ann, token = await served.user("ann")
    system = await store_server(served, "srv", limits=Limits(5, 2))
    await store_server(served, "hers", ann.user_id)
    await served.runtime.limiter.take(system.server_ref_id, ann.user_id, Limits(5, 2))
    items = (await asked("GET", "/v1/servers")).json()["items"]
    assert [(item["name"], item["owner"], item["transport"]) for item in items] == [
        ("hers", "ann", "http"),
        ("srv", None, "stdio"),
    ]
    hers, srv = items
    assert srv["circuit"] == {"state": "closed", "since": None, "until": None, "reason": None}
    assert (srv["limit"], hers["limit"]) == (
        {"per_minute": 5, "used": 1, "user_per_minute": 2},
        {"per_minute": None, "used": None, "user_per_minute": None},
    )
    catalog = srv["catalog"]
    assert (catalog["tools"], catalog["resources"], catalog["prompts"], catalog["failures"]) == (1, 0, 0, 0)
    assert datetime.fromisoformat(catalog["read_at"]) < datetime.fromisoformat(catalog["expires_at"])
    assert catalog["error"] is None
    one = (await asked("GET", "/v1/servers/srv", token)).json()
    assert one == srv | {"policies": {"durable": "long", "handle_seconds": None, "tools": {}}}
    assert one == (await asked("GET", f"/v1/servers/system/{system.server_ref_id}")).json()


async def test_an_open_circuit_says_since_when_until_when_and_why(served: Served, asked: Asked) -> None:
    ref = await store_server(served, "srv")
    circuit = served.runtime.connections.circuits.of(ref)
    circuit.fail("nobody listens there", decisive=True)
    await served.runtime.circuits.share()
    shown = (await asked("GET", "/v1/servers/srv")).json()["circuit"]
    assert (shown["state"], shown["reason"]) == ("open", "nobody listens there")
    assert shown["since"] < shown["until"]


async def test_a_catalog_that_can_not_be_read_says_why_in_words(served: Served, asked: Asked) -> None:
    await store_server(served, "srv")
    async with served.database.transaction() as transaction:
        await transaction.run(
            b"UPDATE server_state SET status = 'failing', failures = 3, last_error_code = 'upstream-timed-out'"
        )
    catalog = (await asked("GET", "/v1/servers/srv")).json()["catalog"]
    assert (catalog["failures"], catalog["error"]) == (3, "It gave no answer in time.")


async def test_last_errors_are_the_newest_of_the_day_in_words(served: Served, asked: Asked) -> None:
    ref = await store_server(served, "srv")
    operator = Principal()
    await fail_jobs(served, ref, operator, 1, hours=25)
    assert (await asked("GET", "/v1/servers/srv")).json()["last_errors"] == []
    await fail_jobs(served, ref, operator, 5)
    errors = (await asked("GET", "/v1/servers/srv")).json()["last_errors"]
    assert [(one["code"], one["error"]) for one in errors] == [("upstream-rejected", f"No. {n}") for n in (1, 2, 3)]
    assert {*errors[0]} == {"at", "code", "error", "job_id"}
    assert (await asked("GET", f"/v1/jobs/{errors[0]['job_id']}")).json()["error"] == "No. 1"


async def test_a_user_is_told_of_its_own_jobs_errors_only(served: Served, asked: Asked) -> None:
    ann, anns = await served.user("ann")
    _, bobs = await served.user("bob")
    ref = await store_server(served, "srv")
    await fail_jobs(served, ref, Principal(), 1)
    await fail_jobs(served, ref, ann, 2)
    counts = [
        len((await asked("GET", "/v1/servers", token)).json()["items"][0]["last_errors"])
        for token in (SERVICE_KEY, anns, bobs)
    ]
    assert counts == [3, 2, 0]


async def test_limits_are_changed_and_taken_away_without_a_new_connection(served: Served, asked: Asked) -> None:
    ref = await store_server(served, "srv", limits=Limits(5, 2))
    path = f"/v1/servers/{ref}"
    before = (await asked("GET", path)).json()
    changed = (await asked("PATCH", path, json={"limit_per_minute": 9})).json()
    assert (changed["limit_per_minute"], changed["user_limit_per_minute"]) == (9, 2)
    changed = (await asked("PATCH", path, json={"user_limit_per_minute": None, "durable": "never"})).json()
    assert (changed["limit"]["per_minute"], changed["limit"]["user_per_minute"]) == (9, None)
    assert changed["policies"]["durable"] == "never"
    assert changed["revision"] == before["revision"]
    assert (await asked("PATCH", path, json={})).json() == changed


async def test_other_processes_are_told_of_changed_limits(served: Served, asked: Asked) -> None:
    ref = await store_server(served, "srv")
    async with await psycopg.AsyncConnection.connect(served.admin_url, autocommit=True) as connection:
        await connection.execute("LISTEN nexus_catalog")
        await asked("PATCH", f"/v1/servers/{ref}", json={"limit_per_minute": 3})
        heard = await anext(connection.notifies(timeout=30))
    assert str(ref.server_ref_id) in heard.payload


async def test_limits_that_can_not_be_are_refused_and_change_nothing(served: Served, asked: Asked) -> None:
    ann, anns = await served.user("ann")
    system, hers = await store_server(served, "srv"), await store_server(served, "hers", ann.user_id)
    assert (await asked("PATCH", f"/v1/servers/{hers}", anns, json={"limit_per_minute": 4})).json()["limit"][
        "per_minute"
    ] == 4
    for path, token, body, status in (
        (f"/v1/servers/{system}", SERVICE_KEY, {"limit_per_minute": 0}, 400),
        (f"/v1/servers/{system}", SERVICE_KEY, {"limit_per_minute": 3, "handle_seconds": 1e9}, 422),
        (f"/v1/servers/{system}", anns, {"limit_per_minute": 3}, 403),
        (f"/v1/servers/{hers}", anns, {"user_limit_per_minute": 3}, 400),
    ):
        assert (await asked("PATCH", path, token, json=body)).status_code == status
    assert (await asked("GET", f"/v1/servers/{system}")).json()["limit_per_minute"] is None


async def test_a_file_is_imported_entry_by_entry(served: Served, asked: Asked, tmp_path: Path) -> None:
    good = own_server("journaled", "--journal", str(tmp_path / "journal"))
    file = {
        "mcpServers": {
            "good": {"command": good.command, "args": [*good.args], "env": expose_secrets(good)["env"]},
            "none": {"command": "/no/such/command"},
            "odd": {"type": "sse", "url": "https://x.invalid"},
            "off": {"command": "x", "disabled": True},
            "secret": {"command": "x", "env": {"KEY": "${NEXUS_SERVICE_KEY}"}},
        }
    }
    planned = (await asked("POST", "/v1/servers:import", json={"mcp_json": file, "dry_run": True})).json()["items"]
    outcomes = ["would-register", "would-register", "refused", "refused", "refused"]
    assert [one["outcome"] for one in planned] == outcomes
    assert (await asked("GET", "/v1/servers")).json()["items"] == []
    done = (await asked("POST", "/v1/servers:import", json={"mcp_json": json.dumps(file)})).json()["items"]
    assert [(one["name"], one["outcome"]) for one in done] == [
        ("good", "registered"),
        *((name, "refused") for name in ("none", "odd", "off", "secret")),
    ]
    assert done[0]["error"] is None
    assert all(one["error"] for one in done[1:])
    again = (await asked("POST", "/v1/servers:import", json={"mcp_json": file})).json()["items"]
    assert again[0]["code"] == "already-registered"
    assert [one["name"] for one in (await asked("GET", "/v1/servers")).json()["items"]] == ["good"]


async def test_a_server_of_a_registry_is_stored_and_not_contacted(asked: Asked) -> None:
    description = {
        "name": "com.example/closed",
        "remotes": [{"type": "streamable-http", "url": "http://127.0.0.1:9/mcp"}],
    }
    [done] = (await asked("POST", "/v1/servers:import", json={"mcp_json": description})).json()["items"]
    assert (done["name"], done["outcome"], done["enabled"]) == ("closed", "registered", False)
    [server] = (await asked("GET", "/v1/servers")).json()["items"]
    assert (server["name"], server["enabled"], server["last_error_code"]) == ("closed", False, None)


async def test_the_line_of_a_file_that_came_as_text_is_said(asked: Asked) -> None:
    text = '{"mcpServers": {\n  "odd": {\n    "type": "sse",\n    "url": "https://x.invalid"}}}'
    for file, line in ((text, 3), (json.loads(text), None)):
        [done] = (await asked("POST", "/v1/servers:import", json={"mcp_json": file})).json()["items"]
        assert (done["outcome"], done["line"]) == ("refused", line)


async def test_a_users_file_brings_that_users_servers_and_no_commands(served: Served, asked: Asked) -> None:
    _, token = await served.user("ann")
    file = {"mcpServers": {"c": {"command": "x"}, "p": {"url": "http://127.0.0.1:1/mcp"}}}
    done = (await asked("POST", "/v1/servers:import", token, json={"mcp_json": file})).json()["items"]
    assert [one["code"] for one in done] == ["invalid-config", "forbidden-address"]


async def test_a_file_that_is_none_is_refused_as_a_whole(asked: Asked) -> None:
    many = {"mcpServers": {f"s{n}": {"command": "x"} for n in range(51)}}
    for body in ({"mcp_json": "{"}, {"mcp_json": "[]"}, {"mcp_json": many}):
        answer = await asked("POST", "/v1/servers:import", json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid-config")
