"""Clients that break the rules, from whom people and the hub are kept safe, and what they are told."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from nexus_hub.authorization import clients, grants
from nexus_hub.errors import ExchangeFailed, TooMany
from nexus_hub.upstream import documents
from tests.fixtures.oauth_client import BASE, CALLBACK, Client
from tests.fixtures.postgres import HubDatabase

ID = "https://client.example/oauth/client.json"
DOCUMENT: dict[str, Any] = {"client_id": ID, "client_name": "A client", "redirect_uris": [CALLBACK]}

pytestmark = pytest.mark.asyncio(loop_scope="module")


Publish = Callable[[Any], None]


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Lays a document, or an error, at every address."""
    kept: list[Any] = [ExchangeFailed("client.example", "it is not there")]

    async def fetch(url: str, **_options: object) -> documents.Document:
        del url
        if isinstance(kept[0], Exception):
            raise kept[0]
        status, body = kept[0] if isinstance(kept[0], tuple) else (200, kept[0])
        return documents.Document(status, {}, json.dumps(body).encode(), "client.example")

    monkeypatch.setattr(clients, "fetch", fetch)

    def lay(document: Any) -> None:
        kept[0] = document

    return lay


async def rows(hub_database: HubDatabase, query: str) -> Any:
    async with await psycopg.AsyncConnection.connect(hub_database.admin_url) as connection:
        return await (await connection.execute(query.encode())).fetchall()


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "https://evil.example/cb",
        "https://client.example/other",
        "https://client.example/cb/../evil",
        "https://client.example/cb?next=https://evil.example",
        "https://client.example.evil.example/cb",
        "https://client.example@evil.example/cb",
        "http://client.example/cb",
        "//evil.example",
        "javascript:alert(1)",
        "",
    ],
)
async def test_a_browser_is_never_sent_to_an_address_that_is_not_registered(client: Client, redirect_uri: str) -> None:
    for changed in ({}, {"state": None}, {"scope": "unknown"}):
        answer = await client.ask(redirect_uri=redirect_uri, **changed)
        assert answer.status_code == 400
        assert "location" not in answer.headers
        assert "redirect_uri is none that the client has registered" in answer.json()["error_description"]


@pytest.mark.parametrize(
    ("redirect_uri", "reason"),
    [
        ("http://evil.example/cb", "https"),
        ("javascript:alert(1)", "scheme"),
        ("javascript://x/%0aalert(1)", "scheme"),
        ("data:text/html,x", "scheme"),
        ("https://a.example/cb#fragment", "fragment"),
        ("https://user@a.example/cb", "user name"),
    ],
)
async def test_such_an_address_is_not_registered(client: Client, redirect_uri: str, reason: str) -> None:
    answer = await client.http.post("/oauth/register", json={"redirect_uris": [CALLBACK, redirect_uri]})
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_redirect_uri"
    assert reason in answer.json()["error_description"]


BROKEN = [
    ({"response_type": "token"}, "unsupported_response_type", "code"),
    ({"response_type": None}, "unsupported_response_type", "code"),
    ({"state": None}, "invalid_request", "state"),
    ({"state": ""}, "invalid_request", "state"),
    ({"state": "x" * 2001}, "invalid_request", "state"),
    ({"state": "a\0b"}, "invalid_request", "state"),
    ({"code_challenge": None}, "invalid_request", "PKCE"),
    ({"code_challenge": "short"}, "invalid_request", "PKCE"),
    ({"code_challenge_method": "plain"}, "invalid_request", "S256"),
    ({"code_challenge_method": None}, "invalid_request", "S256"),
    ({"resource": "https://evil.example/mcp"}, "invalid_target", "resource"),
    ({"resource": f"{BASE}/mcp/../v1"}, "invalid_target", "resource"),
    ({"resource": f"{BASE}.evil.example/mcp"}, "invalid_target", "resource"),
    ({"scope": "everything"}, "invalid_scope", "scope"),
]


@pytest.mark.parametrize(("changed", "error", "word"), BROKEN)
async def test_a_broken_request_is_told_to_whoever_sits_before_the_browser(
    client: Client, changed: dict[str, Any], error: str, word: str
) -> None:
    """Nobody has consented to this client: sent there, a browser would go wherever somebody has registered."""
    del error
    answer = await client.ask(**changed)
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert word in answer.json()["error_description"]
    page = await client.http.get("/oauth/authorize", params=client.query(**changed), headers={"Accept": "text/html"})
    assert page.headers["content-type"].startswith("text/plain")
    assert word in page.text


@pytest.mark.parametrize(("changed", "error", "word"), BROKEN)
async def test_a_client_that_somebody_knows_is_told_itself(
    app: FastAPI, changed: dict[str, Any], error: str, word: str
) -> None:
    client = await Client.register(app, redirect_uris=["http://127.0.0.1:5000/cb"])
    answer = await client.ask(**changed)
    assert answer.status_code == 302
    told = httpx.URL(answer.headers["location"])
    assert str(told).startswith("http://127.0.0.1:5000/cb?")
    assert told.params["error"] == error
    assert word in told.params["error_description"]
    assert told.params["iss"] == BASE
    assert told.params.get("state") == changed.get("state", "the state")


async def test_after_consent_errors_go_to_the_client(client: Client, ann: httpx.AsyncClient) -> None:
    await client.log_in(ann)
    assert (await client.ask(scope="everything")).headers["location"].startswith(f"{CALLBACK}?error=invalid_scope")


async def test_what_is_said_twice_or_too_long_is_refused(client: Client) -> None:
    for more in (f"&redirect_uri={CALLBACK}", "&client_id=other", "&x=1" * 60, "&x=" + "y" * 20_000):
        answer = await client.http.get(f"/oauth/authorize?{urlencode(client.query())}{more}")
        assert answer.status_code == 400


async def test_unknown_clients_are_refused(client: Client) -> None:
    for client_id in ("unknown", "\0", "x" * 5000, "http://client.example/c.json", "https://client.example/", None):
        answer = await client.ask(client_id=client_id)
        assert answer.status_code == 400, client_id
        assert "client" in answer.json()["error_description"]
    assert (await client.exchange("nxo_x", client_id="unknown")).status_code == 401


async def test_the_consent_page_is_told_no_lies_by_a_name(app: FastAPI, ann: httpx.AsyncClient) -> None:
    client = await Client.register(app, client_name="Cl\u202eaude\n\n<b>verified</b>" + "x" * 500)
    shown = (await ann.get(f"/v1/oauth/requests/{await client.request()}")).json()["client"]
    assert "\u202e" not in shown["name"]
    assert "\n" not in shown["name"]
    assert len(shown["name"]) <= 100
    assert shown["verified"] is False


async def test_a_code_that_is_used_twice_ends_what_it_gave(client: Client, ann: httpx.AsyncClient) -> None:
    code = (await client.consent(ann))["code"]
    tokens = (await client.exchange(code)).json()
    assert await client.call(tokens["access_token"]) == 200
    assert (await client.exchange(code)).json()["error"] == "invalid_grant"
    assert await client.call(tokens["access_token"]) == 401
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_of_two_exchanges_at_once_at_most_one_gives_tokens(client: Client, ann: httpx.AsyncClient) -> None:
    code = (await client.consent(ann))["code"]
    answers = await asyncio.gather(*(client.exchange(code) for _ in range(4)))
    assert sum(answer.status_code == 200 for answer in answers) <= 1
    assert {answer.status_code for answer in answers} <= {200, 400}


@pytest.mark.parametrize(
    "changed",
    [
        {"code_verifier": "another-verifier-of-more-than-forty-three-characters"},
        {"code_verifier": None},
        {"redirect_uri": "https://evil.example/cb"},
        {"redirect_uri": None},
        {"resource": f"{BASE}/mcp/other"},
        {"resource": "https://evil.example/mcp"},
        {"grant_type": "password"},
        {"grant_type": "client_credentials"},
    ],
)
async def test_a_code_alone_gives_nothing(client: Client, ann: httpx.AsyncClient, changed: dict[str, Any]) -> None:
    code = (await client.consent(ann))["code"]
    answer = await client.exchange(code, **changed)
    assert answer.status_code == 400
    assert code not in answer.text
    assert (await client.exchange(code)).status_code == 200  # it was stolen in vain, and is its owner's still


async def test_another_client_can_do_nothing_with_a_code_or_a_refresh_token(
    app: FastAPI, client: Client, ann: httpx.AsyncClient
) -> None:
    other = await Client.register(app)
    other.verifier = client.verifier
    code = (await client.consent(ann))["code"]
    assert (await other.exchange(code)).json()["error"] == "invalid_grant"
    tokens = (await client.exchange(code)).json()
    assert (await other.exchange(code)).json()["error"] == "invalid_grant"
    assert (await other.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert await client.call(tokens["access_token"]) == 200


async def test_tokens_of_one_kind_are_no_tokens_of_another(client: Client, ann: httpx.AsyncClient) -> None:
    code = (await client.consent(ann))["code"]
    tokens = (await client.exchange(code)).json()
    assert (await client.refresh(tokens["access_token"])).json()["error"] == "invalid_grant"
    assert (await client.exchange(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    for other in (tokens["refresh_token"], code):
        assert await client.call(other) == 401
        assert await client.call("nxa_" + other[4:]) == 401


async def test_refresh_tokens_rotate_and_an_old_one_ends_the_family(
    client: Client, ann: httpx.AsyncClient, hub_database: HubDatabase
) -> None:
    first = await client.log_in(ann)
    second = (await client.refresh(first["refresh_token"])).json()
    third = (await client.refresh(second["refresh_token"])).json()
    assert len({one["refresh_token"] for one in (first, second, third)}) == 3
    assert await client.call(third["access_token"]) == 200
    assert (await client.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    assert await client.call(third["access_token"]) == 401
    assert (await client.refresh(third["refresh_token"])).json()["error"] == "invalid_grant"
    assert await rows(hub_database, "SELECT count(*) FROM oauth_tokens") == [(0,)]


async def test_a_refresh_whose_answer_was_lost_may_be_repeated_and_gives_no_second_token(
    client: Client, ann: httpx.AsyncClient, hub_database: HubDatabase
) -> None:
    first = await client.log_in(ann)
    answers = await asyncio.gather(*(client.refresh(first["refresh_token"]) for _ in range(3)))
    tokens = [answer.json() for answer in answers]
    assert tokens[0]["refresh_token"] == tokens[1]["refresh_token"] == tokens[2]["refresh_token"]
    live = "SELECT count(*) FROM oauth_tokens WHERE kind = 'refresh' AND used_at IS NULL"
    assert await rows(hub_database, live) == [(1,)]
    assert (await client.refresh(tokens[0]["refresh_token"])).status_code == 200


async def test_a_refresh_that_comes_late_or_asks_for_something_else_is_no_repetition(
    client: Client, ann: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await client.log_in(ann)
    assert (await client.refresh(first["refresh_token"])).status_code == 200
    assert (await client.refresh(first["refresh_token"], scope="tools:list")).json()["error"] == "invalid_grant"
    second = await client.log_in(ann)
    assert (await client.refresh(second["refresh_token"])).status_code == 200
    monkeypatch.setattr(grants, "GRACE_SECONDS", 0)
    assert (await client.refresh(second["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_refresh_narrows_scopes_and_never_widens_them(client: Client, ann: httpx.AsyncClient) -> None:
    first = await client.log_in(ann, scope="tools:list tools:call")
    wider = await client.refresh(first["refresh_token"], scope="tools:list jobs")
    assert wider.json()["error"] == "invalid_scope"
    narrow = (await client.refresh(first["refresh_token"], scope="tools:list")).json()
    assert narrow["scope"] == "tools:list"
    assert (await client.refresh(narrow["refresh_token"])).json()["scope"] == "tools:call tools:list"


async def test_what_has_expired_is_good_no_more(
    client: Client, ann: httpx.AsyncClient, hub_database: HubDatabase
) -> None:
    code, tokens = (await client.consent(ann))["code"], await client.log_in(ann)
    request = await client.request()
    async with await psycopg.AsyncConnection.connect(hub_database.admin_url) as connection:
        await connection.execute("UPDATE oauth_tokens SET expires_at = now() - interval '1 s'")
        await connection.execute("UPDATE oauth_requests SET expires_at = now() - interval '1 s'")
    assert (await client.exchange(code)).json()["error"] == "invalid_grant"
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await ann.post(f"/v1/oauth/requests/{request}", json={"approve": True})).status_code == 404
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    answer = await client.http.post("/mcp", json={}, headers=headers)
    assert answer.status_code == 401
    assert "expired" in answer.text


async def test_a_body_that_is_no_form_is_refused(client: Client) -> None:
    for path in ("/oauth/token", "/oauth/revoke"):
        for options in (
            {"json": {"grant_type": "refresh_token"}},
            {"content": b"\xff=\xff", "headers": {"content-type": "application/x-www-form-urlencoded"}},
            {"files": {"client_id": b"x"}},
            {"content": "client_id=a&client_id=b", "headers": {"content-type": "application/x-www-form-urlencoded"}},
            {"headers": {"authorization": "Basic !!!"}, "data": {"grant_type": "refresh_token"}},
            {"auth": ("a", "b"), "data": {"client_id": "other"}},
        ):
            answer = await client.http.post(path, **options)
            assert answer.status_code in {400, 401}, (path, options, answer.text)
            assert answer.json()["error"]
        huge = await client.http.post(path, data={"x": "y" * 70_000})
        assert huge.status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 10_000,
        b'{"redirect_uris": []}',
        b'{"redirect_uris": "https://a.example"}',
        b'{"redirect_uris": [1]}',
        b'{"redirect_uris": null}',
        json.dumps({"redirect_uris": [f"https://a.example/{n}" for n in range(60)]}).encode(),
        json.dumps({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "private_key_jwt"}).encode(),
        json.dumps({"redirect_uris": [CALLBACK], "grant_types": ["client_credentials"]}).encode(),
    ],
)
async def test_a_registration_that_cannot_be_used_is_refused(client: Client, body: bytes) -> None:
    answer = await client.http.post("/oauth/register", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"] in {"invalid_client_metadata", "invalid_redirect_uri"}


async def test_registrations_without_end_are_bounded_and_let_clients_in_use_alone(
    app: FastAPI, ann: httpx.AsyncClient, hub_database: HubDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "MOST_OF_ADDRESS", 5)
    used = await Client.register(app)
    tokens = await used.log_in(ann)
    for _ in range(5):
        await Client.register(app)
    answer = await used.http.post("/oauth/register", json={"redirect_uris": [CALLBACK]})
    assert answer.status_code == 429
    assert "retry-after" in answer.headers
    assert await used.call(tokens["access_token"]) == 200
    assert await rows(hub_database, "SELECT count(*) FROM oauth_clients") == [(6,)]


async def test_where_there_are_too_many_clients_in_all_unused_ones_go(
    app: FastAPI, ann: httpx.AsyncClient, hub_database: HubDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "MOST_CLIENTS", 4)
    used = await Client.register(app)
    await used.log_in(ann)
    for _ in range(3):
        await Client.register(app)
    full = await used.http.post("/oauth/register", json={"redirect_uris": [CALLBACK]})
    assert full.status_code == 429  # a person may be about to consent to one of them
    async with await psycopg.AsyncConnection.connect(hub_database.admin_url) as connection:
        await connection.execute("UPDATE oauth_clients SET read_at = now() - interval '1 h'")
    await Client.register(app)
    known = {row[0] for row in await rows(hub_database, "SELECT id FROM oauth_clients")}
    assert used.id in known
    assert len(known) <= 4


async def test_requests_for_consent_are_bounded(
    client: Client, hub_database: HubDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexus_hub.authorization.consent.MOST_OF_ADDRESS", 3)
    for _ in range(6):
        await client.request()
    assert await rows(hub_database, "SELECT count(*) FROM oauth_requests") == [(3,)]


async def test_grants_of_one_person_are_bounded(
    client: Client, ann: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grants, "MOST_GRANTS", 2)
    tokens = [await client.log_in(ann) for _ in range(3)]
    assert len((await ann.get("/v1/grants")).json()["items"]) == 2
    assert await client.call(tokens[0]["access_token"]) == 401
    assert await client.call(tokens[2]["access_token"]) == 200


async def test_a_client_is_known_by_its_document(
    app: FastAPI, client: Client, ann: httpx.AsyncClient, publish: Publish
) -> None:
    publish(DOCUMENT | {"token_endpoint_auth_method": "none", "logo_uri": "https://client.example/x.png"})
    client.id = ID
    request = await client.request()
    shown = (await ann.get(f"/v1/oauth/requests/{request}")).json()
    assert shown["client"] == {"name": "A client", "id": ID, "host": "client.example", "verified": True}
    tokens = await client.log_in(ann)
    publish(ExchangeFailed("client.example", "it is away", may_pass=True))
    assert (await client.refresh(tokens["refresh_token"])).status_code == 200


async def test_a_document_vouches_for_no_other_host(client: Client, ann: httpx.AsyncClient, publish: Publish) -> None:
    client.id, client.redirect_uri = ID, "http://127.0.0.1:5000/cb"
    publish(DOCUMENT | {"redirect_uris": ["http://127.0.0.1/cb"]})
    shown = (await ann.get(f"/v1/oauth/requests/{await client.request()}")).json()
    assert (shown["client"]["host"], shown["client"]["verified"]) == ("client.example", False)


async def test_a_document_that_is_away_for_a_while_keeps_nobody_out(
    client: Client, ann: httpx.AsyncClient, publish: Publish, hub_database: HubDatabase
) -> None:
    client.id = ID
    publish(DOCUMENT)
    await client.log_in(ann)
    async with await psycopg.AsyncConnection.connect(hub_database.admin_url) as connection:
        await connection.execute("UPDATE oauth_clients SET read_at = now() - interval '2 h'")
    publish(ExchangeFailed("client.example", "it can't be reached", may_pass=True))
    await client.log_in(ann)
    publish(DOCUMENT | {"redirect_uris": ["https://client.example/new"]})
    assert (await client.ask()).status_code == 400  # read again, and this address is its own no more


async def test_where_many_documents_are_read_those_known_are_taken_as_they_are(
    client: Client, ann: httpx.AsyncClient, publish: Publish, hub_database: HubDatabase
) -> None:
    client.id = ID
    publish(DOCUMENT)
    await client.log_in(ann)
    async with await psycopg.AsyncConnection.connect(hub_database.admin_url) as connection:
        await connection.execute("UPDATE oauth_clients SET read_at = now() - interval '2 h'")
    publish(TooMany("documents of OAuth clients", "Too many.", retry_after=1))
    await client.log_in(ann)
    assert (await client.ask(client_id="https://other.example/c.json")).status_code == 429


async def test_a_client_that_wants_no_refresh_tokens_gets_none(app: FastAPI, ann: httpx.AsyncClient) -> None:
    client = await Client.register(app, grant_types=["authorization_code", "\0", "implicit"])
    tokens = await client.log_in(ann)
    assert "refresh_token" not in tokens
    assert await client.call(tokens["access_token"]) == 200


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (DOCUMENT | {"client_id": "https://other.example/c.json"}, "not the address at which it lies"),
        (DOCUMENT | {"client_id": f"{ID}/"}, "not the address at which it lies"),
        (DOCUMENT | {"redirect_uris": []}, "redirect_uris"),
        (DOCUMENT | {"redirect_uris": [CALLBACK] * 60}, "redirect_uris"),
        (DOCUMENT | {"redirect_uris": ["javascript:alert(1)"]}, "no redirect address"),
        (DOCUMENT | {"redirect_uris": "https://client.example/cb"}, "redirect_uris"),
        (DOCUMENT | {"client_secret": "secret"}, "no secret"),
        (DOCUMENT | {"token_endpoint_auth_method": "client_secret_post"}, "none"),
        (DOCUMENT | {"token_endpoint_auth_method": "private_key_jwt"}, "none"),
        (DOCUMENT | {"grant_types": ["client_credentials"]}, "authorization_code"),
        ({}, "client_id"),
        ([], "no JSON object"),
        ((404, DOCUMENT), "status 404"),
        (ExchangeFailed("client.example", "it answers with a redirect, which is not followed"), "redirect"),
        (ExchangeFailed("client.example", "no whole answer came within 5 s", may_pass=True), "within 5 s"),
    ],
)
async def test_a_document_that_cannot_be_used_is_refused_with_the_reason(
    client: Client, publish: Publish, document: Any, reason: str
) -> None:
    publish(document)
    answer = await client.ask(client_id=ID)
    assert answer.status_code == 400
    assert reason in answer.json()["error_description"]


async def test_a_document_that_knows_none_among_others_can_be_used(client: Client, publish: Publish) -> None:
    methods = ["none", "private_key_jwt"]
    publish(
        DOCUMENT | {"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_methods_supported": methods}
    )
    assert await client.request(client_id=ID)


@pytest.mark.parametrize(
    "client_id",
    [
        "https://127.0.0.1/c.json",
        "https://localhost/c.json",
        "https://[::1]/c.json",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/c.json",
    ],
)
async def test_no_document_is_read_from_within_a_network(client: Client, client_id: str) -> None:
    answer = await client.ask(client_id=client_id)
    assert answer.status_code == 400
    assert "not a host of the public internet" in answer.json()["error_description"]


@pytest.mark.parametrize(
    "client_id",
    [
        "http://client.example/c.json",
        "https://client.example",
        "https://client.example/",
        "https://client.example/../c.json",
        "https://client.example/c.json#x",
        "https://user@client.example/c.json",
        "https://client.example/ c.json",
        "https://[::1/c.json",
        "https://client.example/" + "x" * 1000,
        "ftp://client.example/c.json",
    ],
)
async def test_an_address_that_can_be_no_clients_id_is_not_asked(
    client: Client, publish: Publish, client_id: str
) -> None:
    publish(AssertionError("it was asked"))
    assert (await client.ask(client_id=client_id)).status_code == 400


async def test_of_codes_tokens_and_secrets_only_hashes_are_kept(
    app: FastAPI, ann: httpx.AsyncClient, hub_database: HubDatabase
) -> None:
    client = await Client.register(app, token_endpoint_auth_method="client_secret_post")
    code = (await client.consent(ann))["code"]
    tokens = (await client.exchange(code)).json()
    await client.refresh(tokens["refresh_token"])
    kept = ""
    for table in ("oauth_clients", "oauth_requests", "oauth_grants", "oauth_tokens", "audit_log"):
        kept += str(await rows(hub_database, f"SELECT * FROM {table}"))
    assert client.id in kept
    for secret in (client.secret, code, tokens["access_token"], tokens["refresh_token"], client.verifier):
        assert secret
        assert secret not in kept
        assert base64.b64encode(str(secret).encode()).decode() not in kept
