"""Updates of resources reach the clients that subscribed, of both eras, by one subscription at the server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ResourceUpdated

from tests.fixtures.served import SERVICE_KEY, Served
from tests.fixtures.upstreams import own_server

pytestmark = pytest.mark.filterwarnings("ignore:resources/:mcp.shared.exceptions.MCPDeprecationWarning")
OVER = 60
URI = "speak://a"
UPDATED = "notifications/resources/updated"


class Ears:
    """What a client of the older era is told unasked."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Any] = asyncio.Queue()

    async def __call__(self, message: Any) -> None:
        self.heard.put_nowait(getattr(message, "root", message))

    async def next(self) -> str:
        """Give the next resource that was updated."""
        async with asyncio.timeout(OVER):
            while (message := await self.heard.get()).method != UPDATED:
                pass
        return str(message.params.uri)


@asynccontextmanager
async def connected(
    served: Served, *, mode: str = "auto", token: str = SERVICE_KEY, **more: Any
) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http,
        Client(streamable_http_client(f"{served.url}/mcp", http_client=http), mode=mode, cache=None, **more) as client,
    ):
        yield client


@pytest.fixture
async def speaking(served: Served) -> Served:
    """A hub with a server that tells of updates of its resources."""
    await served.runtime.servers.register("spk", own_server("speaking"))
    return served


async def update(client: Client, uri: str = URI) -> None:
    """Have the server say that a resource was updated."""
    assert not (await client.call_tool("spk__say", {"what": "updated", "uri": uri})).is_error


async def subscribed(client: Client) -> list[str]:
    """Give what the server was asked to tell of, and no longer."""
    result = await client.call_tool("spk__seen", {})
    assert result.structured_content
    return list(result.structured_content["subscribed"])


async def until_streams(served: Served, count: int) -> None:
    async with asyncio.timeout(OVER):
        while len(served.app.state.gateway.subscriptions._open) != count:
            await asyncio.sleep(0.01)


async def test_the_newer_era_is_told_of_what_it_asked_for(speaking: Served) -> None:
    wanted = [URI, "speak://made-of-the-template", "nobody://a"]
    async with connected(speaking) as client, client.listen(resource_subscriptions=wanted) as stream:
        assert stream.honored.resource_subscriptions == wanted[:2]
        await update(client)
        async with asyncio.timeout(OVER):
            assert await anext(stream) == ResourceUpdated(URI)


async def test_the_older_era_is_told_of_what_it_asked_for_until_it_asks_no_more(speaking: Served) -> None:
    ears = Ears()
    async with connected(speaking, mode="legacy", message_handler=ears) as client:
        await until_streams(speaking, 1)
        assert client.server_capabilities.resources
        assert client.server_capabilities.resources.subscribe
        await client.session.subscribe_resource(URI)
        await client.session.subscribe_resource("speak://b")
        await update(client)
        assert await ears.next() == URI
        await client.session.unsubscribe_resource(URI)
        await update(client)
        await update(client, "speak://b")
        assert await ears.next() == "speak://b"


async def test_a_resource_that_nobody_has_is_refused(speaking: Served) -> None:
    async with connected(speaking, mode="legacy") as client:
        with pytest.raises(MCPError, match="nobody://a"):
            await client.session.subscribe_resource("nobody://a")


async def test_a_server_knows_of_one_subscription_however_many_follow(speaking: Served) -> None:
    async with connected(speaking) as client:
        async with (
            client.listen(resource_subscriptions=[URI]) as first,
            connected(speaking) as other,
            other.listen(resource_subscriptions=[URI]) as second,
        ):
            await update(client)
            async with asyncio.timeout(OVER):
                assert [await anext(stream) for stream in (first, second)] == [ResourceUpdated(URI)] * 2
            assert (await subscribed(client)).count(f"+{URI}") == 1
        async with asyncio.timeout(OVER):
            while f"-{URI}" not in await subscribed(client):
                await asyncio.sleep(0.05)


async def test_what_a_session_subscribed_to_is_told_of_once_its_stream_is_open(speaking: Served) -> None:
    ears = Ears()
    async with connected(speaking, mode="legacy", message_handler=ears) as client:
        await until_streams(speaking, 1)
        await client.session.subscribe_resource(URI)
        for follower in list(speaking.app.state.gateway.subscriptions.followers._all):
            follower.close()
        await until_streams(speaking, 0)
        await until_streams(speaking, 1)
        watches = next(iter(speaking.app.state.gateway.subscriptions._open.values()))
        async with asyncio.timeout(OVER):
            while not watches._held:
                await asyncio.sleep(0.01)
        await update(client)
        assert await ears.next() == URI


async def test_a_session_subscribes_to_a_bounded_number(speaking: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nexus_hub.gateway.subscriptions.MOST_SUBJECTS", 2)
    async with connected(speaking, mode="legacy") as client:
        for name in ("a", "b"):
            await client.session.subscribe_resource(f"speak://{name}")
        await client.session.subscribe_resource(URI)
        with pytest.raises(MCPError, match="2 resources at most"):
            await client.session.subscribe_resource("speak://c")
