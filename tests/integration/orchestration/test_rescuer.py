"""The sweep on a real database; only Prefect's side is played."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.db.pool import Database
from nexus_hub.errors import DatabaseUnavailable
from nexus_hub.orchestration.mirror import Mirror
from nexus_hub.orchestration.reconciler import BATCH, LOST_RUN_LIMIT, Patience
from nexus_hub.orchestration.rescuer import Rescuer, RescueReport
from tests.fixtures.jobs import LONG_AGO, Table, ago
from tests.fixtures.prefect_runs import FakePrefect, KnownRun
from tests.fixtures.shared_runs import open_row


@pytest.fixture
def rescuer(hub_database: Database, prefect: FakePrefect) -> Rescuer:
    return Rescuer(hub_database, prefect, Mirror(hub_database), lease_seconds=0)


async def test_a_job_that_was_never_handed_over_is_handed_over_once(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    job_id = await table.add()
    assert await rescuer.round() == RescueReport(dispatched=1)
    assert await rescuer.round() == RescueReport()
    assert [(started[2], started[3]) for started in prefect.started] == [(job_id, 1)]
    run, dispatched = await table.get(job_id, "flow_run_id", "dispatched_at")
    assert run == prefect.runs[job_id, 1, 0]
    assert dispatched is not None


async def test_a_job_that_was_just_stored_is_left_to_who_stored_it(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    await table.add(created_at=datetime.now(UTC), available_at=datetime.now(UTC))
    assert await rescuer.round() == RescueReport()
    assert prefect.started == []


async def test_a_job_that_is_not_due_waits(rescuer: Rescuer, table: Table) -> None:
    await table.add(available_at=datetime.now(UTC) + timedelta(hours=1))
    assert await rescuer.round() == RescueReport()


@pytest.mark.parametrize("status", ["running", "completed", "failed", "cancelled"])
async def test_only_pending_jobs_are_handed_over(rescuer: Rescuer, table: Table, status: str) -> None:
    await table.add(status=status)
    assert await rescuer.round() == RescueReport()


async def test_while_prefect_is_away_jobs_stay_and_go_later(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    prefect.away = True
    job = await table.add()
    assert await rescuer.round() == RescueReport()
    assert await table.get(job, "status", "attempt", "dispatched_at") == ("pending", 0, None)
    prefect.away = False
    assert await rescuer.round() == RescueReport(dispatched=1)
    assert [started[2] for started in prefect.started] == [job]


async def test_a_flow_that_prefect_lacks_holds_up_no_other(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    prefect.missing = {"fetch-resource", "invoke-batch"}
    await table.add(job_type="resource_fetch", tool_name=None, available_at=ago(LONG_AGO * 2))
    other = await table.add()
    assert (await rescuer.round()).dispatched == 1
    assert [started[2] for started in prefect.started] == [other]


@pytest.mark.parametrize("job_type", ["cache_refresh", "key_rotation", "job_cleanup"])
async def test_rows_that_only_mirror_other_flows_are_never_started(
    rescuer: Rescuer, prefect: FakePrefect, table: Table, job_type: str
) -> None:
    mirrored = await table.add(job_type=job_type, tool_name=None)
    run = uuid4()
    prefect.known[run] = KnownRun("SCHEDULED", ago(LONG_AGO))
    dispatched = await table.add(job_type=job_type, tool_name=None, dispatched_at=ago(LONG_AGO), flow_run_id=run)
    job = await table.add(available_at=datetime.now(UTC))
    assert (await rescuer.round()).dispatched == 1
    assert [started[2] for started in prefect.started] == [job]
    assert await table.get(mirrored, "status", "dispatched_at") == ("pending", None)
    assert await table.get(dispatched, "status", "attempt") == ("pending", 0)


@pytest.mark.parametrize("job_type", ["cache_refresh", "key_rotation", "job_cleanup"])
async def test_a_mirrored_row_ends_once_its_process_is_gone(
    hub_database: Database, prefect: FakePrefect, table: Table, job_type: str
) -> None:
    runs = {state: uuid4() for state in ("RUNNING", "SCHEDULED", "CANCELLED", "CRASHED", "unknown", "begins")}
    silent = {"job_type": job_type, "tool_name": None, "status": "running", "attempt": 1, "heartbeat_at": ago(LONG_AGO)}
    rows = {state: await table.add(**silent, flow_run_id=run) for state, run in runs.items()}
    alive = await table.add(**silent | {"heartbeat_at": datetime.now(UTC)}, flow_run_id=uuid4())
    prefect.known = {run: KnownRun(state, ago(LONG_AGO)) for state, run in runs.items() if state != "unknown"}
    prefect.known[runs["begins"]] = KnownRun("PENDING", ago(-LONG_AGO))
    rescuer = Rescuer(hub_database, prefect, Mirror(hub_database), lease_seconds=0, patience=Patience(abandoned=0))
    prefect.away = True
    await rescuer.round()
    assert {await table.get(row, "status") for row in rows.values()} == {("running",)}
    prefect.away = False
    await table.connection.execute(
        "UPDATE job_results SET heartbeat_at = now() + interval '1 hour' WHERE id = %s", [alive]
    )
    await rescuer.round()
    assert await table.get(alive, "status") == ("running",)
    assert await table.get(rows["SCHEDULED"], "status") == ("running",)
    assert await table.get(rows["begins"], "status") == ("running",), "it has been in its state for a moment only"
    assert await table.get(rows["CANCELLED"], "status", "error_code") == ("cancelled", "cancelled")
    for state in ("RUNNING", "CRASHED", "unknown"):
        assert await table.get(rows[state], "status", "error_code") == ("failed", "run-lost")
    assert prefect.crashed == [runs["RUNNING"]]


@pytest.mark.parametrize(
    ("tool_name", "params"),
    [
        ("\x1afoo", {}),
        ("\x1ad800", {}),
        ("\x1a0000", {}),
        ("x" * 5000, {}),
        (None, {"name": 7}),
        (None, {"name": {"a": [None]}}),
        (None, {"name": "\x1af"}),
    ],
)
async def test_a_job_with_an_odd_name_is_handed_over_like_any_other(
    rescuer: Rescuer, prefect: FakePrefect, table: Table, tool_name: str | None, params: dict[str, Any]
) -> None:
    job_type = "tool_invoke" if tool_name else "prompt_execute"
    columns = {"job_type": job_type, "tool_name": tool_name, "params": psycopg.types.json.Jsonb(params)}
    odd = [await table.add(**columns, params_escaped=escaped) for escaped in (False, True)]
    prefect.missing = {"invoke-batch"}
    ordinary = await table.add(available_at=datetime.now(UTC))
    assert (await rescuer.round()).dispatched == 3
    assert {started[2] for started in prefect.started} == {*odd, ordinary}


async def test_an_expired_lease_before_the_call_costs_an_attempt(rescuer: Rescuer, table: Table) -> None:
    job_id = await table.running()
    swept = await rescuer.round()
    assert swept.rescued == 1
    assert await table.get(job_id, "status", "attempt", "claim_id", "error") == ("pending", 1, None, None)


async def test_the_next_attempt_is_handed_over_at_once(rescuer: Rescuer, prefect: FakePrefect, table: Table) -> None:
    job_id = await table.running()
    assert await rescuer.round() == RescueReport(dispatched=1, rescued=1)
    assert prefect.started[0][2:] == (job_id, 2)


async def test_an_expired_lease_without_an_attempt_left_fails(rescuer: Rescuer, table: Table) -> None:
    job_id = await table.running(attempt=3)
    await rescuer.round()
    status, code, error, ended = await table.get(job_id, "status", "error_code", "error", "completed_at")
    assert (status, code) == ("failed", "lease-expired")
    assert "no attempt is left" in error
    assert ended is not None


async def test_a_call_that_may_have_had_its_effect_is_not_repeated(rescuer: Rescuer, table: Table) -> None:
    job_id = await table.running(sent_at=ago(LONG_AGO))
    await rescuer.round()
    assert await table.get(job_id, "status", "error_code") == ("failed", "outcome-unknown")


@pytest.mark.parametrize(
    "columns", [{"retry": "always"}, {"job_type": "resource_fetch", "tool_name": None}, {"job_type": "prompt_execute"}]
)
async def test_a_call_that_may_be_repeated_is(rescuer: Rescuer, table: Table, columns: dict[str, Any]) -> None:
    job_id = await table.running(sent_at=ago(LONG_AGO), **columns)
    await rescuer.round()
    assert await table.get(job_id, "status", "attempt") == ("pending", 1)


@pytest.mark.parametrize(
    ("annotations", "status"),
    [
        ('{"readOnlyHint": true}', "pending"),
        ('{"idempotentHint": true}', "pending"),
        ('{"readOnlyHint": false}', "failed"),
        ('{"readOnlyHint": "true"}', "failed"),
        ('{"destructiveHint": false}', "failed"),
        ("null", "failed"),
    ],
)
async def test_a_tools_own_hints_say_whether_it_may_be_repeated(
    rescuer: Rescuer, table: Table, annotations: str, status: str
) -> None:
    server = uuid4()
    await table.connection.execute(
        "INSERT INTO tool_cache (server_type, server_ref_id, tool_name, namespaced_name, definition)"
        " VALUES ('system', %s, 't', 'srv__t', jsonb_build_object('annotations', %s::jsonb))",
        [server, annotations],
    )
    job_id = await table.running(sent_at=ago(LONG_AGO), server_id=str(server))
    await rescuer.round()
    assert (await table.get(job_id, "status"))[0] == status


async def test_a_lease_that_has_not_expired_is_kept(rescuer: Rescuer, table: Table) -> None:
    job_id = await table.running(lease_expires_at=datetime.now(UTC) + timedelta(minutes=1))
    assert await rescuer.round() == RescueReport()
    assert (await table.get(job_id, "status"))[0] == "running"


async def test_after_a_start_of_postgresql_leases_have_time_to_be_renewed(
    hub_database: Database, prefect: FakePrefect, table: Table
) -> None:
    await table.running()
    patient = Rescuer(hub_database, prefect, Mirror(hub_database), lease_seconds=365 * 24 * 3600)
    assert await patient.round() == RescueReport()


async def dispatched(table: Table, prefect: FakePrefect, state: KnownRun | None, **columns: Any) -> UUID:
    run = uuid4()
    if state is not None:
        prefect.known[run] = state
    return await table.add(flow_run_id=run, dispatched_at=ago(LONG_AGO), **columns)


@pytest.mark.parametrize(
    "state",
    [
        None,
        *(KnownRun(kind, ago(LONG_AGO)) for kind in ("CRASHED", "COMPLETED", "FAILED", "RUNNING", "CANCELLING")),
        KnownRun("PENDING", ago(LONG_AGO)),
    ],
)
async def test_a_lost_run_gets_its_attempt_another_one(
    rescuer: Rescuer, prefect: FakePrefect, table: Table, state: KnownRun | None
) -> None:
    job_id = await dispatched(table, prefect, state)
    (lost,) = await table.get(job_id, "flow_run_id")
    assert await rescuer.round() == RescueReport(abandoned=1)
    assert await table.get(job_id, "status", "attempt", "flow_run_id") == ("pending", 0, None)
    if state and state.type == "CANCELLING":
        assert await rescuer.round() == RescueReport()
        assert await table.get(job_id, "status") == ("cancelled",)
        assert prefect.settled == {lost: "cancelled"}
        return
    assert await rescuer.round() == RescueReport(dispatched=1)
    assert await table.get(job_id, "flow_run_id", "lost_flow_run_id") == (prefect.runs[job_id, 1, 1], None)
    assert set(prefect.crashed) == ({lost} if state and state.type in {"RUNNING", "PENDING"} else set())


@pytest.mark.parametrize(
    ("kind", "since"), [("SCHEDULED", LONG_AGO), ("RUNNING", timedelta(seconds=60)), ("PENDING", timedelta())]
)
async def test_a_run_that_may_still_claim_is_waited_for(
    rescuer: Rescuer, prefect: FakePrefect, table: Table, kind: str, since: timedelta
) -> None:
    job_id = await dispatched(table, prefect, KnownRun(kind, ago(since)))
    assert await rescuer.round() == RescueReport()
    assert await table.get(job_id, "status", "attempt") == ("pending", 0)


async def test_while_prefect_is_away_no_run_counts_as_lost(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    job_id = await dispatched(table, prefect, None)
    prefect.away = True
    assert await rescuer.round() == RescueReport()
    assert (await table.get(job_id, "attempt"))[0] == 0


async def test_a_job_whose_runs_are_all_lost_fails_in_the_end(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    job_id = await dispatched(table, prefect, None, max_attempts=1)
    waits = []
    for _ in range(LOST_RUN_LIMIT):
        assert (await table.get(job_id, "status")) == ("pending",)
        await rescuer.round()
        (wait,) = await table.get(job_id, "extract(epoch FROM available_at - now())")
        waits.append(round(wait))
        await table.connection.execute(
            "UPDATE job_results SET dispatched_at = %s, available_at = %s, flow_run_id = %s"
            " WHERE id = %s AND status = 'pending'",
            [ago(LONG_AGO), ago(LONG_AGO), uuid4(), job_id],
        )
    assert waits[:-1] == [0, 5, 20, 45, 80, 125, 180, 245, 300]
    status, code, attempt, error = await table.get(job_id, "status", "error_code", "attempt", "error")
    assert (status, code, attempt) == ("failed", "run-lost", 0)
    assert "10 in a row" in error


async def test_a_job_whose_lost_run_was_cancelled_in_prefect_is_cancelled(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    """Its worker died before it heard of it."""
    job_id = await table.running()
    (run,) = await table.get(job_id, "flow_run_id")
    prefect.known[run] = KnownRun("CANCELLING", datetime.now(UTC))
    assert await rescuer.round() == RescueReport(rescued=1)
    assert await table.get(job_id, "status", "error_code") == ("cancelled", "cancelled")
    assert prefect.settled == {run: "cancelled"}
    assert prefect.started == []


async def test_the_run_of_a_lost_worker_is_over_in_prefect_too(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    jobs = [await table.running(), await table.running(sent_at=ago(LONG_AGO))]
    runs = {(await table.get(job, "flow_run_id"))[0] for job in jobs}
    prefect.known = {run: KnownRun("RUNNING", datetime.now(UTC)) for run in runs}
    prefect.away = True
    assert (await rescuer.round()).rescued == 2
    prefect.away = False
    await rescuer.round()
    assert set(prefect.crashed) == runs


async def test_a_job_that_prefect_refuses_holds_up_no_other(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    refused, other = await table.add(available_at=ago(LONG_AGO * 2)), await table.add()
    prefect.refused, prefect.missing = {refused}, {"invoke-batch"}
    assert (await rescuer.round()).dispatched == 1
    assert [started[2] for started in prefect.started] == [other]
    assert await table.get(refused, "status", "available_at > now()", "error_code") == (
        "pending",
        True,
        "prefect-refused",
    )


async def test_a_lost_run_behind_many_that_wait_is_found(rescuer: Rescuer, prefect: FakePrefect, table: Table) -> None:
    for _ in range(BATCH):
        await dispatched(table, prefect, KnownRun("SCHEDULED", ago(LONG_AGO)))
    lost = await dispatched(table, prefect, None)
    await table.connection.execute(
        "UPDATE job_results SET dispatched_at = dispatched_at + interval '1 s' WHERE id = %s", [lost]
    )
    assert [(await rescuer.round()).abandoned for _ in range(2)] == [0, 1]


async def test_runs_that_are_left_over_in_prefect_end(rescuer: Rescuer, prefect: FakePrefect, table: Table) -> None:
    """Like the job that each was made for; where there is none, or a run is shared, nobody knows how it ended."""
    long_running = KnownRun("RUNNING", ago(LONG_AGO))
    await dispatched(table, prefect, long_running, status="running", attempt=1)
    await dispatched(table, prefect, long_running, status="completed")
    ended = {
        status: await dispatched(table, prefect, long_running, status=status, completed_at=ago(LONG_AGO))
        for status in ("completed", "failed", "cancelled")
    }
    runs = {status: (await table.get(job, "flow_run_id"))[0] for status, job in ended.items()}
    without_job, shared, of_one, cancelling, young = (uuid4() for _ in range(5))
    prefect.known |= {
        without_job: KnownRun("PENDING", ago(LONG_AGO)),
        shared: long_running,
        of_one: long_running,
        cancelling: KnownRun("CANCELLING", ago(LONG_AGO)),
        young: KnownRun("RUNNING", datetime.now(UTC)),
    }
    for run in (shared, shared, of_one):
        await table.add(status="completed", completed_at=ago(LONG_AGO), flow_run_id=run)
    for run in (shared, of_one):
        await open_row(table, run)
    await rescuer.round()
    assert prefect.settled == {run: status for status, run in runs.items()} | {cancelling: "cancelled"}
    assert set(prefect.crashed) == {without_job, shared, of_one}


async def test_a_run_that_died_before_it_stored_what_somebody_asked_for_begins_anew(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    died, in_pending, again_and_again, cancelling, of_the_hub = (uuid4() for _ in range(5))
    prefect.known = {
        died: KnownRun("RUNNING", ago(LONG_AGO), is_asked=True, begun=1),
        in_pending: KnownRun("PENDING", ago(LONG_AGO), is_asked=True),
        again_and_again: KnownRun("RUNNING", ago(LONG_AGO), is_asked=True, begun=LOST_RUN_LIMIT),
        cancelling: KnownRun("CANCELLING", ago(LONG_AGO), is_asked=True, begun=1),
        of_the_hub: KnownRun("PENDING", ago(LONG_AGO)),
    }
    await rescuer.round()
    assert set(prefect.restarted) == {died, in_pending}
    assert set(prefect.crashed) == {again_and_again, of_the_hub}
    assert prefect.settled == {cancelling: "cancelled"}


async def test_a_run_whose_job_has_ended_does_not_begin_anew(
    rescuer: Rescuer, prefect: FakePrefect, table: Table
) -> None:
    run = uuid4()
    prefect.known[run] = KnownRun("RUNNING", ago(LONG_AGO), is_asked=True, begun=1)
    await table.add(status="failed", completed_at=ago(LONG_AGO), flow_run_id=run)
    await rescuer.round()
    assert (prefect.restarted, prefect.settled) == ([], {run: "failed"})


async def test_a_prefect_that_hangs_does_not_keep_leases_from_being_taken_back(
    hub_database: Database, prefect: FakePrefect, table: Table
) -> None:
    prefect.gate = asyncio.Event()
    await table.add()
    rescuer = Rescuer(hub_database, prefect, Mirror(hub_database), interval=0.01, lease_seconds=0)
    loops = [asyncio.create_task(loop) for loop in rescuer.loops()]
    await asyncio.sleep(0.2)
    job_id = await table.running()
    async with asyncio.timeout(60):
        while (await table.get(job_id, "status")) != ("pending",):
            await asyncio.sleep(0.02)
    for loop in loops:
        await cancel_and_wait(loop)


async def test_a_sweep_that_hangs_loses_its_turn(hub_database: Database, prefect: FakePrefect, table: Table) -> None:
    job_id = await table.add()
    hanging = FakePrefect()
    hanging.gate = asyncio.Event()
    hung = asyncio.create_task(Rescuer(hub_database, hanging, Mirror(hub_database), round_seconds=1.5).reconcile())
    await locked(table)
    async with asyncio.timeout(60):
        while not prefect.started:
            await Rescuer(hub_database, prefect, Mirror(hub_database)).reconcile()
            await asyncio.sleep(0.02)
    hanging.gate.set()
    with pytest.raises(DatabaseUnavailable):
        await hung
    assert await table.get(job_id, "flow_run_id") == (prefect.runs[job_id, 1, 0],)


async def locked(table: Table) -> None:
    """Wait until a sweep is at work."""
    cursor = None
    async with asyncio.timeout(60):
        while not (cursor and await cursor.fetchone()):
            cursor = await table.connection.execute(
                "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )


async def test_of_two_sweeps_at_once_one_works(hub_database: Database, prefect: FakePrefect, table: Table) -> None:
    await table.add()
    prefect.gate = asyncio.Event()
    first = asyncio.create_task(Rescuer(hub_database, prefect, Mirror(hub_database)).reconcile())
    await locked(table)
    assert await Rescuer(hub_database, prefect, Mirror(hub_database)).reconcile() == RescueReport()
    prefect.gate.set()
    assert (await first).dispatched == 1
    assert len(prefect.started) == 1


async def test_an_error_ends_a_round_and_not_the_loop(
    hub_database: Database, prefect: FakePrefect, table: Table
) -> None:
    async def fail_once(_flow: str, _run: UUID, _parameters: dict[str, Any]) -> None:
        prefect.take = None
        raise ValueError("canary")

    prefect.take = fail_once
    await table.add()
    rescuer = Rescuer(hub_database, prefect, Mirror(hub_database), interval=0.01)
    loops = [asyncio.create_task(loop) for loop in rescuer.loops()]
    async with asyncio.timeout(60):
        while len(prefect.started) < 2 and not loops[1].done():
            await asyncio.sleep(0.01)
    assert len(prefect.started) == 2
    for loop in loops:
        await cancel_and_wait(loop)
