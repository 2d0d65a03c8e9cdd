"""Servers and authorization servers that lie: what each gets is a refusal that says why, and no secret."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from nexus_hub.errors import HubError, LoginFailed, RefreshRefused, UpstreamUnavailable
from nexus_hub.upstream.config import HttpConfig, OAuthLogin
from nexus_hub.upstream.discovery import Challenge, Discovered, discover
from nexus_hub.upstream.oauth import Reach, TokenSet
from nexus_hub.upstream.oauth_client import BegunLogin, begin, check_issuer, describe_client, finish
from nexus_hub.upstream.token_endpoint import refresh

RESOURCE, SERVER = "/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-authorization-server"
CALLBACK = "http://127.0.0.1:4711/callback"
LOGIN = OAuthLogin()
CODE = "the-code-of-this-test"
Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Liar:
    """A host that is a server and its authorization server at once, and answers as it is told."""

    origin: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """The paths and bodies of the requests that came."""

    def say(self, path: str, content: Any, status: int = 200, **headers: str) -> None:
        """Answer a path."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.answers[path] = status, headers, body

    @property
    def metadata(self) -> dict[str, Any]:
        """Honest metadata."""
        return {
            "issuer": self.origin,
            "authorization_endpoint": f"{self.origin}/authorize",
            "token_endpoint": f"{self.origin}/token",
            "registration_endpoint": f"{self.origin}/register",
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_post"],
        }

    def be_honest(self) -> None:
        """Answer as one should."""
        self.say(RESOURCE, {"resource": f"{self.origin}/mcp", "authorization_servers": [self.origin]})
        self.say(SERVER, self.metadata)
        self.say("/register", {"client_id": "c-1", "token_endpoint_auth_method": "none"}, 201)
        self.say("/token", {"access_token": "a-1", "refresh_token": "r-1", "token_type": "Bearer", "expires_in": 60})

    @property
    def config(self) -> HttpConfig:
        """The server, as an operator registers it."""
        return HttpConfig(url=f"{self.origin}/mcp")

    @property
    def reach(self) -> Reach:
        """The reach of its login: of the private addresses its own alone."""
        return Reach.for_server("srv", self.config, "system", allow_private=False)

    async def discover(self) -> Discovered:
        """What is found out about it."""
        return await discover(self.config, self.reach)

    async def begin(self) -> BegunLogin:
        """A login that was begun at it."""
        return await begin(await self.discover(), LOGIN, self.reach, CALLBACK)

    async def log_in(self) -> TokenSet:
        """A whole login."""
        return await finish(await self.begin(), CODE, None, self.reach)

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = await reader.readuntil(b"\r\n\r\n")
        size = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        path = head.split(b" ", 2)[1].decode()
        self.asked.append((path, (await reader.readexactly(size)).decode()))
        status, headers, body = self.answers.get(path, (404, {}, b"{}"))
        lines = [f"HTTP/1.1 {status} X", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, f"content-length: {len(body)}", "connection: close", "", ""]).encode() + body)
        await writer.drain()
        writer.close()


async def serve() -> AsyncIterator[Liar]:
    """A host of this machine."""
    liar = Liar()
    async with await asyncio.start_server(liar.exchange, "127.0.0.1", 0) as server:
        liar.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        liar.be_honest()
        yield liar


@pytest.fixture
async def liar() -> AsyncIterator[Liar]:
    """The host."""
    async for one in serve():
        yield one


@pytest.fixture
async def inside() -> AsyncIterator[Liar]:
    """A host of the inner network that nobody named: nothing may get there."""
    async for one in serve():
        yield one
        assert one.asked == []


async def test_an_honest_one_is_believed(liar: Liar) -> None:
    tokens = await liar.log_in()
    assert (tokens.access_token, tokens.refresh_token, tokens.issuer) == ("a-1", "r-1", liar.origin)
    sent = dict(parse_qsl(liar.asked[-1][1]))
    assert sent["code"] == CODE
    assert sent["resource"] == f"{liar.origin}/mcp"
    assert len(sent["code_verifier"]) >= 43


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "it is another issuer": ({"issuer": "https://bank.example"}, "says that it is https://bank.example"),
    "it is the same issuer below another path": ({"issuer": "{origin}/x"}, "says that it is"),
    "its page is a script": ({"authorization_endpoint": "javascript:alert(1)"}, "does not describe itself"),
    "its page is without TLS": ({"authorization_endpoint": "http://bank.example/a"}, "is not one to open"),
    "its page is in the inner network": ({"authorization_endpoint": "{inside}/a"}, "is not one to open"),
    "its page has somebody's password": ({"authorization_endpoint": "https://a:b@bank.example"}, "is not one to open"),
    "it knows no PKCE": ({"code_challenge_methods_supported": None}, "PKCE"),
    "it knows plain PKCE alone": ({"code_challenge_methods_supported": ["plain"]}, "PKCE"),
    "it registers in the inner network": ({"registration_endpoint": "{inside}/register"}, "not https://"),
    "it registers at the cloud's metadata": (
        {"registration_endpoint": "https://169.254.169.254/latest"},
        "169.254.169.254 failed: it is not a host of the public internet",
    ),
    "it gives tokens in the inner network": ({"token_endpoint": "{inside}/token"}, "not https://"),
    "it gives tokens on this machine": ({"token_endpoint": "https://localhost/token"}, "public internet"),
    "it registers nobody": ({"registration_endpoint": None}, f"redirect URI {CALLBACK}"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_lies_of_metadata(liar: Liar, inside: Liar, lie: str) -> None:
    """Nothing reaches a host that nobody named."""
    told, refusal = LIES[lie]
    told = {
        key: value.format(origin=liar.origin, inside=inside.origin) if isinstance(value, str) else value
        for key, value in told.items()
    }
    liar.say(SERVER, {key: value for key, value in (liar.metadata | told).items() if value is not None})
    with pytest.raises(LoginFailed, match=refusal):
        await liar.log_in()


NO_METADATA: dict[str, tuple[Answer, type[HubError], str]] = {
    "a redirect": (
        (302, {"location": "https://169.254.169.254/"}, b""),
        LoginFailed,
        "redirect, which is not followed",
    ),
    "a flood": ((200, {}, b" " * 70_000), LoginFailed, "over the limit"),
    "compressed": ((200, {"content_encoding": "gzip"}, b"x"), LoginFailed, "compressed"),
    "a page": ((200, {}, b"<html>"), LoginFailed, "does not describe itself"),
    "nothing": ((404, {}, b""), LoginFailed, "does not describe itself"),
    "a failure": ((500, {}, b""), UpstreamUnavailable, "500"),
}


@pytest.mark.parametrize("kind", NO_METADATA)
async def test_metadata_that_is_none(liar: Liar, kind: str) -> None:
    answer, error, refusal = NO_METADATA[kind]
    for path in (SERVER, "/.well-known/openid-configuration"):
        liar.answers[path] = answer
    with pytest.raises(error, match=refusal):
        await liar.discover()


async def test_a_server_that_names_another_resource_is_refused(liar: Liar) -> None:
    """Else it would get tokens that are good elsewhere."""
    liar.say(RESOURCE, {"resource": "https://bank.example/mcp", "authorization_servers": [liar.origin]})
    with pytest.raises(LoginFailed, match=r"it asks for a login at https://bank\.example/mcp, which is not its own"):
        await liar.discover()


async def test_a_server_that_names_an_inner_authorization_server_is_refused(liar: Liar, inside: Liar) -> None:
    """Unless the operator named it as the issuer; a user can't."""
    liar.say(RESOURCE, {"resource": f"{liar.origin}/mcp", "authorization_servers": [inside.origin]})
    with pytest.raises(LoginFailed, match=r"127\.0\.0\.1 failed: its address is not https://"):
        await liar.discover()
    named = HttpConfig(url=f"{liar.origin}/mcp", login=OAuthLogin(issuer=inside.origin))
    assert inside.origin not in Reach.for_server("srv", named, "user", allow_private=False).private


async def test_a_challenge_that_points_inside_is_passed_over(liar: Liar, inside: Liar) -> None:
    """The server's own document is read instead."""
    found = await discover(liar.config, liar.reach, Challenge(f"{inside.origin}/doc"))
    assert found.issuer == liar.origin


async def test_challenges_are_read(liar: Liar) -> None:
    said = f'Bearer error="invalid_token", resource_metadata="{liar.origin}/own", scope="a b"'
    liar.say("/mcp", {}, 401, www_authenticate=said)
    liar.say("/own", {"resource": liar.origin, "authorization_servers": [liar.origin]})
    found = await liar.discover()
    assert (found.resource, found.scope) == (liar.origin, "a b")


@pytest.mark.parametrize("header", [None, "", "Basic realm=x", 'Digest nonce="bearers"'])
def test_no_challenge_without_bearer(header: str | None) -> None:
    assert Challenge.read(header) is None


def test_a_scope_that_is_none_is_left_out() -> None:
    assert Challenge.read('Bearer scope="a  b"') == Challenge()


async def test_a_server_without_a_document_is_its_own_authorization_server(liar: Liar) -> None:
    """As before 2025-06-18; what its address carries in the query stays with it."""
    del liar.answers[RESOURCE]
    found = await discover(HttpConfig(url=f"{liar.origin}/mcp?key=secret"), liar.reach)
    assert (found.issuer, found.resource) == (liar.origin, f"{liar.origin}/mcp")


REGISTRATIONS: dict[str, tuple[Any, int, type[HubError], str]] = {
    "it refuses": ({"error": "invalid_redirect_uri"}, 400, LoginFailed, "refuses to register"),
    "it fails": ({}, 503, UpstreamUnavailable, "503"),
    "no id": ({"client_secret": "s-1"}, 201, LoginFailed, "can't be used"),
    "a method that nobody knows": (
        {"client_id": "c", "token_endpoint_auth_method": "tls_client_auth"},
        201,
        LoginFailed,
        "can't be used",
    ),
    "a secret that is not there": (
        {"client_id": "c", "token_endpoint_auth_method": "client_secret_post"},
        201,
        LoginFailed,
        "can't be used",
    ),
    "a page": (b"<html>", 200, LoginFailed, "can't be used"),
}


@pytest.mark.parametrize("kind", REGISTRATIONS)
async def test_registrations_that_are_none(liar: Liar, kind: str) -> None:
    content, status, error, refusal = REGISTRATIONS[kind]
    liar.say("/register", content, status)
    with pytest.raises(error, match=refusal) as refused:
        await liar.begin()
    assert "s-1" not in str(refused.value)
    assert leads_to(refused.value) <= {LoginFailed, UpstreamUnavailable}


@pytest.mark.parametrize(("redirect_uri", "kind"), [(CALLBACK, "native"), ("https://hub.example/oauth/callback", None)])
async def test_a_client_of_the_command_line_is_registered_as_native(
    liar: Liar, redirect_uri: str, kind: str | None
) -> None:
    """A client without a word of that is one of the web (OpenID Connect Registration, 2)."""
    await begin(await liar.discover(), LOGIN, liar.reach, redirect_uri)
    sent = json.loads(liar.asked[-1][1])
    assert (sent["redirect_uris"], sent.get("application_type")) == ([redirect_uri], kind)


async def test_the_page_keeps_its_query_and_takes_no_parameter_of_ours(liar: Liar) -> None:
    liar.say(SERVER, liar.metadata | {"authorization_endpoint": f"{liar.origin}/a?t=1&state=x&redirect_uri=https://e"})
    begun = await liar.begin()
    query = parse_qs(urlsplit(begun.url).query)
    assert (query["t"], query["state"], query["redirect_uri"]) == (["1"], [begun.state], [CALLBACK])
    assert begun.verifier not in begun.url
    assert begun.verifier not in repr(begun)


async def test_answers_of_another_issuer_are_refused(liar: Liar) -> None:
    """As strings: no slash more, no capital."""
    liar.say(SERVER, liar.metadata | {"authorization_response_iss_parameter_supported": True})
    begun = await liar.begin()
    check_issuer(begun, liar.origin, liar.reach)
    for issuer in (f"{liar.origin}/", liar.origin.upper(), "https://bank.example", ""):
        with pytest.raises(LoginFailed, match="not from the authorization server"):
            check_issuer(begun, issuer, liar.reach)
    with pytest.raises(LoginFailed, match="does not name its authorization server"):
        check_issuer(begun, None, liar.reach)
    check_issuer(replace(begun, wants_issuer=False), None, liar.reach)
    with pytest.raises(LoginFailed):
        await finish(begun, CODE, "https://bank.example", liar.reach)
    assert not any(path == "/token" for path, _ in liar.asked)


TOKENS: dict[str, tuple[Any, int, type[HubError], str]] = {
    "an error": ({"error": "invalid_grant", "error_description": "no r-0 here"}, 400, RefreshRefused, "invalid_grant"),
    "an error with 200": ({"error": "bad_refresh_token"}, 200, RefreshRefused, "bad_refresh_token"),
    "an error that is a token": ({"error": "r-0"}, 401, RefreshRefused, "an error of its own"),
    "another time": ({"error": "temporarily_unavailable"}, 400, UpstreamUnavailable, "400"),
    "too many": ({"error": "slow_down"}, 429, UpstreamUnavailable, "429"),
    "an error with 503": ({"error": "invalid_grant"}, 503, UpstreamUnavailable, "503"),
    "a page that forbids": (b"<html>", 403, UpstreamUnavailable, "403"),
    "an error that is no text": ({"error": {"x": 1}}, 400, UpstreamUnavailable, "400"),
    "a page": (b"<html>", 200, UpstreamUnavailable, "no tokens now"),
    "a list": ([], 200, UpstreamUnavailable, "no tokens now"),
    "a token of two lines": ({"access_token": "a\r\nX: y"}, 200, UpstreamUnavailable, "can't be used"),
    "a token that is no text": ({"access_token": ["a-9"]}, 200, UpstreamUnavailable, "can't be used"),
    "a token of another kind": ({"access_token": "a-9", "token_type": "mac"}, 200, RefreshRefused, "of a kind that"),
    "a token bound to a key": ({"access_token": "a-9", "token_type": "DPoP"}, 200, RefreshRefused, "of a kind that"),
    "a kind that is no text": ({"access_token": "a-9", "token_type": 7}, 200, UpstreamUnavailable, "can't be used"),
    "a huge token": ({"access_token": "a" * 20_000}, 200, UpstreamUnavailable, "can't be used"),
}
BEFORE = {"access_token": "a-0", "refresh_token": "r-0", "expires_in": 1}


@pytest.mark.parametrize("kind", TOKENS)
async def test_answers_that_are_no_tokens(liar: Liar, kind: str) -> None:
    """Only what speaks of the login ends it."""
    content, status, error, refusal = TOKENS[kind]
    liar.say("/token", BEFORE)
    tokens = await liar.log_in()
    liar.say("/token", content, status)
    with pytest.raises(error, match=refusal) as refused:
        await refresh(tokens, liar.reach)
    assert not any(secret in str(refused.value) for secret in ("r-0", "a-0", "a-9"))
    assert leads_to(refused.value) <= {LoginFailed, RefreshRefused, UpstreamUnavailable}


def leads_to(error: BaseException | None) -> set[type[BaseException]]:
    """The kinds of an error and of all that it was raised from."""
    return set() if error is None else {type(error)} | leads_to(error.__context__) | leads_to(error.__cause__)


async def test_an_exchange_that_breaks_leads_to_no_request(liar: Liar) -> None:
    """The request of HTTP's own error holds the refresh token."""
    tokens = await liar.log_in()
    with pytest.raises(UpstreamUnavailable) as failed:
        await refresh(replace(tokens, token_endpoint="http://127.0.0.1:1/token"), Reach("srv", allow_private=True))
    assert leads_to(failed.value) == {UpstreamUnavailable}


async def test_a_redirect_of_tokens_is_not_followed(liar: Liar, inside: Liar) -> None:
    """Nor is it taken for a refusal."""
    liar.say("/token", BEFORE)
    tokens = await liar.log_in()
    liar.say("/token", b"", 307, location=f"{inside.origin}/token")
    with pytest.raises(UpstreamUnavailable):
        await refresh(tokens, liar.reach)


LONGEST = 10 * 365 * 86_400
LIVES = [(-5, 0), (0, 0), ("60", 60), ("-5", 0), (59.5, 59.5), ("59.5", 59.5), (10**30, LONGEST), ("inf", LONGEST)]
NO_LIVES: list[tuple[object, float | None]] = [
    (None, None),
    (10**400, None),
    ("soon", None),
    ("", None),
    ([60], None),
    ({}, None),
    ("nan", None),
]


@pytest.mark.parametrize(("said", "life"), [*LIVES, *NO_LIVES], ids=lambda value: repr(value)[:12])
async def test_lives_are_bounded(liar: Liar, said: object, life: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.0)
    liar.say("/token", {"access_token": "a-1", "expires_in": said})
    assert (await liar.log_in()).expires_at == (None if life is None else 1000.0 + life)


async def test_a_refresh_keeps_what_the_answer_leaves_out(liar: Liar) -> None:
    """The refresh token and the scope; a scope that is none too."""
    liar.say("/token", BEFORE | {"scope": "a b"})
    tokens = await liar.log_in()
    liar.say("/token", {"access_token": "a-1", "scope": 'a"\n'})
    again = await refresh(tokens, liar.reach)
    assert (again.access_token, again.refresh_token, again.scope) == ("a-1", "r-0", "a b")


def test_the_hubs_own_document_says_who_it_is() -> None:
    document = describe_client("https://hub.example")
    assert document["client_id"] == "https://hub.example/oauth/client-metadata.json"
    assert document["redirect_uris"][0] == "https://hub.example/oauth/callback"
    assert document["token_endpoint_auth_method"] == "none"
