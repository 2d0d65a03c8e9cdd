"""The SDK's own OAuth client logs in from an address alone, in both eras, and calls a tool."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import mcp_types as types
import pytest
import pytest_asyncio
from mcp import Client

from tests.fixtures.connectors_hub import SAY, ConnectorsHub, connectors_hub
from tests.fixtures.internet import internet
from tests.fixtures.oidc import Issuer, begin_anew
from tests.fixtures.people import IssuerUser
from tests.fixtures.postgres import MakeDatabase
from tests.fixtures.sdk_login import Kept, sdk_client
from tests.fixtures.upstreams import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")
ERAS = ("2026-07-28", "legacy")
DOCUMENT = {
    "client_id": "https://client.example/oauth/client.json",
    "client_name": "An SDK's client",
    "redirect_uris": ["http://127.0.0.1/callback"],
    "grant_types": ["authorization_code", "refresh_token"],
    "token_endpoint_auth_method": "none",
}


async def say(client: Client, tool: str = SAY[0]) -> str:
    result = await client.call_tool(tool, SAY[1])
    assert isinstance(result.content[0], types.TextContent)
    return result.content[0].text


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(make_database: MakeDatabase) -> AsyncIterator[ConnectorsHub]:
    """A hub without a public name: it is known as its clients name it."""
    with pytest.MonkeyPatch.context() as patch:
        async with internet() as web, connectors_hub(make_database, web, None) as made:
            web.publish(DOCUMENT)
            patch.setattr("nexus_hub.authorization.clients.fetch", web.fetch)
            yield made


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("document", [None, DOCUMENT["client_id"]], ids=["registered", "its document"])
async def test_it_logs_in_to_the_hub_itself(hub: ConnectorsHub, era: str, document: str | None) -> None:
    async with hub.person() as ann:
        kept = Kept(ann)
        for path, tool in (("/mcp", SAY[0]), ("/mcp/lit", "say")):
            kept.tokens = None
            async with sdk_client(f"{hub.base}{path}", kept, era, document) as client:
                assert await say(client, tool) == "hello"
        assert kept.tokens is not None
        assert kept.tokens.refresh_token is not None
        assert kept.client is not None
        assert (kept.client.client_id == document) == (document is not None)


async def test_it_renews_what_has_expired(hub: ConnectorsHub) -> None:
    """Without the person."""
    async with hub.person() as ann:
        kept = Kept(ann)
        async with sdk_client(f"{hub.base}/mcp", kept, "legacy") as client:
            assert await say(client) == "hello"
            assert kept.tokens is not None
            assert kept.auth is not None
            before, ann.token = kept.tokens, "is away"
            await hub.expire_access_tokens()
            kept.auth.context.token_expiry_time = 1.0
            assert await say(client) == "hello"
        assert kept.tokens.refresh_token != before.refresh_token


@pytest.mark.node
@pytest.mark.parametrize("era", ERAS)
async def test_it_logs_in_at_an_outside_issuer(make_database: MakeDatabase, issuer_url: str, era: str) -> None:
    issuer, port = Issuer(issuer_url), free_port()
    await begin_anew(issuer)
    known: dict[str, Any] = {"issuer": issuer.url, "issuer_creates_users": True}
    async with (
        internet() as web,
        connectors_hub(make_database, web, f"http://127.0.0.1:{port}", port, **known) as made,
        httpx.AsyncClient() as browser,
    ):
        kept = Kept(IssuerUser(browser, issuer.url))
        async with sdk_client(f"{made.base}/mcp", kept, era) as client:
            assert await say(client) == "hello"
