"""The direct lane on a real database and a real server."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from nexus_hub.errors import (
    InternalError,
    InvalidArguments,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    TooLarge,
    TooMany,
    UpstreamTimedOut,
)
from nexus_hub.execution import direct as direct_module
from nexus_hub.execution import direct_rows
from nexus_hub.execution.direct import CallCancelled, DirectLane, Handed
from nexus_hub.execution.flight import DirectCall, Kept
from nexus_hub.jobs import store
from nexus_hub.jobs.requests import JobBounds, JobRequest
from nexus_hub.jobs.submit import submit
from nexus_hub.json_object import JsonObject
from nexus_hub.models import OPERATOR, Principal, ServerRef
from nexus_hub.orchestration.mirror import Mirror
from nexus_hub.orchestration.rescuer import Rescuer, RescueReport
from nexus_hub.rate_limit.limiter import Limits
from nexus_hub.servers.policies import PolicyChange, change_policy
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.requests import Completion, PromptGet, ResourceRead, ToolCall
from tests.fixtures.direct import HOUR, Direct
from tests.fixtures.jobs import Table, ago
from tests.fixtures.library import Library
from tests.fixtures.moody import Moody, moody
from tests.fixtures.prefect_runs import FakePrefect
from tests.fixtures.upstreams import Serve, own_server

LONG = 600


@pytest.fixture
async def moody_server() -> AsyncIterator[Moody]:
    async with moody() as server:
        yield server


async def bound(direct: Direct, connections: Connections, places: int) -> None:
    """Let each server take so many calls at a time."""
    connections._limits = replace(connections._limits, concurrency=places)
    await connections.forget(direct.ref)


def text_of(answer: JsonObject | Handed | Kept) -> dict[str, Any]:
    assert isinstance(answer, JsonObject)
    said: dict[str, Any] = json.loads(answer["content"][0]["text"])
    return said


async def rescued(direct: Direct, prefect: FakePrefect, table: Table) -> RescueReport:
    """What is done about a lease that has run out."""
    await table.connection.execute(
        "UPDATE job_results SET lease_expires_at = %s WHERE status = 'running'", [ago(timedelta(minutes=1))]
    )
    database = direct.library.database
    return await Rescuer(database, prefect, Mirror(database), lease_seconds=0).rescue()


# What comes back, and what is kept of it


async def test_a_quick_call_is_answered_and_leaves_a_row_like_a_jobs(direct: Direct) -> None:
    answer = await direct.call(tag="quick")
    assert text_of(answer)["tag"] == "quick"
    row = await direct.row()
    job = await store.get(direct.library.database, OPERATOR, row["id"])
    assert isinstance(answer, JsonObject)
    assert job["result"].text == answer.text
    assert job["params"].text == b'{"tag":"quick","seconds":0}'
    assert (job["lane"], job["status"], job["attempt"], job["flow_run_id"]) == ("direct", "completed", 1, None)
    assert (job["tool_name"], job["job_type"], job["error"]) == ("plain", "tool_invoke", None)
    assert (job["version"], job["handed_at"]) == (1, None)
    assert job["created_at"] == job["started_at"] <= job["completed_at"]
    assert row["claim_id"] is None


async def test_a_tools_own_error_is_a_result(direct: Direct) -> None:
    answer = await direct.call("failing")
    assert isinstance(answer, JsonObject)
    assert answer["isError"] is True
    assert (await direct.row())["status"] == "completed"


@pytest.mark.parametrize(
    ("request_", "job_type", "params"),
    [
        (ResourceRead("work://x?tag=r&seconds=0"), "resource_fetch", {"uri": "work://x?tag=r&seconds=0"}),
        (
            PromptGet("prompt", {"tag": "p", "seconds": "0"}),
            "prompt_execute",
            {"name": "prompt", "arguments": {"tag": "p", "seconds": "0"}},
        ),
    ],
)
async def test_resources_and_prompts_leave_rows_too(
    direct: Direct, request_: Any, job_type: str, params: dict[str, Any]
) -> None:
    await direct.lane.call(replace(direct.make(), request=request_))
    row = await direct.row()
    assert (row["job_type"], row["params"], row["tool_name"]) == (job_type, params, None)


async def test_a_call_that_takes_a_while_has_a_row_under_a_lease_meanwhile(early: Direct) -> None:
    calling = asyncio.create_task(early.call(seconds=0.5))
    row = await early.row(having="status = 'running'")
    assert (row["lane"], row["attempt"], row["flow_run_id"]) == ("direct", 1, None)
    assert row["sent_at"] is not None
    assert row["claim_id"] in {claim async for claim in _held(early)}
    assert text_of(await calling)["tag"] == "a"
    ended = await early.row()
    assert (ended["id"], ended["status"], ended["lane"]) == (row["id"], "completed", "direct")


async def _held(direct: Direct) -> Any:
    """The claims under a lease, once there is one."""
    while not direct.library.execution.leases.held:
        await asyncio.sleep(0.01)
    for claim in direct.library.execution.leases.held:
        yield claim


async def test_the_lease_of_a_call_that_is_over_is_let_go(early: Direct) -> None:
    await early.call(seconds=0.3)
    await early.row()
    await early.lane.close()
    assert early.library.execution.leases.held == {}


async def test_progress_reaches_the_caller_and_the_row(direct: Direct) -> None:
    heard: list[float] = []

    async def hear(progress: float, _total: float | None, _message: str | None) -> None:
        heard.append(progress)

    await direct.lane.call(direct.make(seconds=0.7), on_progress=hear)
    row = await direct.row()
    assert row["progress"]["progress"] == heard[-1]
    assert row["progress"]["total"] == 0.7


@pytest.mark.parametrize("row_seconds", [0, HOUR])
async def test_a_call_that_fails_says_so_in_its_row(direct: Direct, row_seconds: float) -> None:
    direct.lane._row_seconds = row_seconds
    with pytest.raises(UpstreamTimedOut):
        await direct.call(seconds=LONG, timeout_seconds=0.5)
    row = await direct.row()
    assert (row["status"], row["error_code"]) == ("failed", "upstream-timed-out")
    assert row["error"].endswith("gave no answer within 0.5 s.")


async def test_what_was_never_sent_leaves_no_row(direct: Direct) -> None:
    bad = direct.make()
    with pytest.raises(InvalidArguments):
        await direct.lane.call(replace(bad, request=ToolCall("plain", {"tag": 1})))
    with pytest.raises(NotFound):
        await direct.lane.call(replace(bad, ref=ServerRef("system", uuid4())))
    with pytest.raises(TooLarge):
        await direct.call(tag="x" * (1024 * 1024))
    await direct.call(tag="last")
    assert (await direct.row())["params"]["tag"] == "last"


async def test_a_server_of_another_user_is_not_found(direct: Direct, library: Library, serve: Serve) -> None:
    config = HttpConfig(url=(await serve("journaled", "--journal", str(direct.journal))).url)
    owner = uuid4()
    server = await library.servers.register("own", config, owner=owner)
    own = replace(direct.make(user_id=owner), ref=ServerRef("user", server.id))
    assert text_of(await direct.lane.call(own))["tag"] == "a"
    with pytest.raises(NotFound):
        await direct.lane.call(replace(own, user_id=uuid4()))


async def test_a_completion_leaves_no_row(direct: Direct) -> None:
    request = Completion({"type": "ref/prompt", "name": "prompt"}, {"name": "tag", "value": ""})
    with pytest.raises(Exception, match="ethod"):
        await direct.lane.call(replace(direct.make(), request=request))
    await direct.call()
    assert (await direct.row())["job_type"] == "tool_invoke"


async def test_a_large_result_goes_to_its_row_by_itself(direct: Direct) -> None:
    answers = await asyncio.gather(*(direct.call(tag=letter * 300_000) for letter in "abc"))
    rows = await direct.rows(3)
    assert {len(text_of(answer)["tag"]) for answer in answers} == {300_000}
    assert sorted(row["params"]["tag"][0] for row in rows if row["result"]) == ["a", "b", "c"]


async def test_a_result_over_the_limit_is_refused_as_a_jobs_is(direct: Direct) -> None:
    direct.library.execution.max_result_bytes = 1000
    with pytest.raises(TooLarge, match="NEXUS_MAX_RESULT_BYTES"):
        await direct.call(tag="x" * 2000)
    row = await direct.row()
    assert (row["status"], row["error_code"], row["result"]) == ("failed", "too-large", None)


@pytest.mark.parametrize("row_seconds", [0, HOUR])
async def test_a_result_that_the_database_refuses_is_in_no_row_and_takes_no_other_with_it(
    direct: Direct, monkeypatch: pytest.MonkeyPatch, row_seconds: float
) -> None:
    async def say(_target: Target, request: ToolCall, **_more: object) -> JsonObject:
        await asyncio.sleep(0.2)
        return JsonObject(request.arguments["tag"].encode())

    direct.lane._row_seconds = row_seconds
    monkeypatch.setattr(direct.library.execution.connections, "request", say)
    texts = ['{"content":[]}', '{"a":[}', '{"content":[],"b":1}']
    answers = await asyncio.gather(*(direct.call(tag=text) for text in texts))
    assert [isinstance(answer, JsonObject) and answer.text.decode() for answer in answers] == texts
    rows = {row["params"]["tag"]: (row["status"], row["error_code"], row["result"]) for row in await direct.rows(3)}
    assert rows == {
        texts[0]: ("completed", None, {"content": []}),
        texts[1]: ("completed", "result-not-storable", None),
        texts[2]: ("completed", None, {"content": [], "b": 1}),
    }


async def test_nobody_is_told_of_a_call_that_was_over_before_it_had_a_row(direct: Direct, table: Table) -> None:
    async with await psycopg.AsyncConnection.connect(direct.library.database.url, autocommit=True) as listening:
        await listening.execute("LISTEN nexus_jobs")
        await direct.call()
        await direct.row()
        direct.lane._row_seconds = 0
        await direct.call(seconds=0.3, tag="slow")
        (slow,) = [row for row in await direct.rows(2) if row["params"]["tag"] == "slow"]
        await table.connection.execute("NOTIFY nexus_jobs, 'that is all'")
        told = []
        async for notice in listening.notifies():
            if notice.payload == "that is all":
                break
            told.append(json.loads(notice.payload))
    assert {(one["id"], one["lane"]) for one in told} == {(str(slow["id"]), "direct")}
    assert [one["status"] for one in told if one["event"] == "state"] == ["running", "completed"]


# Handing over


async def test_a_call_that_takes_long_is_handed_over_and_goes_on(direct: Direct, table: Table) -> None:
    job_id = await direct.handed(seconds=1.5, tag="long")
    status, lane, handed_at = await table.get(job_id, "status", "lane", "handed_at")
    assert (status, lane) == ("running", "direct")
    assert handed_at is not None
    row = await direct.row()
    assert (row["id"], row["status"], row["attempt"]) == (job_id, "completed", 1)
    assert json.loads(row["result"]["content"][0]["text"])["tag"] == "long"
    assert row["progress"]["total"] == 1.5
    assert await direct.ended() == ["done"]


async def test_progress_after_the_handle_is_in_the_row_and_is_not_told_the_caller(direct: Direct) -> None:
    heard: list[float] = []

    async def hear(progress: float, _total: float | None, _message: str | None) -> None:
        heard.append(progress)

    answer = await direct.lane.call(direct.make(seconds=LONG, handle_seconds=0.05), on_progress=hear)
    assert isinstance(answer, Handed)
    before = list(heard)
    await direct.row(having="progress IS NOT NULL")
    assert heard == before


async def test_the_failure_of_a_call_that_was_handed_over_is_recorded_as_a_jobs(direct: Direct) -> None:
    job_id = await direct.handed(seconds=LONG, timeout_seconds=0.5)
    row = await direct.row()
    assert (row["id"], row["status"], row["error_code"]) == (job_id, "failed", "upstream-timed-out")


async def test_a_repeatable_call_that_lost_its_server_after_the_handle_goes_on_in_the_durable_lane(
    direct: Direct, library: Library, serve: Serve
) -> None:
    process = await serve("journaled", "--journal", str(direct.journal))
    server = await library.servers.register("remote", HttpConfig(url=process.url))
    call = replace(direct.make("reading", LONG, handle_seconds=0.05), ref=ServerRef("system", server.id))
    answer = await direct.lane.call(call)
    await process.kill()
    row = await direct.row(having="status = 'pending'")
    assert isinstance(answer, Handed)
    assert (row["id"], row["lane"], row["attempt"], row["dispatched_at"]) == (answer.job_id, "durable", 1, None)


@pytest.mark.parametrize("durable", ["never", "long"])
async def test_a_tool_that_is_never_durable_is_waited_for(direct: Direct, durable: Any) -> None:
    await change_policy(direct.library.database, direct.ref, PolicyChange(tools={"plain": durable}))
    answer = await direct.call(seconds=0.5, handle_seconds=0.05)
    assert isinstance(answer, JsonObject if durable == "never" else Handed)


async def test_a_tool_that_is_durable_always_is_a_job_from_the_start(direct: Direct) -> None:
    await change_policy(direct.library.database, direct.ref, PolicyChange(tools={"plain": "always"}))
    assert await direct.call(handle_seconds=7) == direct.durable.answer
    assert await direct.call("reading") != direct.durable.answer
    ((call, request, seconds),) = direct.durable.calls
    assert (call.tool, request.job_type, request.arguments, seconds) == (
        "srv__plain",
        "tool_invoke",
        {"tag": "a", "seconds": 0},
        7,
    )


async def test_the_word_on_a_tool_goes_before_that_on_its_server_and_outlives_a_refresh(direct: Direct) -> None:
    change = PolicyChange(frozenset({"durable"}), "always", tools={"plain": "never", "gone": "always"})
    await change_policy(direct.library.database, direct.ref, change)
    await direct.library.refresher.refresh(direct.ref)
    direct.lane.forget(direct.ref)
    await direct.call()
    assert direct.durable.calls == []
    await direct.call("reading")
    assert len(direct.durable.calls) == 1


async def test_what_is_known_of_a_server_is_read_anew_once_it_is_said_to_have_changed(direct: Direct) -> None:
    await direct.call()
    await change_policy(direct.library.database, direct.ref, PolicyChange(frozenset({"durable"}), "always"))
    await direct.call()
    assert direct.durable.calls == []
    direct.lane.forget(ServerRef("system", uuid4()))
    await direct.call()
    assert direct.durable.calls == []
    direct.lane.forget(direct.ref)
    await direct.call()
    assert len(direct.durable.calls) == 1


# Cancelling


@pytest.mark.parametrize("row_seconds", [0, HOUR])
async def test_a_caller_that_leaves_cancels_its_call(direct: Direct, row_seconds: float) -> None:
    direct.lane._row_seconds = row_seconds
    calling = asyncio.create_task(direct.call(seconds=LONG))
    await direct.begun()
    if not row_seconds:
        await direct.row(having="status = 'running'")
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    row = await direct.row()
    assert (row["status"], row["error_code"], row["error"]) == ("cancelled", "cancelled", None)
    assert await direct.ended() != ["done"]


async def test_a_caller_that_leaves_after_the_handle_cancels_nothing(direct: Direct) -> None:
    calling = asyncio.create_task(direct.handed(seconds=0.5))
    job_id = await calling
    calling.cancel()
    assert (await direct.row())["id"] == job_id
    assert await direct.ended() == ["done"]


async def test_a_job_that_is_cancelled_ends_the_call_that_its_caller_waits_for(early: Direct) -> None:
    calling = asyncio.create_task(early.call(seconds=LONG))
    await early.begun()
    row = await early.row(having="status = 'running'")
    await store.cancel(early.library.database, OPERATOR, row["id"])
    await _held(early).__anext__()
    early.library.execution.mark_stale(row["id"])
    with pytest.raises(CallCancelled, match=str(row["id"])):
        await calling
    assert await early.ended() != ["done"]
    assert (await early.row())["status"] == "cancelled"


async def test_a_job_that_is_cancelled_ends_the_call_that_was_handed_over(direct: Direct) -> None:
    job_id = await direct.handed(seconds=LONG)
    await store.cancel(direct.library.database, OPERATOR, job_id)
    direct.library.execution.mark_stale(job_id)
    assert await direct.ended() != ["done"]
    row = await direct.row()
    assert (row["id"], row["status"], row["error_code"]) == (job_id, "cancelled", "cancelled")


# Bounds


async def test_a_call_over_the_limit_is_refused_and_leaves_no_row(direct: Direct) -> None:
    journal = str(direct.journal)
    limited = await direct.library.servers.register(
        "limited", own_server("journaled", "--journal", journal), limits=Limits(per_minute=1)
    )
    call = replace(direct.make(), ref=ServerRef("system", limited.id))
    await direct.lane.call(call)
    with pytest.raises(RateLimited) as caught:
        await direct.lane.call(call)
    assert 0 < caught.value.retry_after <= 61
    await direct.row()


async def test_a_call_that_was_handed_over_is_one_of_its_users_open_jobs(
    direct: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_module, "HAND_OVER_PAUSE_SECONDS", 0.1)
    user, bounds = uuid4(), JobBounds(open_jobs=1)
    lane = direct.lane = DirectLane(direct.library.execution, direct.durable.call, bounds, row_seconds=0)
    database, request = direct.library.database, JobRequest("tool_invoke", "srv__plain", {"tag": "j", "seconds": 0})
    waiting = asyncio.create_task(direct.call(seconds=LONG, user_id=user))
    await direct.row(having="status = 'running'")
    job_id = await direct.handed(seconds=LONG, user_id=user)
    with pytest.raises(TooMany, match="NEXUS_USER_OPEN_JOBS"):
        await submit(database, Principal(user), request, bounds)
    second = asyncio.create_task(direct.handed(seconds=LONG, user_id=user))
    other = await direct.handed(seconds=LONG, user_id=uuid4())
    await direct.begun(4)
    assert {row["id"] for row in await direct.rows(2, having="handed_at IS NOT NULL")} == {job_id, other}
    assert not second.done()
    await store.cancel(database, OPERATOR, job_id)
    assert await second not in {job_id, other}
    waiting.cancel()
    await lane.close()


async def test_one_user_leaves_room_at_a_server_to_others(direct: Direct, connections: Connections) -> None:
    await bound(direct, connections, 4)
    lane = DirectLane(direct.library.execution, direct.durable.call)
    users = [uuid4(), uuid4()]
    calls = [asyncio.create_task(lane.call(direct.make(seconds=LONG, user_id=users[0]))) for _ in range(5)]
    await direct.begun(2)
    calls.append(asyncio.create_task(lane.call(direct.make(seconds=LONG, user_id=users[1], tag="b"))))
    await direct.begun(3)
    assert sorted(event["tag"] for event in direct.events() if event["event"] == "begin") == ["a", "a", "b"]
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await lane.close()


async def test_a_server_whose_tools_all_hang_is_known_to_be_there_and_costs_others_nothing(
    direct: Direct, connections: Connections, moody_server: Moody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_module, "PATIENCE_SECONDS", 0.05)
    await bound(direct, connections, 4)
    lane = DirectLane(direct.library.execution, direct.durable.call)
    user, other = uuid4(), uuid4()
    hanging = [asyncio.create_task(lane.call(direct.make(seconds=LONG, user_id=user))) for _ in range(2)]
    await direct.begun(2)
    with pytest.raises(
        TooMany, match=r"The server 'srv' is at work on 2 calls of yours, and takes 4 at a time"
    ) as told:
        await lane.call(direct.make(user_id=user))
    assert told.value.retry_after == 1
    assert text_of(await lane.call(direct.make(user_id=other, tag="b")))["tag"] == "b"
    elsewhere = await direct.library.servers.register("well", moody_server.config)
    await direct.library.servers.test(ServerRef(elsewhere.server_type, elsewhere.id))
    ref = ServerRef(elsewhere.server_type, elsewhere.id)
    assert await lane.call(DirectCall(ref, ToolCall("echo", {"text": "x"}), user, "well__echo"))
    assert connections.circuits.of(direct.ref).state == "closed"
    hanging.pop().cancel()
    await direct.ended()
    assert await lane.call(direct.make(user_id=user)), "the slot of a call that was given up is free"
    for call in hanging:
        call.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    await lane.close()


async def test_whoever_waits_for_a_slot_may_leave(
    direct: Direct, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_module, "PATIENCE_SECONDS", HOUR)
    await bound(direct, connections, 2)
    lane = DirectLane(direct.library.execution, direct.durable.call)
    first, second, third = [asyncio.create_task(lane.call(direct.make(seconds=LONG, tag=tag))) for tag in "abc"]
    await direct.begun()
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    first.cancel()
    await direct.begun(2)
    third.cancel()
    await asyncio.gather(first, third, return_exceptions=True)
    assert [event["tag"] for event in direct.events() if event["event"] == "begin"] == ["a", "c"]
    await lane.close()


# The death of a process, and its end


@pytest.mark.parametrize(("tool", "is_repeated"), [("plain", False), ("reading", True), ("idempotent", True)])
@pytest.mark.parametrize("is_handed", [False, True])
async def test_a_call_whose_process_died_is_repeated_if_that_is_safe(
    early: Direct, prefect: FakePrefect, table: Table, tool: str, is_repeated: bool, is_handed: bool
) -> None:
    calling = asyncio.create_task(early.call(tool, LONG, handle_seconds=0.05 if is_handed else HOUR))
    row = await early.row(having="handed_at IS NOT NULL" if is_handed else "status = 'running'")
    assert (await rescued(early, prefect, table)).rescued == 1
    after = await table.get(row["id"], "status", "lane", "error_code", "dispatched_at", "attempt")
    assert after == (("pending", "durable", "lease-expired", None, 1) if is_repeated else after)
    if not is_repeated:
        assert after[:3] == ("failed", "direct", "outcome-unknown")
        assert "API" in (await table.get(row["id"], "error"))[0]
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)


async def test_another_attempt_of_a_direct_call_is_dispatched_and_run_like_any_job(
    direct: Direct, prefect: FakePrefect, table: Table
) -> None:
    job_id = await direct.handed("reading", LONG)
    await rescued(direct, prefect, table)
    database = direct.library.database
    assert (await Rescuer(database, prefect, Mirror(database)).round()).dispatched == 1
    assert [(started[2], started[3]) for started in prefect.started] == [(job_id, 2)]
    claimed = await direct.library.claimed(job_id, 2)
    assert claimed.request() == direct.make("reading", LONG).request


async def test_a_direct_call_is_never_started_in_prefect(early: Direct, prefect: FakePrefect) -> None:
    waiting = asyncio.create_task(early.call(seconds=LONG))
    await early.row(having="status = 'running'")
    await early.handed(seconds=LONG)
    await early.call(tag="quick")
    database = early.library.database
    assert await Rescuer(database, prefect, Mirror(database)).round() == RescueReport()
    assert prefect.started == []
    waiting.cancel()


@pytest.mark.parametrize(("tool", "is_released"), [("plain", False), ("reading", True)])
async def test_a_process_that_stops_releases_what_was_handed_over_or_says_that_nobody_knows(
    direct: Direct, table: Table, tool: str, is_released: bool
) -> None:
    job_id = await direct.handed(tool, LONG)
    await direct.lane.close()
    after = await table.get(job_id, "status", "lane", "attempt", "error_code", "flow_run_id", "dispatched_at")
    if is_released:
        assert after == ("pending", "durable", 0, None, None, None)
    else:
        assert after[:4] == ("failed", "direct", 1, "outcome-unknown")
    assert await direct.ended() != ["done"]


async def test_a_process_that_stops_tells_those_who_wait_that_nobody_knows(direct: Direct, table: Table) -> None:
    calling = asyncio.create_task(direct.call("reading", LONG))
    await direct.begun()
    await direct.lane.close()
    with pytest.raises(OutcomeUnknown):
        await calling
    row = await direct.row()
    assert (row["status"], row["error_code"]) == ("failed", "outcome-unknown")


async def test_a_caller_that_is_cut_off_by_the_end_of_the_process_has_not_cancelled(direct: Direct) -> None:
    calling = asyncio.create_task(direct.call(seconds=LONG))
    await direct.begun()
    direct.lane.drain()
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    row = await direct.row()
    assert (row["status"], row["error_code"]) == ("failed", "outcome-unknown")


async def test_a_defect_of_the_hub_is_told_as_one(direct: Direct, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_args: object, **_more: object) -> JsonObject:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(direct.library.execution.connections, "request", broken)
    with pytest.raises(InternalError):
        await direct.call()
    row = await direct.row()
    assert (row["status"], row["error_code"]) == ("failed", "internal-error")
    assert "secret" not in row["error"]


# Results that their callers find in the row


@pytest.mark.parametrize("row_seconds", [0, HOUR])
@pytest.mark.parametrize("size", [10, 300_000])
async def test_a_result_that_its_caller_is_to_find_in_the_row_is_there_when_the_call_is_answered(
    direct: Direct, table: Table, row_seconds: float, size: int
) -> None:
    direct.lane._row_seconds = row_seconds
    answer = await direct.call(tag="x" * size, keeps=lambda _result: True)
    assert isinstance(answer, Kept)
    assert await table.get(answer.job_id, "status", "result") == ("completed", dict(answer.result))


async def test_of_other_results_nothing_is_promised(direct: Direct) -> None:
    assert isinstance(await direct.call(keeps=lambda _result: False), JsonObject)
    await direct.row()


async def test_a_result_that_can_not_be_kept_is_given_whole(direct: Direct, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_rows, "MOST_BYTES", 1000)
    answer = await direct.call(tag="x" * 2000, keeps=lambda _result: True)
    assert isinstance(answer, JsonObject)
    assert (await direct.row())["error_code"] == "result-not-kept"
