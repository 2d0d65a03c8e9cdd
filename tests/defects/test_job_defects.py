"""Defects 18 to 24: the states of a job, and what becomes of it when something dies."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio

from nexus_hub.errors import ApiProblem, InvalidRequest
from nexus_hub.execution.attempt import Attempt, NotClaimed
from nexus_hub.jobs import store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.models import OPERATOR, ServerRef
from nexus_hub.orchestration.cleanup import Cleanup, parse_days
from nexus_hub.orchestration.mirror import Mirror
from nexus_hub.orchestration.rescuer import Rescuer, RescueReport
from nexus_hub.upstream.config import StdioConfig
from tests.defects import seed_code
from tests.defects.replay import Connection, count, one
from tests.fixtures.jobs import Table, ago
from tests.fixtures.library import Library
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.prefect_runs import FakePrefect
from tests.fixtures.served import Served

STORE = "INSERT INTO job_results (job_type, server_id, params) VALUES ('tool_invoke', 'github', '{}') RETURNING id"
COMPLETE = "UPDATE job_results SET status = 'completed', result = %s, completed_at = now() WHERE id = %s"
STATUS = "SELECT status FROM job_results WHERE id = %s"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest_asyncio.fixture
async def table(database: HubDatabase) -> AsyncIterator[Table]:
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as connection:
        yield Table(connection)


@pytest.fixture
def rescuer(library: Library, prefect: FakePrefect) -> Rescuer:
    return Rescuer(library.database, prefect, Mirror(library.database), lease_seconds=0)


async def stored(library: Library) -> UUID:
    """A pending job."""
    request, ref = JobRequest("tool_invoke", "srv__t", {}), ServerRef("system", uuid4())
    job, _ = await store.add(library.database, OPERATOR, request, ref, "t")
    job_id: UUID = job["id"]
    return job_id


async def abandoned(table: Table, job_id: UUID) -> None:
    """The worker that runs the job is gone: nobody renews its lease, which runs out."""
    await table.connection.execute(
        "UPDATE job_results SET lease_expires_at = now() - interval '1 s' WHERE id = %s", (job_id,)
    )


async def test_defect_18_a_job_that_is_delivered_twice_runs_once(seed: Connection, library: Library) -> None:
    ran: list[Any] = []
    body = {"job_id": one(seed, STORE)["id"], "params": {}, "user_id": None}
    for _ in range(2):
        seed_code.execute_job(seed, body, lambda params, _user: ran.append(params))
    assert len(ran) == 2, "in the seed each delivery runs the tool"

    job_id = await stored(library)
    claims = await asyncio.gather(*(library.execution.claim(job_id, 1, uuid4()) for _ in range(5)))
    assert sum(isinstance(claim, Attempt) for claim in claims) == 1
    assert [claim.status for claim in claims if isinstance(claim, NotClaimed)] == ["running"] * 4


async def test_defect_19_what_has_ended_never_changes_and_a_late_result_is_dropped(
    seed: Connection, ours: Connection, library: Library, rescuer: Rescuer, table: Table
) -> None:
    ended = {}
    for name, connection in (("seed", seed), ("ours", ours)):
        cancelled, completed = one(connection, STORE)["id"], one(connection, STORE)["id"]
        count(connection, "UPDATE job_results SET status = 'cancelled', completed_at = now() WHERE id = %s", cancelled)
        count(connection, COMPLETE, '"first"', completed)
        ended[name] = (cancelled, completed)
    cancelled, completed = ended["seed"]
    assert count(seed, COMPLETE, '"late"', cancelled) == 1
    seed.execute(b"SELECT execute_job_via_pg_net(%s)", (completed,))
    assert one(seed, STATUS, cancelled) == {"status": "completed"}, "the seed revives a cancelled job"
    assert one(seed, STATUS, completed) == {"status": "running"}, "and runs an ended one again"
    for result in ('"of the second attempt"', '"of a zombie"'):
        assert count(seed, COMPLETE, result, completed) == 1, "whoever comes last is right"

    cancelled, completed = ended["ours"]
    with pytest.raises(psycopg.DatabaseError, match="has ended as cancelled"):
        count(ours, COMPLETE, '"late"', cancelled)
    ours.execute(b"SELECT execute_job_via_pg_net(%s)", (completed,))
    assert one(ours, STATUS, completed) == {"status": "completed"}

    job_id = await stored(library)
    zombie = await library.claimed(job_id)
    await abandoned(table, job_id)
    assert (await rescuer.round()).rescued == 1
    second = await library.claimed(job_id, 2)
    second.result, zombie.result = {"of": "the second attempt"}, {"of": "a zombie"}
    assert await library.execution.record(zombie) == "stale"
    assert await library.execution.record(second) == "completed"
    assert await library.execution.record(zombie) == "stale"
    assert (await store.get(library.database, OPERATOR, job_id))["result"] == {"of": "the second attempt"}


async def test_defect_20_a_job_whose_worker_died_is_run_by_another(
    seed: Connection, library: Library, time_server: StdioConfig, rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    """That it is so when processes and databases are killed for good is shown by tests/faults."""
    job_id = one(seed, STORE)["id"]
    seed.execute(b"SELECT execute_job_via_pg_net(%s)", (job_id,))
    seed.execute(b"TRUNCATE net.http_request_queue")  # what a crash leaves of a table that is UNLOGGED
    seed.execute(b"UPDATE job_results SET created_at = now() - interval '25 hours'")
    seed.execute(b"SELECT cleanup_old_job_results()")
    assert count(seed, "SELECT FROM job_results") == 0, "the seed never ran it, and has deleted it"

    await library.servers.register("time", time_server)
    job_id = await library.submitted(JobRequest("tool_invoke", "time__get_current_time", {"timezone": "UTC"}))
    dead = await library.claimed(job_id)
    await abandoned(table, job_id)
    assert await rescuer.round() == RescueReport(dispatched=1, rescued=1)
    assert prefect.started[0][2:] == (job_id, 2)
    assert await library.ran(job_id, 2) == "completed"
    assert await library.execution.record(dead) == "stale"
    assert '"timezone": "UTC"' in str((await store.get(library.database, OPERATOR, job_id))["result"])


async def test_defect_21_a_job_that_was_stored_and_never_started_is_started(
    seed: Connection, ours: Connection, rescuer: Rescuer, prefect: FakePrefect
) -> None:
    for connection in (seed, ours):  # and the process dies before it triggers the job
        connection.execute(
            b"INSERT INTO job_results (job_type, server_id, params, created_at) "
            b"VALUES ('tool_invoke', 'github', '{}', now() - interval '1 minute')"
        )
    assert count(seed, "SELECT FROM net.http_request_queue") == 0, "nothing in the seed looks for such a job"
    assert one(seed, "SELECT status FROM job_results") == {"status": "pending"}

    job_id = one(ours, "SELECT id FROM job_results")["id"]
    assert await rescuer.round() == RescueReport(dispatched=1)
    assert [started[2:] for started in prefect.started] == [(job_id, 1)]
    assert await rescuer.round() == RescueReport()


async def test_defect_22_a_live_job_is_kept_and_an_orphan_fails_with_a_reason(
    seed: Connection, ours: Connection, library: Library, prefect: FakePrefect, table: Table
) -> None:
    cleanup, news = Cleanup(library.database, prefect), list[dict[str, Any]]()

    async def told(counts: dict[str, Any]) -> None:
        news.append(counts)

    live = one(seed, STORE)["id"]
    seed.execute(b"UPDATE job_results SET status = 'running', created_at = now() - interval '25 hours'")
    seed.execute(b"SELECT cleanup_old_job_results()")
    assert count(seed, COMPLETE, '"done"', live) == 0, "the seed deleted a job at work; its result went nowhere"

    old = {"created_at": ago(25 * HOUR), "available_at": ago(25 * HOUR), "started_at": ago(25 * HOUR)}
    lease = {"claim_id": uuid4(), "lease_expires_at": datetime.now(UTC) + HOUR, "heartbeat_at": datetime.now(UTC)}
    live = await table.add(status="running", attempt=1, **old, **lease)
    orphan = await table.add(status="running", attempt=1, heartbeat_at=ago(25 * HOUR), **old)
    ours.execute(b"SELECT cleanup_old_job_results()")
    report = await cleanup.run(7, 1, told)
    assert (report.orphans_failed, report.total_deleted) == (1, 0)
    status, code, error = await table.get(orphan, "status", "error_code", "error")
    assert (status, code) == ("failed", "orphaned")
    assert "last sign of life" in error
    assert count(ours, COMPLETE, '"done"', live) == 1
    assert (await cleanup.run(7, 0, told)).deleted_orphaned == 1, "once its retention has ended"
    assert await table.get(live, "status", "result") == ("completed", "done")


async def test_defect_23_clean_up_counts_all_it_deletes_and_every_ended_job_has_an_end(
    seed: Connection, ours: Connection, table: Table
) -> None:
    many = (
        b"INSERT INTO job_results (job_type, server_id, status, created_at, completed_at) SELECT 'tool_invoke', "
        b"'github', %s, now() - interval '8 days', %s FROM generate_series(1, %s)"
    )
    seed.execute(many, ("completed", ago(8 * DAY), 10))
    seed.execute(many, ("running", None, 6))
    assert one(seed, "SELECT cleanup_old_job_results() AS deleted") == {"deleted": 10}, "it has deleted 16"
    assert count(seed, "SELECT FROM job_results") == 0
    ours.execute(many, ("completed", ago(8 * DAY), 10))
    for _ in range(6):
        await table.add(status="failed", error_code="orphaned", completed_at=ago(8 * DAY))
    assert one(ours, "SELECT cleanup_old_job_results() AS deleted") == {"deleted": 16}
    assert count(ours, "SELECT FROM job_results") == 0

    for connection in (seed, ours):
        connection.execute(STORE.encode())
        connection.execute(b"UPDATE job_results SET status = 'failed', error = 'the trigger failed'")
    everything = "SELECT * FROM cleanup_job_results_manual(0, 0)"
    assert one(seed, everything)["total_deleted"] == 0, "in the seed it stays for ever"
    assert one(seed, "SELECT completed_at FROM job_results") == {"completed_at": None}
    assert one(ours, everything) == {"deleted_completed": 1, "deleted_orphaned": 0, "total_deleted": 1}


async def test_defect_24_no_days_are_no_days_and_days_out_of_range_are_refused(
    seed: Connection, ours: Connection, served: Served
) -> None:
    assert seed_code.days_completed({"days_completed": 0}) == 7, "in the seed 0 is 7"
    assert parse_days("days_completed", 0) == 0
    for connection in (seed, ours):
        connection.execute(STORE.encode())
        connection.execute(b"UPDATE job_results SET status = 'completed', completed_at = now()")
    manual = "SELECT * FROM cleanup_job_results_manual({0}, {0})"
    with pytest.raises(psycopg.errors.DatetimeFieldOverflow):
        seed.execute(manual.format(2**31 - 1).encode())  # the seed answers with a 500
    for days in (2**31 - 1, 3651, -1):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="from 0 to 3650"):
            ours.execute(manual.format(days).encode())
    for value in (3651, -1, 10**30, "7", 1.5, None, True):
        with pytest.raises(InvalidRequest, match="days_completed"):
            parse_days("days_completed", value)
    async with served.client() as client:
        for body, deleted in (({"days_completed": 0}, 1), ({}, 0)):
            counts = await client.request("POST", "/internal/cleanup-jobs", body | {"dry_run": True})
            assert counts["deleted_completed"] == deleted, "0 is 0, and 7 only where nothing is said"
        with pytest.raises(ApiProblem) as problem:
            await client.request("POST", "/internal/cleanup-jobs", {"days_completed": 2**31})
        assert problem.value.status == 400
    assert one(ours, manual.format(0))["deleted_completed"] == 1
