"""A change of what a user may do reaches that user's sessions at once, and nobody else's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ResourceUpdated, SubscriptionLost, ToolsListChanged

from nexus_hub.models import Principal
from tests.fixtures.allowed import close_hub, grant
from tests.fixtures.served import SERVICE_KEY, Served
from tests.fixtures.upstreams import own_server

OVER = 60
URI = "speak://a"


@asynccontextmanager
async def connected(served: Served, token: str, path: str = "/mcp") -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http,
        Client(streamable_http_client(f"{served.url}{path}", http_client=http), cache=None) as client,
    ):
        yield client


@pytest.fixture
async def closed(served: Served) -> Served:
    """A closed hub with one server."""
    await served.runtime.servers.register("spk", own_server("speaking"))
    await close_hub(served.database)
    return served


async def tools(client: Client) -> list[str]:
    """The names of the servers' tools that a client lists."""
    return [one.name for one in (await client.list_tools()).tools if not one.name.startswith("hub__")]


async def until_heard(stream: Any, kind: type) -> None:
    async with asyncio.timeout(OVER):
        async for event in stream:
            if isinstance(event, kind):
                return


async def revoke_all(served: Served, user: Principal) -> None:
    async with served.client() as api:
        await api.request("DELETE", f"/v1/groups/of-{user.user_id}")


async def test_who_is_granted_a_server_is_told_and_others_are_not(closed: Served) -> None:
    ann, ann_token = await closed.user("ann")
    _, bob_token = await closed.user("bob")
    async with connected(closed, ann_token) as hers, connected(closed, bob_token) as his:
        assert await tools(hers) == await tools(his) == []
        async with hers.listen(tools_list_changed=True) as stream, his.listen(tools_list_changed=True) as other:
            await grant(closed.database, ann, "list", server="spk", tool="say")
            await until_heard(stream, ToolsListChanged)
            assert await tools(hers) == ["spk__say"]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.5):
                    await anext(aiter(other))
            assert await tools(his) == []
        refused = await hers.call_tool("spk__say", {"what": "updated", "uri": URI})
        assert refused.is_error
        assert "You may see the tool spk__say and not call it" in refused.content[0].text  # type: ignore[union-attr]
        with pytest.raises(MCPError, match="Unknown tool: spk__say"):
            await his.call_tool("spk__say", {"what": "updated", "uri": URI})


async def test_a_subscription_ends_with_the_right_to_read(closed: Served) -> None:
    ann, token = await closed.user("ann")
    await grant(closed.database, ann, "call", server="spk")
    async with connected(closed, token) as hers, connected(closed, SERVICE_KEY) as operator:
        async with hers.listen(tools_list_changed=True, resource_subscriptions=[URI]) as stream:
            await operator.call_tool("spk__say", {"what": "updated", "uri": URI})
            await until_heard(stream, ResourceUpdated)
            await grant(closed.database, ann, "list", server="spk")
            await until_heard(stream, ToolsListChanged)
            seen = await operator.call_tool("spk__seen", {})
            assert seen.structured_content is not None
            assert seen.structured_content["subscribed"] == [f"+{URI}", f"-{URI}"]
        async with hers.listen(resource_subscriptions=[URI]) as stream:
            assert not stream.honored.resource_subscriptions
        with pytest.raises(MCPError, match="You may see the resource"):
            await hers.read_resource(URI)


async def test_the_address_of_a_server_ends_when_it_is_hidden(closed: Served) -> None:
    ann, token = await closed.user("ann")
    await grant(closed.database, ann, "call", server="spk")
    async with connected(closed, token, "/mcp/spk") as hers:
        assert "say" in await tools(hers)
        async with hers.listen(tools_list_changed=True) as stream, asyncio.timeout(OVER):
            await revoke_all(closed, ann)
            with suppress(SubscriptionLost):  # one of the two ways in which the hub says that it ends
                async for _ in stream:
                    pass
        with pytest.raises((MCPError, httpx2.HTTPError)):
            await hers.list_tools()
