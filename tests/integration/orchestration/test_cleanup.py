"""The clean-up on a real database; only Prefect's side is played."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from nexus_hub.db.pool import Database
from nexus_hub.errors import InvalidRequest
from nexus_hub.orchestration.cleanup import CLEANUP, Cleanup
from tests.fixtures import jobs
from tests.fixtures.jobs import ago
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.prefect_runs import FakePrefect

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
MIRRORS = ["cache_refresh", "key_rotation", "job_cleanup"]
JOBS = ["tool_invoke", "resource_fetch", "prompt_execute"]

pytestmark = pytest.mark.both_forms


class Table(jobs.Table):
    """`job_results` as its owner sees it, with jobs of any age."""

    async def add(self, age: timedelta = 2 * DAY, **columns: Any) -> UUID:
        """A job that was stored so long ago, and of which nothing was heard since."""
        row = {"server_id": "hub", "tool_name": None, "created_at": ago(age), "available_at": ago(age)}
        row |= {"started_at": ago(age)} if columns.get("status", "pending") != "pending" else {}
        return await super().add(**row | columns)

    async def ended(self, age: timedelta, status: str = "completed", **columns: Any) -> UUID:
        return await self.add(age, status=status, completed_at=ago(age), **columns)

    async def orphaned(self, age: timedelta) -> UUID:
        return await self.ended(age, "failed", error_code="orphaned")

    async def many(self, count: int, age: timedelta) -> None:
        await self.connection.execute(
            "INSERT INTO job_results (job_type, server_id, status, created_at, completed_at) "
            "SELECT 'tool_invoke', 'hub', 'completed', %(at)s, %(at)s FROM generate_series(1, %(count)s)",
            {"count": count, "at": ago(age)},
        )

    async def ids(self) -> set[UUID]:
        cursor = await self.connection.execute("SELECT id FROM job_results")
        return {row[0] for row in await cursor.fetchall()}


class News(list[dict[str, Any]]):
    """Progress that was told."""

    async def on_progress(self, counts: dict[str, Any]) -> None:
        self.append(counts)


@pytest.fixture
def table(owner: psycopg.AsyncConnection[Any]) -> Table:
    return Table(owner)


@pytest.fixture
def cleanup(hub_database: Database, prefect: FakePrefect) -> Cleanup:
    return Cleanup(hub_database, prefect, batch=3)


@pytest.fixture
def news() -> News:
    return News()


async def test_what_ended_long_ago_goes_and_the_rest_stays(cleanup: Cleanup, table: Table, news: News) -> None:
    for status in ("completed", "failed", "cancelled"):
        await table.ended(8 * DAY, status)
    kept = {await table.ended(6 * DAY), await table.orphaned(23 * HOUR), await table.add(HOUR)}
    await table.orphaned(25 * HOUR)
    report = await cleanup.run(7, 1, news.on_progress)
    assert report.as_counts() == {"deleted_completed": 3, "deleted_orphaned": 1, "total_deleted": 4}
    assert report.orphans_failed == 0
    assert report.seconds > 0
    assert await table.ids() == kept


@pytest.mark.parametrize("job_type", JOBS + MIRRORS)
async def test_ended_rows_of_every_type_go(cleanup: Cleanup, table: Table, news: News, job_type: str) -> None:
    await table.ended(8 * DAY, job_type=job_type)
    assert await cleanup.delete_ended(7, news.on_progress) == 1


async def test_no_days_mean_no_days(cleanup: Cleanup, table: Table, news: News) -> None:
    await table.ended(timedelta(), "cancelled")
    await table.orphaned(timedelta())
    assert (await cleanup.run(0, 0, news.on_progress)).total_deleted == 2


async def test_many_rows_of_one_moment_go_in_batches(cleanup: Cleanup, table: Table, news: News) -> None:
    await table.many(8, 9 * DAY)
    await table.many(2, 8 * DAY)
    kept = await table.ended(DAY)
    assert await cleanup.delete_ended(7, news.on_progress) == 10
    assert [one["deleted_completed"] for one in news] == [3, 6, 9, 10]
    assert await table.ids() == {kept}


async def test_times_that_python_does_not_have_are_no_obstacle(cleanup: Cleanup, table: Table, news: News) -> None:
    await table.connection.execute(
        "INSERT INTO job_results (job_type, server_id, status, created_at, completed_at) "
        "VALUES ('tool_invoke', 'hub', 'completed', '-infinity', '-infinity'), "
        "('tool_invoke', 'hub', 'completed', '4000-01-01 BC', '4000-01-01 BC'), "
        "('tool_invoke', 'hub', 'running', '-infinity', NULL), "
        "('tool_invoke', 'hub', 'completed', 'infinity', 'infinity')"
    )
    report = await cleanup.run(7, 1, news.on_progress)
    assert (report.deleted_completed, report.orphans_failed) == (2, 0)
    await table.connection.execute("UPDATE job_results SET started_at = '-infinity' WHERE status = 'running'")
    assert await cleanup.fail_orphans(1) == 1


async def test_whoever_is_told_can_stop_it_and_what_is_done_stays_done(cleanup: Cleanup, table: Table) -> None:
    await table.many(10, 8 * DAY)

    async def stop(counts: dict[str, Any]) -> None:
        if counts["deleted_completed"] == 6:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        await cleanup.delete_ended(7, stop)
    assert len(await table.ids()) == 4


async def test_a_run_tells_all_counts_so_far(cleanup: Cleanup, table: Table, news: News) -> None:
    await table.ended(8 * DAY)
    await table.orphaned(2 * DAY)
    await table.add(status="running")
    await cleanup.run(7, 1, news.on_progress)
    assert news == [
        {"orphans_failed": 1},
        {"orphans_failed": 1, "deleted_completed": 1},
        {"orphans_failed": 1, "deleted_completed": 1, "deleted_orphaned": 1},
    ]


async def test_a_row_that_was_held_on_the_way_goes_in_the_end(
    cleanup: Cleanup, table: Table, database: HubDatabase
) -> None:
    oldest = await table.ended(30 * DAY)
    await table.many(4, 8 * DAY)
    async with await psycopg.AsyncConnection.connect(database.admin_url) as holder:
        await holder.execute("SELECT FROM job_results WHERE id = %s FOR UPDATE", [oldest])

        async def release(counts: dict[str, Any]) -> None:
            if counts["deleted_completed"] == 4:
                assert await table.ids() == {oldest}
                await holder.rollback()

        assert await cleanup.delete_ended(7, release) == 5


async def test_a_row_that_is_held_throughout_is_neither_waited_for_nor_counted(
    cleanup: Cleanup, table: Table, database: HubDatabase, news: News
) -> None:
    held = await table.ended(30 * DAY)
    await table.many(4, 8 * DAY)
    async with await psycopg.AsyncConnection.connect(database.admin_url) as holder:
        await holder.execute("SELECT FROM job_results WHERE id = %s FOR UPDATE", [held])
        assert await cleanup.delete_ended(7, news.on_progress) == 4
    assert await table.ids() == {held}


async def test_what_ends_meanwhile_is_not_deleted_though_it_is_older_by_then(
    cleanup: Cleanup, table: Table, news: News
) -> None:
    await table.ended(HOUR)
    later = []

    async def end_another(counts: dict[str, Any]) -> None:
        later.append(await table.ended(timedelta()))

    assert await cleanup.delete_ended(0, end_another) == 1
    assert await table.ids() == set(later)


async def test_a_dry_run_counts_what_a_run_then_does(cleanup: Cleanup, table: Table, news: News) -> None:
    await table.many(4, 8 * DAY)
    await table.orphaned(2 * DAY)
    await table.add(status="running")
    before = await table.ids()
    dry = await cleanup.count(7, 1)
    assert await table.ids() == before
    wet = await cleanup.run(7, 1, news.on_progress)
    assert (dry.orphans_failed, dry.as_counts()) == (wet.orphans_failed, wet.as_counts())
    assert (wet.orphans_failed, wet.deleted_completed, wet.deleted_orphaned) == (1, 4, 1)


async def test_a_dry_run_without_days_counts_orphans_that_would_fail_and_go(
    cleanup: Cleanup, table: Table, news: News
) -> None:
    orphan = await table.add(status="running")
    assert (await cleanup.count(0, 0)).as_counts()["deleted_orphaned"] == 1
    assert (await table.get(orphan, "status"))[0] == "running"
    report = await cleanup.run(0, 0, news.on_progress)
    assert (report.orphans_failed, report.deleted_orphaned) == (1, 1)


async def test_the_clean_up_deletes_what_the_documented_function_deletes(
    cleanup: Cleanup, table: Table, hub_database: Database
) -> None:
    for age in (0, 1, 3, 8):
        for status in ("completed", "failed", "cancelled"):
            await table.ended(age * DAY + HOUR, status)
        await table.orphaned(age * DAY + HOUR)
    for days in ((7, 1), (1, 3), (0, 0)):
        counted = await cleanup.count(*days)
        async with hub_database.transaction() as transaction:
            cursor = await transaction.connection.execute("SELECT * FROM cleanup_job_results_manual(%s, %s)", days)
            assert await cursor.fetchone() == counted.as_counts()
    assert await table.ids() == set()


@pytest.mark.parametrize("days", [(-1, 1), (1, -1), (3651, 1), (1, 3651)])
async def test_days_out_of_range_change_nothing(
    cleanup: Cleanup, table: Table, news: News, days: tuple[int, int]
) -> None:
    kept = {await table.ended(9000 * DAY), await table.orphaned(9000 * DAY)}
    orphan = await table.add(status="running")
    for refused in (cleanup.run(*days, news.on_progress), cleanup.count(*days)):
        with pytest.raises(InvalidRequest, match="from 0 to 3650"):
            await refused
    assert await table.ids() == kept | {orphan}
    assert (await table.get(orphan, "status"))[0] == "running"


async def test_a_running_job_that_nobody_works_on_fails_with_a_reason_and_is_kept(
    cleanup: Cleanup, table: Table, news: News
) -> None:
    heard = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    job_id = await table.add(created_at=heard - DAY, status="running", started_at=heard - HOUR, heartbeat_at=heard)
    report = await cleanup.run(7, 1, news.on_progress)
    assert (report.orphans_failed, report.total_deleted) == (1, 0)
    status, code, error, ended = await table.get(job_id, "status", "error_code", "error", "completed_at")
    assert (status, code) == ("failed", "orphaned")
    assert error == "The job is orphaned: it has no worker, and its last sign of life was at 2026-01-02 03:04:05 UTC."
    assert ended > ago(HOUR)


@pytest.mark.parametrize(
    "columns",
    [
        {"heartbeat_at": ago(HOUR)},
        {"started_at": ago(HOUR)},
        {"claim_id": uuid4(), "lease_expires_at": datetime.now(UTC) + HOUR},
        {"claim_id": uuid4(), "lease_expires_at": ago(2 * DAY)},
    ],
)
async def test_a_running_job_that_gives_signs_of_life_or_is_the_sweeps_is_left(
    cleanup: Cleanup, table: Table, columns: dict[str, Any]
) -> None:
    job_id = await table.add(25 * HOUR, status="running", attempt=1, **columns)
    assert await cleanup.fail_orphans(1) == 0
    assert (await table.get(job_id, "status"))[0] == "running"


async def test_a_leased_job_is_left_even_without_any_days(cleanup: Cleanup, table: Table, news: News) -> None:
    lease = {"claim_id": uuid4(), "lease_expires_at": datetime.now(UTC) + HOUR}
    job_id = await table.add(25 * HOUR, status="running", attempt=1, **lease)
    report = await cleanup.run(0, 0, news.on_progress)
    assert (report.orphans_failed, report.total_deleted) == (0, 0)
    assert (await table.get(job_id, "status"))[0] == "running"


@pytest.mark.parametrize("status", ["pending", "running"])
@pytest.mark.parametrize("job_type", MIRRORS)
@pytest.mark.parametrize("kind", ["SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"])
async def test_the_mirror_of_a_flow_run_that_is_not_over_is_left(
    cleanup: Cleanup, prefect: FakePrefect, table: Table, status: str, job_type: str, kind: str
) -> None:
    await table.add(status=status, job_type=job_type, flow_run_id=prefect.run(kind, ago(30 * DAY)))
    assert await cleanup.fail_orphans(0) == 0


@pytest.mark.parametrize("status", ["pending", "running"])
@pytest.mark.parametrize("kind", ["COMPLETED", "FAILED", "CANCELLED", "CRASHED", None])
async def test_the_mirror_of_a_flow_run_that_is_over_or_unknown_fails(
    cleanup: Cleanup, prefect: FakePrefect, table: Table, status: str, kind: str | None
) -> None:
    run = prefect.run(kind, ago(30 * DAY)) if kind else uuid4()
    live = await table.add(status=status, job_type="key_rotation", flow_run_id=prefect.run("RUNNING", ago(30 * DAY)))
    job_id = await table.add(status=status, job_type="key_rotation", flow_run_id=run)
    assert await cleanup.fail_orphans(1) == 1
    assert await table.get(job_id, "status", "error_code") == ("failed", "orphaned")
    assert await table.get(live, "status") == (status,)


@pytest.mark.parametrize("job_type", JOBS)
async def test_a_pending_job_that_can_be_started_is_left_to_the_sweep(
    cleanup: Cleanup, table: Table, job_type: str
) -> None:
    await table.add(job_type=job_type)
    assert await cleanup.fail_orphans(0) == 0


@pytest.mark.parametrize("kind", ["SCHEDULED", "RUNNING", "CRASHED", None])
async def test_a_job_that_was_handed_over_is_left_to_the_sweep(
    cleanup: Cleanup, prefect: FakePrefect, table: Table, kind: str | None
) -> None:
    prefect.missing = {"invoke-tool"}
    await table.add(dispatched_at=ago(2 * DAY), flow_run_id=prefect.run(kind, ago(30 * DAY)) if kind else uuid4())
    assert await cleanup.fail_orphans(0) == 0


async def test_a_pending_job_whose_deployment_prefect_lacks_fails(
    cleanup: Cleanup, prefect: FakePrefect, table: Table
) -> None:
    prefect.missing = {"fetch-resource"}
    await table.add()
    await table.add(HOUR, job_type="resource_fetch")
    await table.add(job_type="resource_fetch", available_at=ago(HOUR))
    await table.add(job_type="resource_fetch", available_at=datetime.now(UTC) + DAY)
    lost = await table.add(job_type="resource_fetch")
    assert await cleanup.fail_orphans(1) == 1
    status, error = await table.get(lost, "status", "error")
    assert status == "failed"
    assert "nothing will start it" in error


async def test_a_pending_row_that_nothing_can_start_fails(cleanup: Cleanup, table: Table) -> None:
    for job_type in MIRRORS:
        await table.add(job_type=job_type)
        await table.add(job_type=job_type, dispatched_at=ago(2 * DAY))
    assert await cleanup.fail_orphans(1) == 2 * len(MIRRORS)


@pytest.mark.parametrize("missing", [set(), {"invoke-tool"}, {"invoke-batch"}, {"invoke-tool", "invoke-batch"}])
async def test_a_job_in_the_queue_is_left_to_the_shared_runs_however_long_it_waits(
    cleanup: Cleanup, prefect: FakePrefect, table: Table, missing: set[str]
) -> None:
    prefect.missing = missing
    await table.add(dispatched_at=ago(2 * DAY))
    await table.add(dispatched_at=ago(2 * DAY), batch_id=uuid4())
    await table.add(dispatched_at=datetime.now(UTC))
    assert await cleanup.fail_orphans(0) == 0
    assert (await cleanup.count(0, 0)).orphans_failed == 0


async def test_without_prefects_word_no_pending_job_fails_and_no_mirror(
    cleanup: Cleanup, prefect: FakePrefect, table: Table
) -> None:
    prefect.away = True
    await table.add()
    await table.add(dispatched_at=ago(2 * DAY))
    await table.add(job_type="cache_refresh")
    await table.add(status="running", job_type="cache_refresh", flow_run_id=uuid4())
    lost = await table.add(status="running")
    assert await cleanup.fail_orphans(1) == 1
    assert (await table.get(lost, "status"))[0] == "failed"


async def test_a_job_that_comes_alive_while_it_is_judged_is_left(
    hub_database: Database, prefect: FakePrefect, table: Table
) -> None:
    beaten, held, quiet = [await table.add(status="running") for _ in range(3)]
    mirrored = await table.add(status="running", job_type="cache_refresh", flow_run_id=uuid4())

    async def wake() -> None:
        await table.connection.execute("UPDATE job_results SET heartbeat_at = now() WHERE id = %s", [beaten])
        await holder.execute("SELECT FROM job_results WHERE id = %s FOR UPDATE", [held])

    prefect.before_states = wake
    async with await psycopg.AsyncConnection.connect(hub_database.url) as holder:
        await holder.execute("SET nexus.scope = 'service'")
        assert await Cleanup(hub_database, prefect).fail_orphans(1) == 2
    states = [(await table.get(job_id, "status"))[0] for job_id in (beaten, held, quiet, mirrored)]
    assert states == ["running", "running", "failed", "failed"]


async def test_more_orphans_than_one_batch_fail(cleanup: Cleanup, table: Table) -> None:
    await table.connection.execute(
        "INSERT INTO job_results (job_type, server_id, status, created_at, started_at) SELECT 'tool_invoke', 'hub', "
        "'running', now() - interval '2 days', now() - interval '2 days' FROM generate_series(1, 450)"
    )
    assert await cleanup.fail_orphans(1) == 450


@pytest.fixture
async def many(table: Table) -> None:
    """200,000 ended jobs, half of them over 8 days old; one of 25 failed as an orphan."""
    await table.connection.execute("ALTER TABLE job_results DISABLE TRIGGER USER")
    await table.connection.execute(
        "INSERT INTO job_results (job_type, server_id, status, error_code, created_at, completed_at) "
        "SELECT 'tool_invoke', 'hub', CASE n % 5 WHEN 0 THEN 'failed' ELSE 'completed' END, "
        "CASE n % 25 WHEN 0 THEN 'orphaned' END, at, at "
        "FROM generate_series(1, 200000) AS n, "
        "LATERAL (SELECT now() - n * interval '1 s' - (n % 2) * interval '8 days') AS s (at)"
    )
    await table.connection.execute("ALTER TABLE job_results ENABLE TRIGGER USER")
    await table.connection.execute("ANALYZE job_results")


PLACES = {"cutoff": "$1", "after_at": "$2", "after_id": "$3", "limit": "$4"}


@pytest.mark.one_table
@pytest.mark.parametrize("jobs_in", ["one-table"], indirect=True)  # partitions' indexes have names of their own
async def test_a_batch_is_found_by_its_index_whatever_the_planner_knows(hub_database: Database, many: None) -> None:
    indexes = {"delete_ended": "idx_job_results_ended", "delete_orphaned": "idx_job_results_failed_orphans"}
    values = f"'{ago(7 * DAY)}', '{ago(10 * DAY)}', '{uuid4()}', 1000"
    for mode in ("force_custom_plan", "force_generic_plan"):
        for query, index in indexes.items():
            async with hub_database.transaction() as transaction:
                run = transaction.connection.execute
                await run(f"SET LOCAL plan_cache_mode = {mode}".encode())
                await run(f"PREPARE {query} (text, text, uuid, bigint) AS {CLEANUP[query].decode() % PLACES}".encode())
                lines = await (await run(f"EXPLAIN EXECUTE {query} ({values})".encode())).fetchall()
                await run(f"DEALLOCATE {query}".encode())
            plan = "\n".join(line["QUERY PLAN"] for line in lines)
            assert f" {index} " in plan
            assert "Tid Scan on job_results" in plan
            assert "Seq Scan" not in plan


async def test_half_of_many_rows_go(
    hub_database: Database, prefect: FakePrefect, table: Table, many: None, news: News
) -> None:
    report = await Cleanup(hub_database, prefect).run(7, 7, news.on_progress)
    assert report.as_counts() == {"deleted_completed": 96000, "deleted_orphaned": 4000, "total_deleted": 100000}
    assert news[-1] == {"orphans_failed": 0, "deleted_completed": 96000, "deleted_orphaned": 4000}
    assert len(await table.ids()) == 100000
