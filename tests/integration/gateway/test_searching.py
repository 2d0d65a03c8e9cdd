"""Search mode through `/mcp`, in both eras: models find tools, read them, and call them as any other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from nexus_hub.catalog.store import store
from nexus_hub.models import ServerRef
from nexus_hub.upstream.snapshot import Snapshot
from tests.fixtures.served import SERVICE_KEY, Served
from tests.fixtures.upstreams import own_server

EMPTY = Snapshot("2026-07-28", None, None, {})
REF = ServerRef("system", UUID(int=1))
SEARCH, ONE_SERVER = "/mcp?tools=search", "/mcp/srv?tools=search"
MODE = ["call_tool", "describe_tool", "search_tools"]
MAIL = {
    "name": "send_mail",
    "description": "Send an e-mail. Slowly.",
    "inputSchema": {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]},
}
FILE = {"name": "read_file", "description": "Read a file.", "inputSchema": {"type": "object"}}
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])


@asynccontextmanager
async def connected(
    served: Served, path: str = SEARCH, *, mode: str = "auto", token: str = SERVICE_KEY
) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http,
        Client(streamable_http_client(served.url + path, http_client=http), mode=mode, cache=None) as client,
    ):
        yield client


async def put(
    served: Served, *tools: dict[str, Any], ref: ServerRef = REF, name: str = "srv", owner: UUID | None = None
) -> None:
    """Offer tools by a server that nobody calls."""
    async with served.database.transaction() as transaction:
        await transaction.run(
            b"INSERT INTO server_state (server_type, server_ref_id, user_id, name)"
            b" VALUES (%(type)s, %(id)s, %(owner)s, %(name)s)",
            type=ref.server_type,
            id=ref.server_ref_id,
            owner=owner,
            name=name,
        )
        await store(transaction, ref, name, owner, replace(EMPTY, tools=list(tools)))
    await served.until_indexed()


async def found(client: Client, **arguments: Any) -> list[str]:
    """Search, and give the names that were found."""
    result = await client.call_tool("search_tools", arguments)
    assert not result.is_error, result
    assert result.structured_content is not None
    return [tool["name"] for tool in result.structured_content["tools"]]


async def refused(client: Client, tool: str, arguments: dict[str, Any]) -> str:
    """Call a tool in vain; what the model reads."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return result.content[0].text  # type: ignore[union-attr]


@ERAS
async def test_three_tools_stand_in_place_of_all(served: Served, mode: str) -> None:
    await put(served, MAIL, FILE)
    async with connected(served, mode=mode) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert [name for name in names if not name.startswith("hub__")] == MODE


@ERAS
async def test_a_tool_is_found_described_and_called(served: Served, mode: str) -> None:
    await served.runtime.servers.register("lit", own_server("literal"))
    await put(served, MAIL, FILE)
    async with connected(served, mode=mode) as client:
        result = await client.call_tool("search_tools", {"query": "send an email"})
        line = {"name": "srv__send_mail", "description": "Send an e-mail."}
        assert result.structured_content == {"tools": [line], "more": False}
        shown = await client.call_tool("describe_tool", {"name": "srv__send_mail"})
        assert shown.structured_content == {**MAIL, "name": "srv__send_mail"}
        text = '{"content":[{"type":"text","text":"said"}]}'
        called = await client.call_tool("call_tool", {"name": "lit__say", "arguments": {"text": text}})
        assert called.content[0].text == "said"  # type: ignore[union-attr]


async def test_one_servers_tools_are_found_by_its_own_names(served: Served) -> None:
    await put(served, MAIL, FILE)
    await put(served, MAIL, ref=ServerRef("system", UUID(int=2)), name="other")
    async with connected(served, ONE_SERVER) as client:
        assert await found(client, query="mail") == ["send_mail"]
        shown = await client.call_tool("describe_tool", {"name": "send_mail"})
        assert shown.structured_content
        assert shown.structured_content["name"] == "send_mail"
    async with connected(served) as client:
        assert await found(client, query="mail", server="other") == ["other__send_mail"]


async def test_each_caller_finds_what_it_may_call(served: Served) -> None:
    (ann, ann_token), (_, bob_token) = await served.user("ann"), await served.user("bob")
    await put(served, MAIL)
    await put(
        served, {**MAIL, "name": "send_secret_mail"}, ref=ServerRef("user", uuid4()), name="own", owner=ann.user_id
    )
    seen = {}
    for name, token in {"ann": ann_token, "bob": bob_token, "operator": SERVICE_KEY}.items():
        async with connected(served, token=token) as client:
            seen[name] = sorted(await found(client, query="mail"))
            if name != "ann":
                assert "no tool" in await refused(client, "describe_tool", {"name": "own__send_secret_mail"})
    assert seen == {
        "ann": ["own__send_secret_mail", "srv__send_mail"],
        "bob": ["srv__send_mail"],
        "operator": ["srv__send_mail"],
    }


async def test_results_are_few_and_always_the_same(served: Served) -> None:
    await put(served, *({**FILE, "name": f"read_file_{number}"} for number in range(60)))
    async with connected(served) as client:
        first = await found(client, query="read a file")
        assert len(first) == 10
        assert await found(client, query="read a file") == first
        assert len(await found(client, query="read a file", limit=50)) == 50
        assert await found(client, query="read a file", limit=2) == first[:2]
        assert len(await found(client, query="")) == 10


async def test_a_model_reads_what_to_do_next(served: Served) -> None:
    await served.runtime.servers.register("lit", own_server("literal"))
    await put(served, MAIL, FILE)
    async with connected(served) as client:
        assert "Nearest: srv__send_mail" in await refused(client, "call_tool", {"name": "srv__send_mial"})
        assert "Nearest: srv__send_mail" in await refused(client, "describe_tool", {"name": "send_mail"})
        assert "The servers are: lit, srv." in await refused(client, "search_tools", {"query": "x", "server": "none"})
        assert "limit" in await refused(client, "search_tools", {"query": "x", "limit": 51})
        assert "'query' is required" in await refused(client, "search_tools", {})
        wrong = {"name": "lit__say", "arguments": {"text": 5}}
        assert "text: must be of type string" in await refused(client, "call_tool", wrong)
        nothing = await client.call_tool("search_tools", {"query": "zebra"})
        assert nothing.structured_content == {"tools": [], "more": False}
        assert "try other words" in nothing.content[1].text  # type: ignore[union-attr]


@pytest.mark.parametrize("query", ["\x00", "mail\x00", "' OR true --", "%", "a" * 100_000, "\u202e mail", "(((("])
async def test_any_text_may_be_looked_for(served: Served, query: str) -> None:
    await put(served, MAIL)
    async with connected(served) as client:
        assert await found(client, query=query) in ([], ["srv__send_mail"])


async def test_an_unknown_mode_is_refused(served: Served) -> None:
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {SERVICE_KEY}"}) as http:
        answer = await http.post(f"{served.url}/mcp?tools=some", json={})
    assert answer.status_code == 400


async def test_the_tools_of_search_mode_are_there_in_search_mode_only(served: Served) -> None:
    async with connected(served, "/mcp") as client:
        with pytest.raises(MCPError, match="Unknown tool"):
            await client.call_tool("search_tools", {"query": "x"})
