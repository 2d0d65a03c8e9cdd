"""Nothing is taken from those who could not renew their leases until they had the time to do so."""

import asyncio

import pytest
import pytest_asyncio
from psycopg.conninfo import make_conninfo

from nexus_hub.db.pool import Database
from nexus_hub.orchestration.mirror import Mirror
from nexus_hub.orchestration.rescuer import Rescuer, RescueReport
from tests.fixtures.jobs import Table
from tests.fixtures.prefect_runs import FakePrefect

LEASE_SECONDS = 1.0


STARTED = b"SELECT pg_postmaster_start_time() < now() - make_interval(secs => %s)"


@pytest_asyncio.fixture
async def rescuer(hub_database: Database, prefect: FakePrefect, table: Table) -> Rescuer:
    """A rescuer on a PostgreSQL that has been there for a whole lease."""
    while (await (await table.connection.execute(STARTED, [LEASE_SECONDS])).fetchone()) != (True,):
        await asyncio.sleep(0.1)
    return Rescuer(hub_database, prefect, Mirror(hub_database), interval=0.1, lease_seconds=LEASE_SECONDS)


async def until_rescued(rescuer: Rescuer) -> None:
    async with asyncio.timeout(60):
        while not (await rescuer.rescue()).rescued:
            await asyncio.sleep(0.1)


async def test_a_lease_that_ran_out_is_rescued_at_once(
    rescuer: Rescuer, hub_database: Database, prefect: FakePrefect, table: Table
) -> None:
    rescuer = Rescuer(hub_database, prefect, Mirror(hub_database), interval=20, lease_seconds=LEASE_SECONDS)
    await rescuer.rescue()
    await table.running()
    assert await rescuer.rescue() == RescueReport(rescued=1)


@pytest.mark.parametrize("hours", [-1, 1])
async def test_after_a_jump_of_the_databases_clock_leases_get_the_time_to_be_renewed(
    hub_database: Database, rescuer: Rescuer, table: Table, hours: int
) -> None:
    await rescuer.rescue()
    job = await table.running()
    hub_database.clock.note(hub_database.clock.time() - hours * 3600)
    assert await rescuer.rescue() == RescueReport()
    assert await table.get(job, "status") == ("running",)
    await until_rescued(rescuer)


async def test_a_database_that_started_by_a_clock_that_was_set_back_later_keeps_nobody_from_being_rescued(
    hub_database: Database, prefect: FakePrefect, table: Table
) -> None:
    await table.connection.execute(
        b"""
        CREATE SCHEMA set_back;
        GRANT USAGE ON SCHEMA set_back TO PUBLIC;
        CREATE FUNCTION set_back.pg_postmaster_start_time() RETURNS timestamptz LANGUAGE sql
            AS 'SELECT now() + make_interval(hours => 1)';
        GRANT EXECUTE ON FUNCTION set_back.pg_postmaster_start_time() TO PUBLIC
        """
    )
    url = make_conninfo(hub_database.url, options="-c search_path=set_back,pg_catalog,public")
    await table.running()
    async with Database(url, name="test") as database:
        rescuer = Rescuer(database, prefect, Mirror(database), lease_seconds=LEASE_SECONDS)
        assert await rescuer.rescue() == RescueReport(rescued=1)


async def test_after_a_time_without_the_database_leases_get_the_time_to_be_renewed(
    rescuer: Rescuer, table: Table
) -> None:
    await rescuer.rescue()
    job = await table.running()
    await asyncio.sleep(LEASE_SECONDS)
    assert await rescuer.rescue() == RescueReport()
    assert await table.get(job, "status") == ("running",)
    await until_rescued(rescuer)


async def test_while_the_database_has_no_room_nothing_is_rescued(
    hub_database: Database, rescuer: Rescuer, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await table.running()
    with monkeypatch.context() as full:
        full.setattr(Database, "is_full", True)
        assert await rescuer.rescue() == RescueReport()
        assert await table.get(job, "status", "error_code") == ("running", None)
    await until_rescued(rescuer)


async def test_the_database_tells_each_new_connection_and_each_round_the_time(
    hub_database: Database, rescuer: Rescuer
) -> None:
    for _ in range(2):
        async with hub_database.transaction() as transaction:
            told = await transaction.only(b"SELECT extract(epoch FROM clock_timestamp())::float8 AS now", float)
        assert abs(hub_database.clock.time() - told) < 60
        hub_database.clock.note(told - 3600)
        await rescuer.rescue()
