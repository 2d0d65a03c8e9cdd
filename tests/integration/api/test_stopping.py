"""The end of an API process with calls under way at `/mcp`."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from psycopg.rows import dict_row

from nexus_hub.errors import HubUnavailable
from tests.fixtures.direct import until
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import SERVICE_KEY, Served, serving
from tests.fixtures.upstreams import UPSTREAMS, free_port

LONG = 600


async def rows(database: HubDatabase) -> dict[str, dict[str, Any]]:
    """The jobs by their tools."""
    query = b"SELECT * FROM job_results"
    async with await psycopg.AsyncConnection.connect(database.owner_url, row_factory=dict_row) as connection:
        return {row["tool_name"]: row for row in await (await connection.execute(query)).fetchall()}


ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])


@dataclass
class Place:
    """An API with the server `srv`, whose tool `plain` gives no handles, and a client of it."""

    served: Served
    client: Client
    stop: Callable[[], Awaitable[None]]

    def call(self, tool: str, seconds: float = LONG) -> "asyncio.Task[Any]":
        """Begin a call that takes so long."""
        return asyncio.create_task(self.client.call_tool(f"srv__{tool}", {"tag": tool, "seconds": seconds}))


@asynccontextmanager
async def calling(
    database: HubDatabase, tmp_path: Path, mode: Any = "auto", grace: int = 2, **settings: Any
) -> AsyncIterator[Place]:
    command = {"command": sys.executable, "args": [str(UPSTREAMS / "journaled.py"), "--journal", str(tmp_path / "j")]}
    headers = {"Authorization": f"Bearer {SERVICE_KEY}"}
    async with AsyncExitStack() as hub, httpx2.AsyncClient(headers=headers, timeout=60) as http:
        api = serving(database, tmp_path, free_port(), api_grace_seconds=grace, **settings)
        served = await hub.enter_async_context(api)
        async with served.client() as operator:
            server = await operator.request("POST", "/v1/servers", {"name": "srv", **command})
            path = f"/v1/servers/{server['server_type']}/{server['id']}"
            await operator.request("PATCH", path, {"tools": {"plain": "never", "failing": "always"}})
        async with Client(streamable_http_client(f"{served.url}/mcp", http_client=http), mode=mode) as client:
            await client.list_tools()  # else it asks for them after a call, when nobody is there
            yield Place(served, client, hub.aclose)


async def until_running(database: HubDatabase, *tools: str) -> None:
    """Wait until these tools have jobs, and all of those run or wait."""

    async def are_running() -> bool:
        found = await rows(database)
        return found.keys() == set(tools) and all(row["status"] in {"running", "pending"} for row in found.values())

    await until(are_running)


@ERAS
async def test_a_call_without_a_handle_that_is_cut_off_ends_as_unknown_and_says_so(
    database: HubDatabase, tmp_path: Path, mode: Any
) -> None:
    async with calling(database, tmp_path, mode) as place:
        call = place.call("plain")
        await until_running(database, "plain")
        await place.stop()
        answer = await call
    assert answer.is_error
    assert "process was stopped during the call" in answer.content[0].text
    row = (await rows(database))["plain"]
    assert (row["status"], row["error_code"], row["lane"]) == ("failed", "outcome-unknown", "direct")


@ERAS
async def test_a_call_gets_its_handle_when_the_api_stops_and_goes_on_as_a_job(
    database: HubDatabase, tmp_path: Path, mode: Any
) -> None:
    async with calling(database, tmp_path, mode) as place:
        call = place.call("reading")
        await until_running(database, "reading")
        await place.stop()
        answer = await call
    row = (await rows(database))["reading"]
    assert not answer.is_error
    assert str(row["id"]) in answer.content[0].text
    assert (row["status"], row["lane"], row["attempt"]) == ("pending", "durable", 0)


@ERAS
async def test_whoever_waits_for_a_job_gets_its_handle_when_the_api_stops(
    database: HubDatabase, tmp_path: Path, mode: Any
) -> None:
    async with calling(database, tmp_path, mode) as place:
        call = place.call("failing")
        await until_running(database, "failing")
        await place.stop()
        answer = await call
    row = (await rows(database))["failing"]
    assert str(row["id"]) in answer.content[0].text
    assert (row["status"], row["lane"]) == ("pending", "durable")


async def test_whoever_takes_no_handle_is_told_of_the_job_that_goes_on(database: HubDatabase, tmp_path: Path) -> None:
    async with calling(database, tmp_path, handle_seconds=0) as place:
        call = place.call("failing")
        await until_running(database, "failing")
        await place.stop()
        answer = await call
    row = (await rows(database))["failing"]
    assert answer.is_error
    assert f"goes on as job {row['id']}" in answer.content[0].text
    assert row["status"] == "pending"


async def test_a_call_that_ends_within_the_grace_is_answered(database: HubDatabase, tmp_path: Path) -> None:
    async with calling(database, tmp_path, grace=60) as place:
        call = place.call("plain", seconds=1)
        await until_running(database, "plain")
        await place.stop()
        assert not (await call).is_error
    assert (await rows(database))["plain"]["status"] == "completed"


async def test_another_request_that_is_cut_off_is_told_so(database: HubDatabase, tmp_path: Path) -> None:
    command = {"command": sys.executable, "args": ["-c", f"import time; time.sleep({LONG})"]}
    async with calling(database, tmp_path) as place, place.served.client() as api:
        adding = asyncio.create_task(api.request("POST", "/v1/servers", {"name": "silent", **command}))
        while not place.served.app.state.lanes.upstream._lanes:
            await asyncio.sleep(0.01)
        await place.stop()
        with pytest.raises(HubUnavailable) as refused:
            await adding
    assert (refused.value.status, refused.value.code) == (503, "draining")
