"""Rotations on a real database: what goes under the new key, what stays, and what is refused."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio

from nexus_hub.db.pool import Database, Transaction
from nexus_hub.errors import InvalidRequest, NoSecondKey, NotFound, RotationRunning, UnboundValue
from nexus_hub.models import ServerRef
from nexus_hub.servers.registry import Servers
from nexus_hub.upstream.connections import Connections
from nexus_hub.vault.keyring import FixedKeyring, Keyring, KeyringFile, create
from nexus_hub.vault.keys import VaultKey
from nexus_hub.vault.resealing import FIRST, VAULT, Resealer
from nexus_hub.vault.rotation import Rotation, RotationPlan, RotationReport
from nexus_hub.vault.sealing import SealContext, Vault, is_bound, open_sealed, seal
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.sealed import SealedRow, corrupt_row, former_row, insert, sealed_row, stored, unbound_row

OLD, NEW = VaultKey.generate(), VaultKey.generate()
RING = Keyring(OLD, (NEW,))
PLAN = RotationPlan(NEW.id)


async def silent(_progress: dict[str, Any]) -> None:
    """Listens to no progress."""


@pytest.fixture
def rotation(hub_database: Database) -> Rotation:
    return Rotation(hub_database, FixedKeyring(RING, NEW), batch=3)


def under_new_key(url: str, *rows: SealedRow) -> None:
    """Each of these rows is under the new key, holds what it held, and is the same server as before."""
    now = stored(url)
    for row in rows:
        found = now[row.ref.server_ref_id]
        assert (found["key_id"], found["revision"]) == (NEW.id, 1)
        opened = open_sealed(Keyring(NEW), row.context, found["config_encrypted"], NEW.id)
        assert json.loads(opened) == row.config


async def test_every_value_goes_under_the_new_key_and_no_server_changes(
    database: HubDatabase, rotation: Rotation
) -> None:
    rows = [sealed_row(OLD) for _ in range(7)] + [sealed_row(OLD, "user") for _ in range(7)] + [unbound_row(OLD)]
    insert(database.owner_url, *rows, sealed_row(NEW))
    before, progress = stored(database.owner_url), list[dict[str, int]]()

    async def on_progress(step: dict[str, Any]) -> None:
        progress.append(step)

    assert await rotation.dry_run(PLAN) == {"would_update": 15, "errors": []}
    assert stored(database.owner_url) == before
    report = await rotation.run(PLAN, on_progress)
    assert (report.updated, report.errors, report.old_key_id) == (15, [], OLD.id)
    assert [step["done"] for step in progress] == [3, 6, 7, 10, 13, 15]
    assert {step["total"] for step in progress} == {15}
    under_new_key(database.owner_url, *rows)
    after = stored(database.owner_url)
    assert {id_: row["updated_at"] for id_, row in after.items()} == {
        id_: row["updated_at"] for id_, row in before.items()
    }


async def test_rows_that_do_not_open_are_named_and_left(database: HubDatabase, rotation: Rotation) -> None:
    stranger = VaultKey.generate()
    good, bad, lost = sealed_row(OLD), corrupt_row(OLD, "user"), sealed_row(stranger)
    broken, unbound = corrupt_row(NEW), replace(sealed_row(OLD, "user"), data=b"x" * 40, key_id=None)
    insert(database.owner_url, good, bad, lost, broken, unbound)
    before = stored(database.owner_url)
    named = {
        f"Server {bad.ref}: can't be opened with key {OLD.id}",
        f"Server {lost.ref}: can't be opened with key {stranger.id}",
        f"Server {unbound.ref}: can't be opened with any key of the ring",
    }
    dry = await rotation.dry_run(PLAN)
    assert (dry["would_update"], set(dry["errors"])) == (1, named)
    report = await rotation.run(PLAN, silent)
    assert report.updated == 1
    assert set(report.errors) == named | {f"Server {broken.ref}: can't be opened with key {NEW.id}"}
    under_new_key(database.owner_url, good)
    after = stored(database.owner_url)
    for row in (bad, lost, broken, unbound):
        assert after[row.ref.server_ref_id] == before[row.ref.server_ref_id]


async def test_only_the_named_keys_values_and_the_unbound_ones_are_taken(
    database: HubDatabase, hub_database: Database
) -> None:
    third = VaultKey.generate()
    rotation = Rotation(hub_database, FixedKeyring(Keyring(OLD, (NEW, third))))
    taken, unbound, kept = sealed_row(OLD), unbound_row(third), sealed_row(third, "user")
    insert(database.owner_url, taken, unbound, kept)
    report = await rotation.run(await rotation.plan(OLD.id, NEW.id), silent)
    assert (report.updated, report.errors) == (2, [])
    under_new_key(database.owner_url, taken, unbound)
    assert stored(database.owner_url)[kept.ref.server_ref_id]["key_id"] == third.id


@pytest.mark.parametrize("old", [None, OLD], ids=["all", "of one key"])
@pytest.mark.parametrize("new", [NEW, OLD], ids=["to the new key", "to the primary"])
async def test_a_dry_run_foretells_what_a_rotation_does(
    database: HubDatabase, hub_database: Database, old: VaultKey | None, new: VaultKey
) -> None:
    third = VaultKey.generate()
    rotation = Rotation(hub_database, FixedKeyring(Keyring(OLD, (NEW, third))), batch=2)
    for key in (OLD, NEW, third):
        insert(database.owner_url, sealed_row(key), sealed_row(key, "user"), corrupt_row(key), corrupt_row(key, "user"))
    insert(database.owner_url, unbound_row(third))
    plan = RotationPlan(new.id, old.id if old and old != new else None)
    dry = await rotation.dry_run(plan)
    report = await rotation.run(plan, silent)
    assert report.updated == dry["would_update"]
    unverified = {line for line in report.errors if line.endswith(new.id)}
    assert (set(report.errors) - set(dry["errors"]), len(unverified)) == (unverified, 2)


async def test_bytes_that_have_changed_are_not_replaced(database: HubDatabase, hub_database: Database) -> None:
    """Compare-and-set, where a lock would not have helped."""
    row = sealed_row(OLD, "user")
    insert(database.owner_url, row)
    before = stored(database.owner_url)
    async with hub_database.transaction() as transaction:
        begun = await transaction.one(
            VAULT["begin_rotation"], old_key_id=None, old_primary_key_id=None, new_key_id=NEW.id, flow_run_id=None
        )
        assert begun is not None
        replaced = await transaction.run(
            VAULT["reseal_user"],
            ids=[row.ref.server_ref_id],
            old=[b"what it was before an edit......."],
            new=[b"y" * 40],
            new_key_id=NEW.id,
            rotation_id=begun["id"],
        )
        assert replaced == 0
        assert await transaction.one(VAULT["count_backups"]) == {"rows": 0}
    assert stored(database.owner_url) == before


async def test_a_rotation_that_was_stopped_goes_on_where_it_was(database: HubDatabase, rotation: Rotation) -> None:
    rows = [sealed_row(OLD) for _ in range(10)]
    insert(database.owner_url, *rows)

    async def stop(progress: dict[str, Any]) -> None:
        if progress["done"] >= 6:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        await rotation.run(PLAN, stop)
    assert [row["key_id"] for row in stored(database.owner_url).values()].count(NEW.id) == 6
    first = (await rotation.status())["last_rotation"]
    assert first.finished_at is None
    seen = list[int]()

    async def on_progress(progress: dict[str, Any]) -> None:
        seen.append(progress["done"])
        assert progress["total"] == 10

    report = await rotation.run(await rotation.plan(), on_progress)
    assert (report.rotation_id, report.updated, report.errors, seen) == (first.id, 10, [], [9, 10])
    under_new_key(database.owner_url, *rows)


async def test_two_rotations_at_once_are_one_too_many(database: HubDatabase, rotation: Rotation) -> None:
    insert(database.owner_url, *(sealed_row(OLD) for _ in range(4)))
    async with Database(database.app_url, name="another process") as pool:
        other = Rotation(pool, FixedKeyring(RING, NEW))

        async def refused(_progress: dict[str, Any]) -> None:
            for attempt in (other.run(PLAN, silent), other.restore(NEW.id)):
                with pytest.raises(RotationRunning):
                    await attempt

        assert (await rotation.run(PLAN, refused)).updated == 4
        assert (await other.run(PLAN, silent)).updated == 0


async def test_what_is_edited_meanwhile_is_not_lost(database: HubDatabase, rotation: Rotation) -> None:
    """Half of the rows are edited under the old key while the rotation goes over them."""
    rows = [sealed_row(OLD) for _ in range(30)]
    insert(database.owner_url, *rows)
    edited = {row.ref: row.config | {"edited": True} for row in rows[::2]}

    async def edit() -> None:
        async with await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as connection:
            for ref, config in edited.items():
                sealed = seal(RING, SealContext.for_server(ref, None), json.dumps(config).encode())
                await connection.execute(
                    "UPDATE system_servers SET config_encrypted = %s, key_id = %s WHERE id = %s",
                    (sealed.data, sealed.key_id, ref.server_ref_id),
                )
                await asyncio.sleep(0)

    report, _ = await asyncio.gather(rotation.run(PLAN, silent), edit())
    assert all("meanwhile; rotate once more" in line for line in report.errors), "an edit after the last look is named"
    await rotation.run(PLAN, silent)
    for ref_id, row in stored(database.owner_url).items():
        ref = ServerRef("system", ref_id)
        assert row["key_id"] == NEW.id
        held = json.loads(open_sealed(RING, SealContext.for_server(ref, None), row["config_encrypted"], NEW.id))
        assert held.get("edited", False) is (ref in edited)


async def test_no_more_than_a_batch_is_read_at_a_time(
    database: HubDatabase, hub_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(database.owner_url, *(sealed_row(OLD) for _ in range(9)), *(corrupt_row(OLD) for _ in range(9)))
    read, given = list[int](), list[int]()
    all_rows = Transaction.all

    async def all_of(transaction: Transaction, query: bytes, *rest: Any, **params: Any) -> list[Any]:
        rows: list[Any] = await all_rows(transaction, query, *rest, **params)
        read.append(len(rows))
        given.append(len(params["failed"]))
        return rows

    monkeypatch.setattr(Transaction, "all", all_of)
    work = Resealer(hub_database, FixedKeyring(RING, NEW), PLAN, uuid4(), batch=3, patience=0)
    async with hub_database.transaction() as transaction:
        await transaction.run(
            b"INSERT INTO vault_rotations (id, new_key_id) VALUES (%(id)s, %(key)s)", id=work.rotation_id, key=NEW.id
        )
    lines = await work.run(silent)
    assert len(lines) == 9
    assert (max(read), sum(read)) == (3, 18)
    assert max(given) == 0, "what fails in a pass is not sent with each batch"


async def test_a_batch_costs_the_same_however_many_values_there_are(
    database: HubDatabase, hub_database: Database
) -> None:
    """The planner has a small table here, where it likes to read the whole of it."""
    insert(database.owner_url, *(sealed_row(OLD, "user") for _ in range(40)), *(sealed_row(OLD) for _ in range(40)))
    with psycopg.connect(database.admin_url, autocommit=True) as connection:
        connection.execute("INSERT INTO vault_rotations (id, new_key_id) VALUES (gen_random_uuid(), %s)", [NEW.id])
        for kind in ("system", "user"):
            connection.execute(
                "INSERT INTO vault_backups (server_type, server_ref_id, new_key_id, rotation_id, config_encrypted, "
                f"resealed_digest) SELECT '{kind}', gen_random_uuid(), %s, (SELECT id FROM vault_rotations), '', '' "
                "FROM generate_series(1, 1000)",
                [NEW.id],
            )
        connection.execute("ANALYZE")
    ids, some = [uuid4() for _ in range(20)], [b"x" * 40] * 20
    async with hub_database.transaction() as transaction:
        rotation_id = await transaction.only(b"SELECT id FROM vault_rotations", UUID)
        plans = {}
        for kind in ("system", "user"):
            page = {"rotation_id": rotation_id, "after": FIRST, "limit": 500}
            plans[f"sealed_{kind}"] = await _explain(transaction, f"sealed_{kind}", **page)
        await transaction.run(VAULT["no_new_revision"])
        for kind in ("system", "user"):
            values = {"ids": ids, "old": some, "new": some, "new_key_id": NEW.id, "rotation_id": rotation_id}
            plans[f"reseal_{kind}"] = await _explain(transaction, f"reseal_{kind}", **values)
            put_back = {"ids": ids, "new_key_id": NEW.id}
            plans[f"restore_{kind}"] = await _explain(transaction, f"restore_{kind}", **put_back)
    of_page = {name: plan for name, plan in plans.items() if name.startswith("sealed")}
    assert {name for name, plan in of_page.items() if "Seq Scan on vault_backups" in plan} == set()
    assert {name for name in plans.keys() - of_page.keys() if "Seq Scan" in plans[name]} == set()
    assert "Index Cond: ((server_type = 'user'::text) AND (server_ref_id = server.id)" in plans["sealed_user"]


async def _explain(transaction: Transaction, name: str, **params: object) -> str:
    return "\n".join(await transaction.all(b"EXPLAIN " + VAULT[name], str, **params))


async def test_a_row_that_somebody_holds_is_taken_in_a_later_pass(database: HubDatabase, rotation: Rotation) -> None:
    rows = [sealed_row(OLD) for _ in range(5)]
    insert(database.owner_url, *rows)
    held = rows[2].ref.server_ref_id
    async with await psycopg.AsyncConnection.connect(database.owner_url) as holder:
        await holder.execute("SELECT FROM system_servers WHERE id = %s FOR UPDATE", (held,))

        async def let_go(progress: dict[str, Any]) -> None:
            if progress["done"] == 4:
                assert stored(database.owner_url)[held]["key_id"] == OLD.id
                await holder.rollback()

        async with asyncio.timeout(60):  # instead of waiting for the holder for ever
            report = await rotation.run(PLAN, let_go)
    assert (report.updated, report.errors) == (5, [])
    under_new_key(database.owner_url, *rows)


async def test_a_row_that_is_held_for_too_long_is_named(database: HubDatabase, hub_database: Database) -> None:
    row = sealed_row(OLD)
    insert(database.owner_url, row, sealed_row(OLD, "user"))
    async with await psycopg.AsyncConnection.connect(database.owner_url) as holder:
        await holder.execute("SELECT FROM system_servers FOR UPDATE")
        report = await Rotation(hub_database, FixedKeyring(RING), patience=0).run(PLAN, silent)
    assert (report.updated, report.errors) == (1, [f"Server {row.ref}: is held by another transaction"])


async def test_a_restore_puts_back_what_was_not_changed_since(database: HubDatabase, rotation: Rotation) -> None:
    back, changed, unbound = sealed_row(OLD), sealed_row(OLD, "user"), unbound_row(OLD)
    gone, later = sealed_row(OLD), sealed_row(NEW)
    insert(database.owner_url, back, changed, unbound, gone, later)
    before = stored(database.owner_url)
    await rotation.run(PLAN, silent)
    edit = seal(Keyring(NEW), changed.context, b'{"edited": true}')
    with psycopg.connect(database.owner_url) as connection:
        connection.execute(
            "UPDATE user_servers SET config_encrypted = %s WHERE id = %s", (edit.data, changed.ref.server_ref_id)
        )
        connection.execute("DELETE FROM system_servers WHERE id = %s", (gone.ref.server_ref_id,))
    assert (await rotation.status())["backups"] == 3
    done = await rotation.restore(NEW.id)
    assert done == {"restored": 2, "left": [f"Server {changed.ref}: was changed since the rotation"]}
    after = stored(database.owner_url)
    for row in (back, unbound, later):
        assert after[row.ref.server_ref_id] == before[row.ref.server_ref_id]
    assert after[changed.ref.server_ref_id]["config_encrypted"] == edit.data
    assert (await rotation.restore(NEW.id))["restored"] == 0


async def test_a_restore_leaves_what_the_ring_could_not_open_then(
    database: HubDatabase, rotation: Rotation, hub_database: Database
) -> None:
    row = sealed_row(OLD)
    insert(database.owner_url, row)
    await rotation.run(PLAN, silent)
    done = await Rotation(hub_database, FixedKeyring(Keyring(NEW))).restore(NEW.id)
    assert done["restored"] == 0
    assert f"{row.ref}: can't be opened with key {OLD.id}" in done["left"][0]
    under_new_key(database.owner_url, row)


async def test_a_restore_without_backups_takes_no_rotation_back(database: HubDatabase, rotation: Rotation) -> None:
    insert(database.owner_url, sealed_row(OLD), unbound_row(OLD))
    await rotation.run(PLAN, silent)
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("DELETE FROM vault_backups")
    with pytest.raises(NotFound):
        await rotation.restore(NEW.id)
    assert (await rotation.status())["last_rotation"].restored_at is None


async def test_a_rotation_never_goes_back_to_the_old_primary_unasked(hub_database: Database, tmp_path: Path) -> None:
    first, retired, third = (VaultKey.generate() for _ in range(3))
    (tmp_path / "keyring.json").write_text(Keyring(first, (retired, third)).render())
    rotation = Rotation(hub_database, KeyringFile(tmp_path / "keyring.json"))
    await rotation.run(await rotation.plan(retired.id, third.id), silent)
    with pytest.raises((InvalidRequest, NoSecondKey)) as refused:
        await rotation.plan()
    assert first.id not in str(refused.value)


async def test_a_restore_needs_a_rotation_to_that_key(rotation: Rotation) -> None:
    with pytest.raises(NotFound, match=NEW.id):
        await rotation.restore(NEW.id)


async def test_backups_go_when_they_are_old_and_no_rotation_needs_them(
    database: HubDatabase, rotation: Rotation
) -> None:
    insert(database.owner_url, *(sealed_row(OLD) for _ in range(4)))

    async def stop(_progress: dict[str, Any]) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        await rotation.run(PLAN, stop)
    assert await rotation.purge_backups(0) == 0
    await rotation.run(PLAN, silent)
    assert [await rotation.purge_backups(days) for days in (1, 0)] == [0, 4]
    with pytest.raises(InvalidRequest):
        await rotation.purge_backups(-1)


@pytest_asyncio.fixture
async def servers(hub_database: Database, connections: Connections) -> AsyncIterator[Servers]:
    """Servers as calls open them."""
    yield Servers(hub_database, Vault(FixedKeyring(RING)), connections, allow_private=True)


async def test_unbound_values_open_until_a_rotation_has_taken_them_over(
    database: HubDatabase, rotation: Rotation, servers: Servers
) -> None:
    row, bad, later = unbound_row(OLD), corrupt_row(OLD), unbound_row(OLD)
    insert(database.owner_url, row, bad)
    assert (await rotation.run(PLAN, silent)).errors != []
    insert(database.owner_url, later)
    await servers.open(later.ref)  # since one row could not be taken over
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("DELETE FROM system_servers WHERE id = %s", (bad.ref.server_ref_id,))
    assert (await rotation.run(PLAN, silent)).errors == []
    copied = unbound_row(OLD)
    insert(database.owner_url, copied)
    for ref in (row.ref, later.ref):
        await servers.open(ref)
    with pytest.raises(UnboundValue, match="vault rotate"):
        await servers.open(copied.ref)
    assert (await rotation.status())["unbound"] == 1
    assert (await rotation.run(PLAN, silent)).updated == 1
    await servers.open(copied.ref)


async def test_a_restore_makes_unbound_values_readable_again(
    database: HubDatabase, rotation: Rotation, servers: Servers
) -> None:
    row = unbound_row(OLD)
    insert(database.owner_url, row)
    await rotation.run(PLAN, silent)
    await rotation.restore(NEW.id)
    await servers.open(row.ref)


async def test_the_status_counts_rows_by_their_keys(database: HubDatabase, rotation: Rotation) -> None:
    stranger = VaultKey.generate()
    insert(database.owner_url, sealed_row(OLD), sealed_row(OLD, "user"), unbound_row(OLD), sealed_row(stranger))
    status = await rotation.status()
    assert all(key["is_primary"] == key["primary"] and key["sealed"] == key["rows"] for key in status["keys"])
    status["keys"] = [{name: key[name] for name in ("key_id", "primary", "rows")} for key in status["keys"]]
    assert status == {
        "primary_key_id": OLD.id,
        "keys": [{"key_id": OLD.id, "primary": True, "rows": 2}, {"key_id": NEW.id, "primary": False, "rows": 0}],
        "unbound": 1,
        "missing_keys": [{"key_id": stranger.id, "rows": 1}],
        "last_rotation": None,
        "backups": 0,
    }
    report = await rotation.run(PLAN, silent)
    status = await rotation.status()
    assert [key["rows"] for key in status["keys"]] == [0, 3]
    assert status["backups"] == 3
    last = status["last_rotation"]
    assert (last.id, last.updated, last.errors) == (report.rotation_id, 3, report.errors)
    assert str(status).find(OLD.reveal()) == str(status).find(NEW.reveal()) == -1


async def test_a_key_that_is_not_the_primary_yet_leaves_something_to_do(rotation: Rotation) -> None:
    report = await rotation.run(PLAN, silent)
    assert not report.promoted
    assert "VAULT_ENCRYPTION_KEY" in str(report.advice)
    assert NEW.id in str(report.advice)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (NEW.id, NEW.id, "both"),
        (None, "xyz", "8 hexadecimal digits"),
        ("", None, "8 hexadecimal digits"),
        (None, NEW.reveal(), "never sent"),
        (OLD.reveal(), None, "never sent"),
    ],
    ids=["the same", "no id", "empty", "a key", "an old key"],
)
async def test_what_is_no_plan_is_refused_without_repeating_a_key(
    rotation: Rotation, old: str | None, new: str | None, problem: str
) -> None:
    with pytest.raises(InvalidRequest, match=problem) as caught:
        await rotation.plan(old, new)
    assert OLD.reveal() not in caught.value.message
    assert NEW.reveal() not in caught.value.message


@pytest.mark.parametrize("ids", [(None, "00000000"), ("00000000", None)])
async def test_an_unknown_key_is_named(rotation: Rotation, ids: tuple[str | None, str | None]) -> None:
    with pytest.raises(NotFound, match="00000000"):
        await rotation.plan(*ids)


async def test_without_a_second_key_it_says_what_lacks(hub_database: Database, tmp_path: Path) -> None:
    create(path := tmp_path / "keyring.json")
    for source, remedy in (
        (FixedKeyring(Keyring(OLD, (NEW,))), "VAULT_NEW_KEY"),
        (FixedKeyring(Keyring(OLD), OLD), "VAULT_NEW_KEY"),
        (KeyringFile(path), "keygen --add"),
    ):
        with pytest.raises(NoSecondKey, match=remedy):
            await Rotation(hub_database, source).plan()


async def test_a_keyring_file_goes_from_key_to_key_and_never_back_unasked(
    database: HubDatabase, hub_database: Database, tmp_path: Path
) -> None:
    create(path := tmp_path / "keyring.json")
    source = KeyringFile(path)
    rotation, first, second = Rotation(hub_database, source), source.current().primary, VaultKey.generate()
    insert(database.owner_url, sealed_row(first))
    source.change(lambda ring: ring.with_other(second))
    report: RotationReport = await rotation.run(await rotation.plan(), silent)
    assert (report.new_key_id, report.promoted, report.advice) == (second.id, True, None)
    assert source.current().keys() == (second, first)
    with pytest.raises(NoSecondKey):
        await rotation.plan()
    third, fourth = VaultKey.generate(), VaultKey.generate()
    source.change(lambda ring: ring.with_other(third))
    assert (await rotation.plan()).new_key_id == third.id
    source.change(lambda ring: ring.with_other(fourth))
    with pytest.raises(InvalidRequest, match=f"{third.id}, {fourth.id}"):
        await rotation.plan()
    back = await rotation.run(await rotation.plan(None, first.id), silent)
    assert (back.updated, source.current().primary) == (1, first)


async def test_what_is_sealed_during_a_rotation_is_sealed_under_the_new_key(
    database: HubDatabase, hub_database: Database, tmp_path: Path
) -> None:
    create(path := tmp_path / "keyring.json")
    source = KeyringFile(path)
    insert(database.owner_url, *(sealed_row(source.current().primary) for _ in range(3)))
    new = VaultKey.generate()
    source.change(lambda ring: ring.with_other(new))
    serving = Vault(KeyringFile(path))

    async def on_progress(_progress: dict[str, Any]) -> None:
        assert serving.seal_config(sealed_row(OLD).context, {}).key_id == new.id

    rotation = Rotation(hub_database, source, batch=1)
    assert (await rotation.run(await rotation.plan(), on_progress)).updated == 3


async def test_sql_answers_for_the_last_rotation(database: HubDatabase, rotation: Rotation) -> None:
    row = sealed_row(OLD)
    insert(database.owner_url, row)
    query = "SELECT servers_updated, errors FROM rotate_vault_key()"
    with psycopg.connect(database.app_url, autocommit=True, options="-c nexus.scope=service") as service:
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            service.execute(query)
        await rotation.run(PLAN, silent)
        service.execute("SET nexus.vault_primary_key_id = ''")
        assert service.execute(query).fetchall() == [(1, [])]
        await rotation.restore(NEW.id)
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            service.execute(query)


async def test_a_rotation_binds_values_of_before_and_loses_none(database: HubDatabase, rotation: Rotation) -> None:
    rows = [*(former_row(OLD) for _ in range(20)), *(former_row(OLD, "system") for _ in range(20)), unbound_row(OLD)]
    insert(database.owner_url, *rows, sealed_row(OLD, "user"))
    report = await rotation.run(PLAN, silent)
    assert (report.updated, report.errors) == (42, [])
    held = stored(database.owner_url)
    for row in rows:
        found = held[row.ref.server_ref_id]
        assert json.loads(open_sealed(Keyring(NEW), row.context, found["config_encrypted"], NEW.id)) == row.config
        assert is_bound(Keyring(NEW), row.context, found["config_encrypted"], NEW.id)
