"""Connectors log in at an outside issuer, oidc-provider, and call the hub's tools with its JWTs."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import jwt
import pytest
import pytest_asyncio

from tests.fixtures.connectors import (
    CHATGPT,
    DOCUMENTS,
    ChatGPTConnector,
    ClaudeCodeConnector,
    ClaudeConnector,
    Connector,
    Registered,
    signing_keys,
)
from tests.fixtures.connectors_hub import PUBLIC, SAY, ConnectorsHub, connectors_hub
from tests.fixtures.internet import internet
from tests.fixtures.oidc import Issuer, begin_anew
from tests.fixtures.people import IssuerUser
from tests.fixtures.postgres import MakeDatabase

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.node]
Make = Callable[[httpx.AsyncClient, str], Connector]
KINDS: dict[str, Make] = {
    "Claude, its document": ClaudeConnector,
    "Claude, registered": lambda http, url: ClaudeConnector(http, url, dcr_only=True),
    "Claude Code, registered": lambda http, url: ClaudeCodeConnector(http, url, dcr_only=True),
    "ChatGPT, its document": ChatGPTConnector,
    "ChatGPT, registered": lambda http, url: ChatGPTConnector(http, url, dcr_only=True),
}
SALES: dict[str, Any] = {
    "client_id": "sales",
    "client_secret": "sales-secret-0123456789",
    "redirect_uris": ["https://claude.ai/api/mcp/auth_callback"],
    "grant_types": ["authorization_code", "refresh_token"],
    "token_endpoint_auth_method": "client_secret_post",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(make_database: MakeDatabase, issuer_url: str) -> AsyncIterator[ConnectorsHub]:
    """A hub that takes the issuer's tokens, and makes a user of whoever comes with one."""
    async with internet() as web:
        known: dict[str, Any] = {"issuer": issuer_url, "issuer_creates_users": True}
        async with connectors_hub(make_database, web, **known) as made:
            yield made


@pytest_asyncio.fixture(loop_scope="module")
async def issuer(issuer_url: str) -> Issuer:
    """The issuer, which knows the makers' documents."""
    found = Issuer(issuer_url)
    await begin_anew(found, [SALES])
    documents: dict[str, Any] = {**DOCUMENTS, str(CHATGPT["jwks_uri"]): signing_keys()}
    await found.steer(documents=documents, claims={name: {"preferred_username": name} for name in ("carol", "dave")})
    return found


async def connected(connector: Connector, issuer: Issuer, account: str = "ann") -> None:
    async with httpx.AsyncClient() as browser:
        await connector.connect(IssuerUser(browser, issuer.url, account))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_connector_logs_in_and_calls_a_tool(hub: ConnectorsHub, issuer: Issuer, kind: str) -> None:
    async with hub.http() as http:
        connector = KINDS[kind](http, f"{PUBLIC}/mcp")
        await connected(connector, issuer)
        assert (await connector.call(*SAY))["content"][0]["text"] == "hello"
        said = jwt.decode(connector.tokens["access_token"], options={"verify_signature": False})
        assert (said["iss"], said["aud"]) == (issuer.url, f"{PUBLIC}/mcp")
        assert (await connector.refresh()).status_code == 200
        assert (await connector.call(*SAY))["content"]


async def test_chatgpt_signs_where_the_server_knows_that(hub: ConnectorsHub, issuer: Issuer) -> None:
    async with hub.http() as http:
        connector = ChatGPTConnector(http, f"{PUBLIC}/mcp")
        await connected(connector, issuer)
        assert connector.client == Registered(str(CHATGPT["client_id"]), method="private_key_jwt")


async def test_a_client_that_the_issuer_knows_is_typed_in(hub: ConnectorsHub, issuer: Issuer) -> None:
    async with hub.http() as http:
        given = Registered("sales", SALES["client_secret"], "client_secret_post")
        connector = ClaudeConnector(http, f"{PUBLIC}/mcp", given=given)
        await connected(connector, issuer)
        assert (await connector.call(*SAY))["content"]


async def test_the_hubs_own_authorization_server_is_off(hub: ConnectorsHub) -> None:
    async with hub.http() as http:
        for path in ("/.well-known/oauth-authorization-server", "/oauth/authorize"):
            assert (await http.get(f"{PUBLIC}{path}")).status_code == 404, path
        for path in ("/oauth/register", "/oauth/token", "/oauth/revoke"):
            assert (await http.post(f"{PUBLIC}{path}")).status_code == 404, path


async def test_each_account_is_a_user_of_its_own(hub: ConnectorsHub, issuer: Issuer) -> None:
    """An account that was seen before is the same user."""
    async with hub.http() as http, hub.served.client() as operator:
        for account in ("carol", "dave", "carol"):
            connector = ClaudeConnector(http, f"{PUBLIC}/mcp")
            await connected(connector, issuer, account)
            await connector.call(*SAY)
        names = [user["name"] for user in (await operator.request("GET", "/v1/users"))["items"]]
    assert names.count("carol") == names.count("dave") == 1
