"""Direct calls as the API shows them, and the word of operators on how calls are made."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from nexus_hub.api.app import create_app
from nexus_hub.errors import HubError
from nexus_hub.execution.attempt import Attempt
from nexus_hub.execution.direct import CallCancelled, DirectCall, Handed
from nexus_hub.json_object import JsonObject
from nexus_hub.models import Principal, ServerRef
from nexus_hub.orchestration import submission
from nexus_hub.orchestration.submission import JobFailed
from nexus_hub.runtime import Runtime
from nexus_hub.upstream.requests import ToolCall
from tests.fixtures.direct import until
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import SERVICE_KEY, settings_of
from tests.fixtures.upstreams import UPSTREAMS, free_port

OPERATOR_HEADERS = {"Authorization": f"Bearer {SERVICE_KEY}"}
LONG = 600


@pytest.fixture
def app(database: HubDatabase, tmp_path: Path) -> FastAPI:
    return create_app(settings_of(database, tmp_path, free_port(), handle_seconds=0.2))


@pytest.fixture
async def api(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    started, stop = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        async with app.router.lifespan_context(app):
            started.set()
            await stop.wait()

    running = asyncio.create_task(run())
    await asyncio.wait({running, asyncio.create_task(started.wait())}, return_when=asyncio.FIRST_COMPLETED)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub", headers=OPERATOR_HEADERS) as client:
        yield client
    stop.set()
    await running


@pytest.fixture
async def server(api: httpx.AsyncClient, tmp_path: Path) -> dict[str, Any]:
    """A server whose calls take as long as they are told to."""
    command = {"command": sys.executable, "args": [str(UPSTREAMS / "journaled.py"), "--journal", str(tmp_path / "j")]}
    answer = await api.post("/v1/servers", json={"name": "srv", **command, "handle_seconds": 30, "durable": "long"})
    made: dict[str, Any] = answer.json()
    assert answer.status_code == 201, made
    return made


def runtime_of(app: FastAPI) -> Runtime:
    runtime: Runtime = app.state.runtime
    return runtime


def make(server: dict[str, Any], tool: str = "plain", seconds: float = 0, **more: Any) -> DirectCall:
    ref = ServerRef("system", UUID(server["id"]))
    return DirectCall(ref, ToolCall(tool, {"tag": "a", "seconds": seconds}), None, f"srv__{tool}", **more)


async def change(api: httpx.AsyncClient, server: dict[str, Any], **said: Any) -> dict[str, Any]:
    answer = await api.patch(f"/v1/servers/system/{server['id']}", json=said)
    changed: dict[str, Any] = answer.json()
    assert answer.status_code == 200, changed
    return changed


async def ended(api: httpx.AsyncClient, job_id: object) -> dict[str, Any]:
    """The job, once it has ended."""
    job: dict[str, Any] = {}

    async def has_ended() -> bool:
        job.update((await api.get(f"/v1/jobs/{job_id}")).json())
        return job["completed_at"] is not None

    await until(has_ended)
    return job


async def test_a_job_says_which_lane_it_is_in(app: FastAPI, api: httpx.AsyncClient, server: dict[str, Any]) -> None:
    answer = await runtime_of(app).direct.call(make(server, seconds=1, handle_seconds=0.1))
    assert isinstance(answer, Handed)
    job = (await api.get(f"/v1/jobs/{answer.job_id}")).json()
    assert (job["lane"], job["status"], job["flow_run_id"], job["waits"]) == ("direct", "running", None, None)
    assert job["handed_at"] is not None
    assert (await ended(api, answer.job_id))["lane"] == "direct"
    durable = (await api.post("/v1/jobs", json={"name": "srv__plain", "arguments": {"tag": "b", "seconds": 0}})).json()
    assert (durable["lane"], durable["handed_at"]) == ("durable", None)
    listed = (await api.get("/v1/jobs")).json()["items"]
    assert [job["lane"] for job in listed] == ["durable", "direct"]


@pytest.mark.parametrize("handle_seconds", [0.1, None])
async def test_a_direct_call_is_cancelled_like_any_job(
    app: FastAPI, api: httpx.AsyncClient, server: dict[str, Any], handle_seconds: float | None
) -> None:
    calling = asyncio.create_task(
        runtime_of(app).direct.call(make(server, seconds=LONG, handle_seconds=handle_seconds))
    )

    async def is_running() -> bool:
        return bool((await api.get("/v1/jobs?status=running")).json()["items"])

    await until(is_running)
    if handle_seconds:
        await calling
    (job,) = (await api.get("/v1/jobs?status=running")).json()["items"]
    assert (await api.delete(f"/v1/jobs/{job['id']}")).json()["status"] == "cancelled"
    if handle_seconds is None:
        with pytest.raises(CallCancelled):
            await calling
    await until(lambda: not runtime_of(app).direct._flights)
    assert (await ended(api, job["id"]))["error_code"] == "cancelled"
    assert (await api.delete(f"/v1/jobs/{job['id']}")).status_code == 409


async def test_direct_calls_make_no_job_wait(app: FastAPI, api: httpx.AsyncClient, server: dict[str, Any]) -> None:
    calling = asyncio.create_task(runtime_of(app).direct.call(make(server, seconds=LONG)))

    async def is_running() -> bool:
        return bool((await api.get("/v1/jobs?status=running")).json()["items"])

    await until(is_running)
    job = await api.post("/v1/jobs", json={"name": "srv__plain", "arguments": {"tag": "b", "seconds": 0}})
    assert (await api.get(f"/v1/jobs/{job.json()['id']}")).json()["waits"]["for"] == "prefect"
    queue = (await api.get("/v1/queue")).json()
    assert (queue["running"], queue["waiting"]) == (1, 1)
    calling.cancel()


async def test_a_server_shows_how_its_tools_are_called(api: httpx.AsyncClient, server: dict[str, Any]) -> None:
    assert (server["durable"], server["handle_seconds"], server["durable_tools"]) == ("long", 30, {})
    changed = await change(api, server, durable="always", tools={"plain": "never", "gone": "long"})
    assert (changed["durable"], changed["handle_seconds"]) == ("always", 30)
    assert changed["durable_tools"] == {"gone": "long", "plain": "never"}
    assert changed["revision"] == server["revision"], "connections stay as they are"
    changed = await change(api, server, durable=None, handle_seconds=None, tools={"gone": None})
    assert (changed["durable"], changed["handle_seconds"]) == ("long", None)
    assert changed["durable_tools"] == {"plain": "never"}
    assert (await change(api, server))["durable_tools"] == {"plain": "never"}


@pytest.mark.parametrize(
    "said",
    [{"durable": "sometimes"}, {"handle_seconds": -1}, {"tools": {"plain": "x"}}, {"tools": {"": "long"}}, {"x": 1}],
)
async def test_a_word_that_means_nothing_is_refused(
    api: httpx.AsyncClient, server: dict[str, Any], said: dict[str, Any]
) -> None:
    assert (await api.patch(f"/v1/servers/system/{server['id']}", json=said)).status_code in {400, 422}
    assert (await api.get("/v1/servers/srv")).json()["durable_tools"] == {}


async def test_only_operators_have_a_word_on_a_system_server(api: httpx.AsyncClient, server: dict[str, Any]) -> None:
    await api.post("/v1/users", json={"name": "ann"})
    token = (await api.post("/v1/users/ann/tokens")).json()["token"]
    asked = await api.patch(
        f"/v1/servers/system/{server['id']}",
        json={"durable": "always"},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert asked.status_code == 403


async def test_a_word_goes_with_its_server(
    api: httpx.AsyncClient, server: dict[str, Any], database: HubDatabase
) -> None:
    await change(api, server, durable="always", tools={"plain": "never"})
    await api.delete(f"/v1/servers/system/{server['id']}")
    with psycopg.connect(database.owner_url) as connection:
        assert connection.execute("SELECT count(*) FROM call_policies").fetchone() == (0,)


async def carried(app: FastAPI, job_id: UUID) -> None:
    """Run a job as a worker does."""
    execution = runtime_of(app).execution
    claimed = await execution.claim(job_id, 1, None)
    assert isinstance(claimed, Attempt)
    with execution.hold(claimed):
        try:
            await execution.make_steps().run(claimed)
        except HubError as error:
            claimed.failure = error
        await execution.record(claimed)


async def pending(api: httpx.AsyncClient) -> UUID:
    """The one pending job, once it is there."""
    found: list[dict[str, Any]] = []

    async def is_there() -> bool:
        found[:] = (await api.get("/v1/jobs?status=pending")).json()["items"]
        return bool(found)

    await until(is_there)
    return UUID(found[0]["id"])


async def test_a_call_that_is_durable_always_is_a_job_that_is_waited_for(
    app: FastAPI, api: httpx.AsyncClient, server: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "LOOK_SECONDS", LONG)
    await change(api, server, durable="always")
    calling = asyncio.create_task(runtime_of(app).direct.call(make(server)))
    job_id = await pending(api)
    await carried(app, job_id)
    answer = await calling
    assert isinstance(answer, JsonObject)
    job = (await api.get(f"/v1/jobs/{job_id}")).json()
    assert (job["result"], job["lane"], job["attempt"]) == (dict(answer), "durable", 1)


async def test_a_call_that_is_durable_always_is_handed_over_too(
    app: FastAPI, api: httpx.AsyncClient, server: dict[str, Any]
) -> None:
    await change(api, server, durable="always")
    answer = await runtime_of(app).direct.call(make(server, handle_seconds=0.1))
    assert isinstance(answer, Handed)
    assert await pending(api) == answer.job_id


async def test_a_caller_that_leaves_cancels_its_job(
    app: FastAPI, api: httpx.AsyncClient, server: dict[str, Any]
) -> None:
    await change(api, server, durable="always", handle_seconds=0)
    calling = asyncio.create_task(runtime_of(app).direct.call(make(server)))
    job_id = await pending(api)
    calling.cancel()
    assert (await ended(api, job_id))["status"] == "cancelled"


async def test_a_job_that_fails_or_is_cancelled_says_so_to_who_waits_for_it(
    app: FastAPI, api: httpx.AsyncClient, server: dict[str, Any]
) -> None:
    await runtime_of(app).direct.call(make(server))
    await change(api, server, durable="always", handle_seconds=0)
    calling = asyncio.create_task(runtime_of(app).direct.call(make(server, seconds=LONG, timeout_seconds=1)))
    await carried(app, await pending(api))
    with pytest.raises(JobFailed, match="gave no answer") as caught:
        await calling
    assert caught.value.code == "upstream-timed-out"
    calling = asyncio.create_task(runtime_of(app).direct.call(make(server)))
    await api.delete(f"/v1/jobs/{await pending(api)}")
    with pytest.raises(CallCancelled):
        await calling


async def test_several_wait_for_one_job(app: FastAPI, api: httpx.AsyncClient, server: dict[str, Any]) -> None:
    await change(api, server, durable="always")
    answer = await runtime_of(app).direct.call(make(server, handle_seconds=0.1))
    assert isinstance(answer, Handed)
    waiting = [asyncio.create_task(runtime_of(app).submission.wait(Principal(), answer.job_id, LONG)) for _ in range(3)]
    assert await runtime_of(app).submission.wait(Principal(), answer.job_id, 0.05) is None
    await carried(app, answer.job_id)
    rows = await asyncio.gather(*waiting)
    assert [row and row["status"] for row in rows] == ["completed"] * 3
    assert not runtime_of(app).submission._awaited
