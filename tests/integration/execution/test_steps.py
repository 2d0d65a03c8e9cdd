"""One attempt, step by step, on a real database and real upstream servers."""

import asyncio
import functools
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from nexus_hub.errors import (
    Conflict,
    DatabaseUnavailable,
    HubError,
    InvalidArguments,
    JobEnded,
    MalformedResult,
    NotFound,
    OutcomeUnknown,
    UpstreamUnavailable,
)
from nexus_hub.execution.attempt import Attempt, ClaimStale, NotClaimed, Released
from nexus_hub.execution.steps import Execution
from nexus_hub.jobs import lists, store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.models import OPERATOR, Principal
from nexus_hub.rate_limit.limiter import Limiter, Limits
from nexus_hub.upstream.config import HttpConfig, StdioConfig
from nexus_hub.upstream.connections import Connections
from tests.fixtures.jobs import Table
from tests.fixtures.library import CutDatabase, Library, looping
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.upstreams import own_server

TIME = JobRequest("tool_invoke", "time__get_current_time", {"timezone": "UTC"})


@pytest.fixture
async def time(library: Library, time_server: StdioConfig) -> Library:
    await library.servers.register("time", time_server)
    return library


async def test_a_tool_call_becomes_a_completed_row(time: Library) -> None:
    job_id = await time.submitted(TIME)
    assert await time.ran(job_id) == "completed"
    job = await store.get(time.database, OPERATOR, job_id)
    assert job["status"] == "completed"
    assert job["attempt"] == 1
    assert '"timezone": "UTC"' in job["result"]["content"][0]["text"]
    assert job["flow_run_id"] is not None
    assert job["started_at"] <= job["completed_at"]


async def test_a_tools_own_error_completes_the_job_and_shows(time: Library) -> None:
    job_id = await time.submitted(JobRequest("tool_invoke", "time__get_current_time", {"timezone": "Atlantis"}))
    assert await time.ran(job_id) == "completed"
    job = await store.get(time.database, OPERATOR, job_id)
    assert job["result"]["isError"] is True
    assert job["error"] is None


async def test_arguments_that_break_the_schema_store_nothing(time: Library) -> None:
    with pytest.raises(InvalidArguments) as caught:
        await time.submitted(JobRequest("tool_invoke", "time__get_current_time", {"timezone": 7}))
    assert "timezone: must be of type string" in caught.value.message
    assert (await lists.list_jobs(time.database, OPERATOR))["items"] == []


async def test_an_unknown_tool_stores_nothing(time: Library) -> None:
    with pytest.raises(NotFound, match="time__nothing"):
        await time.submitted(JobRequest("tool_invoke", "time__nothing"))
    assert (await lists.list_jobs(time.database, OPERATOR))["items"] == []


async def test_a_job_is_taken_once_by_twenty_claimants(time: Library) -> None:
    job_id = await time.submitted(TIME)
    claims = await asyncio.gather(*(time.execution.claim(job_id, 1, uuid4()) for _ in range(20)))
    refused = [claim for claim in claims if isinstance(claim, NotClaimed)]
    assert len(refused) == 19
    assert {claim.status for claim in refused} == {"running"}


async def test_a_claim_of_an_unknown_job_says_so(time: Library) -> None:
    assert await time.execution.claim(uuid4(), 1, None) == NotClaimed(None)


async def test_a_late_result_does_not_revive_a_cancelled_job(time: Library) -> None:
    job_id = await time.submitted(TIME)
    claimed = await time.claimed(job_id)
    await time.execution.open(claimed)
    await time.execution.call(claimed)
    await store.cancel(time.database, OPERATOR, job_id)
    assert await time.execution.record(claimed) == "cancelled"
    assert (await store.get(time.database, OPERATOR, job_id))["result"] is None


async def test_cancelling_an_ended_job_is_a_conflict(time: Library) -> None:
    job_id = await time.submitted(TIME)
    await time.ran(job_id)
    with pytest.raises(JobEnded, match="completed"):
        await store.cancel(time.database, OPERATOR, job_id)


async def test_a_lost_claim_ends_the_call_under_way(library: Library, everything_stdio: StdioConfig) -> None:
    await library.servers.register("every", everything_stdio)
    slow = JobRequest("tool_invoke", "every__trigger-long-running-operation", {"duration": 60, "steps": 2})
    claimed = await library.claimed(await library.submitted(slow))
    await library.execution.open(claimed)
    with library.execution.hold(claimed):
        call = asyncio.create_task(library.execution.call(claimed))
        while claimed.in_flight is None:
            await asyncio.sleep(0.01)
        library.execution.mark_stale(claimed.id)
        with pytest.raises(ClaimStale):
            await call


async def test_a_call_that_never_arrived_is_put_back_until_no_attempt_is_left(time: Library, table: Table) -> None:
    refused = UpstreamUnavailable("time", "The server 'time' refused the connection.", 60)
    job_id = await time.submitted(
        JobRequest("tool_invoke", "time__get_current_time", {"timezone": "UTC"}, max_attempts=2)
    )
    claimed = await time.claimed(job_id)
    claimed.failure = refused
    assert await time.execution.record(claimed) == "requeued"
    job = await store.get(time.database, OPERATOR, job_id)
    assert (job["status"], job["attempt"], job["flow_run_id"]) == ("pending", 1, None)
    early = await time.execution.claim(job_id, 2, None)
    assert isinstance(early, NotClaimed)
    assert early.available_at is not None
    await table.connection.execute("UPDATE job_results SET available_at = now() WHERE id = %s", [job_id])
    claimed = await time.claimed(job_id, 2)
    claimed.failure = refused
    assert await time.execution.record(claimed) == "failed"
    job = await store.get(time.database, OPERATOR, job_id)
    assert job["error_code"] == "upstream-unavailable"


async def test_a_server_that_says_when_to_come_back_is_left_alone_until_then(time: Library) -> None:
    time.execution.recorder.jitter = lambda: 0.0
    for failure in (UpstreamUnavailable("time", "Too many requests.", 90), OutcomeUnknown("time", 90)):
        claimed = await time.claimed(await time.submitted(replace(TIME, retry="always")))
        claimed.failure = failure
        assert await time.execution.record(claimed) == "requeued"
        job = await store.get(time.database, OPERATOR, claimed.id)
        assert 30 < (job["available_at"] - datetime.now(UTC)).total_seconds() < 92


async def test_attempts_are_further_and_further_apart_and_never_in_step(time: Library) -> None:
    waits = []
    for jitter in (0.0, 1.0):
        time.execution.recorder.jitter = partial(float, jitter)
        job_id = await time.submitted(replace(TIME, max_attempts=20))
        for attempt in range(1, 4):
            claimed = await time.claimed(job_id, attempt)
            claimed.failure = UpstreamUnavailable("time", "Away.")
            await time.execution.record(claimed)
            async with time.database.transaction() as transaction:
                cursor = await transaction.connection.execute(
                    "UPDATE job_results SET available_at = now() FROM job_results AS old"
                    " WHERE old.id = job_results.id AND old.id = %s"
                    " RETURNING extract(epoch FROM old.available_at - now())::float8 AS wait",
                    [job_id],
                )
                (row,) = await cursor.fetchall()
                waits.append(row["wait"])
    assert waits == pytest.approx([1, 2, 4, 2, 4, 8], abs=0.9)


@pytest.mark.parametrize(("retry", "expected"), [("always", Released), ("auto", OutcomeUnknown)])
async def test_a_stopping_worker_hands_back_what_may_be_repeated(
    library: Library, retry: str, expected: type[HubError]
) -> None:
    await library.servers.register("habits", own_server("habits"))
    job_id = await library.submitted(JobRequest("tool_invoke", "habits__wait", {"seconds": 60}, retry=retry))
    claimed = await library.claimed(job_id)
    with library.execution.hold(claimed):
        running = asyncio.create_task(library.execution.make_steps().run(claimed))
        while claimed.in_flight is None:
            await asyncio.sleep(0.01)
        library.execution.shutdown()
        with pytest.raises(expected):
            await running
    if retry == "always":
        assert await library.execution.snooze(claimed, 0) is not None
        assert (await library.claimed(job_id)).number == 1
        job = await store.get(library.database, OPERATOR, job_id)
        assert (job["status"], job["attempt"]) == ("running", 1)


async def test_a_call_that_was_not_sent_yet_is_handed_back(time: Library) -> None:
    claimed = await time.claimed(await time.submitted(TIME))
    with time.execution.hold(claimed):
        await time.execution.open(claimed)
        time.execution.shutdown()
        with pytest.raises(Released):
            await time.execution.call(claimed)


async def test_an_answer_waits_for_a_database_that_is_away(
    time: Library, database: HubDatabase, connections: Connections
) -> None:
    job_id = await time.submitted(TIME)
    async with CutDatabase(database.app_url, name="cut") as cut:
        execution = Execution(cut, time.servers, connections, Limiter(cut), 1024 * 1024)
        claimed = await execution.claim(job_id, 1, None)
        assert isinstance(claimed, Attempt)
        await execution.open(claimed)
        await execution.call(claimed)
        cut.cut = True
        recording = asyncio.create_task(execution.record(claimed))
        await asyncio.sleep(1)
        assert not recording.done()
        cut.cut = False
        assert await recording == "completed"
        cut.cut = True
        claimed.shutdown()
        with pytest.raises(DatabaseUnavailable):
            await execution.record(claimed)


async def test_of_many_notes_of_progress_few_are_written_and_the_last_one_is_kept(
    library: Library, database: HubDatabase
) -> None:
    await library.servers.register("habits", own_server("habits"))
    job_id = await library.submitted(JobRequest("tool_invoke", "habits__steps", {"count": 500}))
    assert await library.ran(job_id) == "completed"
    job = await store.get(library.database, OPERATOR, job_id)
    assert job["progress"] == {"progress": 500, "total": 500, "fraction": 1.0, "message": "step 500"}
    assert job["version"] < 20


async def test_a_new_attempt_begins_without_the_progress_of_the_last_one(time: Library) -> None:
    job_id = await time.submitted(TIME)
    claimed = await time.claimed(job_id)
    await time.execution.recorder.note_progress(claimed, float("nan"), 2, "half")
    # The process's own loop may be writing the same note at this moment: then this write leaves it to that one.
    while (progress := (await store.get(time.database, OPERATOR, job_id))["progress"]) is None:
        await time.execution.recorder.write_progress()
    assert progress == {"progress": None, "total": 2, "fraction": None, "message": "half"}
    await time.execution.snooze(claimed, 0)
    await time.claimed(job_id)
    assert (await store.get(time.database, OPERATOR, job_id))["progress"] is None


async def test_a_result_that_jsonb_refuses_comes_back_as_it_was(time: Library) -> None:
    job_id = await time.submitted(TIME)
    claimed = await time.claimed(job_id)
    odd = {"content": [{"type": "text", "text": "NUL \x00, half \ud800, mark \x1a0000, \x1af"}], "\x00": 1}
    claimed.result = odd
    assert await time.execution.record(claimed) == "completed"
    assert (await store.get(time.database, OPERATOR, job_id))["result"] == odd


EMPTY: list[object] = []


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ({"content": [], "structuredContent": ["\ud800\0"]}, {"content": [], "structuredContent": ["\ud800\0"]}),
        ("done", {"value": "done"}),
        ([1, 2.5], {"value": [1, 2.5]}),
        (None, None),
        ({"a": "x" * 1024 * 1024}, None),
        (functools.reduce(lambda value, _: [value], range(5000), EMPTY), None),
    ],
    ids=["object", "text", "array", "nothing", "large", "deep"],
)
async def test_an_answer_that_breaks_the_protocol_is_kept_where_it_can_be(
    time: Library, answer: object, kept: dict[str, object] | None
) -> None:
    job_id = await time.submitted(TIME)
    claimed = await time.claimed(job_id)
    claimed.failure = MalformedResult("time", "structuredContent: must be an object", answer)
    assert await time.execution.record(claimed) == "failed"
    job = await store.get(time.database, OPERATOR, job_id)
    assert (job["status"], job["error_code"], job["result"]) == ("failed", "malformed-result", kept)
    assert "structuredContent: must be an object" in job["error"]


async def test_a_tool_that_breaks_the_protocol_fails_at_its_first_attempt(library: Library, tmp_path: Path) -> None:
    await library.servers.register("careless", own_server("careless", str(tmp_path)))
    raw = '{"jsonrpc":"2.0","id":$id,"result":{"toolResult":{"x":1}}}\n'
    job_id = await library.submitted(JobRequest("tool_invoke", "careless__say", {"raw": raw}))
    claimed = await library.claimed(job_id)
    await library.execution.open(claimed)
    with pytest.raises(MalformedResult) as caught:
        await library.execution.call(claimed)
    claimed.failure = caught.value
    assert await library.execution.record(claimed) == "failed"
    job = await store.get(library.database, OPERATOR, job_id)
    assert (job["error_code"], job["result"]) == ("malformed-result", {"toolResult": {"x": 1}})
    assert "(content: is missing)" in job["error"]
    assert (tmp_path / "calls").stat().st_size == 1


async def test_a_result_over_the_limit_fails_with_its_size(time: Library) -> None:
    job_id = await time.submitted(TIME)
    claimed = await time.claimed(job_id)
    claimed.result = {"content": [{"type": "text", "text": "x" * 1024 * 1024}]}
    assert await time.execution.record(claimed) == "failed"
    job = await store.get(time.database, OPERATOR, job_id)
    assert job["error_code"] == "too-large"
    assert "over the limit of 1048576 bytes" in job["error"]


async def test_a_result_over_the_limit_is_said_to_be_that_also_when_the_database_was_away_at_first(
    time: Library, database: HubDatabase, connections: Connections
) -> None:
    job_id = await time.submitted(TIME)
    async with CutDatabase(database.app_url, name="cut") as cut:
        execution = Execution(cut, time.servers, connections, Limiter(cut), 10, jitter=lambda: 0.0)
        claimed = await execution.claim(job_id, 1, None)
        assert isinstance(claimed, Attempt)
        claimed.result = {"content": ["more than ten bytes"]}
        cut.cut = True
        recording = asyncio.create_task(execution.record(claimed))
        await asyncio.sleep(0.1)
        cut.cut = False
        assert await recording == "failed"
    assert (await store.get(time.database, OPERATOR, job_id))["error_code"] == "too-large"


async def test_a_result_nested_too_deep_is_recorded_as_a_failure(time: Library) -> None:
    job_id = await time.submitted(TIME)
    claimed = await time.claimed(job_id)
    deep: dict[str, object] = {}
    for _ in range(5000):
        deep = {"a": deep, "b": ["\x00"]}
    claimed.result = deep
    assert await time.execution.record(claimed) == "failed"
    assert (await store.get(time.database, OPERATOR, job_id))["error_code"] == "result-not-storable"


async def test_the_same_idempotency_key_gives_the_same_job(time: Library) -> None:
    keyed = JobRequest("tool_invoke", "time__get_current_time", {"timezone": "UTC"}, idempotency_key="one")
    assert await time.submitted(keyed) == await time.submitted(keyed)
    other = JobRequest("tool_invoke", "time__get_current_time", {"timezone": "Europe/Rome"}, idempotency_key="one")
    with pytest.raises(Conflict):
        await time.submitted(other)


async def test_users_see_system_tools_and_only_their_own_jobs(time: Library) -> None:
    ann, bob = Principal(uuid4()), Principal(uuid4())
    job_id = await time.submitted(TIME, ann)
    with pytest.raises(NotFound):
        await store.get(time.database, bob, job_id)
    with pytest.raises(NotFound):
        await store.cancel(time.database, bob, job_id)
    assert (await lists.list_jobs(time.database, bob))["items"] == []
    assert (await store.get(time.database, ann, job_id))["status"] == "pending"


async def test_a_server_over_its_limit_makes_the_job_wait_without_spending_an_attempt(
    library: Library, time_server: StdioConfig
) -> None:
    await library.servers.register("time", time_server, limits=Limits(1))
    await library.ran(await library.submitted(TIME))
    job_id = await library.submitted(TIME)
    claimed = await library.claimed(job_id)
    await library.execution.open(claimed)
    wait = await library.execution.admit(claimed)
    assert 0 < wait <= 61
    due = await library.execution.snooze(claimed, wait)
    job = await store.get(library.database, OPERATOR, job_id)
    assert (job["status"], job["attempt"], job["available_at"]) == ("pending", 0, due)


async def test_a_resource_and_a_prompt_are_jobs_too(library: Library, everything_http: HttpConfig) -> None:
    await library.servers.register("every", everything_http)
    resource = JobRequest("resource_fetch", "every", uri="demo://resource/static/document/architecture.md")
    job_id = await library.submitted(resource)
    assert await library.ran(job_id) == "completed"
    fetched = (await store.get(library.database, OPERATOR, job_id))["result"]
    assert fetched["contents"][0]["uri"] == resource.uri
    prompt = JobRequest("prompt_execute", "every__args-prompt", {"city": "Rome"})
    job_id = await library.submitted(prompt)
    assert await library.ran(job_id) == "completed"
    assert "Rome" in (await store.get(library.database, OPERATOR, job_id))["result"]["messages"][0]["content"]["text"]
    with pytest.raises(InvalidArguments, match="'city' is required"):
        await library.submitted(JobRequest("prompt_execute", "every__args-prompt"))


@pytest.mark.parametrize("retry", ["always", "auto"])
async def test_a_worker_cut_off_from_the_database_ends_only_a_call_that_somebody_may_repeat(
    library: Library, database: HubDatabase, connections: Connections, retry: str
) -> None:
    await library.servers.register("habits", own_server("habits"))
    wait = JobRequest("tool_invoke", "habits__wait", {"seconds": 3}, retry=retry)
    job_id = await library.submitted(wait)
    async with CutDatabase(database.app_url, name="cut") as cut:
        execution = Execution(
            cut, library.servers, connections, Limiter(cut), 1024, lease_seconds=1, heartbeat_seconds=0.2
        )
        claimed = await execution.claim(job_id, 1, None)
        assert isinstance(claimed, Attempt)
        await execution.open(claimed)
        async with looping(execution):
            with execution.hold(claimed):
                cut.cut = True
                if retry == "always":
                    with pytest.raises(ClaimStale) as stale:
                        await execution.call(claimed)
                    claimed.failure = stale.value
                else:
                    await execution.call(claimed)
            cut.cut = False
            assert await execution.record(claimed) == ("stale" if retry == "always" else "completed")


async def test_a_limit_that_can_not_be_asked_sends_nothing(
    time: Library, database: HubDatabase, connections: Connections
) -> None:
    job_id = await time.submitted(TIME)
    async with CutDatabase(database.app_url, name="cut") as cut:
        execution = Execution(cut, time.servers, connections, Limiter(cut), 1024)
        claimed = await execution.claim(job_id, 1, None)
        assert isinstance(claimed, Attempt)
        await execution.open(claimed)
        cut.cut = True
        with pytest.raises(DatabaseUnavailable) as away:
            await execution.admit(claimed)
        cut.cut = False
        claimed.failure = away.value
        assert await execution.record(claimed) == "requeued"
    job = await store.get(time.database, OPERATOR, job_id)
    assert (job["status"], job["error_code"]) == ("pending", "database-unavailable")


async def test_a_job_that_sql_stored_for_a_server_of_somebody_else_does_not_reach_it(
    time: Library, everything_http: HttpConfig
) -> None:
    ann, bob = Principal(uuid4()), Principal(uuid4())
    await time.servers.register("bobs", everything_http, owner=bob.user_id)
    bobs = JobRequest("resource_fetch", "bobs", uri="demo://resource/static/document/architecture.md")
    claimed = await time.claimed(await time.submitted(bobs, bob))
    await time.execution.open(claimed)
    claimed.job = replace(claimed.job, user_id=ann.user_id)
    with pytest.raises(NotFound):
        await time.execution.open(claimed)


async def test_a_lost_call_that_may_be_repeated_is_another_attempt(time: Library) -> None:
    for retry, outcome in (("always", "requeued"), ("auto", "failed")):
        request = JobRequest("tool_invoke", "time__get_current_time", {"timezone": "UTC"}, retry=retry)
        claimed = await time.claimed(await time.submitted(request))
        claimed.failure = OutcomeUnknown("time")
        assert await time.execution.record(claimed) == outcome
