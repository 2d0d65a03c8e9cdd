"""Jobs that come alone get runs of their own, those that come together wait in the queue of the shared runs.

On a real database; only Prefect's side is played, and no worker takes a run.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from nexus_hub.db.pool import Database
from nexus_hub.errors import PrefectRefused, PrefectUnavailable
from nexus_hub.jobs import store
from nexus_hub.models import OPERATOR
from nexus_hub.orchestration import dispatcher as dispatching
from nexus_hub.orchestration.dispatcher import Dispatcher, JobDispatch, dispatch_now, open_run
from nexus_hub.orchestration.mirror import Mirror
from nexus_hub.orchestration.reconciler import KEPT_DAYS, QUEUED_AT_ONCE
from nexus_hub.orchestration.rescuer import Rescuer
from tests.fixtures.jobs import LONG_AGO, Table, ago
from tests.fixtures.prefect_runs import FakePrefect, KnownRun
from tests.fixtures.shared_runs import add_run, open_row, run_rows

QUEUED = {"dispatched_at": ago(LONG_AGO)}
OPENED_LONG_AGO = b"UPDATE shared_runs SET created_at = now() - interval '5 min'"


@pytest.fixture
def rescuer(hub_database: Database, prefect: FakePrefect) -> Rescuer:
    return Rescuer(hub_database, prefect, Mirror(hub_database), lease_seconds=0)


async def added(table: Table, count: int, **columns: object) -> list[UUID]:
    return [await table.add(**columns) for _ in range(count)]


async def column(table: Table, name: str, jobs: list[UUID]) -> list[object]:
    return [(await table.get(job, name))[0] for job in jobs]


async def are_queued(table: Table, jobs: list[UUID]) -> bool:
    return set(await column(table, "nexus_is_queued(status, dispatched_at, flow_run_id)", jobs)) == {True}


async def test_jobs_that_come_alone_get_runs_of_their_own(
    hub_database: Database, prefect: FakePrefect, table: Table
) -> None:
    jobs = await added(table, 5, created_at=datetime.now(UTC))
    dispatcher = Dispatcher(hub_database, prefect)
    for job in jobs:
        dispatcher.start(JobDispatch(job, 1, "tool_invoke", "srv__t"))
    await dispatcher.drain()
    assert prefect.shared == {}
    assert len(set(await column(table, "flow_run_id", jobs))) == 5


def crowded(dispatcher: Dispatcher) -> bool:
    with dispatcher.arrival() as others:
        return others


async def test_a_job_waits_for_a_shared_run_while_others_come_or_are_under_way(
    hub_database: Database, prefect: FakePrefect
) -> None:
    dispatcher, first, second = Dispatcher(hub_database, prefect), uuid4(), uuid4()
    assert not crowded(dispatcher)
    with dispatcher.arrival() as alone:
        assert not alone
        assert crowded(dispatcher), "another one is being stored"
    assert not crowded(dispatcher)
    for job in (first, second, first):
        dispatcher.notice(job, ended=False)
    dispatcher.notice(first, ended=True)
    assert crowded(dispatcher)
    dispatcher.notice(second, ended=True)
    dispatcher.notice(uuid4(), ended=True)
    assert not crowded(dispatcher)


async def test_who_fails_to_store_a_job_crowds_nobody(hub_database: Database, prefect: FakePrefect) -> None:
    dispatcher = Dispatcher(hub_database, prefect)
    with pytest.raises(ValueError, match="bad"), dispatcher.arrival():
        raise ValueError("bad")
    assert not crowded(dispatcher)


async def test_jobs_whose_end_may_have_been_missed_crowd_nobody(hub_database: Database, prefect: FakePrefect) -> None:
    dispatcher = Dispatcher(hub_database, prefect)
    dispatcher.notice(uuid4(), ended=False)
    dispatcher.forget()
    assert not crowded(dispatcher)


async def test_jobs_that_hang_crowd_nobody(
    hub_database: Database, prefect: FakePrefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(dispatching, "time", SimpleNamespace(monotonic=lambda: now))
    alive, hanging = uuid4(), [uuid4() for _ in range(dispatching.FORGOTTEN_AT_ONCE)]
    dispatcher = Dispatcher(hub_database, prefect, most_hanging=len(hanging))
    for job in (alive, *hanging):
        dispatcher.notice(job, ended=False)
    now += dispatching.FORGOTTEN_SECONDS + 1
    dispatcher.notice(alive, ended=False)
    assert crowded(dispatcher), "one of them said something a moment ago"
    dispatcher.notice(alive, ended=True)
    assert not crowded(dispatcher)


async def test_jobs_that_hang_by_themselves_are_a_crowd_once_there_are_some(
    hub_database: Database, prefect: FakePrefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a run of its own, which takes one of the places for runs that a worker has."""
    now = 1000.0
    monkeypatch.setattr(dispatching, "time", SimpleNamespace(monotonic=lambda: now))
    dispatcher, hanging = Dispatcher(hub_database, prefect, most_hanging=3), [uuid4() for _ in range(4)]
    for job in hanging:
        assert not crowded(dispatcher)
        dispatcher.notice(job, ended=False)
        now += dispatching.FORGOTTEN_SECONDS + 1
    assert crowded(dispatcher)
    dispatcher.notice(hanging[1], ended=True)
    assert not crowded(dispatcher)


async def test_of_many_who_want_a_run_one_has_it_made(
    hub_database: Database, prefect: FakePrefect, table: Table
) -> None:
    made = await asyncio.gather(*(open_run(hub_database, prefect, one_more=bool(number % 2)) for number in range(12)))
    assert made.count(True) == 1
    ((run_id, flow_run_id, begun, closed),) = await run_rows(table)
    assert prefect.shared == {run_id: flow_run_id}
    assert (begun, closed) == (False, False)


async def test_where_a_run_takes_jobs_another_is_made_on_demand_only(
    hub_database: Database, prefect: FakePrefect, table: Table
) -> None:
    await open_row(table)
    assert not await open_run(hub_database, prefect)
    assert await open_run(hub_database, prefect, one_more=True)
    assert not await open_run(hub_database, prefect, one_more=True), "one comes already"
    assert len(await run_rows(table)) == 2


@pytest.mark.parametrize(
    "gone", [{"lease_expires_at": ago(timedelta(seconds=1))}, {"closed_at": ago(timedelta(seconds=1))}]
)
async def test_a_run_that_takes_no_more_is_none_to_join(
    hub_database: Database, prefect: FakePrefect, table: Table, gone: dict[str, Any]
) -> None:
    lease = {
        "flow_run_id": uuid4(),
        "begun_at": ago(LONG_AGO),
        "lease_expires_at": datetime.now(UTC) + timedelta(hours=12),
    }
    await add_run(table, **lease | gone)
    assert await open_run(hub_database, prefect)


async def test_a_run_that_is_wanted_while_prefect_is_slow_is_asked_for_once_more(
    hub_database: Database, prefect: FakePrefect, table: Table
) -> None:
    """The batch that came last gives its run the id, unless another one is there by then."""
    prefect.gate = asyncio.Event()
    dispatcher, first, last = Dispatcher(hub_database, prefect), uuid4(), uuid4()
    dispatcher.open_run(first)
    await asyncio.sleep(0)
    for _ in range(20):
        dispatcher.open_run()
    dispatcher.open_run(last)
    prefect.gate.set()
    await dispatcher.drain()
    assert list(prefect.shared) == [first]
    await table.connection.execute("UPDATE shared_runs SET closed_at = now()")
    dispatcher.open_run(last)
    await dispatcher.drain()
    assert list(prefect.shared) == [first, last]


async def test_a_batch_that_took_so_long_to_store_that_its_run_has_ended_gets_another(
    hub_database: Database, prefect: FakePrefect, table: Table
) -> None:
    dispatcher, batch_id = Dispatcher(hub_database, prefect), uuid4()
    for _ in range(2):
        dispatcher.open_run(batch_id)
        await dispatcher.drain()
        await table.connection.execute("UPDATE shared_runs SET closed_at = now()")
    assert len(prefect.shared) == len(await run_rows(table)) == 2


async def test_what_fails_in_the_background_is_left_to_the_sweep(
    hub_database: Database, prefect: FakePrefect, rescuer: Rescuer, table: Table
) -> None:
    prefect.away = True
    jobs = await added(table, 3, **QUEUED)
    dispatcher = Dispatcher(hub_database, prefect)
    dispatcher.open_run()
    await dispatcher.drain()
    prefect.away = False
    await table.connection.execute(OPENED_LONG_AGO)
    await rescuer.round()
    ((run_id, flow_run_id, *_),) = await run_rows(table)
    assert prefect.shared == {run_id: flow_run_id}
    assert await are_queued(table, jobs)


async def test_jobs_that_wait_are_queued_by_the_sweep_together(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    await table.connection.execute(
        "INSERT INTO job_results (job_type, server_id, tool_name, created_at, available_at)"
        " SELECT 'tool_invoke', 'hub', 't', now() - interval '1 minute', now() - interval '1 minute'"
        f" FROM generate_series(1, {QUEUED_AT_ONCE + 500})".encode()
    )
    odd = await table.add(job_type="resource_fetch", tool_name=None)
    assert (await rescuer.round()).dispatched == QUEUED_AT_ONCE + 501
    assert prefect.started == []
    assert len(prefect.shared) == 1
    assert await are_queued(table, [odd])
    assert (await rescuer.round()).dispatched == 0
    assert len(prefect.shared) == 1


async def test_one_that_waits_alone_gets_a_run_of_its_own(rescuer: Rescuer, prefect: FakePrefect, table: Table) -> None:
    job = await table.add()
    assert (await rescuer.round()).dispatched == 1
    assert [started[2] for started in prefect.started] == [job]
    assert prefect.shared == {}


async def test_one_that_waits_alone_joins_a_run_that_is_open(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    await open_row(table)
    job = await table.add()
    assert (await rescuer.round()).dispatched == 1
    assert await are_queued(table, [job])
    assert prefect.made == []


async def test_one_that_waits_alone_beside_many_that_run_waits_for_a_shared_run(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    for _ in range(dispatching.MOST_HANGING + 1):
        await table.running(lease_expires_at=datetime.now(UTC) + timedelta(hours=12))
    job = await table.add()
    await rescuer.round()
    assert await are_queued(table, [job])
    assert len(prefect.shared) == 1


@pytest.mark.parametrize(
    "columns",
    [
        {"available_at": datetime.now(UTC) + timedelta(hours=12)},
        {"status": "running", "attempt": 1},
        {"job_type": "cache_refresh", "tool_name": None},
        {"created_at": datetime.now(UTC) + timedelta(hours=12)},
    ],
)
async def test_only_calls_that_wait_and_are_due_are_queued(
    rescuer: Rescuer, prefect: FakePrefect, table: Table, columns: dict[str, Any]
) -> None:
    jobs = await added(table, 3, **columns)
    await open_row(table)
    assert (await rescuer.round()).dispatched == 0
    assert not await are_queued(table, jobs)


async def test_while_prefect_is_away_jobs_wait_and_share_a_run_as_soon_as_it_is_back(
    rescuer: Rescuer, prefect: FakePrefect, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes away between the question for the deployment and the making of the run, and for several rounds."""

    async def away(_: UUID) -> UUID:
        raise PrefectUnavailable("away")

    jobs = await added(table, 3)
    with monkeypatch.context() as outage:
        outage.setattr(prefect, "start_shared", away)
        for _ in range(3):
            await rescuer.round()
            await table.connection.execute(OPENED_LONG_AGO)
    assert prefect.shared == {}
    await rescuer.round()
    assert len(prefect.shared) == 1
    assert await are_queued(table, jobs)
    assert prefect.started == []


async def test_without_the_deployment_of_shared_runs_jobs_go_singly(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    prefect.missing = {"invoke-batch"}
    jobs = await added(table, 5)
    assert (await rescuer.round()).dispatched == 5
    assert {started[2] for started in prefect.started} == set(jobs)


async def test_jobs_in_the_queue_go_singly_if_no_shared_run_can_be_made(
    hub_database: Database, rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    """Such as those of a batch, or those that joined the run which could not be made; nobody joins that any more."""
    prefect.missing = {"invoke-batch"}
    jobs = await added(table, 3, **QUEUED, batch_id=uuid4())
    dispatcher = Dispatcher(hub_database, prefect)
    dispatcher.open_run()
    await dispatcher.drain()
    await table.connection.execute(OPENED_LONG_AGO)
    for _ in range(2):
        await rescuer.round()
    assert {started[2] for started in prefect.started} == set(jobs)
    assert [closed for *_, closed in await run_rows(table)] == [True]
    prefect.missing = set()
    later = await added(table, 3)
    await rescuer.round()
    assert await are_queued(table, later)
    assert len(prefect.shared) == 1


async def test_jobs_go_singly_while_prefect_refuses_to_make_shared_runs(
    hub_database: Database, rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    prefect.refuses_shared = True
    with pytest.raises(PrefectRefused):
        await open_run(hub_database, prefect)
    jobs = await added(table, 3, **QUEUED, batch_id=uuid4())
    single = await table.add()
    await table.connection.execute(OPENED_LONG_AGO)
    for _ in range(2):
        await rescuer.round()
    assert {started[2] for started in prefect.started} == {*jobs, single}
    assert prefect.shared_asked == 2, "a minute passes before it is asked again"


async def test_what_is_in_the_queue_stays_there_while_a_run_takes_it_though_no_other_can_be_made(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    prefect.missing = {"invoke-batch"}
    await open_row(table)
    jobs = await added(table, 3, **QUEUED)
    await rescuer.round()
    assert await are_queued(table, jobs)
    assert prefect.started == []


@pytest.mark.parametrize("state", ["CRASHED", "COMPLETED", "FAILED", "unknown", "PENDING"])
async def test_a_run_that_never_began_gives_way_to_another(
    hub_database: Database, rescuer: Rescuer, prefect: FakePrefect, table: Table, state: str
) -> None:
    jobs = await added(table, 3, **QUEUED)
    await open_run(hub_database, prefect)
    ((run_id, flow_run_id),) = prefect.shared.items()
    prefect.known[flow_run_id] = KnownRun(state, ago(LONG_AGO))
    if state == "unknown":
        del prefect.known[flow_run_id]
    await rescuer.round()
    assert list(prefect.shared) == [run_id], "it may still begin"
    await table.connection.execute(OPENED_LONG_AGO)
    await rescuer.round()
    assert len(prefect.shared) == 2
    assert [closed for *_, closed in await run_rows(table)] == [True, False]
    assert await are_queued(table, jobs)


async def test_a_run_that_waits_for_a_worker_is_left_to_it_however_long(
    hub_database: Database, rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    """Such as in a pool that is paused: many runs would all begin once it goes on."""
    jobs = await added(table, 3, **QUEUED)
    await open_run(hub_database, prefect)
    await table.connection.execute(OPENED_LONG_AGO)
    for _ in range(3):
        await rescuer.round()
    assert len(prefect.shared) == 1
    assert await are_queued(table, jobs)


async def test_a_run_that_was_cancelled_before_it_began_takes_the_batch_along_and_no_other_job(
    hub_database: Database, rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    batch_id = uuid4()
    batch = await added(table, 3, **QUEUED, batch_id=batch_id)
    others = [*await added(table, 2, **QUEUED, batch_id=uuid4()), await table.add(**QUEUED)]
    await open_run(hub_database, prefect, batch_id)
    prefect.known[prefect.shared[batch_id]] = KnownRun("CANCELLED", ago(LONG_AGO))
    await table.connection.execute(OPENED_LONG_AGO)
    await rescuer.round()
    assert set(await column(table, "status", batch)) == {"cancelled"}
    assert await are_queued(table, others)
    assert len(prefect.shared) == 2


async def test_a_run_whose_process_is_gone_gives_way_to_another(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    await add_run(table, flow_run_id=uuid4(), begun_at=ago(LONG_AGO), lease_expires_at=ago(LONG_AGO))
    jobs = await added(table, 3, **QUEUED)
    await rescuer.round()
    assert [closed for *_, closed in await run_rows(table)] == [True, False]
    assert len(prefect.shared) == 1
    assert await are_queued(table, jobs)


@pytest.mark.parametrize(
    "columns",
    [
        {"available_at": datetime.now(UTC) + timedelta(hours=12)},
        {"status": "running"},
    ],
)
async def test_nothing_that_is_due_in_the_queue_needs_no_run(
    rescuer: Rescuer, prefect: FakePrefect, table: Table, columns: dict[str, Any]
) -> None:
    await added(table, 3, **QUEUED | columns)
    await rescuer.round()
    assert prefect.made == []


async def test_a_run_whose_worker_died_is_ended_for_all_its_jobs(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    run = uuid4()
    await add_run(table, flow_run_id=run, begun_at=ago(LONG_AGO), lease_expires_at=ago(LONG_AGO))
    jobs = [await table.running(flow_run_id=run) for _ in range(5)]
    prefect.known[run] = KnownRun("RUNNING", ago(LONG_AGO))
    await rescuer.rescue()
    await rescuer.round()
    assert set(prefect.crashed) == {run}
    assert set(await column(table, "lost_flow_run_id", jobs)) == {None}
    await table.connection.execute("UPDATE job_results SET available_at = now() - interval '1 minute'")
    await rescuer.round()
    assert await are_queued(table, jobs)
    assert len(prefect.shared) == 1


async def test_a_run_that_was_cancelled_while_its_worker_died_cancels_its_jobs(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    run = uuid4()
    await open_row(table, run)
    jobs = [await table.running(flow_run_id=run) for _ in range(3)]
    prefect.known[run] = KnownRun("CANCELLING", ago(LONG_AGO))
    await rescuer.rescue()
    await rescuer.round()
    assert set(await column(table, "status", jobs)) == {"cancelled"}
    assert prefect.settled == {run: "cancelled"}


async def test_closed_runs_are_kept_for_a_week(rescuer: Rescuer, table: Table) -> None:
    old = {"flow_run_id": uuid4(), "begun_at": ago(LONG_AGO), "lease_expires_at": ago(LONG_AGO)}
    await add_run(table, **old, closed_at=ago(timedelta(days=KEPT_DAYS, hours=1)))
    kept = [
        await add_run(table, **old, closed_at=ago(timedelta(days=KEPT_DAYS, hours=-1))),
        await add_run(table, created_at=ago(timedelta(days=365)), flow_run_id=uuid4(), closed_at=None),
    ]
    await rescuer.round()
    assert {run_id for run_id, *_ in await run_rows(table)} == set(kept)


async def test_waking_the_hub_for_a_job_in_the_queue_makes_no_run_of_its_own(
    hub_database: Database, prefect: FakePrefect, table: Table
) -> None:
    (job,) = await added(table, 1, **QUEUED)
    assert not await dispatch_now(hub_database, prefect, job)
    assert prefect.made == []


async def test_a_job_of_a_shared_run_has_no_run_of_its_own_to_cancel(hub_database: Database, table: Table) -> None:
    run = uuid4()
    shared = await table.add(flow_run_id=uuid4(), dispatched_at=ago(LONG_AGO))
    (shared_run,) = await table.get(shared, "flow_run_id")
    await open_row(table, shared_run)
    queued = await table.add(**QUEUED)
    own = await table.add(flow_run_id=run, dispatched_at=ago(LONG_AGO))
    assert await store.cancel(hub_database, OPERATOR, shared) is None
    assert await store.cancel(hub_database, OPERATOR, queued) is None
    assert await store.cancel(hub_database, OPERATOR, own) == run
