"""Notices of the catalog: each change of what may be listed or called gives one, and nothing else does."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from nexus_hub.catalog.store import claim_refresh, release_refresh, store
from nexus_hub.db.pool import Database
from nexus_hub.live.listener import CatalogChange, listen
from nexus_hub.models import ServerRef
from nexus_hub.upstream.snapshot import Snapshot
from tests.fixtures.postgres import HubDatabase

Heard = asyncio.Queue[CatalogChange | None]
REF = ServerRef("system", UUID(int=1))
OWNER = uuid4()
EMPTY = Snapshot("2026-07-28", None, None, {})
TOOL: dict[str, Any] = {"name": "t", "inputSchema": {"type": "object"}}
RESOURCE: dict[str, Any] = {"uri": "x://1", "name": "r", "mimeType": "text/plain"}
FULL = replace(
    EMPTY,
    tools=[TOOL, {**TOOL, "name": "other", "description": "one\x00two"}],
    resources=[RESOURCE],
    resource_templates=[{"uriTemplate": "x://{id}", "name": "r"}],
    prompts=[{"name": "p", "arguments": [{"name": "a"}]}],
)


@pytest.fixture
async def heard(database: HubDatabase) -> AsyncIterator[Heard]:
    told: Heard = asyncio.Queue()
    nothing = lambda *_: None  # noqa: E731
    task = asyncio.create_task(listen(database.app_url, nothing, nothing, nothing, told.put_nowait))
    assert await next_of(told) is None, "it is connected"
    yield told
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def next_of(told: Heard) -> CatalogChange | None:
    async with asyncio.timeout(60):
        return await told.get()


async def run(url: str, *statements: str) -> None:
    """Run statements in one transaction."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        for statement in statements:
            await connection.execute(statement.encode())


async def all_heard(database: HubDatabase, told: Heard) -> list[CatalogChange]:
    """Give what was heard until now."""
    await run(database.admin_url, "SELECT pg_notify('nexus_catalog', '')")
    changes: list[CatalogChange] = []
    while (change := await next_of(told)) is not None:
        changes.append(change)
    return changes


async def put(database: Database, seen: Snapshot, ref: ServerRef = REF, owner: UUID | None = None) -> None:
    async with database.transaction() as transaction:
        await store(transaction, ref, "srv", owner, seen)


def kinds(changes: list[CatalogChange]) -> list[str]:
    return sorted(kind for change in changes for kind in change.kinds)


async def test_the_first_listing_of_a_server_is_told_of_once_for_each_kind(
    database: HubDatabase, hub_database: Database, heard: Heard
) -> None:
    many = replace(FULL, tools=[{**TOOL, "name": f"t{number}"} for number in range(500)])
    await put(hub_database, many, ServerRef("user", UUID(int=2)), OWNER)
    changes = await all_heard(database, heard)
    assert [kind for kind in kinds(changes) if kind != "server"] == ["prompts", "resources", "tools"]
    assert {(change.ref, change.user_id) for change in changes} == {(ServerRef("user", UUID(int=2)), OWNER)}


async def test_a_refresh_that_finds_what_it_knew_is_not_told_of(
    database: HubDatabase, hub_database: Database, heard: Heard
) -> None:
    await put(hub_database, FULL)
    await all_heard(database, heard)
    claim = await claim_refresh(hub_database, REF)
    await put(hub_database, FULL)
    await release_refresh(hub_database, REF, claim)
    await put(hub_database, replace(FULL, tools=list(reversed(FULL.tools))))
    assert await all_heard(database, heard) == []


async def test_a_refresh_that_finds_what_it_knew_makes_it_fresh(hub_database: Database) -> None:
    await put(hub_database, FULL)
    await claim_refresh(hub_database, REF)
    async with hub_database.transaction() as transaction:
        await store(transaction, REF, "srv", None, FULL, 7 * 24 * 3600)
        for table in ("tool_cache", "resource_cache", "prompt_cache"):
            query = f"SELECT bool_and(NOT stale AND expires_at > now() + interval '5 days') FROM {table}"
            assert await transaction.only(query.encode(), bool), table


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"tools": [{**TOOL, "description": "new"}, FULL.tools[1]]}, ["tools"]),
        ({"tools": [{**TOOL, "inputSchema": {"type": "object", "required": ["a"]}}, FULL.tools[1]]}, ["tools"]),
        ({"tools": [{**TOOL, "annotations": {"readOnlyHint": True}}, FULL.tools[1]]}, ["tools"]),
        ({"tools": [{**TOOL, "_meta": {"a": 1}}, FULL.tools[1]]}, ["tools"]),
        ({"tools": [TOOL]}, ["tools"]),
        ({"tools": [*FULL.tools, {**TOOL, "name": "third"}]}, ["tools"]),
        ({"tools": [{**TOOL, "name": "renamed"}, FULL.tools[1]]}, ["tools"]),
        ({"tools": []}, ["tools"]),
        ({"resources": [{**RESOURCE, "mimeType": "text/html"}]}, ["resources"]),
        ({"resources": []}, ["resources"]),
        ({"resource_templates": []}, ["resources"]),
        ({"resources": [], "resource_templates": [{"uriTemplate": "x://1", "name": "r"}]}, ["resources"]),
        ({"prompts": [{"name": "p"}]}, ["prompts"]),
        ({"prompts": [], "tools": []}, ["prompts", "tools"]),
        ({"instructions": "new"}, ["server"]),
        ({"protocol_version": "2025-11-25"}, ["server"]),
    ],
)
async def test_what_changed_in_a_listing_is_told_of(
    database: HubDatabase, hub_database: Database, heard: Heard, change: dict[str, Any], expected: list[str]
) -> None:
    await put(hub_database, FULL)
    await all_heard(database, heard)
    await put(hub_database, replace(FULL, **change))
    assert kinds(await all_heard(database, heard)) == expected


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE tool_cache SET enabled = false WHERE tool_name = 't'", ["server", "tools"]),
        ("UPDATE tool_cache SET namespaced_name = 'x__' || tool_name", ["tools"]),
        ("DELETE FROM prompt_cache", ["prompts"]),
        ("DELETE FROM server_state", ["prompts", "resources", "tools"]),
        ("UPDATE tool_cache SET enabled = enabled, expires_at = now(), updated_at = now(), stale = true", []),
        ("UPDATE server_state SET status = 'failing', failures = 3, next_refresh_at = now()", []),
        ("DELETE FROM tool_cache WHERE tool_name = 'nothing'", []),
    ],
)
async def test_what_is_changed_by_hand_is_told_of(
    database: HubDatabase, hub_database: Database, heard: Heard, statement: str, expected: list[str]
) -> None:
    await put(hub_database, FULL)
    await all_heard(database, heard)
    await run(database.owner_url, statement)
    assert kinds(await all_heard(database, heard)) == expected


async def test_an_entry_that_changes_hands_is_told_of_to_both(
    database: HubDatabase, hub_database: Database, heard: Heard
) -> None:
    ref, heir = ServerRef("user", UUID(int=2)), uuid4()
    await put(hub_database, replace(EMPTY, tools=[TOOL]), ref, OWNER)
    await all_heard(database, heard)
    await run(database.owner_url, f"UPDATE tool_cache SET user_id = '{heir}'")
    assert {change.user_id for change in await all_heard(database, heard)} == {OWNER, heir}


async def test_servers_that_come_change_and_go_are_told_of(database: HubDatabase, heard: Heard) -> None:
    values = f"'{OWNER}', 'mine', 'http', repeat('x', 40)::bytea, '0123abcd', 'http://x'"
    added = f"INSERT INTO user_servers (user_id, name, transport, config_encrypted, key_id, endpoint) VALUES ({values})"
    for statement, expected in (
        (added, {"server"}),
        ("UPDATE user_servers SET limit_per_minute = 7", {"server"}),
        ("UPDATE user_servers SET config_encrypted = repeat('y', 40)::bytea", {"server"}),
        ("UPDATE user_servers SET enabled = false", {"server", "off"}),
        ("UPDATE user_servers SET enabled = true", {"server"}),
        ("DELETE FROM user_servers", {"server", "off"}),
    ):
        await run(database.owner_url, statement)
        changes = await all_heard(database, heard)
        assert [(change.user_id, set(change.kinds)) for change in changes] == [(OWNER, expected)], statement


async def test_sealing_a_server_anew_is_not_told_of(database: HubDatabase, heard: Heard) -> None:
    values = "'theirs', 'http', repeat('x', 40)::bytea, '0123abcd', 'http://x'"
    columns = "name, transport, config_encrypted, key_id, endpoint"
    await run(database.owner_url, f"INSERT INTO system_servers ({columns}) VALUES ({values})")
    assert len(await all_heard(database, heard)) == 1
    scope = "SELECT set_config('nexus.scope', 'service', true), set_config('nexus.reseal', 'on', true)"
    reseal = "UPDATE system_servers SET config_encrypted = repeat('y', 40)::bytea, key_id = '89abcdef'"
    await run(database.app_url, scope, reseal)
    assert await all_heard(database, heard) == []


async def test_an_emptied_table_is_told_of_as_anything(
    database: HubDatabase, hub_database: Database, heard: Heard
) -> None:
    await put(hub_database, FULL)
    await all_heard(database, heard)
    await run(database.owner_url, "TRUNCATE resource_cache")
    assert await next_of(heard) is None


@pytest.mark.parametrize(
    "payload",
    [
        *("x", "[]", "7", "null", "{}", "[" * 7000),
        f'{{"server_type": "other", "server_ref_id": "{UUID(int=1)}", "user_id": null, "kinds": []}}',
        '{"server_type": "user", "server_ref_id": null, "user_id": null, "kinds": ["tools"]}',
        '{"server_type": "user", "server_ref_id": "x", "user_id": null, "kinds": ["tools"]}',
        f'{{"server_type": "user", "server_ref_id": "{UUID(int=1)}", "user_id": 5, "kinds": ["tools"]}}',
        f'{{"server_type": "user", "server_ref_id": "{UUID(int=1)}", "user_id": null, "kinds": "tools"}}',
        f'{{"server_type": "user", "server_ref_id": "{UUID(int=1)}", "user_id": null, "kinds": [[]]}}',
        f'{{"server_type": {{}}, "server_ref_id": "{UUID(int=1)}", "user_id": null, "kinds": []}}',
    ],
)
async def test_a_notice_of_another_shape_is_left_out(database: HubDatabase, heard: Heard, payload: str) -> None:
    async with await psycopg.AsyncConnection.connect(database.app_url, autocommit=True) as connection:
        await connection.execute("SELECT pg_notify('nexus_catalog', %s)", [payload])
    assert await all_heard(database, heard) == []


async def test_a_kind_of_a_newer_release_may_be_any_list_of_the_server(database: HubDatabase, heard: Heard) -> None:
    notice = {"server_type": "system", "server_ref_id": str(REF.server_ref_id), "user_id": None, "kinds": ["skills"]}
    await run(database.admin_url, f"SELECT pg_notify('nexus_catalog', '{json.dumps(notice)}')")
    assert kinds(await all_heard(database, heard)) == ["prompts", "resources", "server", "tools"]


async def test_a_lost_connection_is_told_of_as_anything(database: HubDatabase, heard: Heard) -> None:
    await run(
        database.admin_url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'nexus-hub listen'",
    )
    assert await next_of(heard) is None
