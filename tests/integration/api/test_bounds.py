"""Bounds of what one user's requests cost the others: turns, connections and statements."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from fastapi._compat import ModelField
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from psycopg_pool import PoolTimeout
from starlette.types import Message

from nexus_hub.access import tokens, turns, user_tokens, users
from nexus_hub.access.tokens import Authenticator, new_token
from nexus_hub.access.turns import Turns
from nexus_hub.api import access, catalog, events, internal, jobs, queue, servers, vault
from nexus_hub.api import users as user_routes
from nexus_hub.api.access import Lanes
from nexus_hub.api.app import create_app
from nexus_hub.errors import ApiProblem, NotAuthenticated, TooMany
from nexus_hub.jobs import store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.jobs.store import LARGE_RESULT_BYTES
from nexus_hub.json_object import JsonObject
from nexus_hub.models import OPERATOR, Principal, ServerRef
from nexus_hub.runtime import Runtime
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import SERVICE_KEY, Served, in_process, settings_of

LISTS = ("/v1/tools", "/v1/tools?query=time", "/v1/resources", "/v1/prompts", "/v1/jobs", "/v1/servers", "/v1/queue")
SINGLE = (f"/v1/jobs/{uuid4()}", "/v1/tools/srv__none", "/v1/servers/none")
CACHES = b"LOCK TABLE tool_cache, resource_cache, prompt_cache, job_results, user_servers IN ACCESS EXCLUSIVE MODE"


def only_one() -> Lanes:
    """Turns for one of each kind, and none who waits."""
    kinds = ("reads", "heavy", "large", "upstream", "streams")
    return Lanes(**{kind: Turns(kind, per_user=1, patience=0) for kind in kinds})


@pytest.fixture
def app(database: HubDatabase, tmp_path: Path) -> FastAPI:
    return create_app(settings_of(database, tmp_path, statement_seconds=0.2))


@pytest.fixture
async def api(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The operator's client."""
    async with in_process(app) as client:
        yield client


@pytest.fixture
def runtime(api: httpx.AsyncClient, app: FastAPI) -> Runtime:
    found: Runtime = app.state.runtime
    return found


async def add_user(runtime: Runtime, name: str) -> tuple[Principal, dict[str, str]]:
    """A new user, and the headers of its requests."""
    user = await users.add(runtime.database, name)
    return Principal(user.id), {"Authorization": f"Bearer {(await user_tokens.issue(runtime.database, name)).token}"}


def refused(answer: httpx.Response) -> bool:
    if answer.status_code != 429:
        return False
    assert (answer.json()["code"], answer.headers["retry-after"]) == ("too-many", "1")
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
    *(lane[0].dependency for lane in (access.HEAVY, access.UPSTREAM)),
    events._open_feed,
    events._open_job,
]


ROUTERS = [
    jobs.batches,
    *(module.router for module in (catalog, events, internal, jobs, queue, servers, user_routes, vault)),
]


def asks(dependant: Dependant, call: object) -> bool:
    return any(one.call == call or asks(one, call) for one in dependant.dependencies)


def every_query(dependant: Dependant) -> list[ModelField]:
    return dependant.query_params + [field for one in dependant.dependencies for field in every_query(one)]


def test_every_list_that_a_user_may_ask_for_takes_a_turn() -> None:
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    open_to_users = [
        route
        for route in routes
        if asks(route.dependant, access.get_principal) and not asks(route.dependant, access.require_operator)
        if {"limit", "query"} & {one.name for one in every_query(route.dependant)} or "events" in route.path
    ]
    assert len(open_to_users) > 6
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
    app.state.lanes = only_one()
    async with app.state.lanes.heavy.turn(ann):
        for path in (*LISTS, "/v1/health"):
            assert refused(await api.get(path, headers=anns)), path
            assert (await api.get(path, headers=bobs)).status_code == 200
            assert (await api.get(path)).status_code == 200
        assert refused(await api.post("/v1/jobs:batch", json=[{"name": "srv__none"}], headers=anns))
        assert refused(await api.get("/v1/jobs/events", headers=anns))
        for path in SINGLE:
            assert (await api.get(path, headers=anns)).status_code == 404
    for path in LISTS:
        assert (await api.get(path, headers=anns)).status_code == 200


async def test_what_a_user_has_tried_at_servers_is_bounded_too(
    api: httpx.AsyncClient, app: FastAPI, runtime: Runtime
) -> None:
    ann, anns = await add_user(runtime, "ann")
    app.state.lanes = only_one()
    reference = f"/v1/servers/user/{uuid4()}"
    async with app.state.lanes.upstream.turn(ann):
        server = {"name": "mine", "url": "https://mcp.example.com/mcp"}
        assert refused(await api.post("/v1/servers", json=server, headers=anns))
        for action in ("sync", "test"):
            assert refused(await api.post(f"{reference}/{action}", headers=anns))


async def test_as_many_lists_as_wait_are_answered_one_after_the_other(
    api: httpx.AsyncClient, app: FastAPI, runtime: Runtime
) -> None:
    ann, anns = await add_user(runtime, "ann")
    app.state.lanes = Lanes(
        streams=Turns("streams", per_user=1), heavy=Turns("lists", per_user=1, in_all=1, patience=60)
    )
    async with app.state.lanes.heavy.turn(ann):
        waiting = [asyncio.create_task(api.get("/v1/tools", headers=anns)) for _ in range(20)]
        assert (await api.get("/healthz")).status_code == 200
        assert not any(task.done() for task in waiting)
    answers = await asyncio.gather(*waiting)
    assert {answer.status_code for answer in answers} == {200}


async def test_who_reads_an_answer_slowly_keeps_no_turn(api: httpx.AsyncClient, app: FastAPI, runtime: Runtime) -> None:
    _, anns = await add_user(runtime, "ann")
    app.state.lanes = only_one()
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
    pool = runtime.database._pool
    held: list[psycopg.AsyncConnection[dict[str, Any]]] = []
    with suppress(PoolTimeout):  # the last one may be with a loop of the hub's
        while len(held) < pool.max_size:
            held.append(await pool.getconn(timeout=5))
    try:
        assert (await app.state.authenticator.bearer(token)).principal == ann
        with pytest.raises(NotAuthenticated):
            await app.state.authenticator.bearer("nxh_unknown")
        assert (await api.get("/v1/jobs", headers={"Authorization": "Bearer nxh_unknown"})).status_code == 401
    finally:
        for connection in held:
            await pool.putconn(connection)
    assert await user_tokens.revoke_all(runtime.database, "ann") == 1
    app.state.authenticator.forget()
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
    served.app.state.lanes = Lanes(Turns("event streams", per_user=2, patience=0))
    job_id = await served.stored(ann)
    async with served.client(hers) as client, served.client(his) as other, served.client(SERVICE_KEY) as operator:
        async with aclosing(client.events(str(job_id))) as first, aclosing(client.events()) as second:
            await anext(first)
            await anext(second)
            for path in (None, str(job_id)):
                with pytest.raises(ApiProblem, match="event streams") as refusal:
                    await anext(client.events(path))
                assert (refusal.value.status, refusal.value.code) == (429, "too-many")
            await served.stored(OPERATOR)
            async with aclosing(operator.events()) as third, aclosing(operator.events()) as fourth:
                await anext(third)
                await anext(fourth)
            assert (await other.request("GET", "/v1/jobs"))["items"] == []
        async with asyncio.timeout(30):
            while served.app.state.lanes.streams._lanes:
                await asyncio.sleep(0.01)
        async with aclosing(client.events(str(job_id))) as again:
            await anext(again)


async def test_a_stream_waits_for_its_turn_to_read_and_loses_no_end(served: Served) -> None:
    ann, hers = await served.user("ann")
    reads = Turns("reads", per_user=1, patience=0)
    served.app.state.lanes = Lanes(Turns("event streams", per_user=9), reads=reads)
    job_id: UUID = await served.stored(ann)
    seen: list[dict[str, Any]] = []
    async with served.client(hers) as client, aclosing(client.events(str(job_id))) as stream, asyncio.timeout(60):
        seen.append((await anext(stream)).data)
        async with reads.turn(ann):
            attempt = await served.claimed(job_id)
            await served.completed(attempt)
            await asyncio.sleep(0.1)
        seen += [event.data async for event in stream]
    assert seen[-1]["status"] == "completed"
    assert seen[-1]["result"] is not None


async def count_lookups(database: HubDatabase) -> int:
    """The lookups of tokens that wait in the database."""
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as connection:
        cursor = await connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'nexus-hub tokens'"
            " AND wait_event_type = 'Lock' AND datname = current_database()"
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def until_lookups(database: HubDatabase, count: int) -> None:
    async with asyncio.timeout(60):
        while await count_lookups(database) < count:
            await asyncio.sleep(0.02)


async def test_invented_tokens_leave_a_connection_to_those_that_held_before(
    api: httpx.AsyncClient, app: FastAPI, runtime: Runtime, database: HubDatabase
) -> None:
    (_, anns), (bob, bobs) = await add_user(runtime, "ann"), await add_user(runtime, "bob")
    assert (await api.get("/v1/jobs", headers=anns)).status_code == 200
    authenticator: Authenticator = app.state.authenticator
    authenticator.forget()
    async with await psycopg.AsyncConnection.connect(database.admin_url) as connection:
        await connection.execute("LOCK TABLE api_tokens IN ACCESS EXCLUSIVE MODE")
        invented = [
            asyncio.create_task(api.get("/v1/jobs", headers={"Authorization": f"Bearer {new_token()}"}))
            for _ in range(20)
        ]
        invented_elsewhere = [
            asyncio.create_task(authenticator.bearer(new_token(), f"192.0.2.{number}")) for number in range(20)
        ]
        await until_lookups(database, 1)
        await asyncio.sleep(0.2)  # those that went on would have come as far by now
        assert await count_lookups(database) == 1
        hers = asyncio.create_task(api.get("/v1/jobs", headers=anns))
        await until_lookups(database, 2)
        his = asyncio.create_task(authenticator.bearer(bobs["Authorization"].removeprefix("Bearer "), "192.0.2.200"))
        await asyncio.sleep(0.1)
    assert (await hers).status_code == 200
    assert (await his).principal == bob
    assert {answer.status_code for answer in await asyncio.gather(*invented)} == {401}
    found = await asyncio.gather(*invented_elsewhere, return_exceptions=True)
    assert all(isinstance(one, NotAuthenticated) for one in found)
    assert not authenticator._others._lanes


async def test_a_token_that_was_revoked_is_one_of_the_others(
    api: httpx.AsyncClient, app: FastAPI, runtime: Runtime
) -> None:
    _, anns = await add_user(runtime, "ann")
    authenticator: Authenticator = app.state.authenticator
    assert (await api.get("/v1/jobs", headers=anns)).status_code == 200
    assert len(authenticator._held) == 1
    assert await user_tokens.revoke_all(runtime.database, "ann") == 1
    authenticator.forget()
    for _ in range(2):
        assert (await api.get("/v1/jobs", headers=anns)).status_code == 401
    assert not authenticator._held


async def test_of_the_tokens_that_held_the_oldest_is_forgotten_when_there_are_too_many(
    api: httpx.AsyncClient, app: FastAPI, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MOST_HELD", 2)
    everybody = [(await add_user(runtime, name))[1] for name in ("ann", "bob", "eve")]
    for headers in everybody * 2:
        assert (await api.get("/v1/jobs", headers=headers)).status_code == 200
    assert len(app.state.authenticator._held) == 2


async def test_from_one_address_only_so_many_invented_tokens_wait(
    api: httpx.AsyncClient, app: FastAPI, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "MOST_WAITING", 3)
    _, anns = await add_user(runtime, "ann")
    authenticator: Authenticator = app.state.authenticator
    async with authenticator._others.turn_of("192.0.2.1"):
        waiting = [asyncio.create_task(authenticator.bearer(new_token(), "192.0.2.1")) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(TooMany, match="for each address"):
            await authenticator.bearer(new_token(), "192.0.2.1")
        hers = asyncio.create_task(authenticator.bearer(anns["Authorization"].removeprefix("Bearer "), "192.0.2.2"))
    await hers
    assert all(isinstance(one, NotAuthenticated) for one in await asyncio.gather(*waiting, return_exceptions=True))


async def large_result(served: Served, principal: Principal, size: int = LARGE_RESULT_BYTES) -> str:
    """A job of the principal's whose result has more bytes than that."""
    attempt = await served.claimed(await served.stored(principal))
    attempt.result = JsonObject.of({"content": [{"type": "text", "text": "x" * size}], "isError": False})
    assert await served.execution.record(attempt) == "completed"
    return str(attempt.id)


async def test_a_large_result_waits_for_its_turn_and_nothing_else_does(served: Served) -> None:
    (ann, hers), (bob, his) = await served.user("ann"), await served.user("bob")
    large = Turns("large results", per_user=1, patience=0)
    served.app.state.lanes = Lanes(Turns("event streams", per_user=9), large=large)
    job_id, bobs = await large_result(served, ann), await large_result(served, bob)
    small, pending = await large_result(served, ann, 1000), await served.stored(ann)
    async with served.client(hers) as client, served.client(his) as other:
        async with large.turn(ann):
            with pytest.raises(ApiProblem, match="large results") as refusal:
                await client.job(job_id)
            assert (refusal.value.status, refusal.value.code) == (429, "too-many")
            with pytest.raises(ApiProblem, match="large results"):
                await anext(client.events(job_id))
            for readable in (small, str(pending)):
                assert (await client.job(readable))["id"] == readable
                async with aclosing(client.events(readable)) as stream:
                    await anext(stream)
            assert len((await client.request("GET", "/v1/jobs"))["items"]) == 3
            assert len((await other.job(bobs))["result"]["content"][0]["text"]) == LARGE_RESULT_BYTES
        assert len((await client.job(job_id))["result"]["content"][0]["text"]) == LARGE_RESULT_BYTES
        async with aclosing(client.events(job_id)) as stream:
            assert (await anext(stream)).data["status"] == "completed"
    async with asyncio.timeout(30):
        while large._lanes:
            await asyncio.sleep(0.01)


async def test_a_repeated_request_whose_job_has_a_large_result_waits_for_its_turn_too(served: Served) -> None:
    ann = (await served.user("ann"))[0]
    request = JobRequest("tool_invoke", "srv__t", {}, idempotency_key="once")
    job, _ = await store.add(served.database, ann, request, ServerRef("system", uuid4()), "t")
    attempt = await served.claimed(job["id"])
    attempt.result = JsonObject.of({"content": [{"type": "text", "text": "x" * LARGE_RESULT_BYTES}]})
    assert await served.execution.record(attempt) == "completed"
    turns_taken = 0

    async def take_turn() -> None:
        nonlocal turns_taken
        turns_taken += 1

    again, place = await store.add(
        served.database, ann, request, ServerRef("system", uuid4()), "t", take_turn=take_turn
    )
    assert (again["id"], place, turns_taken) == (job["id"], None, 1)
    assert again == await store.get(served.database, ann, job["id"])


@pytest.mark.parametrize("path", ["", "/events"])
async def test_who_leaves_a_large_result_unread_keeps_its_turn_and_gets_no_third(served: Served, path: str) -> None:
    ann, hers = await served.user("ann")
    large = Turns("large results", per_user=2, patience=0)
    served.app.state.lanes = Lanes(Turns("event streams", per_user=50), large=large)
    job_id = await large_result(served, ann, 12 * 2**20)
    port = int(served.url.rsplit(":", 1)[1])
    unread: list[asyncio.StreamWriter] = []

    async def begin() -> bytes:
        """Ask and read no more than the status; what is not read stays with the hub."""
        with socket.socket() as small:
            small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            small.setblocking(False)
            await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", port))
            reader, writer = await asyncio.open_connection(sock=small.dup(), limit=1024)
        unread.append(writer)
        head = f"GET /v1/jobs/{job_id}{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {hers}\r\n\r\n"
        writer.write(head.encode())
        return await reader.readline()

    try:
        async with asyncio.timeout(60):
            assert [(await begin()).split()[1] for _ in range(2)] == [b"200", b"200"]
            for _ in range(5):
                assert (await begin()).split()[1] == b"429"
            assert large._lanes[ann.user_id].requests == 2
    finally:
        for writer in unread:
            writer.transport.abort()
    async with asyncio.timeout(30):
        while large._lanes:
            await asyncio.sleep(0.01)


async def test_a_stream_takes_one_turn_however_often_it_reads() -> None:
    turns_of_ann, ann = Turns("large results", per_user=1, patience=0), Principal(uuid4())
    async with turns_of_ann.later(ann) as take:
        async with turns_of_ann.turn(ann):
            pass
        for _ in range(3):
            await take()
        with pytest.raises(TooMany):
            async with turns_of_ann.turn(ann):
                pass
    async with turns_of_ann.turn(ann):
        pass
