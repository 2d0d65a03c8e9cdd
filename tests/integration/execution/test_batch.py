"""Many jobs in one run, on a real database and real upstream servers; only Prefect's side is left out."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from nexus_hub.errors import Conflict, InvalidArguments, NotFound
from nexus_hub.execution.batch import BatchReport, BatchRunner, EndedJobs
from nexus_hub.jobs import store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.jobs.submit import submit_batch
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


async def stored(hub: Library, requests: list[JobRequest]) -> tuple[list[UUID], UUID]:
    ids, batch_id, new = await submit_batch(hub.database, OPERATOR, requests)
    assert new == len(requests)
    return ids, batch_id


def runner(hub: Library, batch_id: UUID, run: UUID | None = None, **bounds: Any) -> BatchRunner:
    return BatchRunner(hub.execution, batch_id, run or uuid4(), **bounds)


async def rows(hub: Library, ids: list[UUID]) -> list[dict[str, Any]]:
    return [await store.get(hub.database, OPERATOR, job_id) for job_id in ids]


async def until_running(hub: Library, count: int) -> None:
    async with asyncio.timeout(60):
        while len((await store.list_jobs(hub.database, OPERATOR, status="running", limit=1000))["items"]) < count:
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


async def test_every_job_of_a_batch_gets_its_own_answer_and_names_the_run(hub: Library) -> None:
    ids, batch_id = await stored(hub, echoes(100))
    run = uuid4()
    report = await runner(hub, batch_id, run).run()
    jobs = await rows(hub, ids)
    assert [job["result"]["structuredContent"]["arguments"] for job in jobs] == [{"n": n} for n in range(100)]
    assert {(job["status"], job["attempt"], job["flow_run_id"]) for job in jobs} == {("completed", 1, run)}
    assert report.jobs == 100
    assert report.summary() == "100 completed"
    assert not report.unfinished
    assert hub.execution.leases.held == {}


async def test_two_runs_of_a_batch_share_its_jobs_and_run_each_once(hub: Library) -> None:
    ids, batch_id = await stored(hub, echoes(100))
    runs = [uuid4(), uuid4()]
    report = await asyncio.gather(*(runner(hub, batch_id, run, concurrency=8).run() for run in runs))
    assert sum(one.jobs for one in report) == 100
    jobs = await rows(hub, ids)
    assert {(job["status"], job["attempt"]) for job in jobs} == {("completed", 1)}
    assert {job["flow_run_id"] for job in jobs} <= set(runs)
    echoed = [job["result"]["structuredContent"]["arguments"]["n"] for job in jobs]
    assert sorted(echoed) == list(range(100))


async def test_a_batch_of_nothing_ends_at_once(hub: Library) -> None:
    report = await runner(hub, uuid4()).run()
    assert (report.jobs, report.summary()) == (0, "nothing to do")


async def test_no_more_jobs_are_under_way_than_is_allowed(hub: Library) -> None:
    waits = [JobRequest("tool_invoke", "habits__wait", {"seconds": 0.5}) for _ in range(12)]
    _, batch_id = await stored(hub, waits)
    working = asyncio.create_task(runner(hub, batch_id, concurrency=5, per_server=4).run())
    most = 0
    while not working.done():
        most = max(most, len(hub.execution.leases.held))
        await asyncio.sleep(0.02)
    assert (await working).jobs == 12
    assert most == 4


async def test_a_server_that_hangs_does_not_hold_up_the_jobs_of_others(hub: Library, tmp_path: Path) -> None:
    await hub.servers.register("second", own_server("habits"))
    others = [replace(request, name="second__echo") for request in echoes(20)]
    ids, batch_id = await stored(hub, [hang(tmp_path) for _ in range(20)] + others)
    working = asyncio.create_task(runner(hub, batch_id, concurrency=8).run())
    async with asyncio.timeout(60):
        while {job["status"] for job in await rows(hub, ids[20:])} != {"completed"}:
            await asyncio.sleep(0.1)
    assert {job["status"] for job in await rows(hub, ids[:20])} <= {"running", "pending"}
    for job_id in ids[:20]:
        await store.cancel(hub.database, OPERATOR, job_id)
        hub.execution.mark_stale(job_id)
    await working


async def test_cancelling_one_job_ends_its_call_and_leaves_the_others(hub: Library, tmp_path: Path) -> None:
    ids, batch_id = await stored(hub, [hang(tmp_path), *echoes(5)])
    working = asyncio.create_task(runner(hub, batch_id).run())
    await seen(tmp_path, "began")
    assert await store.cancel(hub.database, OPERATOR, ids[0]) is None, "its flow run is not its own to cancel"
    hub.execution.mark_stale(ids[0])
    report = await working
    assert [job["status"] for job in await rows(hub, ids)] == ["cancelled"] + ["completed"] * 5
    assert report.outcomes["cancelled"] == 1
    await seen(tmp_path, "cancelled")


async def test_cancelling_the_run_cancels_what_is_left_of_it(hub: Library, tmp_path: Path) -> None:
    ids, batch_id = await stored(hub, [hang(tmp_path) for _ in range(6)])
    run = uuid4()
    async with hub.database.transaction() as transaction:
        await transaction.run(store.JOBS["mark_batch_dispatched"], batch_id=batch_id, flow_run_id=run, most=1000)
    working = asyncio.create_task(runner(hub, batch_id, run, concurrency=2).run())
    await until_running(hub, 2)
    assert await store.cancel_flow_run(hub.database, run) == 6
    for job_id in ids:
        hub.execution.mark_stale(job_id)
    await working
    assert {job["status"] for job in await rows(hub, ids)} == {"cancelled"}


async def test_what_is_over_the_limit_leaves_as_the_same_attempt(hub: Library, table: Table) -> None:
    await hub.servers.register("slow", own_server("habits"), limits=Limits(per_minute=3))
    ids, batch_id = await stored(hub, [replace(request, name="slow__echo") for request in echoes(20)])
    report = await runner(hub, batch_id, concurrency=4).run()
    found = [
        await table.get(job_id, "status", "attempt", "batch_id", "flow_run_id", "dispatched_at", "available_at")
        for job_id in ids
    ]
    left = [row for row in found if row[0] == "pending"]
    assert [row[0] for row in found].count("completed") == 3
    assert {row[:5] for row in left} == {("pending", 0, None, None, None)}
    assert (report.jobs, report.deferred) == (3, 17)
    minutes = sorted((row[5] - datetime.now(UTC)).total_seconds() // 60 for row in left)
    assert minutes[-1] >= 3, "those that the limit does not let through in the next minute wait for another one"


async def test_a_call_that_never_arrived_is_put_back_for_another_attempt(
    library: Library, serve: Serve, table: Table
) -> None:
    server = await serve("habits")
    await library.servers.register("habits", HttpConfig(url=server.url))
    ids, batch_id = await stored(library, echoes(3))
    await server.kill()
    report = await runner(library, batch_id).run()
    found = {await table.get(job_id, "status", "attempt", "batch_id", "flow_run_id") for job_id in ids}
    assert found == {("pending", 1, None, None)}
    assert report.outcomes == {"requeued": 3}


async def test_a_job_that_can_not_be_run_fails_alone(hub: Library, table: Table) -> None:
    ids, batch_id = await stored(hub, echoes(3))
    stranger = await table.add(batch_id=batch_id)
    report = await runner(hub, batch_id).run()
    assert await table.get(stranger, "status", "error_code") == ("failed", "not-found")
    assert {job["status"] for job in await rows(hub, ids)} == {"completed"}
    assert report.summary() == "3 completed, 1 failed"


async def test_a_removed_server_is_noticed_in_the_middle_of_a_batch(hub: Library) -> None:
    waits = [JobRequest("tool_invoke", "habits__wait", {"seconds": 0.5}) for _ in range(8)]
    ids, batch_id = await stored(hub, waits)
    working = asyncio.create_task(runner(hub, batch_id, concurrency=1, known_seconds=0.2).run())
    await until_running(hub, 1)
    job = await store.get(hub.database, OPERATOR, ids[0])
    async with hub.database.transaction() as transaction:
        await transaction.connection.execute("DELETE FROM system_servers WHERE id = %s", [job["server_ref_id"]])
    await working
    codes = [job["error_code"] for job in await rows(hub, ids)]
    assert codes.count("not-found") >= 5


async def test_a_result_that_can_not_be_stored_takes_no_other_with_it(hub: Library) -> None:
    ids, _ = await stored(hub, echoes(4))
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
    ids, batch_id = await stored(hub, requests)
    run = uuid4()
    working = asyncio.create_task(runner(hub, batch_id, run, concurrency=4).run())
    async with asyncio.timeout(60):
        while sum((folder / "began").exists() for folder in folders) < 4:
            await asyncio.sleep(0.05)
    hub.execution.shutdown()
    report = await working
    found = [await table.get(job_id, "status", "attempt", "error_code", "batch_id") for job_id in ids]
    began_at = [(folder / "began").exists() for folder in folders]
    failed = [begun and request.retry == "auto" for begun, request in zip(began_at, requests, strict=True)]
    assert report.unfinished
    assert any(failed)
    assert [row[:3] for row in found] == [
        ("failed", 1, "outcome-unknown") if one else ("pending", 0, None) for one in failed
    ]
    assert {row[3] for row in found} == {batch_id}, "the same run goes on with it"


async def test_a_worker_that_is_about_to_stop_ends_what_it_has_taken_and_takes_no_more(
    hub: Library, table: Table
) -> None:
    calls = [JobRequest("tool_invoke", "habits__wait", {"seconds": 1}) for _ in range(6)]
    ids, batch_id = await stored(hub, calls)
    working = asyncio.create_task(runner(hub, batch_id, concurrency=2).run())
    async with asyncio.timeout(60):
        while len(hub.execution.leases.held) < 2:
            await asyncio.sleep(0.01)
    hub.execution.drain()
    report = await working
    assert report.unfinished
    statuses = [(await table.get(job_id, "status"))[0] for job_id in ids]
    assert sorted(statuses) == ["completed"] * 2 + ["pending"] * 4


async def test_a_stale_claim_writes_nothing(hub: Library, table: Table, tmp_path: Path) -> None:
    ids, batch_id = await stored(hub, [hang(tmp_path)])
    working = asyncio.create_task(runner(hub, batch_id).run())
    await seen(tmp_path, "began")
    other = await taken_over(hub, table, ids[0])
    hub.execution.mark_stale(ids[0])
    report = await working
    assert report.outcomes == {"stale": 1}
    assert await table.get(ids[0], "status", "claim_id", "result") == ("running", other, None)


async def test_a_job_that_is_taken_by_a_run_of_its_own_leaves_the_batch(hub: Library, table: Table) -> None:
    ids, batch_id = await stored(hub, echoes(2))
    assert await hub.ran(ids[0]) == "completed"
    assert await table.get(ids[0], "batch_id") == (None,)
    assert (await runner(hub, batch_id).run()).jobs == 1


async def test_users_of_a_batch_are_kept_apart(hub: Library, table: Table) -> None:
    ids, batch_id = await stored(hub, echoes(1))
    ann = uuid4()
    (ref, server) = await table.get(ids[0], "server_ref_id", "server_type")
    hers = await table.add(
        batch_id=batch_id, user_id=ann, server_ref_id=ref, server_type=server, server_id=str(ref), tool_name="echo"
    )
    assert (await runner(hub, batch_id).run()).jobs == 2
    assert (await store.get(hub.database, Principal(ann), hers))["status"] == "completed"


async def test_a_bad_job_stores_nothing_and_is_named(hub: Library) -> None:
    for bad, kind in (
        (JobRequest("tool_invoke", "habits__nothing"), NotFound),
        (JobRequest("tool_invoke", "habits__region", {"region": 7}), InvalidArguments),
    ):
        with pytest.raises(kind, match=r"jobs\[2\]: "):
            await submit_batch(hub.database, OPERATOR, [*echoes(2), bad, ECHO])
    assert (await store.list_jobs(hub.database, OPERATOR))["items"] == []


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
    assert len((await store.list_jobs(hub.database, OPERATOR))["items"]) == 1


def test_a_summary_says_how_many_ended_how_and_how_many_go_on() -> None:
    report = BatchReport()
    report.ended = [EndedJobs(None, "completed", None, 3, 1.0, 1.0), EndedJobs(None, "failed", None, 1, 1.0, 1.0)]
    report.outcomes.update(requeued=2, snoozed=1)
    assert report.summary() == "3 completed, 1 failed, 3 go on later"
