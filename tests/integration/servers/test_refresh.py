"""Reading servers anew: what is due, one refresher per server, and what stays when a server can't be read."""

import asyncio
import json
import os
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from nexus_hub.catalog import read, store
from nexus_hub.db.pool import Database
from nexus_hub.errors import NotFound, RefreshRunning, UpstreamError
from nexus_hub.models import OPERATOR, ServerRef
from nexus_hub.orchestration.due_refresh import RefreshTrigger
from nexus_hub.servers import registry
from nexus_hub.servers.refresh import Due, Refresher
from nexus_hub.servers.registry import Servers
from nexus_hub.telemetry.bus import subscribe
from nexus_hub.telemetry.events import CatalogChanged, ServerRefreshed, TelemetryEvent
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.requests import ToolCall
from tests.fixtures.library import Library
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.prefect_runs import FakePrefect
from tests.fixtures.upstreams import Serve, own_server

TOOLS = 7
GOOD = {"name": "a", "inputSchema": {"type": "object"}}


async def run(database: HubDatabase, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """A statement as the superuser."""
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as connection:
        cursor = await connection.execute(statement.encode(), values)
        return await cursor.fetchall() if cursor.description else []


async def registered(servers: Servers, name: str, config: Any = None) -> ServerRef:
    server = await servers.register(name, config or own_server("habits"))
    return ServerRef(server.server_type, server.id)


async def entries(database: Database, ref: ServerRef) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = asdict(
        await read.list_entries(database, OPERATOR, "tools", server=str(ref.server_ref_id))
    )["items"]
    return items


async def due(database: Database) -> list[str]:
    return [row.name for row in await store.due(database)]


async def test_a_round_with_a_dead_and_a_hanging_server_among_ten_renews_the_other_eight(
    library: Library, connections: Connections, database: HubDatabase, serve: Serve
) -> None:
    servers = library.servers
    names = [f"good-{number}" for number in range(8)]
    for name in names:
        await registered(servers, name)
    dying, hanging = await serve("habits"), await serve("habits", fork=False)
    refs = {
        "dead": await registered(servers, "dead", HttpConfig(url=dying.url)),
        "hanging": await registered(servers, "hanging", HttpConfig(url=hanging.url)),
    }
    await run(database, "UPDATE server_state SET next_refresh_at = now() - interval '1 second'")
    await run(database, "UPDATE tool_cache SET expires_at = now() - interval '1 second'")
    await dying.kill()
    os.kill(hanging.process.pid, signal.SIGSTOP)
    refresher = Refresher(library.database, servers, read_seconds=12)
    try:
        found = await refresher.find_due()
        assert {one.name for one in found} == {*names, *refs}
        outcomes = {one.name: one for one in await asyncio.gather(*map(refresher.refresh_due, found))}
    finally:
        os.kill(hanging.process.pid, signal.SIGCONT)
    assert {name for name, one in outcomes.items() if one.error_code is None and one.tools == TOOLS} == set(names)
    assert {outcomes[name].error_code for name in refs} == {"upstream-unavailable"}
    catalog = asdict(await read.list_entries(library.database, OPERATOR, "tools"))["items"]
    assert len(catalog) == 10 * TOOLS, "the last good entries stay"
    stale = {item["name"].partition("__")[0] for item in catalog if item["stale"]}
    assert stale == set(refs)
    assert await due(library.database) == [], "what failed rests before the next try"


async def test_a_failing_server_is_due_again_after_its_rest_and_then_ready(
    library: Library, database: HubDatabase, serve: Serve
) -> None:
    server = await serve("habits")
    ref = await registered(library.servers, "srv", HttpConfig(url=server.url))
    await server.kill()
    rests = []
    for _ in range(3):
        with pytest.raises(UpstreamError):
            await library.refresher.refresh(ref)
        ((status, rest),) = await run(
            database, "SELECT status, extract(epoch FROM next_refresh_at - last_attempt_at)::float FROM server_state"
        )
        assert status == "failing"
        rests.append(rest)
    assert [round(rest / 30 / 2**n) for n, rest in enumerate(rests)] == [1, 1, 1], rests
    await run(database, "UPDATE server_state SET next_refresh_at = now()")
    assert await due(library.database) == ["srv"]
    await serve("habits", port=int(server.url.split(":")[2].split("/")[0]))
    assert len((await library.refresher.refresh(ref)).tools) == TOOLS
    assert not any(item["stale"] for item in await entries(library.database, ref))
    assert await run(database, "SELECT status, failures, last_error_code FROM server_state") == [("ready", 0, None)]


async def test_two_refreshers_read_a_server_one_at_a_time(library: Library, database: HubDatabase) -> None:
    ref = await registered(library.servers, "srv")
    outcomes = await asyncio.gather(*(library.refresher.refresh(ref) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(one, RefreshRunning) for one in outcomes) == 4
    assert not any(item["stale"] for item in await entries(library.database, ref))
    assert await run(database, "SELECT refresh_claim FROM server_state") == [(None,)]


async def test_a_refresher_that_died_is_followed_by_another_once_its_lease_has_run_out(
    library: Library, database: HubDatabase
) -> None:
    ref = await registered(library.servers, "srv")
    dead = await store.claim_refresh(library.database, ref)
    assert all(item["stale"] for item in await entries(library.database, ref))
    await run(database, "UPDATE server_state SET next_refresh_at = now() - interval '1 second'")
    assert await due(library.database) == []
    with pytest.raises(RefreshRunning):
        await library.refresher.refresh(ref)
    await run(database, "UPDATE server_state SET refresh_lease_expires_at = now() - interval '1 second'")
    assert await due(library.database) == ["srv"]
    await library.refresher.refresh(ref)
    await store.fail_refresh(library.database, ref, dead, "too-late")
    assert await run(database, "SELECT status, last_error_code FROM server_state") == [("ready", None)]


async def test_a_server_whose_credentials_can_not_be_opened_rests_like_a_dead_one(
    library: Library, database: HubDatabase
) -> None:
    ref = await registered(library.servers, "srv")
    await run(database, "UPDATE system_servers SET config_encrypted = decode(repeat('ab', 60), 'hex')")
    await run(database, "UPDATE server_state SET next_refresh_at = now()")
    outcome = await library.refresher.refresh_due(Due(ref, "srv"))
    assert outcome.error_code == "cannot-open"
    assert await due(library.database) == []
    assert len(await entries(library.database, ref)) == TOOLS


async def test_a_server_and_its_entries_expire_together_within_a_tenth_of_the_time_to_live(
    library: Library, database: HubDatabase
) -> None:
    for number in range(6):
        await registered(library.servers, f"srv-{number}")
    rows = await run(
        database,
        "SELECT DISTINCT s.name, extract(epoch FROM t.expires_at - s.last_refresh_at)::float,"
        " t.expires_at = s.next_refresh_at FROM server_state s JOIN tool_cache t USING (server_type, server_ref_id)",
    )
    assert len(rows) == 6, "one time for all entries of a server"
    assert all(together for _, _, together in rows)
    hours = [seconds / 3600 for _, seconds, _ in rows]
    assert all(21.6 <= span <= 26.4 for span in hours)
    assert len({round(span, 3) for span in hours}) > 1, "servers do not come due together"


async def test_a_server_that_never_synced_is_due(library: Library, database: HubDatabase) -> None:
    await run(
        database,
        "INSERT INTO user_servers (user_id, name, config_encrypted) VALUES (%s, 'new', %s)",
        uuid4(),
        bytes(60),
    )
    assert await due(library.database) == ["new"]


async def test_a_server_that_has_no_configuration_rests_after_it_was_looked_at(
    library: Library, database: HubDatabase
) -> None:
    bare = "INSERT INTO user_servers (user_id, name) VALUES (%s, 'bare') RETURNING id"
    ((row,),) = await run(database, bare, uuid4())
    assert await due(library.database) == ["bare"]
    outcome = await library.refresher.refresh_due(Due(ServerRef("user", row), "bare"))
    assert outcome.error_code == "not-found"
    assert await due(library.database) == []
    assert await run(database, "SELECT status, failures FROM server_state") == [("failing", 1)]


async def test_one_server_is_read_by_hand_whether_it_is_due_or_not(library: Library) -> None:
    ref = await registered(library.servers, "srv")
    refresher = library.refresher
    assert await refresher.find_due("srv") == [Due(ref, "srv")]
    assert await refresher.find_due() == []
    with pytest.raises(NotFound):
        await refresher.find_due("nothing")
    await library.servers.remove(OPERATOR, ref)
    assert (await refresher.refresh_due(Due(ref, "srv"))).error_code == "not-found"


@pytest.mark.parametrize(
    ("listed", "names", "omitted"),
    [
        ([GOOD | {"name": "b"}, GOOD, GOOD | {"name": "c"}], ["a", "b", "c"], []),
        ([{"name": "b"}, GOOD, GOOD | {"name": "c"}], ["a", "c"], ["b"]),
        ([7, GOOD | {"name": "b"}, GOOD], ["a", "b"], [None]),
        ([GOOD, GOOD | {"title": "another"}, GOOD | {"name": "b"}], ["a", "b"], ["a"]),
        ([GOOD, {"name": "b", "inputSchema": None}, {"inputSchema": {"type": "object"}}], ["a"], ["b", None]),
        ({"error": {"code": -32603, "message": "not today"}}, ["a", "b"], [None]),
    ],
    ids=["all-good", "one-went-bad", "noise", "twice", "two-bad", "listing-fails"],
)
async def test_what_is_read_badly_costs_no_entry_that_is_still_good(
    library: Library, database: HubDatabase, tmp_path: Path, listed: Any, names: list[str], omitted: list[str | None]
) -> None:
    script = tmp_path / "answers.json"
    first = {"tools": [GOOD, GOOD | {"name": "b"}]}
    prompts = [{"prompts": [{"name": "p"}]}]
    script.write_text(json.dumps({"tools/list": [first], "prompts/list": prompts}))
    ref = await registered(library.servers, "srv", own_server("clumsy", "", str(script)))
    known = {entry["tool_name"]: entry for entry in await entries(library.database, ref)}
    again = listed if isinstance(listed, dict) else {"tools": listed}
    script.write_text(json.dumps({"tools/list": [again], "prompts/list": prompts}))
    outcome = await library.refresher.refresh_due(Due(ref, "srv"))
    found = {entry["tool_name"]: entry for entry in await entries(library.database, ref)}
    assert (outcome.error_code, sorted(found)) == (None, names)
    kept = [name for name in names if name in known]
    assert [found[name]["id"] for name in kept] == [known[name]["id"] for name in kept]
    assert [found[name]["definition"] for name in kept] == [known[name]["definition"] for name in kept]
    assert not any(entry["stale"] for name, entry in found.items() if isinstance(listed, list))
    server = await registry.find(library.database, OPERATOR, "srv")
    assert [one["name"] for one in server.omitted] == omitted
    assert await run(database, "SELECT prompt_name FROM prompt_cache") == [("p",)]


async def test_each_reading_is_told_with_what_the_server_offers_or_the_code_of_the_error(
    library: Library, serve: Serve
) -> None:
    server = await serve("habits")
    ref = await registered(library.servers, "srv", HttpConfig(url=server.url))
    seen: list[TelemetryEvent] = []
    with subscribe(seen.append):
        await library.refresher.refresh(ref)
        await server.kill()
        with pytest.raises(UpstreamError):
            await library.refresher.refresh(ref)
    good, bad = seen
    assert isinstance(good, ServerRefreshed)
    assert isinstance(bad, ServerRefreshed)
    assert (good.server, good.server_id, good.tools, good.code) == ("srv", ref.server_ref_id, TOOLS, None)
    assert (bad.server_id, bad.code) == (ref.server_ref_id, "upstream-unavailable")


async def test_the_look_out_starts_one_round_when_something_is_due(library: Library, database: HubDatabase) -> None:
    prefect = FakePrefect()
    one, two = (RefreshTrigger(library.database, prefect, clock=lambda: 1000.0) for _ in range(2))
    await registered(library.servers, "srv")
    assert not await one.check()
    await run(database, "UPDATE server_state SET next_refresh_at = now()")
    assert await one.check()
    assert await two.check()
    assert [(flow, parameters) for flow, _, parameters in prefect.made] == [("refresh-catalog", {})] * 2
    assert len(prefect.keys) == 1, "Prefect makes one run of one key"
    assert not await one.check(), "the round that it started is not over"


async def test_a_round_says_what_changed_and_what_was_left_out(library: Library, connections: Connections) -> None:
    target = await changing(library)
    due = Due(target.ref, "srv")
    first = await library.refresher.refresh_due(due)
    assert (first.added, first.changes) == (0, None)
    told: list[TelemetryEvent] = []
    await connections.request(target, ToolCall("grow"), timeout=30)
    with subscribe(told.append):
        second = await library.refresher.refresh_due(due)
    assert (second.added, second.changed, second.removed, second.changes) == (1, 0, 0, "1 added: grown-6")
    (event,) = (one for one in told if isinstance(one, CatalogChanged))
    assert (event.server, event.added) == ("srv", 1)


async def changing(library: Library) -> Target:
    """A server that adds a tool when it is asked to."""
    ref = await registered(library.servers, "srv", own_server("speaking"))
    return (await library.servers.open(ref))[0]
