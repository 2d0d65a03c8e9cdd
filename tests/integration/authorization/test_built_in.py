"""The built-in authorization server: from an address alone to a token that is good for what was granted."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from tests.fixtures.oauth_client import (
    BASE,
    CALLBACK,
    Answered,
    Client,
    browser_of,
    open_hub,
    sign_in,
)
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import SERVICE_KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_metadata_name_the_issuer_letter_by_letter_and_all_that_connectors_look_for(client: Client) -> None:
    answer = await client.http.get("/.well-known/oauth-authorization-server", headers={"Origin": "https://x.example"})
    told = answer.json()
    assert told["issuer"] == BASE
    assert told["authorization_endpoint"] == f"{BASE}/oauth/authorize"
    assert "none" in told["token_endpoint_auth_methods_supported"]
    assert told["client_id_metadata_document_supported"] is True
    assert told["authorization_response_iss_parameter_supported"] is True
    assert told["code_challenge_methods_supported"] == ["S256"]
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_a_client_gets_tokens_for_what_a_person_has_granted(client: Client, ann: httpx.AsyncClient) -> None:
    request = await client.request(scope="tools:list tools:call offline_access")
    shown = (await ann.get(f"/v1/oauth/requests/{request}")).json()
    assert shown["client"] == {"name": "A client", "id": client.id, "host": None, "verified": False}
    assert shown["redirect_host"] == "client.example"
    assert [one["scope"] for one in shown["scopes"]] == ["tools:list", "tools:call"]
    assert shown["resource"] == f"{BASE}/mcp"
    back = await client.consent(ann, scope="tools:list tools:call")
    assert back.url.startswith(f"{CALLBACK}?")
    assert (back["state"], back["iss"]) == ("the state", BASE)
    answer = await client.exchange(back["code"])
    tokens = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert (tokens["token_type"], tokens["scope"], tokens["expires_in"]) == ("Bearer", "tools:call tools:list", 3600)
    assert tokens["access_token"].startswith("nxa_")
    assert tokens["refresh_token"].startswith("nxr_")
    assert await client.call(tokens["access_token"]) == 200


async def test_a_token_is_good_only_where_it_was_made_for(client: Client, ann: httpx.AsyncClient) -> None:
    token = (await client.log_in(ann, resource=f"{BASE}/mcp/time"))["access_token"]
    assert await client.call(token, "/mcp") == 401
    assert await client.call(token, "/v1/jobs") == 401
    everywhere = (await client.log_in(ann, resource=BASE))["access_token"]
    assert await client.call(everywhere, "/v1/jobs") == 200
    usual = (await client.log_in(ann, resource=f"{BASE}/mcp"))["access_token"]
    assert await client.call(usual, "/v1/jobs") == 401


async def test_a_person_grants_less_and_no_more_than_was_asked_for(client: Client, ann: httpx.AsyncClient) -> None:
    tokens = await client.log_in(ann, scope="tools:list tools:call", scopes=["tools:list"])
    assert tokens["scope"] == "tools:list"
    path = f"/v1/oauth/requests/{await client.request(scope='tools:list')}"
    for scopes in ([], ["tools:list", "jobs"], ["admin"]):
        assert (await ann.post(path, json={"approve": True, "scopes": scopes})).status_code == 400


async def test_only_the_operator_grants_the_operators_scope(
    app: FastAPI, client: Client, ann: httpx.AsyncClient
) -> None:
    asked = {"scope": "tools:list admin", "resource": BASE}
    assert (await client.log_in(ann, **asked))["scope"] == "tools:list"
    tokens = await client.log_in(await sign_in(app, "operator"), **asked)
    assert tokens["scope"] == "admin tools:list"
    assert await client.call(tokens["access_token"], "/v1/users") == 200


async def test_a_token_opens_no_session_and_answers_no_client(
    app: FastAPI, client: Client, ann: httpx.AsyncClient
) -> None:
    token = (await client.log_in(await sign_in(app, "operator"), resource=BASE))["access_token"]
    assert (await client.http.post("/v1/session", json={"token": token})).status_code == 401
    request = await client.request()
    for bearer in (token, SERVICE_KEY):
        headers = {"Authorization": f"Bearer {bearer}"}
        path = f"/v1/oauth/requests/{request}"
        assert (await client.http.get(path, headers=headers)).status_code == 403
        assert (await client.http.post(path, headers=headers, json={"approve": True})).status_code == 403
    assert (await client.http.get(f"/v1/oauth/requests/{request}")).status_code == 401
    evil = {"Sec-Fetch-Site": "cross-site"}
    answer = await ann.post(f"/v1/oauth/requests/{request}", json={"approve": True}, headers=evil)
    assert answer.status_code == 403


async def test_a_person_refuses_and_the_client_is_told(client: Client, ann: httpx.AsyncClient) -> None:
    path = f"/v1/oauth/requests/{await client.request()}"
    told = (await ann.post(path, json={"approve": False})).json()["redirect_to"]
    assert told.startswith(f"{CALLBACK}?error=access_denied")
    assert "code=" not in told
    assert (await ann.get(path)).status_code == 404


async def test_a_request_is_answered_once(client: Client, ann: httpx.AsyncClient) -> None:
    path = f"/v1/oauth/requests/{await client.request()}"
    assert (await ann.post(path, json={"approve": True})).status_code == 200
    assert (await ann.post(path, json={"approve": True})).status_code == 404


@pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic"])
async def test_a_client_with_a_secret_has_to_send_it(app: FastAPI, ann: httpx.AsyncClient, method: str) -> None:
    client = await Client.register(app, token_endpoint_auth_method=method)
    assert client.secret
    code = (await client.consent(ann))["code"]
    secret, client.secret = client.secret, None
    assert (await client.exchange(code)).status_code == 401
    assert (await client.exchange(code, client_secret="wrong")).json()["error"] == "invalid_client"
    if method == "client_secret_post":
        answer = await client.exchange(code, client_secret=secret)
    else:
        sent = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        answer = await client.http.post(
            "/oauth/token", data=sent | {"code_verifier": client.verifier}, auth=(client.id, secret)
        )
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "com.example.app:/callback",
        "http://127.0.0.1:33418",
        "http://127.0.0.1:33418/",
        "http://[::1]:9/cb",
        "https://vscode.dev/redirect",
        "https://Client.Example:443/CB?next=a%20b&x=",
    ],
)
async def test_a_browser_goes_back_to_the_very_address_that_was_registered(
    app: FastAPI, ann: httpx.AsyncClient, redirect_uri: str
) -> None:
    client = await Client.register(app, redirect_uris=[redirect_uri])
    back = await client.consent(ann)
    assert back.url.startswith(redirect_uri)
    assert (await client.exchange(back["code"])).status_code == 200


async def test_a_request_without_an_address_means_the_only_one(app: FastAPI, ann: httpx.AsyncClient) -> None:
    client = await Client.register(app)
    request = await client.request(redirect_uri=None)
    back = Answered((await ann.post(f"/v1/oauth/requests/{request}", json={"approve": True})).json()["redirect_to"])
    assert back.url.startswith(f"{CALLBACK}?")
    assert (await client.exchange(back["code"], redirect_uri=None)).status_code == 200
    two = await Client.register(app, redirect_uris=[CALLBACK, f"{CALLBACK}2"])
    assert (await two.ask(redirect_uri=None)).status_code == 400


async def test_a_log_in_by_a_token_with_scopes_grants_no_more_than_those(app: FastAPI, client: Client) -> None:
    operator = browser_of(app, Authorization=f"Bearer {SERVICE_KEY}")
    await operator.post("/v1/users", json={"name": "eve"})
    made = await operator.post("/v1/users/eve/tokens", json={"scopes": ["admin", "tools:list"]})
    eve = browser_of(app)
    await eve.post("/v1/session", json={"token": made.json()["token"]})
    path = f"/v1/oauth/requests/{await client.request()}"
    assert [one["scope"] for one in (await eve.get(path)).json()["scopes"]] == ["tools:list"]
    assert (await eve.post(path, json={"approve": True, "scopes": ["tools:call"]})).status_code == 400


async def test_an_end_in_another_process_is_heard_of(
    app: FastAPI,
    hub: tuple[FastAPI, HubDatabase],
    client: Client,
    ann: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nexus_hub.access.tokens.TRUST_SECONDS", 3600)
    token = (await client.log_in(ann))["access_token"]
    assert await client.call(token) == 200
    with psycopg.connect(hub[1].admin_url) as connection:
        connection.execute("DELETE FROM oauth_grants")
    while await client.call(token) != 401:
        await asyncio.sleep(0.01)


async def test_grants_of_the_operator_end_with_the_key(database: HubDatabase, tmp_path: Path) -> None:
    async with open_hub(database, tmp_path) as app:
        client = await Client.register(app)
        tokens = await client.log_in(await sign_in(app, "operator"))
        assert await client.call(tokens["access_token"]) == 200
    async with open_hub(database, tmp_path, service_key=SecretStr("another-service-key")) as app:
        client.http = browser_of(app)
        assert await client.call(tokens["access_token"]) == 401
        assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_client_of_a_machine_may_listen_at_any_port(app: FastAPI, ann: httpx.AsyncClient) -> None:
    client = await Client.register(app, redirect_uris=["http://127.0.0.1/cb"])
    client.redirect_uri = "http://127.0.0.1:5123/cb"
    assert (await client.log_in(ann))["access_token"]


async def test_revocation_ends_all_that_a_grant_gave(client: Client, ann: httpx.AsyncClient) -> None:
    for kind in ("access_token", "refresh_token"):
        tokens = await client.log_in(ann)
        assert await client.call(tokens["access_token"]) == 200
        answer = await client.post("/oauth/revoke", {"token": tokens[kind]})
        assert answer.status_code == 200, answer.text
        assert await client.call(tokens["access_token"]) == 401
        assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await client.post("/oauth/revoke", {"token": "unknown"})).status_code == 200


async def test_nobody_revokes_anothers_token(app: FastAPI, client: Client, ann: httpx.AsyncClient) -> None:
    tokens = await client.log_in(ann)
    other = await Client.register(app)
    assert (await other.post("/oauth/revoke", {"token": tokens["access_token"]})).status_code == 200
    assert await client.call(tokens["access_token"]) == 200


async def test_people_see_their_grants_and_end_them(app: FastAPI, client: Client, ann: httpx.AsyncClient) -> None:
    token = (await client.log_in(ann))["access_token"]
    (grant,) = (await ann.get("/v1/grants")).json()["items"]
    assert grant["client"] == {"name": "A client", "id": client.id, "host": None}
    assert (grant["user"]["name"], grant["resource"]) == ("ann", "/mcp")
    bob, operator = await sign_in(app, "bob"), await sign_in(app, "operator")
    assert (await bob.get("/v1/grants")).json()["items"] == []
    assert (await bob.delete(f"/v1/grants/{grant['id']}")).status_code == 404
    assert len((await operator.get("/v1/grants")).json()["items"]) == 1
    assert await client.call(token) == 200
    assert (await ann.delete(f"/v1/grants/{grant['id']}")).status_code == 204
    assert await client.call(token) == 401
    assert (await ann.get("/v1/grants")).json()["items"] == []


@pytest.mark.parametrize(
    "off",
    [
        {"built_in_login": False},
        {"issuer": "https://issuer.example", "public_url": "https://hub.example", "allowed_hosts": "localhost"},
    ],
)
async def test_it_is_off_where_the_operator_says_so_or_has_an_issuer(
    database: HubDatabase, tmp_path: Path, off: dict[str, Any]
) -> None:
    async with open_hub(database, tmp_path) as app:
        token = (await (await Client.register(app)).log_in(await sign_in(app, "ann")))["access_token"]
    async with open_hub(database, tmp_path, **off) as app, browser_of(app) as browser:
        for method, path in [
            ("GET", "/.well-known/oauth-authorization-server"),
            ("GET", "/oauth/authorize"),
            ("POST", "/oauth/token"),
            ("POST", "/oauth/register"),
            ("POST", "/oauth/revoke"),
        ]:
            assert (await browser.request(method, path)).status_code == 404, path
        assert await Client(browser, "x").call(token) == 401


async def test_a_yes_counts_for_whom_the_page_has_asked(app: FastAPI, client: Client, ann: httpx.AsyncClient) -> None:
    path = f"/v1/oauth/requests/{await client.request()}"
    asked = (await ann.get("/v1/session")).json()["user"]["id"]
    ann.cookies = (await sign_in(app, "operator")).cookies  # another tab took a link
    for user_id in (asked, "00000000-0000-0000-0000-000000000000"):
        answer = await ann.post(path, json={"approve": True, "user_id": user_id})
        assert answer.status_code == 403
        assert "Somebody else" in answer.json()["detail"]
    assert (await ann.post(path, json={"approve": True, "user_id": None})).status_code == 200
