"""Quotas: how many servers a user may have, and how much these may offer together."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from nexus_hub.access import users
from nexus_hub.catalog import store
from nexus_hub.catalog.store import CATALOG, UserLimits, check_user_limits
from nexus_hub.db.pool import Database
from nexus_hub.errors import QuotaUsedUp, TooLarge
from nexus_hub.models import Principal, ServerRef
from nexus_hub.servers import registry
from nexus_hub.servers.refresh import Refresher
from nexus_hub.servers.registry import Servers
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.connections import Connections
from nexus_hub.upstream.snapshot import Snapshot
from nexus_hub.vault.keyring import FixedKeyring, Keyring
from nexus_hub.vault.keys import VaultKey
from nexus_hub.vault.sealing import Vault
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import serving
from tests.fixtures.upstreams import Serve, free_port

EMPTY = Snapshot("2026-07-28", None, None, {})
TOOLS = 7
"""Tools of the server `habits`."""


class Owners:
    """Servers with these limits, and two users."""

    def __init__(self, database: Database, connections: Connections, url: str, limits: UserLimits) -> None:
        self.database = database
        self.config = HttpConfig(url=url)
        vault = Vault(FixedKeyring(Keyring(VaultKey.generate())))
        self.servers = Servers(database, vault, connections, allow_private=True, user_limits=limits)
        self.refresher = Refresher(database, self.servers)

    async def user(self, name: str) -> UUID:
        return (await users.add(self.database, name)).id

    async def register(self, owner: UUID | None, name: str) -> ServerRef:
        server = await self.servers.register(name, self.config, owner=owner)
        return ServerRef(server.server_type, server.id)

    async def names(self, owner: UUID) -> list[str]:
        return [one.name for one in (await registry.list_servers(self.database, Principal(owner))).items]


async def test_one_server_too_many_is_refused_until_another_is_removed(
    hub_database: Database, connections: Connections, serve: Serve
) -> None:
    owners = Owners(hub_database, connections, (await serve("habits")).url, UserLimits(servers=2))
    ann, bob = await owners.user("ann"), await owners.user("bob")
    refs = [await owners.register(ann, name) for name in ("one", "two")]
    with pytest.raises(QuotaUsedUp, match=r"at most 2 servers.*NEXUS_MAX_USER_SERVERS") as refusal:
        await owners.register(ann, "three")
    assert refusal.value.status == 409
    assert await owners.names(ann) == ["one", "two"]
    assert await owners.register(bob, "three")
    for name in ("four", "five", "six"):
        assert await owners.register(None, name)
    await owners.servers.remove(Principal(ann), refs[0])
    assert await owners.register(ann, "three")


async def test_of_servers_that_come_at_once_no_more_are_stored_than_are_allowed(
    hub_database: Database, connections: Connections, serve: Serve
) -> None:
    owners = Owners(hub_database, connections, (await serve("habits")).url, UserLimits(servers=2))
    ann = await owners.user("ann")
    found = await asyncio.gather(*(owners.register(ann, f"s{n}") for n in range(5)), return_exceptions=True)
    assert sum(isinstance(one, QuotaUsedUp) for one in found) == 3, found
    assert len(await owners.names(ann)) == 2


async def test_a_server_with_one_tool_too_many_is_refused_whole(
    hub_database: Database, connections: Connections, serve: Serve
) -> None:
    owners = Owners(hub_database, connections, (await serve("habits")).url, UserLimits(tools=2 * TOOLS))
    ann = await owners.user("ann")
    for name in ("one", "two"):
        await owners.register(ann, name)
    with pytest.raises(QuotaUsedUp, match=rf"at most {2 * TOOLS} tools.*NEXUS_MAX_USER_TOOLS"):
        await owners.register(ann, "three")
    assert await owners.names(ann) == ["one", "two"]
    async with hub_database.transaction() as transaction:
        assert await transaction.only(b"SELECT count(*) FROM tool_cache", int) == 2 * TOOLS


async def test_a_refresh_that_brings_too_much_leaves_what_was_there(
    hub_database: Database, connections: Connections, serve: Serve
) -> None:
    owners = Owners(hub_database, connections, (await serve("habits")).url, UserLimits())
    ref = await owners.register(await owners.user("ann"), "srv")
    owners.servers.user_limits = UserLimits(tools=TOOLS - 1)
    with pytest.raises(QuotaUsedUp):
        await owners.refresher.refresh(ref)
    async with hub_database.transaction() as transaction:
        row = await transaction.only(b"SELECT status, last_error_code FROM server_state")
        assert await transaction.only(b"SELECT count(*) FROM tool_cache", int) == TOOLS
    assert row == {"status": "failing", "last_error_code": "quota-used-up"}


async def put(database: Database, owner: UUID | None, limits: UserLimits, **offers: Any) -> None:
    """Store what a server of a user offers, and look at the user's limits."""
    async with database.transaction() as transaction:
        ref = ServerRef("system" if owner is None else "user", uuid4())
        await store.store(transaction, ref, f"s{ref.server_ref_id.hex[:8]}", owner, replace(EMPTY, **offers))
        if owner is not None:
            await check_user_limits(transaction, owner, limits)


def offers(kind: str, size: int) -> dict[str, list[dict[str, Any]]]:
    entry = {"name": "one", "uri": "x://one", "uriTemplate": "x://{one}", "description": "xx" * size}
    return {kind: [entry]}


@pytest.mark.parametrize("kind", ["tools", "resources", "resource_templates", "prompts"])
async def test_the_bytes_of_every_kind_count_and_of_all_servers_together(hub_database: Database, kind: str) -> None:
    ann, bob = uuid4(), uuid4()
    await put(hub_database, ann, UserLimits(), **offers(kind, 1000))
    async with hub_database.transaction() as transaction:
        bytes_of_one = (await transaction.only(CATALOG["count_user_catalog"], user_id=ann))["bytes"]
    assert bytes_of_one > 2000
    await put(hub_database, None, UserLimits(), **offers(kind, 100_000))
    await put(hub_database, bob, UserLimits(bytes=int(bytes_of_one)), **offers(kind, 1000))
    with pytest.raises(TooLarge, match="NEXUS_MAX_USER_BYTES") as refusal:
        await put(hub_database, ann, UserLimits(bytes=2 * int(bytes_of_one) - 1), **offers(kind, 1000))
    assert refusal.value.status == 413
    await put(hub_database, ann, UserLimits(bytes=2 * int(bytes_of_one)), **offers(kind, 1000))


async def test_the_kinds_count_together(hub_database: Database) -> None:
    ann = uuid4()
    all_kinds = offers("tools", 1000) | offers("resources", 1000) | offers("prompts", 1000)
    with pytest.raises(TooLarge):
        await put(hub_database, ann, UserLimits(bytes=5000), **all_kinds)
    await put(hub_database, ann, UserLimits(bytes=7000), **all_kinds)


async def test_counting_reads_no_definition(database: HubDatabase) -> None:
    async with await psycopg.AsyncConnection.connect(database.admin_url) as connection:
        explained = await connection.execute(
            b"EXPLAIN (VERBOSE, FORMAT TEXT) " + CATALOG["count_user_catalog"], {"user_id": uuid4()}
        )
        plan = "\n".join(row[0] for row in await explained.fetchall())
    assert "definition_bytes" in plan
    assert "definition)" not in plan


@pytest.mark.parametrize(
    ("setting", "value", "status", "code"),
    [
        ("max_user_servers", 1, 409, "quota-used-up"),
        ("max_user_tools", TOOLS, 409, "quota-used-up"),
        ("max_user_bytes", 2000, 413, "too-large"),
    ],
)
async def test_the_settings_hold_for_what_users_register_by_the_api(
    database: HubDatabase, tmp_path: Path, serve: Serve, setting: str, value: int, status: int, code: str
) -> None:
    url = (await serve("habits")).url
    more = {setting: value, "allow_private_upstreams": True}
    async with serving(database, tmp_path, free_port(), **more) as served:
        _, token = await served.user("ann")
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=60) as api:
            answers = [await api.post("/v1/servers", json={"name": "s0", "url": url})]
            while answers[-1].status_code == 201:
                answers.append(await api.post("/v1/servers", json={"name": f"s{len(answers)}", "url": url}))
            refused, names = answers[-1], [f"s{number}" for number in range(len(answers) - 1)]
            assert (refused.status_code, refused.json()["code"]) == (status, code)
            assert f"NEXUS_{setting.upper()}" in refused.json()["detail"]
            listed = (await api.get("/v1/servers")).json()["items"]
            tools = (await api.get("/v1/tools")).json()["items"]
        assert names
        assert [one["name"] for one in listed] == names
        assert len(tools) == len(names) * TOOLS
