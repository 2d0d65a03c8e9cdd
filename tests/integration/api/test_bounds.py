"""Bounds of what one user's requests cost the others: turns, connections and statements."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import SecretStr
from starlette.types import Message

from nexus_hub.access import users
from nexus_hub.access.turns import Turns
from nexus_hub.api import access, catalog, events, internal, jobs, servers, vault
from nexus_hub.api import users as user_routes
from nexus_hub.api.access import Admission
from nexus_hub.api.app import create_app
from nexus_hub.errors import ApiProblem, NotAuthenticated
from nexus_hub.models import OPERATOR, Principal
from nexus_hub.runtime import Runtime
from nexus_hub.settings import Settings
from nexus_hub.vault.keys import VaultKey
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import SERVICE_KEY, Served

KEY = "the-service-key-of-this-test"
LISTS = ("/v1/tools", "/v1/tools?query=time", "/v1/resources", "/v1/prompts", "/v1/jobs", "/v1/servers")
SINGLE = (f"/v1/jobs/{uuid4()}", "/v1/tools/srv__none", "/v1/servers/none")
CACHES = b"LOCK TABLE tool_cache, resource_cache, prompt_cache, job_results, user_servers IN ACCESS EXCLUSIVE MODE"


def only_one() -> Admission:
    """Turns for one of each kind, and none who waits."""
    kinds = ("light", "heavy", "upstream", "streams")
    return Admission(**{kind: Turns(kind, per_user=1, patience=0) for kind in kinds})


@pytest.fixture
def app(database: HubDatabase, tmp_path: Path) -> FastAPI:
    return create_app(
        Settings(
            home=tmp_path,
            database_url=SecretStr(database.app_url),
            service_key=SecretStr(KEY),
            vault_encryption_key=SecretStr(VaultKey.generate().reveal()),
            prefect_api_url="http://127.0.0.1:1/api",
            statement_seconds=0.2,
        )
    )


@pytest.fixture
async def api(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The operator's client."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hub", headers=headers) as client,
    ):
        yield client


@pytest.fixture
def runtime(api: httpx.AsyncClient, app: FastAPI) -> Runtime:
    found: Runtime = app.state.runtime
    return found


async def add_user(runtime: Runtime, name: str) -> tuple[Principal, dict[str, str]]:
    """A new user, and the headers of its requests."""
    user = await users.add(runtime.database, name)
    return Principal(user.id), {"Authorization": f"Bearer {await users.issue_token(runtime.database, name)}"}


def refused(answer: httpx.Response) -> bool:
    if answer.status_code != 429:
        return False
    assert (answer.json()["code"], answer.headers["retry-after"]) == ("too-many-requests", "1")
    return True


def lanes_of(dependant: Dependant) -> list[tuple[object, str | None]]:
    """The turns that a route takes, and when they end."""
    found: list[tuple[object, str | None]] = []
    for one in dependant.dependencies:
        if one.call in LANES:
            found.append((one.call, one.scope))
        found += lanes_of(one)
    return found


LANES = [
    *(lane[0].dependency for lane in (access.LIGHT, access.HEAVY, access.UPSTREAM)),
    events._open_feed,
    events._open_job,
]


ROUTERS = [
    jobs.batches,
    *(module.router for module in (catalog, events, internal, jobs, servers, user_routes, vault)),
]


def asks(dependant: Dependant, call: object) -> bool:
    return any(one.call == call or asks(one, call) for one in dependant.dependencies)


def test_every_route_that_a_user_may_ask_takes_a_turn() -> None:
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    open_to_users = [
        route
        for route in routes
        if asks(route.dependant, access.authenticate) and not asks(route.dependant, access.require_operator)
    ]
    assert len(open_to_users) > 15
    for route in open_to_users:
        lanes = lanes_of(route.dependant)
        assert len(lanes) == 1, route.path
        call, scope = lanes[0]
        # A turn that lasted until the answer is sent would be kept by who reads slowly; streams are sent in theirs.
        assert scope == "function" or call in (events._open_feed, events._open_job), route.path


async def test_of_a_users_lists_one_runs_at_a_time_and_nobody_else_is_held(
    api: httpx.AsyncClient, app: FastAPI, runtime: Runtime
) -> None:
    (ann, anns), (_, bobs) = await add_user(runtime, "ann"), await add_user(runtime, "bob")
    app.state.admission = only_one()
    async with app.state.admission.heavy.turn(ann):
        for path in LISTS:
            assert refused(await api.get(path, headers=anns)), path
            assert (await api.get(path, headers=bobs)).status_code == 200
            assert (await api.get(path)).status_code == 200
        assert refused(await api.post("/v1/jobs:batch", json=[{"name": "srv__none"}], headers=anns))
        assert refused(await api.get("/v1/jobs/events", headers=anns))
        for path in SINGLE:
            assert (await api.get(path, headers=anns)).status_code == 404
    for path in LISTS:
        assert (await api.get(path, headers=anns)).status_code == 200


async def test_all_else_of_a_user_is_bounded_too(api: httpx.AsyncClient, app: FastAPI, runtime: Runtime) -> None:
    ann, anns = await add_user(runtime, "ann")
    app.state.admission = only_one()
    reference = f"/v1/servers/user/{uuid4()}"
    async with app.state.admission.light.turn(ann):
        for path in (*SINGLE, reference, f"{reference}/limit"):
            assert refused(await api.get(path, headers=anns)), path
        for path in (f"/v1/jobs/{uuid4()}", reference):
            assert refused(await api.delete(path, headers=anns)), path
        assert refused(await api.post("/v1/jobs", json={"name": "srv__none"}, headers=anns))
    async with app.state.admission.upstream.turn(ann):
        server = {"name": "mine", "url": "https://mcp.example.com/mcp"}
        assert refused(await api.post("/v1/servers", json=server, headers=anns))
        for action in ("sync", "test"):
            assert refused(await api.post(f"{reference}/{action}", headers=anns))


async def test_as_many_lists_as_wait_are_answered_one_after_the_other(
    api: httpx.AsyncClient, app: FastAPI, runtime: Runtime
) -> None:
    ann, anns = await add_user(runtime, "ann")
    app.state.admission = Admission(heavy=Turns("lists", per_user=1, in_all=1, patience=60))
    async with app.state.admission.heavy.turn(ann):
        waiting = [asyncio.create_task(api.get("/v1/tools", headers=anns)) for _ in range(20)]
        assert (await api.get("/healthz")).status_code == 200
        assert not any(task.done() for task in waiting)
    answers = await asyncio.gather(*waiting)
    assert {answer.status_code for answer in answers} == {200}


async def test_who_reads_an_answer_slowly_keeps_no_turn(api: httpx.AsyncClient, app: FastAPI, runtime: Runtime) -> None:
    _, anns = await add_user(runtime, "ann")
    app.state.admission = only_one()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def receive() -> Message:
        await go_on.wait()
        return {"type": "http.disconnect"}

    async def send(_message: Message) -> None:
        begun.set()
        await go_on.wait()

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/tools",
        "raw_path": b"/v1/tools",
        "query_string": b"",
        "headers": [(b"authorization", anns["Authorization"].encode())],
        "scheme": "http",
        "server": ("hub", 80),
        "client": ("hub", 1),
        "root_path": "",
        "http_version": "1.1",
    }
    slow = asyncio.create_task(app(scope, receive, send))
    await begun.wait()
    assert (await api.get("/v1/tools", headers=anns)).status_code == 200
    go_on.set()
    await slow


async def test_tokens_are_looked_up_while_all_other_connections_are_in_use(
    api: httpx.AsyncClient, app: FastAPI, runtime: Runtime
) -> None:
    ann, anns = await add_user(runtime, "ann")
    token = anns["Authorization"].removeprefix("Bearer ")
    async with AsyncExitStack() as stack:
        for _ in range(runtime.database._pool.max_size):
            await stack.enter_async_context(runtime.database.transaction())
        assert await app.state.authenticator.principal(token) == ann
        with pytest.raises(NotAuthenticated):
            await app.state.authenticator.principal("nxh_unknown")
        assert (await api.get("/v1/jobs", headers={"Authorization": "Bearer nxh_unknown"})).status_code == 401
    assert await users.revoke_tokens(runtime.database, "ann") == 1
    assert (await api.get("/v1/jobs", headers=anns)).status_code == 401


@pytest.mark.parametrize("who", ["user", "operator"])
async def test_a_list_that_takes_too_long_is_ended_and_says_so(
    api: httpx.AsyncClient, runtime: Runtime, database: HubDatabase, who: str
) -> None:
    _, anns = await add_user(runtime, "ann")
    headers = anns if who == "user" else {}
    async with await psycopg.AsyncConnection.connect(database.admin_url) as connection:
        await connection.execute(CACHES)
        answers = [await api.get(path, headers=headers) for path in LISTS]
        if who == "user":
            answers += [await api.get(path, headers=headers) for path in (SINGLE[0], SINGLE[1], "/v1/jobs/events")]
        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(503, "took-too-long")] * len(
            answers
        )
        assert (await api.get("/healthz")).status_code == 200
    for path in LISTS:
        assert (await api.get(path, headers=headers)).status_code == 200


async def test_a_user_has_so_many_streams_open_and_another_for_each_that_ends(served: Served) -> None:
    (ann, hers), (_, his) = await served.user("ann"), await served.user("bob")
    served.app.state.admission = Admission(streams=Turns("event streams", per_user=2, patience=0))
    job_id = await served.stored(ann)
    async with served.client(hers) as client, served.client(his) as other, served.client(SERVICE_KEY) as operator:
        async with aclosing(client.events(str(job_id))) as first, aclosing(client.events()) as second:
            await anext(first)
            await anext(second)
            for path in (None, str(job_id)):
                with pytest.raises(ApiProblem, match="event streams") as refusal:
                    await anext(client.events(path))
                assert (refusal.value.status, refusal.value.code) == (429, "too-many-requests")
            await served.stored(OPERATOR)
            async with aclosing(operator.events()) as third, aclosing(operator.events()) as fourth:
                await anext(third)
                await anext(fourth)
            assert (await other.request("GET", "/v1/jobs"))["items"] == []
        async with asyncio.timeout(30):
            while served.app.state.admission.streams._lanes:
                await asyncio.sleep(0.01)
        async with aclosing(client.events(str(job_id))) as again:
            await anext(again)


async def test_a_stream_waits_for_its_turn_to_read_and_loses_no_end(served: Served) -> None:
    ann, hers = await served.user("ann")
    served.app.state.admission = Admission(light=Turns("requests", per_user=1, patience=0))
    light: Turns = served.app.state.admission.light
    job_id: UUID = await served.stored(ann)
    seen: list[dict[str, Any]] = []
    async with served.client(hers) as client, aclosing(client.events(str(job_id))) as stream, asyncio.timeout(60):
        seen.append((await anext(stream)).data)
        async with light.turn(ann):
            attempt = await served.claimed(job_id)
            await served.completed(attempt)
            await asyncio.sleep(0.1)
        seen += [event.data async for event in stream]
    assert seen[-1]["status"] == "completed"
    assert seen[-1]["result"] is not None
