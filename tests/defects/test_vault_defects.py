"""Defects 1 to 10: keys, sealed bytes and their rotation."""

import asyncio
import json
from base64 import b64encode
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
import pytest_asyncio
from cryptography.exceptions import InvalidTag
from fastapi.encoders import jsonable_encoder
from pydantic import SecretStr

from nexus_hub.api.app import create_app
from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.cli import vault as command
from nexus_hub.cli.output import Output
from nexus_hub.db.migrate import migrate
from nexus_hub.db.pool import Database
from nexus_hub.errors import CannotMigrate, CannotOpen, HubError, InvalidKey, UnboundValue
from nexus_hub.models import ServerRef
from nexus_hub.servers.registry import Servers
from nexus_hub.settings import Settings
from nexus_hub.stack.migration import migrate_hub
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.connections import Connections
from nexus_hub.vault.keyring import FixedKeyring, Keyring, KeyringFile
from nexus_hub.vault.keys import VaultKey
from nexus_hub.vault.rotation import Rotation, RotationPlan
from nexus_hub.vault.sealing import SealContext, Vault, open_sealed, seal
from tests.defects import seed_code
from tests.defects.replay import SEED, Connection, one
from tests.faults.test_rotation_kills import rotated
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.sealed import SealedRow, corrupt_row, former_row, forms, insert, sealed_row, stored, unbound_row

OLD, NEW = VaultKey.generate(), VaultKey.generate()
PLAN = RotationPlan(NEW.id)


@pytest.fixture
def keyring(tmp_path: Path) -> KeyringFile:
    """A keyring file with the old key as its primary, and the new one."""
    path = tmp_path / "keyring.json"
    path.write_text(Keyring(OLD, (NEW,)).render())
    return KeyringFile(path)


@pytest.fixture
def rotation(hub_database: Database, keyring: KeyringFile) -> Rotation:
    return Rotation(hub_database, keyring, batch=5)


@pytest_asyncio.fixture
async def servers(hub_database: Database, keyring: KeyringFile, connections: Connections) -> Servers:
    """What opens the rows, as every process of the hub does; it knows nothing of a rotation."""
    return Servers(hub_database, Vault(KeyringFile(keyring.path)), connections, allow_private=True)


async def silent(_progress: dict[str, Any]) -> None:
    """Listens to no progress."""


def place(row_id: UUID, owner: UUID) -> SealContext:
    """Where the configuration of a row of `user_servers` is sealed, and for whom."""
    return SealContext.for_server(ServerRef("user", row_id), owner)


def settings_of(database: HubDatabase, home: Path) -> Settings:
    """The settings of a hub on that database, with the old key."""
    return Settings(
        home=home,
        database_url=SecretStr(database.app_url),
        migration_database_url=SecretStr(database.owner_url),
        vault_encryption_key=SecretStr(OLD.reveal()),
    )


async def url(servers: Servers, row: SealedRow) -> str:
    """The URL in a server's configuration, opened as for a call."""
    target, _ = await servers.open(row.ref)
    assert isinstance(target.config, HttpConfig)
    return target.config.url


def seed_rows(count: int) -> seed_code.Rows:
    """Rows of the seed's, under the old key."""
    return seed_code.Rows({number: seed_code.seal(OLD.reveal(), f"config {number}") for number in range(count)})


def readable(rows: seed_code.Rows, key: VaultKey) -> int:
    """How many of the seed's rows a key opens."""
    opened = 0
    for sealed in rows.values():
        try:
            seed_code.unseal(key.reveal(), sealed)
        except InvalidTag:
            continue
        opened += 1
    return opened


async def test_defect_01_plain_configs_are_sealed_and_verified_before_they_are_dropped(
    empty_database: HubDatabase, tmp_path: Path, connections: Connections
) -> None:
    config, settings = {"transport": "http", "url": "https://example.com/mcp"}, settings_of(empty_database, tmp_path)
    with psycopg.connect(empty_database.owner_url) as owner:
        owner.execute(SEED["tables"])
        owner.execute(
            "INSERT INTO user_servers (user_id, config) VALUES (gen_random_uuid(), %s)", (json.dumps(config),)
        )
        with owner.transaction(force_rollback=True):
            owner.execute(SEED["vault_migration"])
            assert owner.execute("SELECT config_encrypted FROM user_servers").fetchall() == [(None,)], "all is lost"
    with pytest.raises(CannotMigrate, match="in plain"):
        await migrate(empty_database.owner_url)
    with psycopg.connect(empty_database.owner_url) as owner:
        assert owner.execute("SELECT config FROM user_servers").fetchall() == [(config,)], "it stays until it is sealed"
    await migrate_hub(settings)
    with psycopg.connect(empty_database.owner_url, row_factory=psycopg.rows.dict_row) as owner:
        (row,) = owner.execute("SELECT * FROM user_servers").fetchall()
    assert "config" not in row
    there = place(row["id"], row["user_id"])
    assert json.loads(open_sealed(Keyring(OLD), there, row["config_encrypted"], row["key_id"])) == config


BASE64 = "Qm" * 21 + "Q="
"""32 bytes in base64, as `openssl rand -base64 32` gives them: no pair of it begins with a hexadecimal digit."""


@pytest.mark.parametrize(
    "text",
    [BASE64, b64encode(b"x" * 32).decode(), "ab" * 31, "ab" * 33, "zz" * 32, "00" * 32, ""],
    ids=["base64", "other base64", "62 digits", "66 digits", "no digits", "zero", "empty"],
)
def test_defect_02_only_64_hex_digits_that_are_not_all_zero_are_a_key(text: str, tmp_path: Path) -> None:
    assert seed_code.vault_key(BASE64) == bytes(32), "the seed's parser makes a key of zeros"
    assert len(seed_code.vault_key(text)) == 32, "and takes anything"
    with pytest.raises(InvalidKey):
        VaultKey.parse(text)
    if text:
        settings = Settings(home=tmp_path, service_key=SecretStr("k" * 20), vault_encryption_key=SecretStr(text))
        with pytest.raises(InvalidKey, match="VAULT_ENCRYPTION_KEY"):
            create_app(settings)
    assert VaultKey.parse("aB" * 32).material == b"\xab" * 32


async def test_defect_03_sealed_bytes_are_stored_as_they_are(seed: Connection, ours: Connection) -> None:
    config = {"transport": "http", "url": "https://example.com/mcp"}
    sealed = seed_code.seal(OLD.reveal(), json.dumps(config))
    body = json.dumps({"user_id": str(uuid4())})[:-1] + f', "config_encrypted": {seed_code.as_json(sealed)}}}'
    written = one(
        seed,
        "INSERT INTO user_servers (user_id, config_encrypted) SELECT user_id, config_encrypted "
        "FROM json_populate_record(NULL::user_servers, %s) RETURNING config_encrypted",
        body,
    )
    assert written["config_encrypted"].startswith(b'{"0":'), "the seed stores text"
    with pytest.raises(InvalidTag):
        seed_code.unseal(OLD.reveal(), written["config_encrypted"])

    row_id, insert_row = (
        uuid4(),
        "INSERT INTO user_servers (id, user_id, config_encrypted, key_id) VALUES (%s, %s, %s, %s)",
    )
    good = seal(Keyring(OLD), place(row_id, uuid4()), json.dumps(config).encode())
    ours.execute(insert_row, (row_id, uuid4(), good.data, good.key_id))
    kept = one(ours, "SELECT config_encrypted FROM user_servers")["config_encrypted"]
    assert kept == good.data
    assert len(kept) == 12 + len(json.dumps(config)) + 16
    with pytest.raises(psycopg.errors.CheckViolation):
        ours.execute(insert_row, (uuid4(), uuid4(), good.data[:27], good.key_id))


async def test_defect_04_sealed_bytes_open_only_in_their_own_row(
    database: HubDatabase, servers: Servers, rotation: Rotation
) -> None:
    rows = seed_rows(2)
    rows[1] = rows[0]
    assert seed_code.unseal(OLD.reveal(), rows[1]) == "config 0", "in the seed A's bytes open in B"

    a, b, unbound = sealed_row(OLD, "user"), sealed_row(OLD, "user"), unbound_row(OLD)
    insert(database.owner_url, a, b, unbound)
    copy = b"UPDATE user_servers SET config_encrypted = %s, key_id = %s WHERE id = %s"
    with psycopg.connect(database.app_url, autocommit=True, options="-c nexus.scope=service") as app:
        app.execute(copy, (a.data, a.key_id, b.ref.server_ref_id))
        with pytest.raises(CannotOpen):
            await servers.open(b.ref)
        app.execute(copy, (b.data, b.key_id, b.ref.server_ref_id))
        for row in (a, b, unbound):
            assert await url(servers, row) == row.config["url"]
        await rotation.run(PLAN, silent)
        assert await url(servers, unbound) == unbound.config["url"], "taken over by the rotation"
        app.execute(copy, (unbound.data, None, unbound.ref.server_ref_id))
    with pytest.raises(UnboundValue):
        await servers.open(unbound.ref)


async def test_write_access_lets_no_credential_serve_another_user(
    database: HubDatabase, servers: Servers, rotation: Rotation
) -> None:
    """Nor after a rotation, with the bytes that it replaced, once all values are bound."""
    rows = mine, former = sealed_row(OLD, "user"), former_row(OLD)
    insert(database.owner_url, *rows)
    give = b"UPDATE user_servers SET user_id = gen_random_uuid() WHERE id = %s"
    back = b"UPDATE user_servers SET config_encrypted = %s, key_id = %s, user_id = %s WHERE id = %s"
    with psycopg.connect(database.app_url, autocommit=True, options="-c nexus.scope=service") as app:
        app.execute(give, (mine.ref.server_ref_id,))
        with pytest.raises(CannotOpen):
            await servers.open(mine.ref)
        app.execute(back, (mine.data, mine.key_id, mine.owner, mine.ref.server_ref_id))
        assert (await rotation.run(PLAN, silent)).errors == []
        for row in rows:
            assert await url(servers, row) == row.config["url"]
            app.execute(give, (row.ref.server_ref_id,))
            with pytest.raises(CannotOpen):
                await servers.open(row.ref)
        app.execute(back, (former.data, former.key_id, uuid4(), former.ref.server_ref_id))
        with pytest.raises(UnboundValue):
            await servers.open(former.ref)
        app.execute(b"DELETE FROM user_servers WHERE id = %s", (mine.ref.server_ref_id,))
        insert(database.owner_url, replace(mine, owner=uuid4()))
    with pytest.raises(CannotOpen):
        await servers.open(mine.ref)


async def test_defect_05_everything_stays_readable_while_keys_rotate(
    database: HubDatabase, servers: Servers, rotation: Rotation
) -> None:
    rows, process = seed_rows(500), seed_code.EdgeFunction(OLD.reveal())
    task, failed = asyncio.create_task(process.rotate_vault_key(rows, OLD.reveal(), NEW.reveal())), Counter[bool]()
    while not task.done():
        try:
            await process.decrypt_token(rows[sum(failed.values()) % 500])
            failed[False] += 1
        except InvalidTag:
            failed[True] += 1
    assert failed[True] * 3 > sum(failed.values()), "many of the seed's reads fail during a rotation"
    assert readable(rows, VaultKey.parse(process.environment[seed_code.KEY])) == 0, "and all of them after it"

    mine = [sealed_row(OLD) for _ in range(60)]
    insert(database.owner_url, *mine)
    counts = Counter[str]()

    async def read() -> None:
        while True:
            for row in mine:
                try:
                    counts["right" if await url(servers, row) == row.config["url"] else "wrong"] += 1
                except HubError as error:
                    counts[error.code] += 1

    readers = [asyncio.create_task(read()) for _ in range(2)]
    report = await rotation.run(await rotation.plan(), silent)
    for reader in readers:
        await cancel_and_wait(reader)
    assert (report.updated, report.errors, report.promoted) == (60, [], True)
    assert set(counts) == {"right"}
    assert {row["key_id"] for row in stored(database.owner_url).values()} == {NEW.id}
    assert [await url(servers, row) for row in mine] == [row.config["url"] for row in mine]


async def test_defect_06_a_rotation_is_resumed_after_a_kill_and_overwrites_no_edit(
    database: HubDatabase, servers: Servers, keyring: KeyringFile, rotation: Rotation
) -> None:
    class Interrupted(seed_code.Rows):
        async def update(self, row_id: int, sealed: bytes) -> None:  # type: ignore[override]
            if row_id == 5:
                raise InterruptedError
            await super().update(row_id, sealed)

    rows, process = Interrupted(seed_rows(10)), seed_code.EdgeFunction(OLD.reveal())
    with pytest.raises(InterruptedError):
        await process.rotate_vault_key(rows, OLD.reveal(), NEW.reveal())
    updated, errors = await process.rotate_vault_key(seed_code.Rows(rows), OLD.reveal(), NEW.reveal())
    assert (updated, len(errors)) == (5, 5), "the seed's second run fails on what the first one did"

    class Edited(seed_code.Rows):
        async def update(self, row_id: int, sealed: bytes) -> None:  # type: ignore[override]
            if row_id == 0:
                self[1] = seed_code.seal(OLD.reveal(), "edited")
            await super().update(row_id, sealed)

    rows_edited = Edited(seed_rows(2))
    await process.rotate_vault_key(rows_edited, OLD.reveal(), NEW.reveal())
    assert seed_code.unseal(NEW.reveal(), rows_edited[1]) == "config 1", "the seed overwrites the edit"

    mine = [sealed_row(OLD, "user") for _ in range(600)]
    insert(database.owner_url, *mine)
    arguments = (database.app_url, str(keyring.path), NEW.id)
    await rotated(*arguments, kill_at=20)
    under_new = [row["key_id"] for row in stored(database.owner_url).values()].count(NEW.id)
    assert 20 <= under_new < 600
    left = next(row for row in mine if stored(database.owner_url)[row.ref.server_ref_id]["key_id"] == OLD.id)
    edited = seal(Keyring(OLD), left.context, b'{"transport": "http", "url": "https://edited.example"}')

    edits: list[SealedRow] = []

    async def edit(_progress: dict[str, Any]) -> None:
        if edits:
            return
        edits.append(left)
        with psycopg.connect(database.app_url, options="-c nexus.scope=service") as app:
            app.execute(
                "UPDATE user_servers SET config_encrypted = %s, key_id = %s WHERE id = %s",
                (edited.data, edited.key_id, left.ref.server_ref_id),
            )

    report = await rotation.run(await rotation.plan(), edit)
    await rotation.run(PLAN, silent)
    assert (report.updated, report.errors) == (600, [])
    assert {row["key_id"] for row in stored(database.owner_url).values()} == {NEW.id}
    for row in (left, *mine[::20]):
        assert await url(servers, row) == ("https://edited.example" if row is left else row.config["url"])


async def test_defect_07_all_rows_rotate_however_many_there_are(database: HubDatabase, hub_database: Database) -> None:
    rows = seed_rows(2500)
    process = seed_code.EdgeFunction(OLD.reveal())
    assert await process.rotate_vault_key(rows, OLD.reveal(), NEW.reveal()) == (1000, [])
    assert readable(rows, NEW) == 1000, "the seed leaves 1,500 rows behind, and says nothing"

    insert(database.owner_url, *(sealed_row(OLD, "user") for _ in range(2500)))
    rotation = Rotation(hub_database, FixedKeyring(Keyring(OLD, (NEW,)), NEW), batch=500)
    report = await rotation.run(PLAN, silent)
    assert (report.updated, report.errors) == (2500, [])
    assert {row["key_id"] for row in stored(database.owner_url).values()} == {NEW.id}


async def test_defect_08_only_verified_rows_count_as_rotated(
    seed: Connection, ours: Connection, database: HubDatabase, rotation: Rotation
) -> None:
    insert_row = "INSERT INTO user_servers (user_id, config_encrypted) VALUES (gen_random_uuid(), %s)"
    for connection in (seed, ours):
        connection.execute(insert_row.encode(), (b"x" * 40,))
        connection.execute("SET app.vault_old_key = ''")
        connection.execute("SET app.vault_new_key = ''")
    counted = "SELECT servers_updated, errors FROM rotate_vault_key()"
    assert one(seed, counted) == {"servers_updated": 1, "errors": []}, "the seed counts a row that nobody could open"
    assert one(seed, "SELECT config_encrypted FROM user_servers")["config_encrypted"] == b"x" * 40

    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        ours.execute(counted.encode())
    ours.execute("SET nexus.vault_primary_key_id = ''")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        ours.execute(counted.encode())
    good = sealed_row(OLD, "user")
    insert(database.owner_url, good)
    report = await rotation.run(PLAN, silent)
    found = one(ours, counted)
    assert (report.updated, found["servers_updated"]) == (1, 1)
    assert [line.partition(":")[0] for line in report.errors] == [line.partition(":")[0] for line in found["errors"]]
    assert len(report.errors) == 1


async def test_defect_09_a_rotation_with_errors_fails_and_has_a_backup_and_a_verification(
    database: HubDatabase, rotation: Rotation, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = seed_code.rotation_script(1, ["Server 2: OperationError"])
    assert (code, printed[-1]) == (0, "Vault key rotation completed successfully!"), "the seed's script succeeds"

    good, bad, broken = sealed_row(OLD), corrupt_row(OLD, "user"), corrupt_row(NEW)
    insert(database.owner_url, good, bad, broken)
    before = stored(database.owner_url)
    report = await rotation.run(PLAN, silent)
    named = [
        f"Server {bad.ref}: can't be opened with key {OLD.id}",
        f"Server {broken.ref}: can't be opened with key {NEW.id}",
    ]
    assert (report.updated, report.errors) == (1, named), "the second one was found by the verification"
    answer = {"updated": report.updated, "errors": report.errors}
    assert command.show_rotation(Output(as_json=False), answer, jsonable_encoder(await rotation.status())) == 1
    assert capsys.readouterr().err.splitlines() == named
    assert await rotation.restore(NEW.id) == {"restored": 1, "left": []}
    assert stored(database.owner_url) == before


async def test_defect_10_a_request_with_a_key_is_refused_and_the_key_is_not_repeated(
    database: HubDatabase, keyring: KeyringFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The seed's script sends both keys in a body; its function reads them from settings of the database.

    What Prefect and the logs hold of keys is asked in tests/flows, where a Prefect server runs.
    """
    settings = settings_of(database, tmp_path)
    settings.vault_encryption_key, settings.service_key = None, SecretStr("the-service-key-of-this-test")
    app, path = create_app(settings), "/internal/vault-rotate"
    headers = {"Authorization": "Bearer the-service-key-of-this-test"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hub", headers=headers) as client,
    ):
        for body in (
            {"action": "rotate_vault_key", "old_key_hex": OLD.reveal(), "new_key_hex": NEW.reveal()},
            {"old_key_id": OLD.reveal(), "new_key_id": NEW.id},
            {"new_key_id": NEW.reveal()},
        ):
            answer = await client.post(path, json=body)
            assert answer.status_code == 400
            assert not any(form in answer.content + caplog.text.encode() for key in (OLD, NEW) for form in forms(key))
        tried = await client.post(path, json={"new_key_id": NEW.id, "dry_run": True})
        assert tried.json() == {"would_update": 0, "errors": []}, "ids are all it needs"
