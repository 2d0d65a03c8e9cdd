"""Shared runs on a real database and real upstream servers; only Prefect's side is left out."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Json

from nexus_hub.errors import Conflict, InvalidArguments, NotFound
from nexus_hub.execution.fair_queue import PendingJob, Places
from nexus_hub.execution.run_report import EndedJobs, RunReport
from nexus_hub.execution.shared_runs import SHARED_RUNS, WORKER_LISTENS, SharedRuns
from nexus_hub.jobs import lists, store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.jobs.submit import submit, submit_batch
from nexus_hub.models import OPERATOR, Principal
from nexus_hub.rate_limit.limiter import Limits
from nexus_hub.upstream.config import HttpConfig
from tests.fixtures.jobs import Table
from tests.fixtures.library import Library
from tests.fixtures.upstreams import Serve, own_server

ECHO = JobRequest("tool_invoke", "habits__echo", {"n": 1})


@pytest.fixture
async def hub(library: Library) -> Library:
    await library.servers.register("habits", own_server("habits"))
    return library


def echoes(count: int, **changes: Any) -> list[JobRequest]:
    return [replace(ECHO, arguments={"n": number}, **changes) for number in range(count)]


async def stored(hub: Library, requests: list[JobRequest], principal: Principal = OPERATOR) -> list[UUID]:
    ids, _, new = await submit_batch(hub.database, principal, requests)
    assert new == len(requests)
    return ids


def shared(hub: Library, places: Places | None = None, **changes: Any) -> SharedRuns:
    """The shared runs of a process, which end as soon as they have nothing to do."""
    return SharedRuns(hub.execution, lambda: None, places, **{"linger_seconds": 0.0, **changes})


async def opened(hub: Library, run_id: UUID | None = None) -> UUID:
    """A shared run that a process has just taken."""
    opened = run_id or uuid4()
    query = (
        b"INSERT INTO shared_runs (id, begun_at, lease_expires_at) "
        b"VALUES (%(id)s, clock_timestamp(), clock_timestamp() + interval '5 s')"
    )
    async with hub.database.transaction() as transaction:
        await transaction.run(query, id=opened)
    return opened


async def open_runs(hub: Library) -> int:
    """How many shared runs can be joined."""
    async with hub.database.transaction() as transaction:
        return len(await transaction.all(b"SELECT FROM shared_runs WHERE closed_at IS NULL"))


async def carried(
    hub: Library, flow_run_id: UUID | None = None, places: Places | None = None, **changes: Any
) -> RunReport:
    """Carry what waits in one run of this process."""
    return await shared(hub, places, **changes).run(await opened(hub), flow_run_id or uuid4())


async def rows(hub: Library, ids: list[UUID]) -> list[dict[str, Any]]:
    return [await store.get(hub.database, OPERATOR, job_id) for job_id in ids]


async def until_running(hub: Library, count: int) -> None:
    async with asyncio.timeout(60):
        while (
            len((await lists.list_jobs(hub.database, OPERATOR, lists.JobFilter(status="running"), limit=1000))["items"])
            < count
        ):
            await asyncio.sleep(0.05)


async def seen(folder: Path, mark: str) -> None:
    """Wait until the upstream server has left this mark, `began` or `cancelled`, in its own time."""
    async with asyncio.timeout(60):
        while not (folder / mark).exists():
            await asyncio.sleep(0.05)


async def taken_over(hub: Library, table: Table, job_id: UUID) -> UUID:
    """Let somebody else claim a running job; the other claim."""
    await table.connection.execute(
        "UPDATE job_results SET status = 'pending', attempt = attempt - 1, available_at = now() WHERE id = %s", [job_id]
    )
    return (await hub.claimed(job_id)).claim_id


def hang(folder: Path) -> JobRequest:
    return JobRequest("tool_invoke", "habits__hang", {"folder": str(folder)})


async def test_every_job_gets_its_own_answer_and_names_the_run(hub: Library) -> None:
    ids = await stored(hub, echoes(100))
    run = uuid4()
    report = await carried(hub, run)
    jobs = await rows(hub, ids)
    assert [job["result"]["structuredContent"]["arguments"] for job in jobs] == [{"n": n} for n in range(100)]
    assert {(job["status"], job["attempt"], job["flow_run_id"]) for job in jobs} == {("completed", 1, run)}
    assert report.jobs == 100
    assert report.summary() == "100 completed"
    assert hub.execution.leases.held == {}


async def test_two_runs_share_the_jobs_and_run_each_once(hub: Library) -> None:
    ids = await stored(hub, echoes(100))
    runs = [uuid4(), uuid4()]
    places = Places(8, user_share=1)
    report = await asyncio.gather(*(carried(hub, run, places) for run in runs))
    assert sum(one.jobs for one in report) == 100
    jobs = await rows(hub, ids)
    assert {(job["status"], job["attempt"]) for job in jobs} == {("completed", 1)}
    assert {job["flow_run_id"] for job in jobs} <= set(runs)
    echoed = [job["result"]["structuredContent"]["arguments"]["n"] for job in jobs]
    assert sorted(echoed) == list(range(100))


async def test_a_run_with_nothing_to_do_ends_and_can_not_be_joined(hub: Library) -> None:
    report = await carried(hub)
    assert (report.jobs, report.summary()) == (0, "nothing to do")
    assert await open_runs(hub) == 0


async def test_a_run_that_has_ended_does_nothing_when_it_is_run_again(hub: Library) -> None:
    run_id, run = await opened(hub), uuid4()
    await shared(hub).run(run_id, run)
    ids = await stored(hub, echoes(3))
    assert (await shared(hub).run(run_id, run)).jobs == 0
    assert {job["status"] for job in await rows(hub, ids)} == {"pending"}


async def test_no_more_jobs_are_under_way_than_is_allowed(hub: Library) -> None:
    waits = [JobRequest("tool_invoke", "habits__wait", {"seconds": 0.5}) for _ in range(12)]
    await stored(hub, waits)
    working = asyncio.create_task(carried(hub, places=Places(5, 4, user_share=1)))
    most = 0
    while not working.done():
        most = max(most, len(hub.execution.leases.held))
        await asyncio.sleep(0.02)
    assert (await working).jobs == 12
    assert most == 4


async def test_a_server_that_hangs_does_not_hold_up_the_jobs_of_others(hub: Library, tmp_path: Path) -> None:
    await hub.servers.register("second", own_server("habits"))
    others = [replace(request, name="second__echo") for request in echoes(20)]
    ids = await stored(hub, [hang(tmp_path) for _ in range(20)] + others)
    working = asyncio.create_task(carried(hub, places=Places(8, 4, user_share=1)))
    async with asyncio.timeout(60):
        while {job["status"] for job in await rows(hub, ids[20:])} != {"completed"}:
            await asyncio.sleep(0.1)
    assert {job["status"] for job in await rows(hub, ids[:20])} <= {"running", "pending"}
    for job_id in ids[:20]:
        await store.cancel(hub.database, OPERATOR, job_id)
        hub.execution.mark_stale(job_id)
    await working


async def test_cancelling_one_job_ends_its_call_and_leaves_the_others(hub: Library, tmp_path: Path) -> None:
    ids = await stored(hub, [hang(tmp_path), *echoes(5)])
    working = asyncio.create_task(carried(hub))
    await seen(tmp_path, "began")
    assert await store.cancel(hub.database, OPERATOR, ids[0]) is None, "its flow run is not its own to cancel"
    hub.execution.mark_stale(ids[0])
    report = await working
    assert [job["status"] for job in await rows(hub, ids)] == ["cancelled"] + ["completed"] * 5
    assert report.outcomes["cancelled"] == 1
    await seen(tmp_path, "cancelled")


async def test_cancelling_the_run_cancels_what_is_left_of_it(hub: Library, tmp_path: Path) -> None:
    ids, batch_id, _ = await submit_batch(hub.database, OPERATOR, [hang(tmp_path) for _ in range(6)])
    run, runs = uuid4(), shared(hub, Places(2, user_share=1))
    working = asyncio.create_task(runs.run(await opened(hub, batch_id), run))
    await until_running(hub, 2)
    later = await stored(hub, echoes(1))
    runs.cancel(run)
    assert await store.cancel_flow_run(hub.database, run) == 6
    for job_id in ids:
        hub.execution.mark_stale(job_id)
    await working
    assert {job["status"] for job in await rows(hub, ids)} == {"cancelled"}
    assert [job["status"] for job in await rows(hub, later)] == ["pending"], "another run takes it"


async def test_what_is_over_the_limit_leaves_as_the_same_attempt(hub: Library, table: Table) -> None:
    await hub.servers.register("slow", own_server("habits"), limits=Limits(per_minute=3))
    ids = await stored(hub, [replace(request, name="slow__echo") for request in echoes(20)])
    report = await carried(hub, places=Places(4, user_share=1))
    found = [await table.get(job_id, "status", "attempt", "flow_run_id", "available_at") for job_id in ids]
    left = [row for row in found if row[0] == "pending"]
    assert [row[0] for row in found].count("completed") == 3
    assert {row[:3] for row in left} == {("pending", 0, None)}
    assert report.jobs == 3
    assert report.deferred >= 17, "some of them twice, if they were told to come back at once"
    minutes = sorted((row[3] - datetime.now(UTC)).total_seconds() // 60 for row in left)
    assert minutes[-1] >= 3, "those that the limit does not let through in the next minute wait for another one"


async def test_a_call_that_never_arrived_is_put_back_for_another_attempt(
    library: Library, serve: Serve, table: Table
) -> None:
    server = await serve("habits")
    await library.servers.register("habits", HttpConfig(url=server.url))
    ids = await stored(library, echoes(3))
    await server.kill()
    report = await carried(library)
    found = {await table.get(job_id, "status", "attempt", "batch_id", "flow_run_id") for job_id in ids}
    assert found == {("pending", 1, None, None)}
    assert report.outcomes == {"requeued": 3}


async def test_a_job_that_can_not_be_run_fails_alone(hub: Library, table: Table) -> None:
    ids = await stored(hub, echoes(3))
    stranger = await table.add(dispatched_at=datetime.now(UTC))
    report = await carried(hub)
    assert await table.get(stranger, "status", "error_code") == ("failed", "not-found")
    assert {job["status"] for job in await rows(hub, ids)} == {"completed"}
    assert report.summary() == "3 completed, 1 failed"


async def test_a_removed_server_is_noticed_in_the_middle_of_a_run(hub: Library) -> None:
    waits = [JobRequest("tool_invoke", "habits__wait", {"seconds": 0.5}) for _ in range(8)]
    ids = await stored(hub, waits)
    working = asyncio.create_task(carried(hub, places=Places(1), known_seconds=0.2))
    await until_running(hub, 1)
    job = await store.get(hub.database, OPERATOR, ids[0])
    async with hub.database.transaction() as transaction:
        await transaction.connection.execute("DELETE FROM system_servers WHERE id = %s", [job["server_ref_id"]])
    await working
    codes = [job["error_code"] for job in await rows(hub, ids)]
    assert codes.count("not-found") >= 5


async def test_a_result_that_can_not_be_stored_takes_no_other_with_it(hub: Library) -> None:
    ids = await stored(hub, echoes(4))
    attempts = [await hub.claimed(job_id) for job_id in ids]
    deep: dict[str, Any] = {}
    for _ in range(2000):
        deep = {"a": deep}
    for attempt in attempts:
        attempt.result = {"content": []}
    attempts[2].result = deep
    ended = await asyncio.gather(*(hub.execution.record(attempt) for attempt in attempts))
    assert ended == ["completed", "completed", "failed", "completed"]
    assert (await store.get(hub.database, OPERATOR, ids[2]))["error_code"] == "result-not-storable"


async def test_a_worker_that_stops_hands_back_what_may_be_repeated_and_takes_no_more(
    hub: Library, tmp_path: Path, table: Table
) -> None:
    folders = [tmp_path / str(number) for number in range(6)]
    for folder in folders:
        folder.mkdir()
    requests = [
        replace(hang(folder), retry="always" if number % 2 else "auto") for number, folder in enumerate(folders)
    ]
    ids = await stored(hub, requests)
    runs = shared(hub, Places(4, user_share=1))
    working = asyncio.create_task(runs.run(await opened(hub), uuid4()))
    async with asyncio.timeout(60):
        while sum((folder / "began").exists() for folder in folders) < 4:
            await asyncio.sleep(0.05)
    hub.execution.shutdown()
    runs.drain()
    report = await working
    found = [await table.get(job_id, "status", "attempt", "error_code", "flow_run_id") for job_id in ids]
    began_at = [(folder / "began").exists() for folder in folders]
    failed = [begun and request.retry == "auto" for begun, request in zip(began_at, requests, strict=True)]
    put_back = [begun and request.retry == "always" for begun, request in zip(began_at, requests, strict=True)]
    assert report.outcomes["released"] == sum(put_back)
    assert sum(put_back) + sum(failed) == 4
    assert [row[:3] for row in found] == [
        ("failed", 1, "outcome-unknown") if one else ("pending", 0, None) for one in failed
    ]
    assert {row[3] for row, one in zip(found, failed, strict=True) if not one} == {None}, "another run goes on with it"


async def test_a_worker_that_is_about_to_stop_ends_what_it_has_taken_and_takes_no_more(
    hub: Library, table: Table
) -> None:
    calls = [JobRequest("tool_invoke", "habits__wait", {"seconds": 1}) for _ in range(6)]
    ids = await stored(hub, calls)
    runs = shared(hub, Places(2, user_share=1))
    working = asyncio.create_task(runs.run(await opened(hub), uuid4()))
    async with asyncio.timeout(60):
        while len(hub.execution.leases.held) < 2:
            await asyncio.sleep(0.01)
    hub.execution.drain()
    runs.drain()
    await working
    statuses = [(await table.get(job_id, "status"))[0] for job_id in ids]
    assert sorted(statuses) == ["completed"] * 2 + ["pending"] * 4


async def test_a_stale_claim_writes_nothing(hub: Library, table: Table, tmp_path: Path) -> None:
    ids = await stored(hub, [hang(tmp_path)])
    working = asyncio.create_task(carried(hub))
    await seen(tmp_path, "began")
    other = await taken_over(hub, table, ids[0])
    hub.execution.mark_stale(ids[0])
    report = await working
    assert report.outcomes == {"stale": 1}
    assert await table.get(ids[0], "status", "claim_id", "result") == ("running", other, None)


async def test_a_job_that_is_taken_by_a_run_of_its_own_leaves_the_queue(hub: Library) -> None:
    ids = await stored(hub, echoes(2))
    assert await hub.ran(ids[0]) == "completed"
    assert (await carried(hub)).jobs == 1


async def test_users_are_kept_apart(hub: Library, table: Table) -> None:
    ids = await stored(hub, echoes(1))
    ann = uuid4()
    (ref, server) = await table.get(ids[0], "server_ref_id", "server_type")
    hers = await table.add(
        dispatched_at=datetime.now(UTC),
        user_id=ann,
        server_ref_id=ref,
        server_type=server,
        server_id=str(ref),
        tool_name="echo",
    )
    assert (await carried(hub)).jobs == 2
    assert (await store.get(hub.database, Principal(ann), hers))["status"] == "completed"


async def test_a_bad_job_stores_nothing_and_is_named(hub: Library) -> None:
    for bad, kind in (
        (JobRequest("tool_invoke", "habits__nothing"), NotFound),
        (JobRequest("tool_invoke", "habits__region", {"region": 7}), InvalidArguments),
    ):
        with pytest.raises(kind, match=r"jobs\[2\]: "):
            await submit_batch(hub.database, OPERATOR, [*echoes(2), bad, ECHO])
    assert (await lists.list_jobs(hub.database, OPERATOR))["items"] == []


async def test_an_idempotency_key_gives_the_same_job_in_and_out_of_batches(hub: Library) -> None:
    single = await hub.submitted(replace(ECHO, idempotency_key="single"))
    requests = [replace(ECHO, idempotency_key=key) for key in ("a", "single", "a", "b")]
    first, _, new = await submit_batch(hub.database, OPERATOR, requests)
    assert new == 2
    assert first[1] == single
    assert first[0] == first[2] != first[3]
    again, _, new = await submit_batch(hub.database, OPERATOR, requests)
    assert (again, new) == (first, 0)


async def test_a_key_that_stands_for_another_request_stores_nothing(hub: Library) -> None:
    await hub.submitted(replace(ECHO, idempotency_key="a"))
    other = replace(ECHO, arguments={"n": 2}, idempotency_key="a")
    with pytest.raises(Conflict, match=r"jobs\[1\]: "):
        await submit_batch(hub.database, OPERATOR, [replace(ECHO, idempotency_key="new"), other])
    assert len((await lists.list_jobs(hub.database, OPERATOR))["items"]) == 1


def test_a_summary_says_how_many_ended_how_and_how_many_go_on() -> None:
    report = RunReport()
    report.ended = [EndedJobs(None, "completed", None, 3, 1.0, 1.0), EndedJobs(None, "failed", None, 1, 1.0, 1.0)]
    report.outcomes.update(requeued=2, snoozed=1)
    assert report.summary() == "3 completed, 1 failed, 3 go on later"


async def until_open(runs: SharedRuns) -> None:
    async with asyncio.timeout(30):
        while runs.taking is None:
            await asyncio.sleep(0.01)


async def queued(hub: Library, request: JobRequest = ECHO, principal: Principal = OPERATOR) -> tuple[UUID, bool]:
    """Store a job that finds others under way; its id, and if there was a run to join."""
    job, place = await submit(hub.database, principal, request, queued=True)
    assert place is not None
    return job["id"], place.joined


async def noticed(hub: Library, runs: SharedRuns, job_id: UUID) -> None:
    """Tell a process of a job that waits, as its notice does."""
    job = await store.get(hub.database, OPERATOR, job_id)
    runs.notice(PendingJob(job_id, job["server_id"], job["user_id"]))


async def completed(hub: Library, job_id: UUID) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while (job := await store.get(hub.database, OPERATOR, job_id))["status"] in {"pending", "running"}:
            await asyncio.sleep(0.01)
    return job


async def test_a_job_that_comes_while_a_run_is_open_joins_it(hub: Library) -> None:
    runs, run = shared(hub, linger_seconds=60), uuid4()
    working = asyncio.create_task(runs.run(await opened(hub), run))
    await until_open(runs)
    for _ in range(3):
        job_id, joined = await queued(hub)
        assert joined
        await noticed(hub, runs, job_id)
        assert (await completed(hub, job_id))["flow_run_id"] == run
    runs.drain()
    assert (await working).summary() == "3 completed"
    assert not (await queued(hub))[1], "it is closed"


async def test_a_job_that_nobody_told_of_is_found(hub: Library) -> None:
    runs = shared(hub, linger_seconds=60)
    working = asyncio.create_task(runs.run(await opened(hub), uuid4()))
    await until_open(runs)
    job_id, _ = await queued(hub)
    await completed(hub, job_id)
    runs.drain()
    await working


async def test_who_joins_a_run_at_the_moment_that_it_would_close_is_carried(hub: Library) -> None:
    runs, run_id = shared(hub, linger_seconds=0.2), await opened(hub)
    async with hub.database.transaction() as joining:
        assert await joining.one(SHARED_RUNS["join_run"], UUID) == run_id
        working = asyncio.create_task(runs.run(run_id, uuid4()))
        await until_open(runs)
        await asyncio.sleep(1)
        assert runs.taking is not None, "it stays open for the one who is about to join it"
        job_id, _ = await queued(hub)
    await completed(hub, job_id)
    await working
    assert await open_runs(hub) == 0


async def test_the_next_run_takes_over_and_the_former_ends_what_it_has(hub: Library, tmp_path: Path) -> None:
    runs, first, second = shared(hub, linger_seconds=60, open_seconds=0.0), uuid4(), uuid4()
    (hanging,) = await stored(hub, [hang(tmp_path)])
    former = asyncio.create_task(runs.run(await opened(hub), first))
    await seen(tmp_path, "began")
    assert runs.wants_another
    latter = asyncio.create_task(runs.run(await opened(hub), second))
    async with asyncio.timeout(30):
        while runs.taking is None or runs.taking.flow_run_id != second:
            await asyncio.sleep(0.01)
    job_id, joined = await queued(hub)
    await noticed(hub, runs, job_id)
    assert (joined, (await completed(hub, job_id))["flow_run_id"]) == (True, second)
    assert await open_runs(hub) == 1
    assert not former.done(), "a run lasts as long as its last job"
    await store.cancel(hub.database, OPERATOR, hanging)
    hub.execution.mark_stale(hanging)
    assert (await former).outcomes == {"cancelled": 1}
    runs.drain()
    await latter


async def test_a_flood_of_one_user_does_not_hold_up_another(hub: Library, tmp_path: Path) -> None:
    flood, other = Principal(uuid4()), Principal(uuid4())
    await stored(hub, [hang(tmp_path) for _ in range(50)], flood)
    runs = shared(hub, Places(8, 8))
    working = asyncio.create_task(runs.run(await opened(hub), uuid4()))
    await until_running(hub, 4)
    for _ in range(3):
        (job_id,) = await stored(hub, echoes(1), other)
        await noticed(hub, runs, job_id)
        await completed(hub, job_id)
    assert len(hub.execution.leases.held) == 4, "half of the places, whoever else is there"
    working.cancel()


async def test_more_than_there_are_places_for_asks_for_another_process(hub: Library, tmp_path: Path) -> None:
    asked = asyncio.Event()
    await stored(hub, [hang(tmp_path) for _ in range(5)])
    runs = SharedRuns(hub.execution, asked.set, Places(2))
    working = asyncio.create_task(runs.run(await opened(hub), uuid4()))
    two = [await psycopg.AsyncConnection.connect(hub.database.url, application_name=WORKER_LISTENS) for _ in range(2)]
    async with two[0], two[1]:
        await asyncio.wait_for(asked.wait(), 30)
    assert len(runs.queue) == 4
    working.cancel()


async def test_where_there_is_no_other_worker_no_other_run_is_asked_for(hub: Library, tmp_path: Path) -> None:
    asked = asyncio.Event()
    await stored(hub, [hang(tmp_path) for _ in range(5)])
    runs = SharedRuns(hub.execution, asked.set, Places(2))
    working = asyncio.create_task(runs.run(await opened(hub), uuid4()))
    await until_running(hub, 1)
    await asyncio.sleep(3)
    assert not asked.is_set()
    working.cancel()


async def test_a_row_that_nobody_can_read_fails_alone(hub: Library, table: Table) -> None:
    deep = "[" * 1200 + "]" * 1200
    (ref, server) = await table.get((await stored(hub, echoes(1)))[0], "server_ref_id", "server_type")
    bad = await table.add(
        dispatched_at=datetime.now(UTC),
        server_ref_id=ref,
        server_type=server,
        server_id=str(ref),
        tool_name="echo",
        params=Json({"a": 1}, dumps=lambda _: f'{{"a": {deep}}}'),
    )
    spent = await table.add(dispatched_at=datetime.now(UTC), attempt=3, max_attempts=3, server_id=str(ref))
    others = await stored(hub, echoes(5))
    await carried(hub)
    assert {job["status"] for job in await rows(hub, others)} == {"completed"}
    for job_id in (bad, spent):
        assert await table.get(job_id, "status", "error_code") == ("failed", "internal-error")


async def test_many_owners_are_looked_at_in_turns(hub: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nexus_hub.execution.shared_runs.MOST_OWNERS", 3)
    ids = [job_id for _ in range(8) for job_id in await stored(hub, echoes(2), Principal(uuid4()))]
    assert (await carried(hub)).jobs == 16
    assert {job["status"] for job in await rows(hub, ids)} == {"completed"}
