"""Rotations of the vault's keys over logins at upstream servers, which are renewed meanwhile."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from nexus_hub.db.pool import Database
from nexus_hub.models import ServerRef
from nexus_hub.servers.login_rows import LoginKey
from nexus_hub.servers.logins import Logins
from nexus_hub.vault.keyring import FixedKeyring, Keyring, KeyringFile
from nexus_hub.vault.keys import VaultKey
from nexus_hub.vault.rotation import Rotation, RotationPlan
from tests.fixtures.logins import KEY, PlayedIssuer, add_server, bearer, change, open_logins, site_of
from tests.fixtures.postgres import HubDatabase

NEW = VaultKey.generate()
PLAN = RotationPlan(NEW.id)
RING = Keyring(KEY, (NEW,))


async def silent(_progress: dict[str, Any]) -> None:
    """Listens to no progress."""


@pytest.fixture
def ref(database: HubDatabase) -> ServerRef:
    return add_server(database)


@pytest.fixture
def ring_file(tmp_path: Path) -> KeyringFile:
    path = tmp_path / "keyring.json"
    path.write_text(RING.render())
    return KeyringFile(path)


def key_ids(database: HubDatabase) -> list[str]:
    with psycopg.connect(database.owner_url) as connection:
        return [key_id for (key_id,) in connection.execute("SELECT key_id FROM upstream_logins")]


async def log_in(logins: Logins, issuer: PlayedIssuer, ref: ServerRef, count: int) -> list[LoginKey]:
    keys = [LoginKey(ref, None if number == 0 else uuid4()) for number in range(count)]
    for number, key in enumerate(keys):
        await logins.store(key, issuer.log_in(f"user-{number}"))
    return keys


async def test_logins_go_under_the_new_key_and_back(
    database: HubDatabase, hub_database: Database, ring_file: KeyringFile, ref: ServerRef
) -> None:
    issuer, rotation = PlayedIssuer(), Rotation(hub_database, ring_file, batch=2)
    async with open_logins(database.app_url, issuer, keyring=ring_file) as logins:
        keys = await log_in(logins, issuer, ref, 5)
        assert await rotation.dry_run(PLAN) == {"would_update": 6, "errors": []}
        report = await rotation.run(PLAN, silent)
        assert (report.updated, report.errors) == (6, [])
        assert set(key_ids(database)) == {NEW.id}
        for number, key in enumerate(keys):
            logins.forget(None)
            assert await logins.source(key, site_of(issuer)).headers() == bearer(f"user-{number}.0")
        status = await rotation.status()
        assert {key["key_id"]: key["rows"] for key in status["keys"]} == {NEW.id: 6, KEY.id: 0}
        await logins.source(keys[0], site_of(issuer)).renew(bearer("user-0.0"))
        assert await logins.remove(keys[1]) is not None
        back = await rotation.restore(NEW.id)
        assert back["restored"] == 4
        assert [line.partition(": ")[2] for line in back["left"]] == ["was changed since the rotation"]
        assert sorted(key_ids(database)) == sorted([KEY.id] * 3 + [NEW.id])


async def test_the_function_of_the_database_counts_logins_too(
    database: HubDatabase, hub_database: Database, ref: ServerRef
) -> None:
    issuer = PlayedIssuer()
    async with open_logins(database.app_url, issuer) as logins:
        await log_in(logins, issuer, ref, 2)
    change(database, "UPDATE upstream_logins SET key_id = %s WHERE user_id IS NULL", NEW.id)
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("SELECT set_config('nexus.vault_primary_key_id', %s, true)", (KEY.id,))
        row = connection.execute("SELECT servers_updated, errors FROM rotate_vault_key()").fetchone()
    assert row is not None
    assert row[0] == 2
    assert [line.partition(" ")[0] for line in row[1]] == ["Login"]
    report = await Rotation(hub_database, FixedKeyring(RING)).dry_run(PLAN)
    assert report["would_update"] == 2


async def test_a_login_that_does_not_open_is_named(
    database: HubDatabase, hub_database: Database, ring_file: KeyringFile, ref: ServerRef
) -> None:
    issuer = PlayedIssuer()
    async with open_logins(database.app_url, issuer, keyring=ring_file) as logins:
        await log_in(logins, issuer, ref, 3)
    change(database, "UPDATE upstream_logins SET user_id = %s WHERE user_id IS NULL", uuid4())
    report = await Rotation(hub_database, ring_file).run(PLAN, silent)
    assert report.updated == 3
    (line,) = report.errors
    assert line.startswith("Login ")
    assert line.endswith(f"can't be opened with key {KEY.id}")


async def test_what_is_renewed_while_keys_rotate_opens_at_all_times(
    database: HubDatabase, hub_database: Database, ring_file: KeyringFile, ref: ServerRef
) -> None:
    issuer, rotated = PlayedIssuer(), asyncio.Event()
    async with open_logins(database.app_url, issuer, keyring=ring_file) as logins:
        keys = await log_in(logins, issuer, ref, 30)

        async def call(number: int, key: LoginKey) -> int:
            source, calls = logins.source(key, site_of(issuer)), 0
            while not rotated.is_set() or not calls:
                headers = await source.headers()
                assert headers["Authorization"].startswith(f"Bearer user-{number}.")
                assert await logins.refresh(key) == "refreshed"
                calls += 1
            return calls

        async def rotate() -> list[str]:
            try:
                return (await Rotation(hub_database, ring_file, batch=4).run(PLAN, silent)).errors
            finally:
                rotated.set()

        rotating = asyncio.create_task(rotate())
        calls = await asyncio.gather(*(call(*one) for one in enumerate(keys)))
        errors = await rotating
    assert (errors, set(key_ids(database))) == ([], {NEW.id})
    assert sum(issuer.exchanges.values()) == sum(calls)


async def test_a_rotation_ends_though_logins_go_on_to_be_sealed_as_before(
    database: HubDatabase, hub_database: Database, ref: ServerRef
) -> None:
    """Where the operator has yet to make the new key the primary, whatever is renewed goes under the old one."""
    issuer, ring, ended = PlayedIssuer(), FixedKeyring(RING, NEW), asyncio.Event()
    async with open_logins(database.app_url, issuer, keyring=ring) as logins:
        (key,) = await log_in(logins, issuer, ref, 1)

        async def go_on() -> None:
            while not ended.is_set():
                assert await logins.refresh(key) == "refreshed"

        going_on = asyncio.create_task(go_on())
        report = await Rotation(hub_database, ring, patience=1).run(PLAN, silent)
        ended.set()
        await going_on
    assert report.advice
    assert all("meanwhile; rotate once more" in line for line in report.errors)
