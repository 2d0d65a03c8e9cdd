"""The audit of a hub: what was done by API and at `/mcp`, by whom, from where, and what came of it."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest

from nexus_hub.audit.entries import digest_key, make_digest
from tests.fixtures.mcp_place import SAY, RawHub
from tests.fixtures.mcp_wire import ERAS, LEGACY
from tests.fixtures.served import SERVICE_KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")
CANARY = "c4n4ry-Zq82"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
Entry = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def _quick(raw: RawHub) -> None:
    """Nothing here needs entries to wait for others."""
    raw.served.app.state.audit._soon._linger = 0


def client(raw: RawHub, token: str | None = SERVICE_KEY, **headers: str) -> httpx.AsyncClient:
    """A program that uses the API."""
    given = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(base_url=raw.served.url, headers=given | headers, timeout=60)


async def written(raw: RawHub) -> None:
    """Wait until all entries are in the database."""
    writer = raw.served.app.state.audit
    while writer._waiting:
        await asyncio.wait(writer._waiting)


async def read(raw: RawHub, token: str | None = SERVICE_KEY, **query: Any) -> list[Entry]:
    """Entries, newest first."""
    await written(raw)
    async with client(raw, token) as api:
        answer = await api.get("/v1/audit", params=query)
    assert answer.status_code == 200, answer.text
    items: list[Entry] = answer.json()["items"]
    return items


async def latest(raw: RawHub, action: str, **query: Any) -> Entry:
    return (await read(raw, action=action, limit=1, **query))[0]


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_at_mcp_leaves_who_what_and_what_came_of_it(raw: RawHub, era: str) -> None:
    async with raw.wire(token=raw.token) as caller:
        caller.sent["traceparent"] = TRACEPARENT
        caller.sent["User-Agent"] = "assistant/2"
        await caller.ask(era, "tools/call", SAY)
        entry = await latest(raw, "tool.call")
    assert entry | {"at": "", "id": "", "job_id": ""} == {
        "id": "",
        "at": "",
        "actor": "ann",
        "actor_id": str(raw.user.user_id),
        "client": "raw/1" if era == LEGACY else "assistant/2",
        "address": "127.0.0.1",
        "action": "tool.call",
        "target": "lit__say",
        "server": "lit",
        "tool": "say",
        "job_id": "",
        "outcome": "ok",
        "code": None,
        "digest": make_digest(digest_key(SERVICE_KEY), SAY["arguments"]),
        "trace_id": TRACE,
        "times": 1,
        "called_as": None,
    }
    async with client(raw, raw.token) as api, asyncio.timeout(30):
        while (await api.get(f"/v1/jobs/{entry['job_id']}")).status_code == 404:  # rows of direct calls come in groups
            await asyncio.sleep(0.02)


async def test_lists_and_failed_calls_at_mcp_leave_entries_too(raw: RawHub) -> None:
    async with raw.wire() as caller:
        await caller.modern("tools/list")
        assert (await latest(raw, "tool.list"))["actor"] == "operator"
        await caller.modern("resources/templates/list")
        assert (await latest(raw, "resource.list"))["outcome"] == "ok"
        await caller.modern("tools/call", {"name": "lit__nothing"})
        entry = await latest(raw, "tool.call")
        assert (entry["target"], entry["outcome"], entry["code"]) == ("lit__nothing", "refused", "not-found")
        await caller.modern("tools/call", {"name": "lit__say", "arguments": {"text": 1}})
        entry = await latest(raw, "tool.call")
        assert (entry["outcome"], entry["code"]) == ("failed", "invalid-arguments")
        assert entry["digest"] == make_digest(digest_key(SERVICE_KEY), {"text": 1})


async def test_a_resource_is_named_by_its_server_and_its_uri_by_a_digest(raw: RawHub) -> None:
    async with raw.wire() as caller:
        uri = (await caller.modern("resources/list")).result["resources"][0]["uri"]
        await caller.modern("resources/read", {"uri": uri})
    entry = await latest(raw, "resource.read")
    assert (entry["server"], entry["target"], entry["outcome"]) == ("offers", None, "ok")
    assert entry["digest"] is not None


async def test_what_changes_something_is_there_before_the_answer(raw: RawHub) -> None:
    async with client(raw) as api:

        async def done(method: str, path: str, body: Any = None) -> tuple[httpx.Response, tuple[Any, ...]]:
            answer = await api.request(method, path, json=body)
            async with await psycopg.AsyncConnection.connect(raw.served.admin_url) as connection:
                cursor = await connection.execute(
                    "SELECT action, actor, target, server, outcome, code FROM audit_log ORDER BY at DESC LIMIT 1"
                )
                row = await cursor.fetchone()
            assert row is not None
            return answer, row

        assert (await done("POST", "/v1/users", {"name": "eve"}))[1] == (
            "user.add",
            "operator",
            "eve",
            None,
            "ok",
            None,
        )
        row = (await done("POST", "/v1/users", {"name": "eve"}))[1]
        assert row == ("user.add", "operator", "eve", None, "failed", "name-taken")
        assert (await done("POST", "/v1/users/eve/tokens"))[1][:3] == ("token.issue", "operator", "eve")
        assert (await done("DELETE", "/v1/users/eve/tokens"))[1][:3] == ("token.revoke", "operator", "eve")
        answer, row = await done("POST", "/v1/session/links")
        assert row[:2] == ("session.link", "operator")
        _, row = await done("POST", "/v1/session", {"code": answer.json()["code"]})
        assert row == ("session.open", "operator", None, None, "ok", None)
        found = (await api.get("/v1/servers/lit")).json()
        path = f"/v1/servers/system/{found['id']}"
        assert (await done("PATCH", path, {"durable": "never"}))[1][:4] == ("server.change", "operator", None, "lit")
        await api.patch(path, json={"durable": None})
        body = {"name": "gone", "command": "no-such-command-of-the-tests"}
        assert (await done("POST", "/v1/servers", body))[1][:5] == (
            "server.register",
            "operator",
            "gone",
            None,
            "failed",
        )


async def test_a_server_that_is_removed_keeps_its_name(raw: RawHub) -> None:
    async with raw.over_http("literal") as config, client(raw) as api:
        added = await raw.served.runtime.servers.register("shortlived", config, owner=None)
        assert (await api.delete(f"/v1/servers/system/{added.id}")).status_code == 204
    assert (await latest(raw, "server.remove"))["server"] == "shortlived"


async def test_a_job_leaves_its_id_its_tool_and_a_digest(raw: RawHub) -> None:
    async with client(raw, raw.token, **{"User-Agent": "script/1"}) as api:
        job = (await api.post("/v1/jobs", json={"name": "lit__say", "arguments": {"text": "x"}})).json()
        entry = await latest(raw, "job.submit")
        assert (entry["job_id"], entry["server"], entry["tool"]) == (job["id"], "lit", "say")
        assert (entry["actor"], entry["client"]) == ("ann", "script/1")
        assert entry["digest"] == make_digest(digest_key(SERVICE_KEY), {"text": "x"})
        assert (await api.delete(f"/v1/jobs/{job['id']}")).status_code == 200
        assert (await latest(raw, "job.cancel"))["job_id"] == job["id"]
        batch = await api.post("/v1/jobs:batch", json=[{"name": "lit__say", "arguments": {"text": "x"}}] * 3)
        assert (await latest(raw, "job.submit"))["target"].startswith("3 jobs of batch ")
        for one in batch.json()["ids"]:
            await api.delete(f"/v1/jobs/{one}")


async def test_a_flood_of_refusals_is_two_entries_a_minute(raw: RawHub) -> None:
    began = datetime.now(UTC).isoformat()
    async with client(raw, "nxh_" + "0" * 43) as stranger:
        for _ in range(20):
            assert (await stranger.get("/v1/jobs")).status_code == 401
        assert (await stranger.post("/mcp", json={})).status_code == 401
    raw.served.app.state.audit.end_minute()
    entries = await read(raw, action="access.refused", since=began)
    assert [(entry["times"], entry["code"], entry["actor"]) for entry in entries] == [
        (20, "not-authenticated", "nobody"),
        (1, "not-authenticated", "nobody"),
    ]


async def test_a_user_who_may_not_is_named(raw: RawHub) -> None:
    async with client(raw, raw.token) as api:
        assert (await api.post("/v1/users", json={"name": "mine"})).status_code == 403
    entry = await latest(raw, "user.add")
    assert (entry["actor"], entry["outcome"], entry["code"]) == ("ann", "refused", "not-allowed")


async def test_a_log_in_that_fails_is_counted_as_one(raw: RawHub) -> None:
    async with client(raw, None) as browser:
        await browser.post("/v1/session", json={"token": "nxh_" + "1" * 43})
    entry = await latest(raw, "session.open")
    assert (entry["actor"], entry["outcome"]) == ("nobody", "refused")


async def test_a_user_sees_own_entries_and_an_operator_those_of_whoever_is_asked_for(raw: RawHub) -> None:
    async with client(raw, raw.other_token) as api:
        await api.get("/v1/tools")
        assert (await api.get("/v1/audit", params={"user": "ann"})).status_code == 403
    own = await read(raw, raw.other_token)
    assert {entry["actor"] for entry in own} == {"ben"}
    assert {entry["actor"] for entry in await read(raw, user="ben")} == {"ben"}
    assert {entry["actor"] for entry in await read(raw, user="operator")} == {"operator"}
    async with client(raw) as api:
        assert (await api.get("/v1/audit", params={"user": "no-one-of-that-name"})).status_code == 404


async def test_the_list_goes_by_pages_and_filters(raw: RawHub) -> None:
    async with raw.wire() as caller:
        for _ in range(3):
            await caller.modern("tools/call", SAY)
    await written(raw)
    async with client(raw) as api:
        found: list[str] = []
        cursor: str | None = None
        while True:
            query = {"action": "tool.", "server": "lit", "limit": "2"} | ({"cursor": cursor} if cursor else {})
            page = (await api.get("/v1/audit", params=query)).json()
            found += [entry["id"] for entry in page["items"]]
            assert {entry["action"] for entry in page["items"]} <= {"tool.call"}
            if (cursor := page["next_cursor"]) is None:
                break
        whole = await read(raw, action="tool.call", server="lit", limit=1000)
        assert found == [entry["id"] for entry in whole]
        assert len(set(found)) == len(found) >= 3
        later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        assert await read(raw, since=later) == []
        assert await read(raw, search="no such text") == []
        assert {entry["target"] for entry in await read(raw, search="LIT__SAY")} == {"lit__say"}
        for query in ({"since": "2026-01-31T09:30:00"}, {"since": "yesterday"}, {"limit": "0"}, {"cursor": "x"}):
            assert (await api.get("/v1/audit", params=query)).status_code in {400, 422}, query


async def test_neither_arguments_nor_results_nor_tokens_are_in_it(raw: RawHub) -> None:
    result = json.dumps({"content": [{"type": "text", "text": CANARY}]})
    async with raw.wire(token=raw.token) as caller, client(raw) as api:
        await caller.modern("tools/call", {"name": "lit__say", "arguments": {"text": result, "z": CANARY}})
        await caller.modern("resources/read", {"uri": f"x://{CANARY}"})
        await api.post("/v1/jobs", json={"name": "lit__say", "arguments": {"text": CANARY, CANARY: CANARY}})
        await api.post(
            "/v1/servers", json={"name": "x", "url": f"http://127.0.0.1:1/?{CANARY}", "headers": {"A": CANARY}}
        )
        await api.post("/v1/session", json={"token": raw.token})
        code = (await api.post("/v1/session/links")).json()["code"]
        opened = await api.post("/v1/session", json={"code": code})
        await api.get(f"/v1/jobs/{CANARY}", headers={"Authorization": f"Bearer {CANARY}"})
    await written(raw)
    async with await psycopg.AsyncConnection.connect(raw.served.admin_url) as connection:
        cursor = await connection.execute("SELECT string_agg(audit_log::text, ' ') FROM audit_log")
        row = await cursor.fetchone()
    assert row is not None
    cookie = opened.headers["set-cookie"].partition("=")[2].partition(";")[0]
    for secret in (CANARY, SERVICE_KEY, raw.token, code, cookie):
        assert secret not in row[0]


async def test_the_hub_adds_and_reads_and_changes_nothing(raw: RawHub) -> None:
    await written(raw)
    database = raw.served.database
    for statement in (b"UPDATE audit_log SET actor = 'x'", b"DELETE FROM audit_log", b"TRUNCATE audit_log"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with database.transaction() as transaction:
                await transaction.run(statement)
    with pytest.raises(psycopg.DatabaseError, match="Days must be"):
        async with database.transaction() as transaction:
            await transaction.run(b"SELECT nexus_purge_audit(6)")


async def test_a_user_of_the_database_writes_no_entries(raw: RawHub) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with raw.served.database.transaction(raw.user) as transaction:
            await transaction.run(
                b"INSERT INTO audit_log (id, at, actor, actor_id, action, outcome) "
                b"VALUES (gen_random_uuid(), now(), 'ann', nexus_current_user_id(), 'tool.call', 'ok')"
            )


async def test_what_is_older_than_the_setting_goes(raw: RawHub) -> None:
    from nexus_hub.audit.store import purge

    async with await psycopg.AsyncConnection.connect(raw.served.admin_url, autocommit=True) as connection:
        await connection.execute(
            "INSERT INTO audit_log (id, at, actor, action, outcome) SELECT gen_random_uuid(), "
            "now() - make_interval(days => age), 'nobody', 'old.entry', 'ok' FROM unnest(ARRAY[8, 11, 400]) AS age"
        )
    assert await purge(raw.served.database, 10) == 2
    assert len(await read(raw, action="old.entry")) == 1


async def test_entries_wait_for_a_database_that_is_away_and_their_loss_is_told(
    raw: RawHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from nexus_hub.audit import writer as module
    from nexus_hub.errors import DatabaseUnavailable

    await written(raw)
    writer, insert = raw.served.app.state.audit, raw.served.app.state.audit._insert
    away = asyncio.Event()

    async def fail(entries: list[Any]) -> None:
        away.set()
        raise DatabaseUnavailable

    monkeypatch.setattr(module, "MOST_ENTRIES", 2)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(writer, "_insert", fail)
    before = len(await api_count(raw))
    async with raw.wire() as caller:
        for _ in range(5):
            await caller.modern("tools/call", SAY)  # is answered all the same
        await away.wait()
    monkeypatch.setattr(writer, "_insert", insert)
    await written(raw)
    assert len(await api_count(raw)) == before + 2
    assert "unaudited entries=3" in caplog.text


async def api_count(raw: RawHub) -> list[UUID]:
    async with await psycopg.AsyncConnection.connect(raw.served.admin_url) as connection:
        cursor = await connection.execute("SELECT id FROM audit_log WHERE action = 'tool.call'")
        return [row[0] for row in await cursor.fetchall()]
