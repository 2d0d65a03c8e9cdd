"""Handing over many jobs at once, on a real database; only Prefect's side is played."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID, uuid4

import psycopg
import pytest

from nexus_hub.db.pool import Database
from nexus_hub.jobs import store
from nexus_hub.models import OPERATOR
from nexus_hub.orchestration.dispatcher import (
    BATCH_MAX_JOBS,
    BATCH_MIN_JOBS,
    MARKED_AT_ONCE,
    Dispatcher,
    JobDispatch,
    dispatch_now,
)
from nexus_hub.orchestration.mirror import Mirror
from nexus_hub.orchestration.prefect_runs import RunState
from nexus_hub.orchestration.rescuer import Rescuer
from tests.fixtures.jobs import LONG_AGO, Table, ago
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.prefect_runs import FakePrefect


@pytest.fixture
def rescuer(hub_database: Database, prefect: FakePrefect) -> Rescuer:
    return Rescuer(hub_database, prefect, Mirror(hub_database), lease_seconds=0)


async def added(table: Table, count: int, **columns: object) -> list[UUID]:
    return [await table.add(**columns) for _ in range(count)]


async def column(table: Table, name: str, jobs: list[UUID]) -> list[object]:
    return [(await table.get(job, name))[0] for job in jobs]


async def test_jobs_that_come_faster_than_runs_can_be_made_share_one(
    hub_database: Database, prefect: FakePrefect, table: Table
) -> None:
    now = datetime.now(UTC)
    jobs = await added(table, 60, created_at=now, available_at=now)
    prefect.gate = asyncio.Event()
    dispatcher = Dispatcher(hub_database, prefect, concurrency=2)
    for number, job in enumerate(jobs):
        dispatcher.start(JobDispatch(job, 1, "tool_invoke", "srv__t"))
        if number < 2:
            await asyncio.sleep(0.1)
    prefect.gate.set()
    await dispatcher.drain()
    runs = await column(table, "flow_run_id", jobs)
    assert None not in runs
    assert len(prefect.started) == 2
    assert list(prefect.batch_sizes.values()) == [58]
    assert set(runs) == set(prefect.runs.values()) | set(prefect.batches.values())


async def test_few_jobs_get_runs_of_their_own(hub_database: Database, prefect: FakePrefect, table: Table) -> None:
    jobs = await added(table, 5, created_at=datetime.now(UTC))
    dispatcher = Dispatcher(hub_database, prefect)
    for job in jobs:
        dispatcher.start(JobDispatch(job, 1, "tool_invoke", "srv__t"))
    await dispatcher.drain()
    assert prefect.batches == {}
    assert len(set(await column(table, "flow_run_id", jobs))) == 5


async def test_many_that_wait_are_grouped_by_the_sweep(rescuer: Rescuer, prefect: FakePrefect, table: Table) -> None:
    await table.connection.execute(
        "INSERT INTO job_results (job_type, server_id, tool_name, created_at, available_at)"
        " SELECT 'tool_invoke', 'hub', 't', now() - interval '1 minute', now() - interval '1 minute'"
        f" FROM generate_series(1, {BATCH_MAX_JOBS + 500})".encode()
    )
    odd = await table.add(job_type="resource_fetch", tool_name=None)
    assert (await rescuer.round()).dispatched == BATCH_MAX_JOBS + 501
    assert sorted(prefect.batch_sizes.values()) == [501, BATCH_MAX_JOBS]
    assert prefect.started == []
    assert (await table.get(odd, "flow_run_id"))[0] in prefect.batches.values()


async def test_few_that_wait_are_not_grouped(rescuer: Rescuer, prefect: FakePrefect, table: Table) -> None:
    await added(table, BATCH_MIN_JOBS - 1)
    assert (await rescuer.round()).dispatched == BATCH_MIN_JOBS - 1
    assert prefect.batches == {}


async def test_a_batch_that_the_api_could_not_hand_over_is_handed_over_by_the_sweep_once(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    batch_id = uuid4()
    jobs = await added(table, 3, batch_id=batch_id)
    prefect.away = True
    await rescuer.round()
    prefect.away = False
    assert (await rescuer.round()).dispatched == 3
    assert (await rescuer.round()).dispatched == 0
    assert set(await column(table, "flow_run_id", jobs)) == {prefect.batches[batch_id]}
    assert prefect.started == []


async def test_the_first_job_of_a_batch_calls_the_worker_before_all_are_noted(
    database: HubDatabase, hub_database: Database, prefect: FakePrefect, table: Table
) -> None:
    """Somebody holds on to the last one; and there are more than are noted at once."""
    batch_id = uuid4()
    jobs = sorted(await added(table, MARKED_AT_ONCE + 2, batch_id=batch_id))
    async with await psycopg.AsyncConnection.connect(database.admin_url) as holder:
        await holder.execute("SELECT FROM job_results WHERE id = %s FOR UPDATE", [jobs[-1]])
        dispatching = asyncio.create_task(dispatch_now(hub_database, prefect, jobs[-1]))
        async with asyncio.timeout(60):
            while (await table.get(jobs[0], "flow_run_id"))[0] is None:
                await asyncio.sleep(0.02)
        assert (await table.get(jobs[-1], "flow_run_id"))[0] is None
        assert not dispatching.done()
    assert await dispatching
    assert set(await column(table, "flow_run_id", jobs)) == {prefect.batches[batch_id]}
    assert None not in await column(table, "dispatched_at", jobs)


async def test_without_the_deployment_of_batches_jobs_go_singly(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    prefect.missing = {"invoke-batch"}
    await added(table, BATCH_MIN_JOBS)
    await added(table, 2, batch_id=uuid4())
    assert (await rescuer.round()).dispatched == BATCH_MIN_JOBS
    assert len(prefect.started) == BATCH_MIN_JOBS


async def test_a_batch_that_is_refused_waits_and_holds_up_no_other(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    prefect.refuses_batches = True
    await added(table, 3, batch_id=uuid4())
    single = await table.add()
    assert (await rescuer.round()).dispatched == 1
    assert [started[2] for started in prefect.started] == [single]
    prefect.refuses_batches = False
    assert (await rescuer.round()).dispatched == 0


async def test_a_lost_run_gives_all_its_jobs_back_and_they_share_another(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    jobs = await added(table, BATCH_MIN_JOBS, batch_id=uuid4())
    await rescuer.round()
    (run,) = prefect.batches.values()
    prefect.known[run] = RunState("CRASHED", ago(LONG_AGO))
    await table.connection.execute("UPDATE job_results SET dispatched_at = now() - interval '1 hour'")
    assert (await rescuer.round()).given_up == BATCH_MIN_JOBS
    assert set(await column(table, "batch_id", jobs)) == {None}
    assert (await rescuer.round()).dispatched == BATCH_MIN_JOBS
    (again,) = set(await column(table, "flow_run_id", jobs))
    assert again != run
    assert set(await column(table, "attempt", jobs)) == {0}


async def test_a_run_that_works_on_others_of_its_batch_is_not_lost(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    batch_id, run = uuid4(), uuid4()
    waiting = await table.add(batch_id=batch_id, flow_run_id=run, dispatched_at=ago(LONG_AGO))
    await table.running(batch_id=batch_id, flow_run_id=run, lease_expires_at=ago(-LONG_AGO))
    prefect.known[run] = RunState("RUNNING", ago(LONG_AGO))
    assert (await rescuer.round()).given_up == 0
    assert await table.get(waiting, "flow_run_id", "batch_id") == (run, batch_id)


async def test_a_run_that_was_cancelled_before_it_began_cancels_its_jobs(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    run = uuid4()
    jobs = await added(table, 3, batch_id=uuid4(), flow_run_id=run, dispatched_at=ago(LONG_AGO))
    prefect.known[run] = RunState("CANCELLED", ago(LONG_AGO))
    await rescuer.round()
    assert set(await column(table, "status", jobs)) == {"cancelled"}


async def test_a_run_whose_worker_died_is_settled_for_all_its_jobs(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    run = uuid4()
    jobs = [await table.running(batch_id=uuid4(), flow_run_id=run) for _ in range(5)]
    prefect.known[run] = RunState("RUNNING", ago(LONG_AGO))
    await rescuer.rescue()
    await rescuer.round()
    assert set(prefect.crashed) == {run}
    assert set(await column(table, "lost_flow_run_id", jobs)) == {None}
    assert set(await column(table, "batch_id", jobs)) == {None}


async def test_waking_the_hub_for_a_job_of_a_batch_hands_over_the_batch(
    hub_database: Database, prefect: FakePrefect, table: Table
) -> None:
    batch_id = uuid4()
    jobs = await added(table, 3, batch_id=batch_id)
    assert await dispatch_now(hub_database, prefect, jobs[0])
    assert prefect.batch_sizes == {batch_id: 3}
    assert set(await column(table, "flow_run_id", jobs)) == {prefect.batches[batch_id]}


async def test_a_job_of_a_batch_has_no_run_of_its_own_to_cancel(hub_database: Database, table: Table) -> None:
    shared = await table.add(batch_id=uuid4(), flow_run_id=uuid4(), dispatched_at=ago(LONG_AGO))
    run = uuid4()
    own = await table.add(flow_run_id=run, dispatched_at=ago(LONG_AGO))
    assert await store.cancel(hub_database, OPERATOR, shared) is None
    assert await store.cancel(hub_database, OPERATOR, own) == run
