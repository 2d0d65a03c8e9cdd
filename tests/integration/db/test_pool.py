"""Transactions of the pool: the types of their rows, their bounds, and what is left of those that are cancelled."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool.base import AttemptWithBackoff

from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from nexus_hub.errors import DatabaseUnavailable, NotOneRow, TookTooLong
from nexus_hub.models import OPERATOR, Principal
from tests.fixtures.postgres import HubDatabase, url_as

PING = load("session")["ping"]
SCOPE = b"SELECT current_setting('nexus.scope', true) AS scope"
NUMBERS = b"SELECT number, number * number AS square FROM generate_series(1, %(count)s) AS number"
SLEEP = b"SELECT pg_sleep(60)"
BOUND = b"SELECT current_setting('statement_timeout') AS bound"
ANN = Principal(UUID(int=1))
NO_ROOM = b"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full', MESSAGE = 'no room'; END $$"
IDS = b"SELECT %(id)s::uuid AS id WHERE %(found)s"


@dataclass(frozen=True, slots=True)
class Number:
    """A row of NUMBERS."""

    number: int
    square: int


async def test_a_row_is_of_the_dataclass_that_is_asked_for(hub_database: Database) -> None:
    async with hub_database.transaction() as transaction:
        assert await transaction.one(NUMBERS, Number, count=2) == Number(1, 1)
        assert await transaction.one(NUMBERS, Number, count=0) is None
        assert await transaction.only(NUMBERS, Number, count=1) == Number(1, 1)
        assert await transaction.all(NUMBERS, Number, count=2) == [Number(1, 1), Number(2, 4)]


async def test_a_row_of_one_column_is_its_value(hub_database: Database) -> None:
    async with hub_database.transaction() as transaction:
        assert await transaction.one(IDS, UUID, id=UUID(int=7), found=True) == UUID(int=7)
        assert await transaction.one(IDS, UUID, id=UUID(int=7), found=False) is None
        assert await transaction.only(IDS, UUID, id=UUID(int=7), found=True) == UUID(int=7)
        assert await transaction.all(IDS, UUID, id=UUID(int=7), found=True) == [UUID(int=7)]


async def test_a_disk_without_room_is_told_of(hub_database: Database) -> None:
    assert not hub_database.is_full
    with pytest.raises(DatabaseUnavailable, match="no room on its disk"):
        async with hub_database.transaction() as transaction:
            await transaction.run(NO_ROOM)
    assert hub_database.is_full
    await hub_database.ping()


async def test_a_row_is_a_dict_where_no_type_is_asked_for(hub_database: Database) -> None:
    async with hub_database.transaction() as transaction:
        assert await transaction.one(NUMBERS, count=1) == {"number": 1, "square": 1}
        assert await transaction.only(NUMBERS, count=1) == {"number": 1, "square": 1}
        assert await transaction.all(NUMBERS, count=1) == [{"number": 1, "square": 1}]


@pytest.mark.parametrize("count", [0, 2])
async def test_only_refuses_no_row_and_several(hub_database: Database, count: int) -> None:
    async with hub_database.transaction() as transaction:
        with pytest.raises(NotOneRow, match=f"gave {count} rows") as refusal:
            await transaction.only(NUMBERS, Number, count=count)
    assert refusal.value.rows == count


async def test_a_query_whose_columns_are_not_the_fields_of_the_dataclass_is_a_defect(hub_database: Database) -> None:
    async with hub_database.transaction() as transaction:
        with pytest.raises(TypeError):
            await transaction.one(PING, Number)


@pytest.mark.parametrize("steps", range(12))
async def test_a_transaction_keeps_its_scope_after_one_that_was_cancelled(database: HubDatabase, steps: int) -> None:
    """Cancelled after so many steps of the event loop. After a pause psycopg makes one where it makes none else."""
    async with Database(database.app_url, name="cancelled", max_size=1) as pool:
        await pool.ping()
        await asyncio.sleep(0.1)
        cancelled = asyncio.create_task(pool.ping())
        for _ in range(steps):
            await asyncio.sleep(0)
        cancelled.cancel()
        with suppress(asyncio.CancelledError):
            await cancelled
        async with pool.transaction() as transaction:
            await transaction.one(PING)
            assert await transaction.one(SCOPE) == {"scope": "service"}


async def test_a_statement_that_a_user_waits_for_is_bounded_and_no_other(database: HubDatabase) -> None:
    async with Database(database.app_url, name="bounded", max_size=1, statement_seconds=50) as pool:
        for principal, bounded, bound in (
            (ANN, False, "50s"),
            (OPERATOR, False, "0"),
            (OPERATOR, True, "50s"),
            (OPERATOR, False, "0"),
        ):
            async with pool.transaction(principal, bounded=bounded) as transaction:
                assert await transaction.only(BOUND, str) == bound


async def test_what_takes_too_long_says_so_and_leaves_its_connection_to_the_next(database: HubDatabase) -> None:
    async with Database(database.app_url, name="slow", max_size=1, statement_seconds=0.1) as pool:
        for principal, bounded in ((ANN, False), (OPERATOR, True)):
            with pytest.raises(TookTooLong, match=r"longer than 0\.1 s") as refusal:
                async with pool.transaction(principal, bounded=bounded) as transaction:
                    await transaction.run(SLEEP)
            assert (refusal.value.status, refusal.value.code) == (503, "took-too-long")
            assert not isinstance(refusal.value, DatabaseUnavailable)  # which is what jobs are repeated after
            await pool.ping()


async def fall_asleep(pool: Database) -> None:
    async with pool.transaction() as transaction:
        await transaction.run(b"SELECT set_config('statement_timeout', '100ms', true)")
        await transaction.run(SLEEP)


async def test_a_statement_of_the_service_that_somebody_ends_is_a_database_that_is_away(database: HubDatabase) -> None:
    async with Database(database.app_url, name="ended", max_size=1, statement_seconds=0.1) as pool:
        with pytest.raises(DatabaseUnavailable):
            await fall_asleep(pool)


async def test_connections_that_were_lost_in_the_pool_are_replaced_unseen(database: HubDatabase) -> None:
    async with Database(database.app_url, name="lost", max_size=3) as pool:
        async with pool.transaction(), pool.transaction(), pool.transaction():
            pass
        with psycopg.connect(database.admin_url, autocommit=True) as admin:
            ended = admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'lost'"
            ).fetchall()
        assert len(ended) == 3
        for _ in range(4):
            await pool.ping()
        async with pool.exclusive_lock("lost") as free:
            assert free


async def add_and_fail(pool: Database) -> None:
    async with pool.transaction() as transaction:
        await transaction.run(b"INSERT INTO users (name) VALUES ('ann')")
        await transaction.run(b"SELECT 1 / 0")


async def test_a_database_that_was_away_for_long_is_found_by_who_asks_next(
    database: HubDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AttemptWithBackoff, "INITIAL_DELAY", 600.0)  # a pause as it has grown after many attempts
    at = conninfo_to_dict(database.app_url)
    socket = f".s.PGSQL.{at.get('port', 5432)}"
    async with Database(url_as(database.app_url, host=str(tmp_path)), name="test") as away:
        with pytest.raises(DatabaseUnavailable):
            await away.ping()
        (tmp_path / socket).symlink_to(Path(str(at["host"])) / socket)
        await away.ping()


async def test_both_ends_of_a_connection_look_after_it(hub_database: Database) -> None:
    async with hub_database.transaction() as transaction:
        timeouts = b"SELECT name, setting FROM pg_settings WHERE name LIKE 'tcp_%%' AND source = 'session'"
        assert {row["name"] for row in await transaction.all(timeouts)} == {
            "tcp_keepalives_count",
            "tcp_keepalives_idle",
            "tcp_keepalives_interval",
            "tcp_user_timeout",
        }
        options = {option.keyword.decode(): option.val for option in transaction.connection.pgconn.info}
        assert options["tcp_user_timeout"] == b"25000"


async def test_a_transaction_that_fails_leaves_nothing_and_its_connection_to_the_next(database: HubDatabase) -> None:
    async with Database(database.app_url, name="fails", max_size=1) as pool:
        with pytest.raises(psycopg.errors.DivisionByZero):
            await add_and_fail(pool)
        async with pool.transaction() as transaction:
            assert await transaction.all(b"SELECT name FROM users", str) == []


AS_SERVICE = b"SELECT set_config('nexus.scope', 'service', true); "
SCOPED = AS_SERVICE + b"INSERT INTO users (name) VALUES ('ann'); " + NUMBERS


async def test_statements_that_are_sent_together_are_one_transaction(database: HubDatabase) -> None:
    async with Database(database.app_url, name="asks", max_size=1) as pool:
        for count in (0, 2):  # the last of them gives another number of rows than one
            with pytest.raises(NotOneRow, match=f"gave {count} rows"):
                await pool.ask(AS_SERVICE + NUMBERS, Number, count=count)
        with pytest.raises(psycopg.errors.DivisionByZero):
            await pool.ask(SCOPED + b"; SELECT 1 / 0", Number, count=1)
        async with pool.transaction() as transaction:
            assert await transaction.all(b"SELECT name FROM users", str) == []
        assert await pool.ask(SCOPED, Number, count=1) == Number(1, 1)
        async with pool.transaction() as transaction:
            assert await transaction.all(b"SELECT name FROM users", str) == ["ann"]
        assert await pool.ask(SCOPE, str) == ""


async def test_a_question_that_takes_too_long_is_asked_once_and_a_lost_connection_is_replaced(
    database: HubDatabase,
) -> None:
    async with Database(database.app_url, name="brief", max_size=1) as pool:
        with pytest.raises(DatabaseUnavailable):
            await pool.ask(b"SELECT set_config('statement_timeout', '100ms', true); " + SLEEP, str)
        with psycopg.connect(database.admin_url, autocommit=True) as admin:
            query = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'brief'"
            )
            assert len(admin.execute(query).fetchall()) == 1
        assert await pool.ask(NUMBERS, Number, count=1) == Number(1, 1)
