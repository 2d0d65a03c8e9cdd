"""A block that runs alone: among all processes, for as long as its connection lives."""

import psycopg
import pytest

from nexus_hub.db.pool import Database
from tests.fixtures.postgres import HubDatabase


async def test_a_second_block_of_the_name_does_not_run_beside_the_first(database: HubDatabase) -> None:
    async with Database(database.app_url, name="one") as one, Database(database.app_url, name="other") as other:
        async with one.exclusive_lock("work") as first:
            async with (
                one.exclusive_lock("work") as same_process,
                other.exclusive_lock("work") as elsewhere,
                other.exclusive_lock("rest") as rest,
            ):
                assert (first, same_process, elsewhere, rest) == (True, False, False, True)
            async with other.exclusive_lock("work") as elsewhere:
                assert not elsewhere
        async with other.exclusive_lock("work") as elsewhere:
            assert elsewhere


async def fail(database: Database) -> None:
    async with database.exclusive_lock("work") as exclusive_lock:
        assert exclusive_lock
        raise ZeroDivisionError


async def fail_after_a_write(database: Database) -> None:
    async with database.transaction() as transaction:
        await transaction.run(b"INSERT INTO users (name) VALUES ('ann')")
        raise ZeroDivisionError


async def test_a_block_that_raises_lets_go_and_its_connection_goes_on(database: HubDatabase) -> None:
    async with Database(database.app_url, name="one", max_size=1) as one:
        for work in (fail, fail, fail_after_a_write):
            with pytest.raises(ZeroDivisionError):
                await work(one)
        async with one.transaction() as transaction:
            assert await transaction.all(b"SELECT name FROM users") == []


async def test_a_lost_connection_lets_others_begin(database: HubDatabase) -> None:
    async with Database(database.app_url, name="one") as one, Database(database.app_url, name="other") as other:
        async with one.exclusive_lock("work") as first:
            assert first
            with psycopg.connect(database.admin_url, autocommit=True) as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                    "WHERE application_name = 'one' AND datname = current_database()"
                )
            async with other.exclusive_lock("work") as second:
                assert second
        await one.ping()
