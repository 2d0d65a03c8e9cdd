"""Sign-in links: an operator makes one for a user, who needs no token to consent to a client."""

from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
import pytest_asyncio
from fastapi import FastAPI

from nexus_hub.authorization.grants import purge
from tests.fixtures.oauth_client import BASE, Client, browser_of
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import SERVICE_KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def operator(app: FastAPI) -> httpx.AsyncClient:
    client = browser_of(app, Authorization=f"Bearer {SERVICE_KEY}")
    await client.post("/v1/users", json={"name": "ann"})
    return client


async def make_link(operator: httpx.AsyncClient, **body: int) -> str:
    answer = await operator.post("/v1/users/ann/links", json=body)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made["url"] == f"{BASE}/login#code={made['code']}"
    return str(urlsplit(made["url"]).fragment.removeprefix("code="))


async def enter(app: FastAPI, code: str) -> httpx.AsyncClient:
    browser = browser_of(app)
    answer = await browser.post("/v1/session", json={"code": code})
    assert answer.status_code == 200, answer.text
    assert answer.json()["user"]["name"] == "ann"
    return browser


async def test_a_user_without_a_token_signs_in_once_and_lets_a_client_in(
    app: FastAPI, operator: httpx.AsyncClient
) -> None:
    code = await make_link(operator)
    ann = await enter(app, code)
    assert (await ann.get("/v1/session")).json()["is_operator"] is False
    again = await browser_of(app).post("/v1/session", json={"code": code})
    assert again.status_code == 401
    client = await Client.register(app)
    assert await client.call((await client.log_in(ann))["access_token"]) == 200


@pytest.mark.parametrize("seconds", [0, 599, 7 * 86_400 + 1])
async def test_a_link_lasts_ten_minutes_to_seven_days(operator: httpx.AsyncClient, seconds: int) -> None:
    answer = await operator.post("/v1/users/ann/links", json={"expires_in_seconds": seconds})
    assert answer.status_code == 422


async def test_only_an_operator_makes_one_and_only_for_a_user(app: FastAPI, operator: httpx.AsyncClient) -> None:
    ann = await enter(app, await make_link(operator, expires_in_seconds=600))
    assert (await ann.post("/v1/users/ann/links")).status_code == 403
    assert (await operator.post("/v1/users/nobody/links")).status_code == 404
    unknown = "11111111-2222-3333-4444-555555555555"
    assert (await operator.post(f"/v1/users/{unknown}/links")).status_code == 404


async def test_a_link_that_is_over_opens_nothing(
    app: FastAPI, operator: httpx.AsyncClient, hub: tuple[FastAPI, HubDatabase]
) -> None:
    code = await make_link(operator)
    with psycopg.connect(hub[1].admin_url) as connection:
        connection.execute("UPDATE console_links SET expires_at = now()")
    assert (await browser_of(app).post("/v1/session", json={"code": code})).status_code == 401


async def test_revoking_all_that_a_user_has_ends_links_log_ins_and_grants(
    app: FastAPI, operator: httpx.AsyncClient
) -> None:
    ann, unused = await enter(app, await make_link(operator)), await make_link(operator)
    client = await Client.register(app)
    tokens = await client.log_in(ann)
    assert await client.call(tokens["access_token"]) == 200
    assert (await operator.delete("/v1/users/ann/tokens")).json() == {"revoked": 0}
    assert await client.call(tokens["access_token"]) == 401
    assert (await client.refresh(tokens["refresh_token"])).status_code == 400
    assert (await ann.get("/v1/session")).status_code == 401
    assert (await browser_of(app).post("/v1/session", json={"code": unused})).status_code == 401


async def test_the_clean_up_takes_what_is_over_and_nothing_else(
    app: FastAPI, operator: httpx.AsyncClient, hub: tuple[FastAPI, HubDatabase]
) -> None:
    ann = await enter(app, await make_link(operator))
    client, unused = await Client.register(app), await Client.register(app)
    old = await client.log_in(ann)
    tokens = (await client.refresh(old["refresh_token"])).json()
    await client.request()
    database = app.state.runtime.database
    assert await purge(database) == 0
    with psycopg.connect(hub[1].admin_url) as connection:
        connection.execute("UPDATE oauth_tokens SET expires_at = now() WHERE kind IN ('access', 'code')")
        connection.execute("UPDATE oauth_requests SET expires_at = now()")
        connection.execute("UPDATE oauth_clients SET read_at = now() - interval '2 days'")
    assert await purge(database) == 5  # two access tokens, a code, a request, and the client that nobody used
    assert (await unused.ask()).status_code == 400
    assert (await client.refresh(tokens["refresh_token"])).status_code == 200
    assert (await client.refresh(old["refresh_token"])).status_code == 400  # known as used, so that it ends its family
    assert (await ann.get("/v1/grants")).json()["items"] == []
