"""Connectors log in to the hub from its address alone, by the rules of Claude's and ChatGPT's, and call a tool.

Against the hub's own authorization server, under a public name behind a proxy that ends TLS.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.connectors import (
    CHATGPT,
    CLAUDE,
    CLAUDE_CODE,
    DOCUMENTS,
    ChatGPTConnector,
    ClaudeCodeConnector,
    ClaudeConnector,
    Connector,
    Registered,
    RuleBroken,
    challenge_of,
)
from tests.fixtures.connectors_hub import PUBLIC, SAY, ConnectorsHub, connectors_hub
from tests.fixtures.internet import internet
from tests.fixtures.postgres import MakeDatabase

pytestmark = pytest.mark.asyncio(loop_scope="module")
LOOK_UPS = ["POST /mcp 401", "GET /.well-known/oauth-protected-resource/mcp 200"]
SERVER = "GET /.well-known/oauth-authorization-server 200"
Make = Callable[[httpx.AsyncClient, str], Connector]
KINDS: dict[str, Make] = {
    "Claude, its document": ClaudeConnector,
    "Claude, registered": lambda http, url: ClaudeConnector(http, url, dcr_only=True),
    "Claude Code, its document": ClaudeCodeConnector,
    "Claude Code by number": lambda http, url: ClaudeCodeConnector(http, url, host="127.0.0.1", port=50123),
    "Claude Code, registered": lambda http, url: ClaudeCodeConnector(http, url, dcr_only=True),
    "ChatGPT, its document": ChatGPTConnector,
    "ChatGPT, registered": lambda http, url: ChatGPTConnector(http, url, dcr_only=True),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(make_database: MakeDatabase) -> AsyncIterator[ConnectorsHub]:
    """A hub whose clients' documents are where their makers publish them."""
    with pytest.MonkeyPatch.context() as patch:
        async with internet() as web, connectors_hub(make_database, web) as made:
            web.publish(*DOCUMENTS.values())
            patch.setattr("nexus_hub.authorization.clients.fetch", web.fetch)
            yield made


async def connected(hub: ConnectorsHub, connector: Connector) -> dict[str, Any]:
    """Log in as ann; what the page of consent showed."""
    async with hub.person() as ann:
        await connector.connect(ann)
        return ann.seen[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["/mcp", "/mcp/lit"])
async def test_a_connector_logs_in_and_calls_a_tool(hub: ConnectorsHub, kind: str, path: str) -> None:
    async with hub.http() as http:
        connector = KINDS[kind](http, f"{PUBLIC}{path}")
        shown = await connected(hub, connector)
        tool = SAY[0] if path == "/mcp" else "say"
        result = await connector.call(tool, SAY[1])
        assert result["content"][0]["text"] == "hello"
        assert connector.tokens["access_token"].startswith("nxa_")
        assert shown["client"]["name"] == connector.name
        assert shown["resource"] == f"{PUBLIC}{path}"


async def test_a_connector_that_names_its_document_registers_nowhere(hub: ConnectorsHub) -> None:
    """The look-ups come in the order of the rules, each at the first place that is tried."""
    async with hub.http() as http:
        for connector in (ClaudeConnector(http, f"{PUBLIC}/mcp"), ChatGPTConnector(http, f"{PUBLIC}/mcp")):
            await connected(hub, connector)
            assert connector.trace == [*LOOK_UPS, SERVER, "POST /oauth/token 200"]
            assert connector.client is not None
            assert connector.client.method == "none"
    assert {CLAUDE["client_id"], CHATGPT["client_id"]} <= set(hub.internet.fetched)


async def test_a_connector_that_registers_does_so_once(hub: ConnectorsHub) -> None:
    async with hub.http() as http:
        connector = ChatGPTConnector(http, f"{PUBLIC}/mcp", dcr_only=True)
        await connected(hub, connector)
        assert connector.trace == [*LOOK_UPS, SERVER, "POST /oauth/register 201", "POST /oauth/token 200"]


@pytest.mark.parametrize("kind", [ClaudeConnector, ChatGPTConnector])
async def test_a_client_that_was_registered_before_is_typed_in(hub: ConnectorsHub, kind: type[Connector]) -> None:
    """With a secret where it was given one, and without."""
    for method in ("none", "client_secret_post", "client_secret_basic"):
        async with hub.http() as http:
            document = CLAUDE if kind is ClaudeConnector else CHATGPT
            sent = {"redirect_uris": document["redirect_uris"], "token_endpoint_auth_method": method}
            made = (await http.post(f"{PUBLIC}/oauth/register", json={"client_name": "typed in", **sent})).json()
            given = Registered(made["client_id"], made.get("client_secret"), method)
            connector = kind(http, f"{PUBLIC}/mcp", given=given)
            await connected(hub, connector)
            assert (await connector.call(*SAY))["content"]
            assert (await connector.refresh()).status_code == 200


async def test_the_page_of_consent_names_client_redirect_and_scopes(hub: ConnectorsHub) -> None:
    async with hub.http() as http:
        shown = await connected(hub, ClaudeConnector(http, f"{PUBLIC}/mcp"))
    assert shown["client"] == {"name": "Claude", "id": CLAUDE["client_id"], "host": "claude.ai", "verified": True}
    assert shown["redirect_host"] == "claude.ai"
    assert {one["scope"] for one in shown["scopes"]} == {"tools:list", "tools:call", "jobs"}


async def test_a_registered_client_is_not_shown_as_verified(hub: ConnectorsHub) -> None:
    """Anybody may register under any name."""
    async with hub.http() as http:
        shown = await connected(hub, ClaudeConnector(http, f"{PUBLIC}/mcp", dcr_only=True))
    assert (shown["client"]["name"], shown["client"]["verified"]) == ("Claude", False)
    assert shown["redirect_host"] == "claude.ai"


async def test_an_expired_token_is_refreshed_and_the_call_goes_on(hub: ConnectorsHub) -> None:
    """A 401 is answered with a refresh: the refresh token rotates, and the call is sent again."""
    async with hub.http() as http:
        connector = ClaudeConnector(http, f"{PUBLIC}/mcp")
        await connected(hub, connector)
        await connector.call(*SAY)
        before = dict(connector.tokens)
        await hub.expire_access_tokens()
        assert (await connector.call(*SAY))["content"]
        assert connector.trace[-3:] == ["tools/call 401", "POST /oauth/token 200", "tools/call 200"]
        assert connector.tokens["refresh_token"] != before["refresh_token"]
        assert connector.tokens["access_token"] != before["access_token"]


async def test_a_connector_without_the_challenge_finds_the_metadata(hub: ConnectorsHub) -> None:
    """It looks below the well-known path of the address."""
    async with hub.http() as http:
        for path in ("/mcp", "/mcp/lit"):
            connector = ClaudeConnector(http, f"{PUBLIC}{path}", blind=True)
            found = await connector.discover()
            assert found.resource["resource"] == f"{PUBLIC}{path}"
            assert connector.trace[1] == f"GET /.well-known/oauth-protected-resource{path} 200"


async def test_the_look_up_of_openid_connect_finds_nothing(hub: ConnectorsHub) -> None:
    """The hub is no provider of identities."""
    async with hub.http() as http:
        assert (await http.get(f"{PUBLIC}/.well-known/openid-configuration")).status_code == 404


async def test_a_refresh_token_that_is_good_no_more_is_an_invalid_grant(hub: ConnectorsHub) -> None:
    """Connectors log in again at this error alone."""
    async with hub.http() as http:
        connector = ClaudeConnector(http, f"{PUBLIC}/mcp")
        await connected(hub, connector)
        connector.tokens["refresh_token"] = "nxr_" + "x" * 43
        answer = await connector.refresh()
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_a_client_that_was_forgotten_is_an_invalid_client(hub: ConnectorsHub) -> None:
    """Claude registers anew at a 401 with this error."""
    async with hub.http() as http:
        connector = ClaudeConnector(http, f"{PUBLIC}/mcp", dcr_only=True)
        await connected(hub, connector)
        connector.client = Registered("unknown-client")
        answer = await connector.refresh()
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_a_person_who_says_no_is_told_to_the_client(hub: ConnectorsHub) -> None:
    """By the error, with the issuer and the state."""
    async with hub.http() as http, hub.person(says_yes=False) as ann:
        connector = ChatGPTConnector(http, f"{PUBLIC}/mcp")
        with pytest.raises(RuleBroken, match="access_denied"):
            await connector.connect(ann)


async def test_a_person_may_grant_less(hub: ConnectorsHub) -> None:
    """Only lists are allowed then; the refusal of a call names what it needs."""
    async with hub.http() as http, hub.person(scopes=["tools:list"]) as ann:
        connector = ClaudeConnector(http, f"{PUBLIC}/mcp")
        await connector.connect(ann)
        assert connector.tokens["scope"] == "tools:list"
        assert await connector.tools()
        with pytest.raises(RuleBroken, match="403"):
            await connector.call(*SAY)


@pytest.mark.parametrize("kind", [ClaudeConnector, ChatGPTConnector])
async def test_a_call_that_needs_more_is_asked_for_and_goes_on(hub: ConnectorsHub, kind: type[Connector]) -> None:
    """The refusal names what is missing; the person grants it, and keeps what was granted before."""
    async with hub.http() as http, hub.person(scopes=["tools:list"]) as ann:
        connector = kind(http, f"{PUBLIC}/mcp")
        await connector.connect(ann)
        await connector.tools()
        ann.scopes = None
        assert (await connector.call(*SAY, ann))["content"][0]["text"] == "hello"
        assert connector.trace[-3:] == ["tools/call 403", "POST /oauth/token 200", "tools/call 200"]
        assert {"tools:list", "tools:call"} <= set(connector.tokens["scope"].split())


async def test_the_token_is_good_for_its_address_alone(hub: ConnectorsHub) -> None:
    """Neither at another server's address, nor at the API."""
    async with hub.http() as http:
        connector = ClaudeConnector(http, f"{PUBLIC}/mcp/lit")
        await connected(hub, connector)
        headers = {"Authorization": f"Bearer {connector.tokens['access_token']}"}
        for path in ("/mcp", "/mcp/other"):
            other = await http.post(f"{PUBLIC}{path}", headers=headers, json={})
            assert other.status_code == 401, path
            assert 'error="invalid_token"' in other.headers["WWW-Authenticate"]
        assert (await http.get(f"{PUBLIC}/v1/jobs", headers=headers)).status_code == 401


OTHERS = {
    "VS Code": (
        ["https://insiders.vscode.dev/redirect", "https://vscode.dev/redirect", "http://127.0.0.1/"],
        "http://127.0.0.1:59656/",
    ),
    "Cursor": (
        ["cursor://anysphere.cursor-mcp/oauth/callback", "https://www.cursor.com/agents/mcp/oauth/callback"],
        "cursor://anysphere.cursor-mcp/oauth/callback",
    ),
    "Cursor on the desktop": (["http://localhost:8787/callback"], "http://localhost:8787/callback"),
    "Codex": (["http://127.0.0.1:1455/callback"], "http://127.0.0.1:40123/callback"),
}
"""The redirects that other clients register, and one to which they send the browser."""


@pytest.mark.parametrize("name", OTHERS)
async def test_other_clients_register_and_are_sent_their_code(hub: ConnectorsHub, name: str) -> None:
    registered, redirect = OTHERS[name]
    async with hub.http() as http, hub.person() as ann:
        sent = {"client_name": name, "redirect_uris": registered, "token_endpoint_auth_method": "none"}
        made = await http.post(f"{PUBLIC}/oauth/register", json=sent)
        assert made.json()["redirect_uris"] == registered
        asked = {"response_type": "code", "client_id": made.json()["client_id"], "redirect_uri": redirect}
        proof = {"code_challenge": challenge_of("v" * 43), "code_challenge_method": "S256", "state": "s"}
        back = await ann.approve(f"{PUBLIC}/oauth/authorize?{urlencode(asked | proof)}")
    assert back.startswith(f"{redirect}?")
    assert "code" in dict(parse_qsl(urlsplit(back).query))


async def test_all_addresses_in_metadata_are_public_ones(hub: ConnectorsHub) -> None:
    async with hub.http() as http:
        found = await ClaudeConnector(http, f"{PUBLIC}/mcp").discover()
    urls = [value for value in found.server.values() if isinstance(value, str) and "://" in value]
    assert len(urls) >= 4
    assert all(url == PUBLIC or url.startswith(f"{PUBLIC}/") for url in urls)
    assert found.says_iss
    assert CLAUDE_CODE["client_id"] not in str(found.server)
