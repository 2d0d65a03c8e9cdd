"""Attacks on the console's log-in: what one without a token, or with one, can do to others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from nexus_hub.access.console import MOST_LINKS, MOST_SESSIONS
from nexus_hub.api import session
from nexus_hub.api.app import create_app
from nexus_hub.api.connections import ServingLimits
from nexus_hub.api.serving import Server
from nexus_hub.telemetry.bus import subscribe
from nexus_hub.telemetry.events import DefectFound, TelemetryEvent
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import SERVICE_KEY, settings_of
from tests.fixtures.upstreams import free_port

CONNECTIONS = 10
HEAD = (
    b"POST /v1/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{"
)
TOLD = f"Authorization: Bearer {SERVICE_KEY}\r\nAccept: application/json, text/event-stream"


@asynccontextmanager
async def listening(database: HubDatabase, home: Path) -> AsyncIterator[int]:
    settings = settings_of(database, home, free_port())
    server = Server(create_app(settings), "127.0.0.1", settings.port, ServingLimits(max_connections=CONNECTIONS))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.02)
    try:
        yield settings.port
    finally:
        server.should_exit = True
        await task


async def test_log_ins_that_never_arrive_keep_nobody_with_a_token_out(database: HubDatabase, tmp_path: Path) -> None:
    """A log-in's body is waited for before anybody is known."""
    async with listening(database, tmp_path) as port, AsyncExitStack() as stack:
        for _ in range(CONNECTIONS):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            writer.write(HEAD)
            await writer.drain()
        await asyncio.sleep(0.2)  # until each is a request under way
        headers = {"Authorization": f"Bearer {SERVICE_KEY}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
            assert (await client.get("/v1/users")).status_code == 200


async def test_a_log_in_that_is_slow_is_refused_soon(
    database: HubDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "BODY_SECONDS", 0.05)
    async with listening(database, tmp_path) as port:
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD)
            assert b" 408 " in await reader.readline()
            writer.close()


async def test_a_log_in_that_is_broken_off_is_no_defect(
    database: HubDatabase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found: list[TelemetryEvent] = []
    with subscribe(found.append):
        async with listening(database, tmp_path) as port:
            heads = [HEAD.replace(b"/v1/session", path) for path in (b"/v1/session", b"/v1/jobs", b"/mcp")]
            for head in heads:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(head.replace(b"\r\n\r\n", f"\r\n{TOLD}\r\n\r\n".encode()))
                await writer.drain()
                await asyncio.sleep(0.1)  # until the body is waited for
                writer.close()
            await asyncio.sleep(0.1)
    assert not [event for event in found if isinstance(event, DefectFound)]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_one_token_opens_no_more_sessions_than_a_person_has_browsers(
    database: HubDatabase, tmp_path: Path
) -> None:
    """Nor links: a loop of one user would fill the table."""
    async with listening(database, tmp_path) as port, AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}"))
        for _ in range(MOST_SESSIONS + 5):
            client.cookies.clear()
            assert (await client.post("/v1/session", json={"token": SERVICE_KEY})).status_code == 200
        for _ in range(MOST_LINKS + 2):
            await client.post("/v1/session/links", headers={"Authorization": f"Bearer {SERVICE_KEY}"})
        assert (await client.get("/v1/session")).status_code == 200, "the newest stays"
    with psycopg.connect(database.admin_url) as connection:
        query = "SELECT (SELECT count(*) FROM console_sessions), (SELECT count(*) FROM console_links)"
        assert connection.execute(query).fetchone() == (MOST_SESSIONS, MOST_LINKS)


async def test_whoever_logs_in_anew_leaves_no_session_behind(database: HubDatabase, tmp_path: Path) -> None:
    """The cookie before it, which somebody may have copied, would be good for days, and no log-out would reach it."""
    async with listening(database, tmp_path) as port:
        own = {"Sec-Fetch-Site": "same-origin"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=own) as browser:
            await browser.post("/v1/session", json={"token": SERVICE_KEY})
            before = dict(browser.cookies)
            await browser.post("/v1/session", json={"token": SERVICE_KEY})
            after = dict(browser.cookies)
            code = (await browser.post("/v1/session/links", headers={"Authorization": f"Bearer {SERVICE_KEY}"})).json()
            await browser.post("/v1/session", json={"code": code["code"]})
            last = dict(browser.cookies)
            assert (await browser.post("/v1/session", json={"code": code["code"]})).status_code == 401
            assert (await browser.get("/v1/session")).status_code == 200, "a log-in that fails ends nothing"
            await browser.delete("/v1/session", headers={"Authorization": f"Bearer {SERVICE_KEY}"})
            for cookies in (before, after, last):
                browser.cookies.clear()
                browser.cookies.update(cookies)
                assert (await browser.get("/v1/session")).status_code == 401
