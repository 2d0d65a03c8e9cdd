"""Clients that ask for much, or slowly: what they store is bounded, and others go on."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from nexus_hub.authorization import clients, grants, server
from tests.fixtures.oauth_client import BASE, CALLBACK, Client
from tests.fixtures.postgres import HubDatabase

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def execute(hub_database: HubDatabase, query: str) -> list[Any]:
    async with await psycopg.AsyncConnection.connect(hub_database.admin_url) as connection:
        cursor = await connection.execute(query.encode())
        return [] if cursor.description is None else await cursor.fetchall()


async def grow_older(hub_database: HubDatabase) -> None:
    """Let all clients have come an hour ago."""
    await execute(
        hub_database,
        "UPDATE oauth_clients SET read_at = read_at - interval '1 h', used_at = used_at - interval '1 h'",
    )


async def test_a_client_that_refreshes_without_end_keeps_so_many_tokens(
    client: Client, ann: httpx.AsyncClient, hub_database: HubDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grants, "MOST_TOKENS", 6)
    tokens = await client.log_in(ann)
    for _ in range(5):
        tokens = (await client.refresh(tokens["refresh_token"])).json()
    assert await execute(hub_database, "SELECT count(*) FROM oauth_tokens") == [(6,)]
    assert await client.call(tokens["access_token"]) == 200
    assert (await client.refresh(tokens["refresh_token"])).status_code == 200


async def test_a_token_of_nobodys_that_is_revoked_leaves_no_entry_of_its_own(
    client: Client, ann: httpx.AsyncClient, hub_database: HubDatabase
) -> None:
    tokens = await client.log_in(ann)
    for number in range(3):
        assert (await client.post("/oauth/revoke", {"token": f"nxr_{number:043}"})).status_code == 200
    assert (await client.post("/oauth/revoke", {"token": tokens["refresh_token"]})).status_code == 200
    kept = "SELECT count(*) FROM audit_log WHERE action = 'grant.revoke' AND outcome = 'ok'"
    assert await execute(hub_database, kept) == [(1,)]


async def test_an_address_that_has_registered_too_much_is_let_in_again_soon(
    app: FastAPI, client: Client, hub_database: HubDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "MOST_OF_ADDRESS", 3)
    await Client.register(app)
    await Client.register(app)
    assert (await client.http.post("/oauth/register", json={"redirect_uris": [CALLBACK]})).status_code == 429
    await grow_older(hub_database)
    await Client.register(app)


async def test_clients_that_nobody_has_granted_anything_any_more_make_room(
    app: FastAPI, client: Client, ann: httpx.AsyncClient, hub_database: HubDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "MOST_CLIENTS", 3)
    left, other = await Client.register(app), await Client.register(app)
    for one in (client, left, other):
        await one.log_in(ann)
    (ended,) = await execute(
        hub_database, f"DELETE FROM oauth_grants WHERE client_id = '{left.id}' RETURNING client_id"
    )
    await grow_older(hub_database)
    await Client.register(app)
    known = {row[0] for row in await execute(hub_database, "SELECT id FROM oauth_clients")}
    assert ended[0] not in known
    assert {client.id, other.id} < known


async def test_senders_that_dawdle_keep_nobody_from_a_token(
    client: Client, ann: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "BODY_SECONDS", 600.0)
    code = (await client.consent(ann))["code"]
    waiting, is_over = asyncio.Semaphore(0), asyncio.Event()

    async def dawdle() -> AsyncIterator[bytes]:
        waiting.release()
        await is_over.wait()
        yield b"grant_type=refresh_token"

    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    paths = [path for path in ("/oauth/token", "/oauth/register") for _ in range(8)]
    slow = [asyncio.create_task(client.http.post(path, content=dawdle(), headers=headers)) for path in paths]
    for _ in slow:
        await asyncio.wait_for(waiting.acquire(), 60)
    try:
        assert (await client.exchange(code)).status_code == 200
    finally:
        is_over.set()
        await asyncio.gather(*slow)


@pytest.mark.parametrize("odd", ["\x00", "\ud800", "x" * 5000])
@pytest.mark.parametrize("member", ["grant_types", "client_name", "redirect_uris"])
async def test_a_registration_with_odd_texts_is_taken_or_refused(client: Client, member: str, odd: str) -> None:
    body: dict[str, Any] = {"redirect_uris": [CALLBACK], "grant_types": ["authorization_code"]}
    body[member] = odd if member == "client_name" else [*body[member], odd]
    answer = await client.http.post("/oauth/register", content=json.dumps(body).encode())
    assert answer.status_code in {201, 400}, answer.text


@pytest.mark.parametrize("form", [{"client_id": "\x00"}, {"scope": "\x00"}, {"resource": "\x00"}, {"code": "\x00"}])
async def test_a_form_with_odd_texts_is_refused(client: Client, form: dict[str, str]) -> None:
    sent = {"code": "c", "code_verifier": "v", "redirect_uri": CALLBACK, "client_id": client.id} | form
    for kind in ("authorization_code", "refresh_token"):
        answer = await client.http.post("/oauth/token", data={"grant_type": kind, "refresh_token": "r", **sent})
        assert answer.status_code in {400, 401}, answer.text
    asked = client.query() | {name: value for name, value in form.items() if name != "code"}
    answer = await client.http.get(f"{BASE}/oauth/authorize", params=asked)
    assert answer.status_code in {302, 400}, answer.text
