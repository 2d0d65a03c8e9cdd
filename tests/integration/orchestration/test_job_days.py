"""The clean-up of jobs in partitions by day."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from nexus_hub.db.pool import Database
from nexus_hub.orchestration.cleanup import Cleanup
from tests.fixtures.jobs import Table, ago
from tests.fixtures.prefect_runs import FakePrefect

IN_DAYS = pytest.mark.parametrize("jobs_in", ["partitions"], indirect=True)


async def ignore(_counts: dict[str, Any]) -> None:
    """Take no notice of progress."""


async def parts(connection: psycopg.AsyncConnection[Any]) -> set[str]:
    cursor = await connection.execute("SELECT relid::regclass::text FROM pg_partition_tree('job_results') WHERE isleaf")
    return {name for (name,) in await cursor.fetchall()}


@IN_DAYS
async def test_days_of_which_nothing_is_kept_go_whole_and_are_counted(
    hub_database: Database, owner: psycopg.AsyncConnection[Any], prefect: FakePrefect
) -> None:
    table = Table(owner)
    for age in (9, 9, 8, 3):
        at = ago(timedelta(days=age))
        await table.add(created_at=at, completed_at=at, status="completed")
    at = ago(timedelta(days=9))
    await table.add(created_at=at, completed_at=at, status="failed", error_code="orphaned")
    report = await Cleanup(hub_database, prefect).run(7, 1, ignore)
    assert report.as_counts() == {"deleted_completed": 3, "deleted_orphaned": 1, "total_deleted": 4}
    assert {f"job_results_{age}_days_ago" for age in (8, 9, 10)} & await parts(owner) == set()
    assert "job_results_3_days_ago" in await parts(owner)


@IN_DAYS
async def test_the_days_to_come_are_there_after_it(
    hub_database: Database, owner: psycopg.AsyncConnection[Any], prefect: FakePrefect
) -> None:
    day = f"job_results_p{datetime.now(UTC) + timedelta(days=3):%Y%m%d}"
    await owner.execute(f"DROP TABLE {day}".encode())
    await Cleanup(hub_database, prefect).run(7, 1, ignore)
    assert day in await parts(owner)


@pytest.mark.one_table
async def test_what_a_broken_change_of_the_form_left_goes_with_it(
    hub_database: Database, owner: psycopg.AsyncConnection[Any], prefect: FakePrefect
) -> None:
    later = "INSERT INTO job_results (job_type, server_id, created_at) VALUES ('tool_invoke', 'hub', '2100-01-01')"
    await owner.execute("SELECT nexus_prepare_partitions()")
    with pytest.raises(psycopg.errors.CheckViolation):
        await owner.execute(later.encode())
    await Cleanup(hub_database, prefect).run(7, 1, ignore)
    await owner.execute(later.encode())
