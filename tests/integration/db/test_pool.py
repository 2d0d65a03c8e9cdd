"""Transactions of the pool: the types of their rows, their bounds, and what is left of those that are cancelled."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import pytest

from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from nexus_hub.errors import DatabaseUnavailable, NotOneRow, TookTooLong
from nexus_hub.models import OPERATOR, Principal
from tests.fixtures.postgres import HubDatabase

PING = load("session")["ping"]
SCOPE = b"SELECT current_setting('nexus.scope', true) AS scope"
NUMBERS = b"SELECT number, number * number AS square FROM generate_series(1, %(count)s) AS number"
SLEEP = b"SELECT pg_sleep(60)"
BOUND = b"SELECT current_setting('statement_timeout') AS bound"
ANN = Principal(UUID(int=1))
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
