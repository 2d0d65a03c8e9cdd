"""Listing and calling through `/mcp`, in both eras of the protocol."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from tests.fixtures.served import SERVICE_KEY, Served
from tests.fixtures.upstreams import own_server

ANSWER = '{"content":[{"type":"text","text":"h\\u00e9\\ud83d\\ude00"}]}'
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])


@asynccontextmanager
async def connected(
    served: Served, path: str = "/mcp", *, mode: str = "auto", token: str = SERVICE_KEY, **options: Any
) -> AsyncIterator[Client]:
    """A client of the SDK at one of the hub's addresses."""
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http,
        Client(streamable_http_client(served.url + path, http_client=http), mode=mode, **options) as client,
    ):
        yield client


@ERAS
async def test_tools_of_all_servers_are_listed_and_called_by_their_namespaced_names(served: Served, mode: str) -> None:
    for name in ("one", "two"):
        await served.runtime.servers.register(name, own_server("literal"))
    async with connected(served, mode=mode) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        result = await client.call_tool("two__say", {"text": ANSWER})
    assert [name for name in names if "__say" in name] == ["one__say", "two__say"]
    assert result.content[0].text == "hé\U0001f600"  # type: ignore[union-attr]


@ERAS
async def test_one_server_has_an_address_of_its_own_and_its_own_names(served: Served, mode: str) -> None:
    for name in ("one", "two"):
        await served.runtime.servers.register(name, own_server("literal"))
    async with connected(served, "/mcp/two", mode=mode) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert "say" in names
        assert not [name for name in names if name.startswith(("one__", "two__"))]
        assert not (await client.call_tool("say", {"text": ANSWER})).is_error


@ERAS
async def test_an_unknown_tool_is_an_error_of_the_protocol_that_names_it(served: Served, mode: str) -> None:
    async with connected(served, mode=mode) as client:
        with pytest.raises(MCPError, match="Unknown tool: two__say") as refused:
            await client.call_tool("two__say", {})
    assert refused.value.error.code == -32602


@ERAS
async def test_a_model_reads_which_argument_does_not_fit(served: Served, mode: str) -> None:
    await served.runtime.servers.register("one", own_server("literal"))
    async with connected(served, mode=mode) as client:
        result = await client.call_tool("one__say", {"text": 5})
    assert result.is_error
    assert "text: must be of type string" in result.content[0].text  # type: ignore[union-attr]


async def test_an_unknown_servers_address_is_not_found(served: Served) -> None:
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {SERVICE_KEY}"}) as http:
        answer = await http.post(f"{served.url}/mcp/nobody", json={})
    assert answer.status_code == 404
    assert "nobody" in answer.json()["error"]["message"]
