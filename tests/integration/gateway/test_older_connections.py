"""Servers of both eras that ask in the older era's way only: clients of that era are asked all the same."""

from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import pytest
import pytest_asyncio
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from nexus_hub.models import ServerRef
from nexus_hub.upstream.config import HttpConfig
from tests.fixtures.served import SERVICE_KEY, Served
from tests.fixtures.upstreams import Serve, own_server


@pytest_asyncio.fixture
async def lively(served: Served, serve: Serve, tmp_path: Path) -> None:
    """A server of both eras over HTTP."""
    process = await serve("lively", "--folder", str(tmp_path))
    await served.runtime.servers.register("lively", HttpConfig(url=process.url))


async def call(served: Served, tool: str, *, mode: str = "legacy", asks: bool = True) -> str:
    """Call a tool as a client that can be asked, or one that can't; what it is answered."""

    async def answer(context: Any, params: Any) -> types.ElicitResult | types.ErrorData:
        return types.ElicitResult(action="accept", content={"colour": "blue"})

    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {SERVICE_KEY}"}, timeout=60) as http,
        Client(
            streamable_http_client(f"{served.url}/mcp", http_client=http),
            mode=mode,
            elicitation_callback=answer if asks else None,
        ) as client,
    ):
        try:
            result = await client.call_tool(tool, {})
        except MCPError as error:
            return error.error.message
        return f"{result.is_error} {result.content[0].text}"  # type: ignore[union-attr]


def older(served: Served) -> list[bool]:
    """The servers that were spoken to in the older era, and if they took it."""
    return [connection is not None for _, connection in served.runtime.connections._older.values()]


@pytest.mark.usefixtures("lively")
async def test_a_client_of_the_older_era_is_asked_in_the_middle_of_a_call(served: Served) -> None:
    assert await call(served, "lively__ask_back") == "False accept: blue"
    assert await call(served, "lively__ask") == "False accept: blue"
    assert older(served) == [True]


@pytest.mark.usefixtures("lively")
async def test_all_other_clients_share_the_connection_in_the_newer_era(served: Served) -> None:
    assert (await call(served, "lively__echo", asks=False)).startswith("False")
    assert await call(served, "lively__ask", mode="auto") == "False accept: blue"
    assert "back-channel" in await call(served, "lively__ask_back", mode="auto")
    assert older(served) == []


async def test_a_command_is_not_started_twice(served: Served, tmp_path: Path) -> None:
    await served.runtime.servers.register("lively", own_server("lively", "--folder", str(tmp_path)))
    assert await call(served, "lively__ask") == "False accept: blue"
    assert older(served) == []


async def test_a_server_of_the_newer_era_alone_is_spoken_to_in_that(
    served: Served, serve: Serve, tmp_path: Path
) -> None:
    process = await serve("lively", "--folder", str(tmp_path), "--modern")
    await served.runtime.servers.register("lively", HttpConfig(url=process.url))
    for _ in range(2):
        assert await call(served, "lively__ask") == "False accept: blue"
    assert older(served) == [False]


async def test_a_server_that_is_forgotten_is_forgotten_in_both_eras(
    served: Served, serve: Serve, tmp_path: Path
) -> None:
    process = await serve("lively", "--folder", str(tmp_path))
    added = await served.runtime.servers.register("lively", HttpConfig(url=process.url))
    assert await call(served, "lively__ask_back") == "False accept: blue"
    await served.runtime.connections.forget(ServerRef(added.server_type, added.id))
    assert older(served) == []
    assert await call(served, "lively__ask_back") == "False accept: blue"
