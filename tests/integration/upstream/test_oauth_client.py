"""Logins at a server that demands the tokens of a real issuer: begun, finished, refreshed, revoked."""

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest

from nexus_hub.errors import LoginFailed, RefreshRefused, UpstreamUnavailable
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.discovery import Challenge, Discovered, discover
from nexus_hub.upstream.oauth import Reach, TokenSet
from nexus_hub.upstream.oauth_client import BegunLogin, begin, describe_client, finish, log_in_as_client
from nexus_hub.upstream.token_endpoint import refresh, revoke
from tests.fixtures.oidc import DESK, MACHINE, Issuer
from tests.fixtures.upstreams import Process, Serve

CALLBACK = "http://127.0.0.1:4711/callback"
REACH = Reach("srv", allow_private=True)
pytestmark = pytest.mark.node


@pytest.fixture
async def guarded(serve: Serve, issuer: Issuer) -> Process:
    """The server."""
    return await serve("guarded", "--issuer", issuer.url)


def configured(url: str, **login: Any) -> HttpConfig:
    """A server with a login."""
    return HttpConfig.model_validate({"url": url, "login": {"kind": "oauth", **login}})


async def found_at(url: str, **login: Any) -> tuple[Discovered, Any]:
    """What is discovered of a server, and its login."""
    config = configured(url, **login)
    return await discover(config, REACH), config.login


async def log_in(at: Issuer, url: str, account: str = "ann", **login: Any) -> tuple[BegunLogin, TokenSet]:
    """Log somebody in."""
    found, how = await found_at(url, **login)
    begun = await begin(found, how, REACH, CALLBACK)
    back = await at.sign_in(begun.url, account)
    assert back["state"] == begun.state
    kept = BegunLogin.from_json(begun.to_json())
    return begun, await finish(kept, back["code"], back.get("iss"), REACH)


def subject(tokens: TokenSet) -> str:
    """Whose they are."""
    return str(jwt.decode(tokens.access_token, options={"verify_signature": False})["sub"])


async def status(url: str, tokens: TokenSet) -> int:
    """What the server says to the tokens."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    async with httpx.AsyncClient() as client:
        headers = {"authorization": f"Bearer {tokens.access_token}"}
        return (await client.post(url, json=body, headers=headers)).status_code


async def test_a_person_logs_in_with_a_client_that_registers_itself(guarded: Process, issuer: Issuer) -> None:
    """With PKCE and the resource in both requests; the tokens are good at the server, and for it alone."""
    begun, tokens = await log_in(issuer, guarded.url, "bob")
    asked = parse_qs(urlsplit(begun.url).query)
    assert (asked["code_challenge_method"], asked["resource"]) == (["S256"], [guarded.url])
    assert subject(tokens) == "bob"
    assert tokens.issuer == tokens.client.issuer == issuer.url
    assert tokens.client.auth_method == "none"
    assert tokens.refresh_token
    assert "read" in (tokens.scope or "").split()
    assert await status(guarded.url, tokens) not in {401, 403}


@pytest.mark.parametrize("redirect_uri", ["https://hub.example/oauth/callback", CALLBACK])
async def test_a_client_with_a_document_of_its_own_does_not_register(
    guarded: Process, issuer: Issuer, redirect_uri: str
) -> None:
    """Its id is the document's address (CIMD); the command line comes back to whatever port is free."""
    document = describe_client("https://hub.example")
    await issuer.steer(documents={document["client_id"]: document}, registration=False)
    found, how = await found_at(guarded.url)
    begun = await begin(found, how, REACH, redirect_uri, public_url="https://hub.example")
    assert begun.tokens.client.client_id == "https://hub.example/oauth/client-metadata.json"
    back = await issuer.sign_in(begun.url, "bob")
    tokens = await finish(begun, back["code"], back["iss"], REACH)
    assert subject(tokens) == "bob"
    assert (await refresh(tokens, REACH)).access_token != tokens.access_token


async def test_a_client_registered_beforehand_sends_its_secret_to_its_issuer_only(
    guarded: Process, issuer: Issuer
) -> None:
    """An issuer that the server names won't do."""
    known = {"client_id": DESK["client_id"], "client_secret": DESK["client_secret"]}
    _, tokens = await log_in(issuer, guarded.url, **known, issuer=issuer.url)
    assert tokens.client.auth_method == "client_secret_basic"
    assert subject(await refresh(tokens, REACH)) == "ann"
    found, how = await found_at(guarded.url, **known)
    with pytest.raises(LoginFailed, match="give that as the login's issuer"):
        await begin(found, how, REACH, CALLBACK)


async def test_a_machine_logs_in_by_itself(guarded: Process, issuer: Issuer) -> None:
    """By the grant client_credentials; it is renewed in the same way."""
    known = {"client_id": MACHINE["client_id"], "client_secret": MACHINE["client_secret"], "issuer": issuer.url}
    found, how = await found_at(guarded.url, **known, grant="client_credentials")
    tokens = await log_in_as_client(found, how, REACH)
    assert await status(guarded.url, tokens) not in {401, 403}
    again = await refresh(tokens, REACH)
    assert again.access_token != tokens.access_token
    assert await issuer.exchanges(grant="client_credentials", outcome="ok") == 2
    wrong = configured(guarded.url, **known | {"client_secret": "wrong"}, grant="client_credentials").login
    with pytest.raises(LoginFailed, match="invalid_client"):
        await log_in_as_client(found, wrong, REACH)  # type: ignore[arg-type]


async def test_a_rotated_refresh_token_takes_the_place_of_the_old_one(guarded: Process, issuer: Issuer) -> None:
    """And where none comes, the old one stays; a refused one needs a person."""
    _, first = await log_in(issuer, guarded.url)
    second = await refresh(first, REACH)
    assert second.refresh_token not in {first.refresh_token, None}
    assert second.scope == first.scope
    with pytest.raises(RefreshRefused, match="invalid_grant"):
        await refresh(first, REACH)
    await issuer.steer(rotate=False)
    _, kept = await log_in(issuer, guarded.url)
    assert (await refresh(kept, REACH)).refresh_token == kept.refresh_token


async def test_an_authorization_server_that_fails_refuses_nothing(guarded: Process, issuer: Issuer) -> None:
    """500, silence and a page of HTML: the same tokens may be tried again."""
    _, tokens = await log_in(issuer, guarded.url)
    await issuer.steer(fail_share=1)
    with pytest.raises(UpstreamUnavailable, match="500"):
        await refresh(tokens, REACH)
    await issuer.steer(fail_share=0)
    with pytest.raises(UpstreamUnavailable, match="404"):
        await refresh(replace(tokens, token_endpoint=f"{issuer.url}/nowhere"), REACH)
    assert (await refresh(tokens, REACH)).access_token


async def test_without_a_refresh_token_a_person_is_needed(guarded: Process, issuer: Issuer) -> None:
    """Some authorization servers give none."""
    await issuer.steer(refresh_tokens=False)
    _, tokens = await log_in(issuer, guarded.url)
    assert not tokens.is_renewable
    with pytest.raises(RefreshRefused, match="no refresh token"):
        await refresh(tokens, REACH)


async def test_what_is_revoked_is_good_no_more(guarded: Process, issuer: Issuer) -> None:
    """Revoking twice, or without an endpoint, does no harm."""
    _, tokens = await log_in(issuer, guarded.url)
    assert await revoke(tokens, REACH)
    with pytest.raises(RefreshRefused):
        await refresh(tokens, REACH)
    assert not await revoke(replace(tokens, revocation_endpoint=None), REACH)


async def test_a_clock_that_is_minutes_ahead_does_no_harm(guarded: Process, issuer: Issuer) -> None:
    """What counts is how long the tokens live, from the request on."""
    await issuer.steer(skew_seconds=300, access_seconds=60)
    _, tokens = await log_in(issuer, guarded.url)
    ends = jwt.decode(tokens.access_token, options={"verify_signature": False})["exp"]
    assert tokens.expires_at is not None
    assert ends - 330 < tokens.expires_at < ends - 270


async def test_a_step_up_asks_for_what_the_server_wants(guarded: Process, issuer: Issuer) -> None:
    """The scopes of its challenge, before those that it lists."""
    found = await discover(configured(guarded.url), REACH, Challenge(scope="read write"))
    begun = await begin(found, configured(guarded.url).login, REACH, CALLBACK)  # type: ignore[arg-type]
    assert parse_qs(urlsplit(begun.url).query)["scope"] == ["read write offline_access"]
    back = await issuer.sign_in(begun.url)
    tokens = await finish(begun, back["code"], back["iss"], REACH)
    assert {"read", "write"} <= set((tokens.scope or "").split())
