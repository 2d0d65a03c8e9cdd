"""The metrics agree with `job_results`, whoever ended the jobs; and they say what the database and Prefect say."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nexus_hub.db.pool import Database
from nexus_hub.errors import PrefectUnavailable
from nexus_hub.execution.direct import CallCancelled
from nexus_hub.jobs import store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.jobs.submit import submit_batch
from nexus_hub.models import OPERATOR, ServerRef
from nexus_hub.orchestration.cleanup import Cleanup
from nexus_hub.orchestration.gauges import HUB_SPECS, HubGauges
from nexus_hub.orchestration.metrics_report import MetricsReport
from nexus_hub.orchestration.mirror import Mirror
from nexus_hub.orchestration.prefect_client import PrefectClient
from nexus_hub.orchestration.rescuer import Rescuer
from nexus_hub.orchestration.scheduler_watch import SchedulerWatch
from nexus_hub.telemetry.bus import subscribe
from nexus_hub.telemetry.exposition import write_page
from nexus_hub.telemetry.metrics import Metrics
from nexus_hub.vault.keyring import FixedKeyring, Keyring
from nexus_hub.vault.keys import VaultKey
from tests.fixtures.direct import Direct
from tests.fixtures.jobs import LONG_AGO, Table, ago
from tests.fixtures.library import CutDatabase, Library
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.prefect_runs import FakePrefect
from tests.fixtures.shared_runs import carried
from tests.fixtures.upstreams import free_port, own_server

BY_HAND = JobRequest("tool_invoke", "srv__plain", {"tag": "a", "seconds": 0})
COUNTS = b"""
    SELECT job.job_type AS type, coalesce(state.name, 'other') AS server, job.status AS outcome, count(*) AS jobs
    FROM job_results AS job LEFT JOIN server_state AS state ON state.server_ref_id = job.server_ref_id
    WHERE job.completed_at IS NOT NULL GROUP BY 1, 2, 3"""
Labels = frozenset[tuple[str, str]]


async def page_of(report: MetricsReport) -> dict[str, dict[Labels, float]]:
    """The samples of a report, by name and labels, as a reader has them."""
    text = write_page(await report.gather())[0].decode()
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


async def rows_of(database: Database) -> dict[Labels, float]:
    async with database.transaction() as transaction:
        rows = await transaction.all(COUNTS)
    return {frozenset((name, str(row[name])) for name in ("type", "server", "outcome")): row["jobs"] for row in rows}


@pytest.fixture
def report(hub_database: Database) -> Iterator[MetricsReport]:
    metrics = Metrics()
    with subscribe(metrics):
        yield MetricsReport(metrics, hub_database, None, clock=iter(range(0, 10**6, 100)).__next__)


async def test_the_ends_of_a_hundred_jobs_are_those_of_their_rows(
    direct: Direct, table: Table, prefect: FakePrefect, report: MetricsReport
) -> None:
    library, database = direct.library, direct.library.database
    before = (await page_of(report)).get("nexus_jobs_ended_total", {})
    await asyncio.gather(*(direct.call() for _ in range(50)))
    leaving = asyncio.create_task(direct.call(seconds=60))
    await direct.begun(51)
    leaving.cancel()
    for _ in range(4):
        assert await library.ran(await library.submitted(BY_HAND)) == "completed"
    await submit_batch(database, OPERATOR, [BY_HAND] * 30)
    await carried(library.execution)
    for _ in range(5):
        await store.cancel(database, OPERATOR, await library.submitted(BY_HAND))
    failing = await library.claimed(await library.submitted(BY_HAND))
    failing.failure = PrefectUnavailable("no")
    assert await library.execution.record(failing) == "failed"
    held = {"status": "running", "attempt": 1, "claim_id": uuid4(), "lease_expires_at": ago(LONG_AGO)}
    lost = [await table.add(**held | {"claim_id": uuid4()}, sent_at=ago(LONG_AGO)) for _ in range(3)]
    mirror = Mirror(database)
    await Rescuer(database, prefect, mirror, lease_seconds=0).rescue()
    for number in range(4):
        row = await mirror.begin("cache_refresh", uuid4(), {})
        await (mirror.complete(row, {}) if number % 2 else mirror.fail(row, "x", "x"))
    assert await mirror.abandon(await _left_open(mirror), "cancelled", "cancelled", "gone") == 1
    times = ("created_at", "available_at", "started_at", "dispatched_at", "heartbeat_at")
    silent: dict[str, Any] = dict.fromkeys(times, ago(timedelta(days=9)))
    await table.running(**silent, claim_id=None, lease_expires_at=None, flow_run_id=None)
    assert await Cleanup(database, prefect).fail_orphans(1) == 1
    await direct.rows(100)
    page, rows = await page_of(report), await rows_of(database)
    assert before == {}
    assert page["nexus_jobs_ended_total"] == rows
    assert sum(rows.values()) == 100
    assert page["nexus_outcomes_unknown_total"][frozenset({("type", "tool_invoke")})] == len(lost)
    runs = page["nexus_job_run_seconds_count"][frozenset({("type", "tool_invoke")})]
    assert runs == page["nexus_job_total_seconds_count"][frozenset({("type", "tool_invoke")})] == 51 + 4 + 30 + 1
    assert page["nexus_job_wait_seconds_count"][frozenset({("type", "tool_invoke")})] == 34


async def _left_open(mirror: Mirror) -> Any:
    run = uuid4()
    await mirror.begin("job_cleanup", run, {})
    return run


async def test_a_direct_call_counts_once_when_it_is_cancelled_or_handed_over(
    early: Direct, report: MetricsReport
) -> None:
    direct = early
    handed = await direct.handed(seconds=0.3)
    cancelled = asyncio.create_task(direct.call(seconds=60))
    (row,) = await direct.rows(having=f"id <> '{handed}'")
    await store.cancel(direct.library.database, OPERATOR, row["id"])
    direct.library.execution.mark_stale(row["id"])
    with pytest.raises(CallCancelled):
        await cancelled
    await direct.rows(2)
    page = await page_of(report)
    assert page["nexus_jobs_ended_total"] == await rows_of(direct.library.database)
    assert page["nexus_direct_calls_total"] == {
        frozenset({("outcome", "handed")}): 1,
        frozenset({("outcome", "cancelled")}): 1,
    }
    assert page["nexus_upstream_seconds_count"] == {frozenset({("server", "srv")}): 2}


async def test_a_server_that_is_removed_takes_its_series_along(library: Library, report: MetricsReport) -> None:
    server = await library.servers.register("srv", own_server("habits"))
    await library.ran(await library.submitted(JobRequest("tool_invoke", "srv__echo", {"text": "x"})))
    assert "srv" in str((await page_of(report))["nexus_jobs_ended_total"])
    await library.servers.remove(OPERATOR, ServerRef(server.server_type, server.id))
    page = await page_of(report)
    assert not [labels for series in page.values() for labels in series if ("server", "srv") in labels]


@asynccontextmanager
async def gauging(database: Database, *, port: int | None = None) -> AsyncIterator[MetricsReport]:
    """A report with the gauges of the hub, made anew each time it is asked for."""
    keyring = FixedKeyring(Keyring(VaultKey.generate()))
    clock = iter(range(0, 10**6, 100)).__next__
    async with PrefectClient(f"http://127.0.0.1:{port or free_port()}/api", None) as prefect:
        yield MetricsReport(
            Metrics(), database, HubGauges(database, SchedulerWatch(prefect, clock), keyring, clock), clock
        )


async def test_the_gauges_are_those_of_the_database(library: Library, table: Table, owner: Any) -> None:
    server = await library.servers.register("srv", own_server("habits"))
    await library.submitted(JobRequest("tool_invoke", "srv__echo", {"text": "x"}))
    await table.add(available_at=ago(timedelta(minutes=20)))
    await table.add(available_at=ago(timedelta(minutes=-20)))
    await table.running()
    await owner.execute(
        "UPDATE server_state SET circuit = 'open', failures = 3, last_refresh_at = now() - interval '2 h'"
    )
    await owner.execute("UPDATE system_servers SET created_at = now() - interval '90 d'")
    async with gauging(library.database) as report:
        page = await page_of(report)
    (key,) = page["nexus_vault_key_age_seconds"]
    assert dict(key)["role"] == "missing", "the library has another ring"
    assert page["nexus_vault_key_age_seconds"][key] == pytest.approx(90 * 86400, abs=60)
    assert page["nexus_vault_key_rows"][key] == 1
    by_state = {dict(labels)["state"]: count for labels, count in page["nexus_queue_jobs"].items()}
    assert by_state == {"waiting": 2, "later": 1, "running": 1}
    assert page["nexus_queue_oldest_seconds"][frozenset()] == pytest.approx(1200, abs=60)
    of_server = frozenset({("server", server.name)})
    assert page["nexus_circuit_open"] == {of_server: 1}
    assert page["nexus_catalog_failures"] == {of_server: 3}
    assert page["nexus_catalog_age_seconds"][of_server] == pytest.approx(7200, abs=60)
    assert page["nexus_job_results_rows"][frozenset({("status", "all")})] == 4
    assert page["nexus_job_results_bytes"][frozenset()] > 0
    assert page["nexus_workers"][frozenset()] == 0
    up = {dict(labels)["part"]: is_up for labels, is_up in page["nexus_up"].items()}
    assert up == {"database": 1, "prefect": 0}
    assert {spec.name for spec in HUB_SPECS} - page.keys() == {
        "nexus_scheduled_run_age_seconds",
        "nexus_schedule_horizon_seconds",
    }


async def test_while_the_database_is_away_the_process_tells_what_it_knows(database: HubDatabase) -> None:
    async with CutDatabase(database.app_url, name="test") as pool, gauging(pool) as report:
        assert "nexus_queue_jobs" in await page_of(report)
        pool.cut = True
        page = await page_of(report)
    assert page["nexus_up"][frozenset({("part", "database")})] == 0
    assert "nexus_queue_jobs" not in page
    assert "nexus_jobs_stored_total" in page


async def test_what_takes_too_long_is_left_out_and_the_database_is_up_all_the_same(
    hub_database: Database, owner: Any
) -> None:
    async with gauging(hub_database) as report, owner.transaction():
        await owner.execute("LOCK TABLE vault_rotations")
        page = await page_of(report)
    assert page["nexus_up"][frozenset({("part", "database")})] == 1
    assert "nexus_queue_jobs" in page
    assert "nexus_vault_key_rows" not in page


async def test_one_reading_at_a_time_is_enough_for_all_who_ask(hub_database: Database) -> None:
    gauges = HubGauges(
        hub_database,
        SchedulerWatch(PrefectClient("http://127.0.0.1:1/api", None)),
        FixedKeyring(Keyring(VaultKey.generate())),
    )
    readings = await asyncio.gather(*(gauges.read() for _ in range(20)))
    assert all(reading == readings[0] for reading in readings)
