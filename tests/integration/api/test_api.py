"""The API by ASGI on a real database, with no Prefect there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from nexus_hub.api.admission import LOGIN, PUBLIC
from nexus_hub.api.app import create_app
from nexus_hub.models import ServerRef
from nexus_hub.rate_limit.limiter import Limits
from nexus_hub.settings import Settings
from nexus_hub.upstream.config import StdioConfig
from nexus_hub.upstream.connections import Target
from nexus_hub.upstream.snapshot import Snapshot
from nexus_hub.vault.keys import VaultKey
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import SERVICE_KEY, in_process, settings_of
from tests.fixtures.upstreams import own_server

JOB = {"name": "srv__echo"}
BAD_TEXT = "\x00"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def app(database: HubDatabase, tmp_path: Path) -> FastAPI:
    return create_app(settings_of(database, tmp_path))


@pytest.fixture
async def api(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The operator's client."""
    async with in_process(app) as client:
        yield client


@asynccontextmanager
async def bounded(database: HubDatabase, home: Path, **bounds: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The operator's client of an API with these settings, and the server `srv`."""
    app = create_app(settings_of(database, home, **bounds))
    async with in_process(app) as client:
        await store_server(app)
        yield client


async def store_server(app: FastAPI) -> None:
    """Store a system server `srv` with a tool `echo`, as if it had been tried."""
    target = Target(ServerRef("system", uuid4()), "srv", StdioConfig(command="no-such-command"), 1, guarded=False)
    seen = Snapshot("2026-07-28", None, None, {}, tools=[{"name": "echo", "inputSchema": {"type": "object"}}])
    await app.state.runtime.servers._store(target, None, Limits(5, 2), seen)


@pytest.fixture
async def server(api: httpx.AsyncClient, app: FastAPI) -> dict[str, Any]:
    """A system server `srv` with a tool `echo`."""
    await store_server(app)
    registered: dict[str, Any] = (await api.get("/v1/servers/srv")).json()
    return registered


async def token(api: httpx.AsyncClient, name: str) -> dict[str, str]:
    """The headers of a new user."""
    assert (await api.post("/v1/users", json={"name": name})).status_code == 201
    answer = await api.post(f"/v1/users/{name}/tokens")
    assert answer.status_code == 201
    return bearer(answer.json()["token"])


def said(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    return problem


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer undefined",
        "Bearer null",
        SERVICE_KEY,
        f"Basic {SERVICE_KEY}",
        f"Bearer {SERVICE_KEY}x",
        "Bearer \x7f",
    ],
)
async def test_without_a_known_credential_nothing_is_answered(api: httpx.AsyncClient, value: str) -> None:
    for path in ("/v1/jobs", "/v1/tools", "/v1/servers", "/v1/users"):
        answer = await api.get(path, headers={"Authorization": value})
        said(answer, 401, "not-authenticated")
        assert answer.headers["www-authenticate"].startswith('Bearer scope="tools:list tools:call jobs"')


async def test_without_a_token_no_route_reads_a_body_or_says_what_is_wrong_with_it(
    api: httpx.AsyncClient, app: FastAPI
) -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    paths = {path: methods for path, methods in app.openapi()["paths"].items() if path not in PUBLIC}
    for path in [*paths, "/nowhere", "/v1/jobs/", "/functions/v1/nexus-hub", "/docs"]:
        for method in ("GET", "POST", "DELETE", "PUT", "OPTIONS"):
            if (method, path) == LOGIN:
                continue
            headers = {"Authorization": "", "Content-Length": "99999999", "Content-Type": "application/json"}
            answer = await api.request(method, path.replace("{", "").replace("}", ""), content=never(), headers=headers)
            said(answer, 401, "not-authenticated")


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
async def test_the_name_of_the_scheme_is_read_in_any_case(api: httpx.AsyncClient, scheme: str) -> None:
    assert (await api.get("/v1/jobs", headers={"Authorization": f"{scheme} {SERVICE_KEY}"})).status_code == 200


async def test_health_needs_no_credential_and_no_prefect(api: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/readyz"):
        assert (await api.get(path, headers={"Authorization": ""})).status_code == 200


async def test_without_its_database_the_api_lives_and_says_what_is_away(tmp_path: Path) -> None:
    app = create_app(
        Settings(
            home=tmp_path,
            database_url=SecretStr("postgresql://nobody@127.0.0.1:1/nothing"),
            service_key=SecretStr(SERVICE_KEY),
            vault_encryption_key=SecretStr(VaultKey.generate().reveal()),
            prefect_api_url="http://127.0.0.1:1/api",
        )
    )
    async with in_process(app) as client:
        assert (await client.get("/healthz")).status_code == 200
        for answer in await asyncio.gather(*(client.get(path) for path in ("/readyz", "/v1/tools", "/v1/jobs"))):
            said(answer, 503, "database-unavailable")


async def test_a_job_is_taken_while_prefect_is_away(api: httpx.AsyncClient, server: dict[str, Any]) -> None:
    answer = await api.post("/v1/jobs", json=JOB | {"arguments": {"a": 1}})
    assert answer.status_code == 202
    job = answer.json()
    assert (job["status"], job["params"], job["server_id"]) == ("pending", {"a": 1}, server["id"])
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (await api.get(answer.headers["location"])).json()["id"] == job["id"]
    listed = (await api.get("/v1/jobs", params={"status": "pending"})).json()
    assert [item["id"] for item in listed["items"]] == [job["id"]]


async def test_an_idempotency_key_gives_the_same_job_and_refuses_another(
    api: httpx.AsyncClient, server: dict[str, Any]
) -> None:
    keyed = JOB | {"idempotency_key": "one"}
    first, second = (await api.post("/v1/jobs", json=keyed)), (await api.post("/v1/jobs", json=keyed))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"]
    said(await api.post("/v1/jobs", json=keyed | {"arguments": {"b": 2}}), 409, "conflict")
    user = await token(api, "ann")
    other = await api.post("/v1/jobs", json=keyed, headers=user)
    assert other.json()["id"] != first.json()["id"]


async def test_a_cancelled_job_is_not_cancelled_again(api: httpx.AsyncClient, server: dict[str, Any]) -> None:
    job = (await api.post("/v1/jobs", json=JOB)).json()
    assert (await api.delete(f"/v1/jobs/{job['id']}")).json()["status"] == "cancelled"
    said(await api.delete(f"/v1/jobs/{job['id']}"), 409, "job-ended")


async def test_what_belongs_to_somebody_else_is_not_there(api: httpx.AsyncClient, server: dict[str, Any]) -> None:
    ann, bob = await token(api, "ann"), await token(api, "bob")
    job = (await api.post("/v1/jobs", json=JOB, headers=ann)).json()
    for method in ("GET", "DELETE"):
        foreign = await api.request(method, f"/v1/jobs/{job['id']}", headers=bob)
        unknown = await api.request(method, f"/v1/jobs/{uuid4()}", headers=bob)
        assert said(foreign, 404, "not-found")["title"] == said(unknown, 404, "not-found")["title"]
    assert (await api.get("/v1/jobs", headers=bob)).json()["items"] == []
    for path in (f"/v1/servers/user/{server['id']}", f"/v1/servers/system/{uuid4()}", "/v1/servers/nothing"):
        said(await api.get(path, headers=bob), 404, "not-found")


async def test_only_operators_look_after_users(api: httpx.AsyncClient) -> None:
    ann = await token(api, "ann")
    for method, path in (("GET", "/v1/users"), ("POST", "/v1/users/ann/tokens"), ("DELETE", "/v1/users/ann/tokens")):
        said(await api.request(method, path, headers=ann), 403, "not-allowed")
    said(await api.post("/v1/users", json={"name": "x"}, headers=ann), 403, "not-allowed")
    said(await api.post("/v1/users", json={"name": "ann"}), 409, "name-taken")
    assert (await api.delete("/v1/users/ann/tokens")).json() == {"revoked": 1}
    said(await api.get("/v1/jobs", headers=ann), 401, "not-authenticated")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "x", "command": "id"}, 400, "invalid-config"),
        ({"name": "x", "url": "http://127.0.0.1:1/mcp"}, 400, "forbidden-address"),
        ({"name": "x", "url": "http://169.254.169.254/mcp"}, 400, "forbidden-address"),
        ({"name": "x", "url": "http://localhost:1/mcp"}, 400, "forbidden-address"),
        ({"name": "x", "url": "file:///etc/passwd"}, 400, "invalid-config"),
        ({"name": "x__y", "url": "http://127.0.0.1:1/mcp"}, 400, "invalid-name"),
        ({"name": "x"}, 400, "invalid-config"),
        ({"name": "x", "url": "http://a", "command": "id"}, 400, "invalid-config"),
        ({"name": "x", "url": "http://a", "owner": "bob"}, 403, "not-allowed"),
        ({"name": "x", "url": "http://a", "limit_per_minute": 10**12}, 400, "invalid-config"),
        ({"name": "srv", "url": "http://8.8.8.8:1/mcp"}, 409, "name-taken"),
    ],
)
async def test_a_user_registers_nothing_that_could_harm_others(
    api: httpx.AsyncClient, server: dict[str, Any], body: dict[str, Any], status: int, code: str
) -> None:
    ann = await token(api, "ann")
    said(await api.post("/v1/servers", json=body, headers=ann), status, code)
    assert [one["name"] for one in (await api.get("/v1/servers", headers=ann)).json()["items"]] == ["srv"]


async def test_a_taken_name_is_refused_and_a_removed_server_is_gone(
    api: httpx.AsyncClient, server: dict[str, Any]
) -> None:
    said(await api.post("/v1/servers", json={"name": "srv", "command": "no-such"}), 409, "name-taken")
    ann = await token(api, "ann")
    path = f"/v1/servers/system/{server['id']}"
    said(await api.delete(path, headers=ann), 403, "not-allowed")
    said(await api.delete(f"/v1/servers/user/{server['id']}"), 404, "not-found")
    assert (await api.delete(path)).status_code == 204
    said(await api.delete(path), 404, "not-found")
    said(await api.post("/v1/jobs", json=JOB), 404, "not-found")


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "1001"}, {"limit": "9" * 30}, {"cursor": "x"}, {"cursor": ""}]
)
async def test_a_bad_page_is_refused(api: httpx.AsyncClient, query: dict[str, str]) -> None:
    for path in ("/v1/jobs", "/v1/tools", "/v1/resources", "/v1/prompts", "/v1/servers"):
        said(await api.get(path, params=query), 400, "invalid-request")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/jobs", "GET, POST"),
        ("PATCH", "/v1/jobs/x", "DELETE, GET"),
        ("POST", "/v1/jobs/events", "DELETE, GET"),
        ("DELETE", "/v1/tools", "GET"),
        ("DELETE", "/v1/servers", "GET, POST"),
        ("PUT", "/v1/servers/user/x", "DELETE, GET, PATCH"),
        ("PUT", "/v1/users/ann/tokens", "DELETE, GET, POST"),
        ("GET", "/v1/jobs:batch", "POST"),
        ("POST", "/healthz", "GET"),
        ("OPTIONS", "/internal/cleanup-jobs", "POST"),
    ],
)
async def test_a_wrong_method_is_a_405_with_all_that_the_path_takes(
    api: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    answer = await api.request(method, path)
    said(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == allowed


async def test_a_path_with_a_slash_more_leads_nowhere_else(api: httpx.AsyncClient) -> None:
    said(await api.get("/v1/jobs/", headers={"Host": "elsewhere.example"}), 404, "not-found")


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("limit=1.0", "query.limit"),
        ("limit=1_0", "query.limit"),
        ("limit=%201", "query.limit"),
        ("limit=true", "query.limit"),
        ("limit=%D9%A3", "query.limit"),
        ("limit=", "query.limit"),
        ("limit=1&limit=2", "query.limit"),
        ("limt=1", "query.limt"),
        ("nxh_0123456789abcdef=1", "query.*"),
    ],
)
async def test_parameters_are_read_as_they_are_written(api: httpx.AsyncClient, query: str, named: str) -> None:
    for path in ("/v1/jobs", "/v1/tools", "/v1/resources", "/v1/prompts", "/v1/servers"):
        assert said(await api.get(f"{path}?{query}"), 422, "invalid-request")["problems"][0].startswith(f"{named}: ")


@pytest.mark.parametrize("value", ["0", "1", "no", "yes", "True", "off", "", "t"])
async def test_a_truth_is_true_or_false(api: httpx.AsyncClient, value: str) -> None:
    said(await api.get(f"/v1/tools?compact={value}"), 422, "invalid-request")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/jobs", JOB | {"timeout_seconds": "60"}),
        ("/v1/jobs", JOB | {"timeout_seconds": 60.0}),
        ("/v1/jobs", JOB | {"timeout_seconds": True}),
        ("/v1/jobs", JOB | {"max_attempts": "1"}),
        ("/v1/jobs", JOB | {"idempotency_key": 7}),
        ("/v1/jobs", JOB | {"arguments": [["a", 1]]}),
        ("/v1/jobs", JOB | {"arguments": None}),
        ("/v1/jobs", JOB | {"retry": True}),
        ("/v1/jobs:batch", {"jobs": {"0": JOB}}),
        ("/v1/jobs:batch", [JOB | {"max_attempts": 1.0}]),
        ("/v1/users", {"name": 7}),
        ("/v1/users", {"name": "x", "admin": True}),
        ("/v1/servers", {"name": "x", "command": "x", "args": "--flag"}),
        ("/v1/servers", {"name": "x", "command": "x", "args": [7]}),
        ("/v1/servers", {"name": "x", "command": "x", "env": {"A": 1}}),
        ("/v1/servers", {"name": "x", "command": "x", "limit_per_minute": "5"}),
        ("/v1/servers", {"name": "x", "command": "x", "limit_per_minute": True}),
    ],
)
async def test_a_body_is_read_as_it_is_written(
    api: httpx.AsyncClient, server: dict[str, Any], path: str, body: Any
) -> None:
    said(await api.post(path, json=body), 422, "invalid-request")
    assert (await api.get("/v1/jobs")).json()["items"] == []


def test_the_document_names_the_token_and_every_problem(app: FastAPI) -> None:
    document = app.openapi()
    assert document["components"]["securitySchemes"] == {
        "token": {"type": "http", "scheme": "bearer", "description": "A user's token, or the operator's service key."}
    }
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            problems = {status: one for status, one in operation["responses"].items() if status >= "400"}
            assert all(list(one["content"]) == ["application/problem+json"] for one in problems.values())
            if path not in PUBLIC and (method.upper(), path) != LOGIN:
                assert operation["security"] == [{"token": []}]
                assert problems.keys() >= {"400", "401", "408", "413", "422", "429", "500", "503"}


async def test_a_time_out_has_the_bound_that_is_set_also_where_none_is_asked_for(
    database: HubDatabase, tmp_path: Path
) -> None:
    async with bounded(database, tmp_path, max_timeout_seconds=600) as api:
        assert (await api.post("/v1/jobs", json=JOB)).json()["timeout_seconds"] == 600
        assert (await api.post("/v1/jobs", json=JOB | {"timeout_seconds": 600})).status_code == 202
        for path, body in (("/v1/jobs", JOB), ("/v1/jobs:batch", JOB)):
            asked: Any = body | {"timeout_seconds": 601}
            problem = said(await api.post(path, json=[asked] if "batch" in path else asked), 400, "invalid-request")
            assert "within 1 and 600" in problem["error"]


async def test_a_user_has_so_many_open_jobs_and_the_next_is_a_429_that_names_the_bound(
    database: HubDatabase, tmp_path: Path
) -> None:
    async with bounded(database, tmp_path, user_open_jobs=3) as api:
        ann, bob = await token(api, "ann"), await token(api, "bob")
        ids = (await api.post("/v1/jobs:batch", json=[JOB, JOB], headers=ann)).json()["ids"]
        asked = [("/v1/jobs:batch", [JOB, JOB]), ("/v1/jobs", JOB), ("/v1/jobs", JOB), ("/v1/jobs:batch", [JOB])]
        statuses = [(await api.post(path, json=body, headers=ann)) for path, body in asked]
        assert [one.status_code for one in statuses] == [429, 202, 429, 429]
        problem = said(statuses[2], 429, "too-many")
        assert (problem["bound"], statuses[2].headers["retry-after"]) == ("NEXUS_USER_OPEN_JOBS", "10")
        assert "3 jobs" in problem["error"]
        for others in (bob, None):
            assert (await api.post("/v1/jobs:batch", json=[JOB] * 3, headers=others)).status_code == 202
        assert (await api.post("/v1/jobs", json=JOB)).status_code == 202, "the operator is bound by nothing"
        await api.delete(f"/v1/jobs/{ids[0]}", headers=ann)
        assert (await api.post("/v1/jobs", json=JOB, headers=ann)).status_code == 202


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/tools?query=%00", None),
        ("GET", "/v1/tools?server=%00", None),
        ("GET", "/v1/servers/%00", None),
        ("GET", "/v1/jobs/%00", None),
        ("POST", "/v1/users/%00/tokens", None),
        ("DELETE", "/v1/users/%00/tokens", None),
        ("POST", "/v1/users", {"name": BAD_TEXT}),
        ("POST", "/v1/jobs", {"name": BAD_TEXT}),
        ("POST", "/v1/jobs", {"job_type": "resource_fetch", "name": {"server": BAD_TEXT, "uri": "x"}}),
        ("POST", "/v1/jobs", JOB | {"idempotency_key": BAD_TEXT}),
        ("POST", "/v1/servers", {"name": "x", "url": "http://a", "owner": BAD_TEXT}),
    ],
)
async def test_text_that_the_database_refuses_is_a_bad_request(
    api: httpx.AsyncClient, server: dict[str, Any], method: str, path: str, body: Any
) -> None:
    answer = await api.request(method, path, json=body)
    assert answer.status_code in {400, 404, 422}, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"name": 7}, 422),
        ({"name": "srv__echo", "job_type": "cache_refresh"}, 422),
        ({"name": "srv__echo", "job_type": "resource_fetch"}, 400),
        ({"name": {"server": "srv", "uri": "x"}}, 400),
        ({"name": {"server": "srv", "uri": ""}, "job_type": "resource_fetch"}, 400),
        (JOB | {"timeout_seconds": 0}, 400),
        (JOB | {"timeout_seconds": 10**30}, 400),
        (JOB | {"max_attempts": 21}, 400),
        (JOB | {"user_id": str(uuid4())}, 422),
        ({"name": "srv__nothing"}, 404),
    ],
)
async def test_a_bad_job_stores_nothing(api: httpx.AsyncClient, server: dict[str, Any], body: Any, status: int) -> None:
    answer = await api.post("/v1/jobs", json=body)
    assert answer.status_code == status, answer.text
    assert (await api.get("/v1/jobs")).json()["items"] == []


async def test_a_batch_is_stored_whole_and_answers_with_its_ids_in_order(
    api: httpx.AsyncClient, server: dict[str, Any]
) -> None:
    jobs = [JOB | {"arguments": {"n": number}} for number in range(1000)]
    for body in ({"jobs": jobs}, jobs):
        answer = await api.post("/v1/jobs:batch", json=body)
        assert answer.status_code == 202, answer.text
        ids = answer.json()["ids"]
        assert len(set(ids)) == 1000
        for number in (0, 500, 999):
            assert (await api.get(f"/v1/jobs/{ids[number]}")).json()["params"] == {"n": number}


@pytest.mark.parametrize(
    ("bad", "status", "words"),
    [
        ({"name": "srv__nothing"}, 404, "jobs[1]: There is no tool"),
        (JOB | {"timeout_seconds": 0}, 400, "jobs[1]: timeout_seconds"),
        ({"name": {"server": "srv", "uri": "x"}}, 400, "jobs[1]: name must be"),
        ({"name": 7}, 422, "body.jobs.1.name"),
        (JOB | {"idempotency_key": BAD_TEXT}, 400, "jobs[1]: The idempotency_key"),
        (JOB | {"idempotency_key": "taken", "arguments": {"b": 1}}, 409, "jobs[1]: This idempotency key"),
    ],
)
async def test_a_bad_job_of_a_batch_is_named_and_nothing_is_stored(
    api: httpx.AsyncClient, server: dict[str, Any], bad: Any, status: int, words: str
) -> None:
    taken = (await api.post("/v1/jobs", json=JOB | {"idempotency_key": "taken"})).json()["id"]
    answer = await api.post("/v1/jobs:batch", json={"jobs": [JOB, bad, JOB]})
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]
    assert [job["id"] for job in (await api.get("/v1/jobs")).json()["items"]] == [taken]


@pytest.mark.parametrize("body", [{"jobs": []}, [], {"jobs": [JOB] * 1001}, {"jobs": [JOB], "x": 1}, {}, 7])
async def test_a_batch_holds_1_to_1000_jobs(api: httpx.AsyncClient, server: dict[str, Any], body: Any) -> None:
    assert (await api.post("/v1/jobs:batch", json=body)).status_code == 422
    assert (await api.get("/v1/jobs")).json()["items"] == []


async def test_jobs_of_a_batch_belong_to_who_asked(api: httpx.AsyncClient, server: dict[str, Any]) -> None:
    ann, bob = await token(api, "ann"), await token(api, "bob")
    ids = (await api.post("/v1/jobs:batch", json=[JOB, JOB], headers=ann)).json()["ids"]
    assert {job["id"] for job in (await api.get("/v1/jobs", headers=ann)).json()["items"]} == set(ids)
    assert (await api.get("/v1/jobs", headers=bob)).json()["items"] == []
    assert (await api.get(f"/v1/jobs/{ids[0]}", headers=bob)).status_code == 404


async def test_a_batch_that_is_sent_again_with_its_keys_is_the_same(
    api: httpx.AsyncClient, server: dict[str, Any]
) -> None:
    jobs = [JOB | {"idempotency_key": f"key {number}"} for number in range(5)]
    first, second = [(await api.post("/v1/jobs:batch", json=jobs)).json()["ids"] for _ in range(2)]
    assert first == second


async def test_odd_characters_in_arguments_come_back_as_they_were(
    api: httpx.AsyncClient, server: dict[str, Any]
) -> None:
    answer = await api.post(
        "/v1/jobs",
        content=b'{"name": "srv__echo", "arguments": {"a\\u0000": "NUL \\u0000, mark \\u001a0000"}}',
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 202, answer.text
    assert answer.json()["params"] == {"a\x00": "NUL \x00, mark \x1a0000"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "srv__echo", "arguments": {"a": "half \\ud800"}}',
        b'{"name": "srv__echo", "idempotency_key": "\\ud800"}',
        b'{"name": "\\ud800"}',
        b'{"job_type": "resource_fetch", "name": {"server": "\\ud800", "uri": "x://y"}}',
    ],
)
async def test_half_a_surrogate_pair_is_refused_wherever_it_stands(
    api: httpx.AsyncClient, server: dict[str, Any], body: bytes
) -> None:
    answer = await api.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert (await api.get("/v1/jobs")).json()["items"] == []


async def test_no_secret_of_a_server_is_ever_shown(api: httpx.AsyncClient, database: HubDatabase) -> None:
    habits = own_server("habits")
    canary = "canary-7f3a"
    body = {"name": "srv", "command": habits.command, "args": [*habits.args], "env": {"TOKEN": canary}}
    answers = [await api.post("/v1/servers", json=body), await api.get("/v1/servers"), await api.get("/v1/servers/srv")]
    assert all(canary not in answer.text and answer.is_success for answer in answers)
    async with await psycopg.AsyncConnection.connect(database.admin_url) as connection:
        rows = await (await connection.execute("SELECT t::text, config_encrypted FROM system_servers AS t")).fetchall()
    assert len(rows) == 1
    assert canary.encode() not in rows[0][1]
    assert canary.encode().hex() not in rows[0][0]


async def test_the_vaults_keys_are_shown_by_their_ids_to_operators_only(
    api: httpx.AsyncClient, server: dict[str, Any]
) -> None:
    answer = await api.get("/v1/vault")
    assert answer.status_code == 200
    (key,) = answer.json()["keys"]
    assert {name: key[name] for name in ("key_id", "primary", "is_primary", "rows", "sealed", "rotated_at")} == {
        "key_id": answer.json()["primary_key_id"],
        "primary": True,
        "is_primary": True,
        "rows": 1,
        "sealed": 1,
        "rotated_at": None,
    }
    assert key["first_used_at"] == server["created_at"]
    assert len(key["key_id"]) == 8
    said(await api.get("/v1/vault", headers=await token(api, "ann")), 403, "not-allowed")


async def test_the_limit_of_a_server_is_told_without_counting_a_call(
    api: httpx.AsyncClient, app: FastAPI, server: dict[str, Any]
) -> None:
    path = f"/v1/servers/system/{server['id']}/limit"
    ann, bob = await token(api, "ann"), await token(api, "bob")
    user_id = UUID((await api.post("/v1/jobs", json=JOB, headers=ann)).json()["user_id"])
    for _ in range(3):
        fresh = await api.get(path, headers=ann)
    assert fresh.json() == {
        "limit_per_minute": 5,
        "user_limit_per_minute": 2,
        "remaining": 2,
        "retry_after": 0,
        "reset_after": 0,
    }
    assert fresh.headers["ratelimit-policy"] == '"server";q=5;w=60, "user";q=2;w=60'
    assert fresh.headers["ratelimit"] == '"server";r=5;t=0, "user";r=2;t=0'
    limiter = app.state.runtime.limiter
    taken = [await limiter.take(UUID(server["id"]), user_id, Limits(5, 2)) for _ in range(3)]
    assert [one.allowed for one in taken] == [True, True, False]
    spent = await api.get(path, headers=ann)
    assert spent.json()["remaining"] == 0
    assert 0 < spent.json()["retry_after"] <= 61
    assert 1 <= int(spent.headers["retry-after"]) <= 61
    assert spent.headers["ratelimit"].startswith('"server";r=3;t=')
    assert (await api.get(path, headers=bob)).json()["remaining"] == 2
    said(await api.get(f"/v1/servers/system/{uuid4()}/limit", headers=ann), 404, "not-found")


async def test_a_users_own_server_has_no_limit_for_each_user(api: httpx.AsyncClient, server: dict[str, Any]) -> None:
    ann = await token(api, "ann")
    body = {"name": "own", "url": "http://8.8.8.8:1/mcp", "user_limit_per_minute": 2}
    problem = said(await api.post("/v1/servers", json=body, headers=ann), 400, "invalid-config")
    assert "one user" in problem["error"]


async def test_tools_are_found_by_a_request_and_shown_on_request(
    api: httpx.AsyncClient, server: dict[str, Any]
) -> None:
    found = (await api.get("/v1/tools", params={"query": "an echo, please", "compact": "true", "limit": 3})).json()
    assert found["items"] == [{"name": "srv__echo", "description": ""}]
    assert set(found["tokens"]) == {"all", "shown", "saved"}
    shown = (await api.get("/v1/tools/srv__echo")).json()
    assert shown["definition"] == {"name": "echo", "inputSchema": {"type": "object"}}
    assert shown.keys() == (await api.get("/v1/tools")).json()["items"][0].keys()
    said(await api.get("/v1/tools/srv__none"), 404, "not-found")
    said(await api.get("/v1/tools", params={"query": "echo", "cursor": "x"}), 400, "invalid-request")
