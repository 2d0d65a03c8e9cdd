"""Handing over many jobs at once, on a real database; only Prefect's side is played."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID, uuid4

import psycopg
import pytest

from nexus_hub.db.pool import Database
from nexus_hub.dispatch import RunState
from nexus_hub.jobs import store
from nexus_hub.jobs.handover import (
    FEWEST_IN_BATCH,
    MARKED_AT_ONCE,
    MOST_IN_BATCH,
    Handover,
    Handovers,
    hand_over_now,
)
from nexus_hub.jobs.mirror import Mirror
from nexus_hub.jobs.sweep import Sweep
from nexus_hub.models import OPERATOR
from tests.fixtures.jobs import LONG_AGO, PlayedPrefect, Table, ago
from tests.fixtures.postgres import HubDatabase


@pytest.fixture
def sweep(hub_database: Database, prefect: PlayedPrefect) -> Sweep:
    return Sweep(hub_database, prefect, Mirror(hub_database), lease_seconds=0)


async def added(table: Table, count: int, **columns: object) -> list[UUID]:
    return [await table.add(**columns) for _ in range(count)]


async def column(table: Table, name: str, jobs: list[UUID]) -> list[object]:
    return [(await table.get(job, name))[0] for job in jobs]


async def test_jobs_that_come_faster_than_runs_can_be_made_share_one(
    hub_database: Database, prefect: PlayedPrefect, table: Table
) -> None:
    now = datetime.now(UTC)
    jobs = await added(table, 60, created_at=now, available_at=now)
    prefect.gate = asyncio.Event()
    handovers = Handovers(hub_database, prefect, at_once=2)
    for number, job in enumerate(jobs):
        handovers.start(Handover(job, 1, "tool_invoke", "srv__t"))
        if number < 2:
            await asyncio.sleep(0.1)
    prefect.gate.set()
    await handovers.drain()
    runs = await column(table, "flow_run_id", jobs)
    assert None not in runs
    assert len(prefect.started) == 2
    assert list(prefect.carried.values()) == [58]
    assert set(runs) == set(prefect.runs.values()) | set(prefect.batches.values())


async def test_few_jobs_get_runs_of_their_own(hub_database: Database, prefect: PlayedPrefect, table: Table) -> None:
    jobs = await added(table, 5, created_at=datetime.now(UTC))
    handovers = Handovers(hub_database, prefect)
    for job in jobs:
        handovers.start(Handover(job, 1, "tool_invoke", "srv__t"))
    await handovers.drain()
    assert prefect.batches == {}
    assert len(set(await column(table, "flow_run_id", jobs))) == 5


async def test_many_that_wait_are_grouped_by_the_sweep(sweep: Sweep, prefect: PlayedPrefect, table: Table) -> None:
    await table.connection.execute(
        "INSERT INTO job_results (job_type, server_id, tool_name, created_at, available_at)"
        " SELECT 'tool_invoke', 'hub', 't', now() - interval '1 minute', now() - interval '1 minute'"
        f" FROM generate_series(1, {MOST_IN_BATCH + 500})".encode()
    )
    odd = await table.add(job_type="resource_fetch", tool_name=None)
    assert (await sweep.round()).handed_over == MOST_IN_BATCH + 501
    assert sorted(prefect.carried.values()) == [501, MOST_IN_BATCH]
    assert prefect.started == []
    assert (await table.get(odd, "flow_run_id"))[0] in prefect.batches.values()


async def test_few_that_wait_are_not_grouped(sweep: Sweep, prefect: PlayedPrefect, table: Table) -> None:
    await added(table, FEWEST_IN_BATCH - 1)
    assert (await sweep.round()).handed_over == FEWEST_IN_BATCH - 1
    assert prefect.batches == {}


async def test_a_batch_that_the_api_could_not_hand_over_is_handed_over_by_the_sweep_once(
    sweep: Sweep, prefect: PlayedPrefect, table: Table
) -> None:
    batch_id = uuid4()
    jobs = await added(table, 3, batch_id=batch_id)
    prefect.away = True
    await sweep.round()
    prefect.away = False
    assert (await sweep.round()).handed_over == 3
    assert (await sweep.round()).handed_over == 0
    assert set(await column(table, "flow_run_id", jobs)) == {prefect.batches[batch_id]}
    assert prefect.started == []


async def test_the_first_job_of_a_batch_calls_the_worker_before_all_are_noted(
    database: HubDatabase, hub_database: Database, prefect: PlayedPrefect, table: Table
) -> None:
    """Somebody holds on to the last one; and there are more than are noted at once."""
    batch_id = uuid4()
    jobs = sorted(await added(table, MARKED_AT_ONCE + 2, batch_id=batch_id))
    async with await psycopg.AsyncConnection.connect(database.admin_url) as holder:
        await holder.execute("SELECT FROM job_results WHERE id = %s FOR UPDATE", [jobs[-1]])
        handing_over = asyncio.create_task(hand_over_now(hub_database, prefect, jobs[-1]))
        async with asyncio.timeout(60):
            while (await table.get(jobs[0], "flow_run_id"))[0] is None:
                await asyncio.sleep(0.02)
        assert (await table.get(jobs[-1], "flow_run_id"))[0] is None
        assert not handing_over.done()
    assert await handing_over
    assert set(await column(table, "flow_run_id", jobs)) == {prefect.batches[batch_id]}
    assert None not in await column(table, "dispatched_at", jobs)


async def test_without_the_deployment_of_batches_jobs_go_singly(
    sweep: Sweep, prefect: PlayedPrefect, table: Table
) -> None:
    prefect.lacks_batches = True
    await added(table, FEWEST_IN_BATCH)
    await added(table, 2, batch_id=uuid4())
    assert (await sweep.round()).handed_over == FEWEST_IN_BATCH
    assert len(prefect.started) == FEWEST_IN_BATCH


async def test_a_batch_that_is_refused_waits_and_holds_up_no_other(
    sweep: Sweep, prefect: PlayedPrefect, table: Table
) -> None:
    prefect.refuses_batches = True
    await added(table, 3, batch_id=uuid4())
    single = await table.add()
    assert (await sweep.round()).handed_over == 1
    assert [started[2] for started in prefect.started] == [single]
    prefect.refuses_batches = False
    assert (await sweep.round()).handed_over == 0


async def test_a_lost_run_gives_all_its_jobs_back_and_they_share_another(
    sweep: Sweep, prefect: PlayedPrefect, table: Table
) -> None:
    jobs = await added(table, FEWEST_IN_BATCH, batch_id=uuid4())
    await sweep.round()
    (run,) = prefect.batches.values()
    prefect.known[run] = RunState("CRASHED", ago(LONG_AGO))
    await table.connection.execute("UPDATE job_results SET dispatched_at = now() - interval '1 hour'")
    assert (await sweep.round()).given_up == FEWEST_IN_BATCH
    assert set(await column(table, "batch_id", jobs)) == {None}
    assert (await sweep.round()).handed_over == FEWEST_IN_BATCH
    (again,) = set(await column(table, "flow_run_id", jobs))
    assert again != run
    assert set(await column(table, "attempt", jobs)) == {0}


async def test_a_run_that_works_on_others_of_its_batch_is_not_lost(
    sweep: Sweep, prefect: PlayedPrefect, table: Table
) -> None:
    batch_id, run = uuid4(), uuid4()
    waiting = await table.add(batch_id=batch_id, flow_run_id=run, dispatched_at=ago(LONG_AGO))
    await table.running(batch_id=batch_id, flow_run_id=run, lease_expires_at=ago(-LONG_AGO))
    prefect.known[run] = RunState("RUNNING", ago(LONG_AGO))
    assert (await sweep.round()).given_up == 0
    assert await table.get(waiting, "flow_run_id", "batch_id") == (run, batch_id)


async def test_a_run_that_was_cancelled_before_it_began_cancels_its_jobs(
    sweep: Sweep, prefect: PlayedPrefect, table: Table
) -> None:
    run = uuid4()
    jobs = await added(table, 3, batch_id=uuid4(), flow_run_id=run, dispatched_at=ago(LONG_AGO))
    prefect.known[run] = RunState("CANCELLED", ago(LONG_AGO))
    await sweep.round()
    assert set(await column(table, "status", jobs)) == {"cancelled"}


async def test_a_run_whose_worker_died_is_settled_for_all_its_jobs(
    sweep: Sweep, prefect: PlayedPrefect, table: Table
) -> None:
    run = uuid4()
    jobs = [await table.running(batch_id=uuid4(), flow_run_id=run) for _ in range(5)]
    prefect.known[run] = RunState("RUNNING", ago(LONG_AGO))
    await sweep.take_back()
    await sweep.round()
    assert set(prefect.crashed) == {run}
    assert set(await column(table, "lost_flow_run_id", jobs)) == {None}
    assert set(await column(table, "batch_id", jobs)) == {None}


async def test_waking_the_hub_for_a_job_of_a_batch_hands_over_the_batch(
    hub_database: Database, prefect: PlayedPrefect, table: Table
) -> None:
    batch_id = uuid4()
    jobs = await added(table, 3, batch_id=batch_id)
    assert await hand_over_now(hub_database, prefect, jobs[0])
    assert prefect.carried == {batch_id: 3}
    assert set(await column(table, "flow_run_id", jobs)) == {prefect.batches[batch_id]}


async def test_a_job_of_a_batch_has_no_run_of_its_own_to_cancel(hub_database: Database, table: Table) -> None:
    shared = await table.add(batch_id=uuid4(), flow_run_id=uuid4(), dispatched_at=ago(LONG_AGO))
    run = uuid4()
    own = await table.add(flow_run_id=run, dispatched_at=ago(LONG_AGO))
    assert await store.cancel(hub_database, OPERATOR, shared) is None
    assert await store.cancel(hub_database, OPERATOR, own) == run
