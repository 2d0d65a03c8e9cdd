"""Calls that wait for a person's yes, from the question to the end of their jobs."""

from uuid import UUID, uuid4

import pytest

from nexus_hub.calls.digests import digest_call
from nexus_hub.errors import (
    ApprovalDenied,
    ApprovalExpired,
    ApprovalNeeded,
    Conflict,
    HubError,
    NotAllowed,
    NotFound,
)
from nexus_hub.execution.attempt import Attempt, NotClaimed
from nexus_hub.jobs import store
from nexus_hub.jobs.approvals import use_approval
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.models import OPERATOR, Principal, ServerRef
from nexus_hub.orchestration.approvals import Answer
from tests.fixtures.approvals import ApprovalDesk, digest_of_another_call
from tests.fixtures.library import Library

ARGUMENTS = {"timezone": "UTC"}
TIME = JobRequest("tool_invoke", "time__get_current_time", ARGUMENTS)
OTHER = JobRequest("tool_invoke", "time__get_current_time", {"timezone": "Europe/Paris"})


async def begin(library: Library, job_id: UUID, attempt: int = 1) -> Attempt:
    """Begin a job's attempt: all that comes before its call."""
    claimed = await library.claimed(job_id, attempt)
    await library.execution.open(claimed)
    return claimed


async def failure_of(library: Library, job_id: UUID, attempt: int = 1) -> HubError:
    """The error with which a job's attempt fails before its call."""
    claimed = await library.claimed(job_id, attempt)
    with pytest.raises(HubError) as caught:
        await library.execution.open(claimed)
    return caught.value


async def test_a_call_waits_for_a_yes_and_is_made_once(library: Library, desk: ApprovalDesk, ann: Principal) -> None:
    bob = await desk.user("bob", decides=True)
    job_id = await desk.ask(ann, TIME)
    waiting = await desk.job(job_id)
    assert (waiting["status"], waiting["error_code"]) == ("pending", "approval-needed")
    assert waiting["waits"]["for"] == "approval"
    assert waiting["waits"]["approval"]["approvers"] == ["deciders"]
    assert desk.run_of(waiting) == "PAUSED"
    assert isinstance(await library.execution.claim(job_id, 1, uuid4()), NotClaimed)

    shown = await desk.of_job(job_id, bob)
    assert shown["may_decide"]
    assert (shown["tool"], shown["server"], shown["user"]) == ("time__get_current_time", "time", "ann")
    assert shown["arguments"] == ARGUMENTS
    assert (await desk.answer(job_id, bob))["state"] == "approved"
    assert desk.run_of(await desk.job(job_id)) == "SCHEDULED"
    await begin(library, job_id)
    assert (await desk.of_job(job_id))["state"] == "used"
    assert (await desk.of_job(job_id))["decided_by"] == "bob"
    with pytest.raises(Conflict, match="bob has said yes"):
        await desk.answer(job_id)


async def test_a_no_ends_the_job_and_its_run(library: Library, desk: ApprovalDesk, ann: Principal) -> None:
    job_id = await desk.ask(ann, TIME)
    shown = await desk.of_job(job_id)
    await desk.approvals.decide(OPERATOR, "api", shown["id"], Answer(False, shown["digest"], "Not on a Friday."))
    job = await desk.job(job_id)
    assert (job["status"], job["error_code"]) == ("failed", "approval-denied")
    assert "Not on a Friday." in job["error"]
    assert desk.run_of(job) == "CANCELLED"
    with pytest.raises(Conflict, match="operator has said no"):
        await desk.answer(job_id)


async def test_who_asks_and_who_is_nobody_can_t_say_yes(desk: ApprovalDesk, ann: Principal) -> None:
    asking, stranger = await desk.user("asking", decides=True), await desk.user("stranger")
    job_id = await desk.ask(asking, TIME)
    for via in ("api", "console", "elicitation"):
        with pytest.raises(NotAllowed, match="Somebody else"):
            await desk.answer(job_id, asking, via)
    with pytest.raises(NotFound):
        await desk.answer(job_id, stranger)
    assert (await desk.approvals.list_approvals(stranger, "console")).items == []
    assert not (await desk.of_job(job_id, asking, "console"))["may_decide"]
    assert (await desk.job(job_id))["status"] == "pending"


async def test_with_self_approval_a_person_says_yes_and_a_token_does_not(
    desk: ApprovalDesk, server: ServerRef, ann: Principal
) -> None:
    await desk.guard(server.server_ref_id, "get_current_time", self_approval=True)
    job_id = await desk.ask(ann, TIME)
    assert not (await desk.of_job(job_id, ann))["may_decide"]
    with pytest.raises(NotAllowed, match="in person"):
        await desk.answer(job_id, ann)
    assert (await desk.of_job(job_id, ann, "console"))["may_decide"]
    answered = await desk.answer(job_id, ann, "console")
    assert (answered["state"], answered["decided_via"]) == ("approved", "console")


async def test_a_yes_is_to_what_was_seen(desk: ApprovalDesk, ann: Principal) -> None:
    job_id = await desk.ask(ann, TIME)
    shown = await desk.of_job(job_id)
    with pytest.raises(Conflict, match="not the call that you have seen"):
        await desk.approvals.decide(OPERATOR, "api", shown["id"], Answer(True, digest_of_another_call()))


async def test_a_yes_is_for_one_job_and_its_arguments(library: Library, desk: ApprovalDesk, ann: Principal) -> None:
    job_id, same, other = [await desk.ask(ann, one) for one in (TIME, TIME, OTHER)]
    await desk.answer(job_id)
    digests = {(await desk.of_job(one))["digest"] for one in (job_id, same, other)}
    assert len(digests) == 2
    for one in (same, other):
        with pytest.raises(ApprovalExpired):
            await use_approval(library.database, one, bytes.fromhex((await desk.of_job(one))["digest"]))
    with pytest.raises(ApprovalNeeded):
        await use_approval(library.database, job_id, bytes.fromhex((await desk.of_job(other))["digest"]))
    await begin(library, job_id)


async def test_a_job_that_nobody_asked_for_a_yes_is_refused(
    library: Library, desk: ApprovalDesk, ann: Principal
) -> None:
    """As one that plain SQL has stored, or that was stored before the grant wanted a yes."""
    job_id = await library.submitted(TIME, ann)
    assert isinstance(await failure_of(library, job_id), ApprovalNeeded)


async def test_further_attempts_belong_to_the_same_yes(library: Library, desk: ApprovalDesk, ann: Principal) -> None:
    job_id = await desk.ask(ann, TIME)
    await desk.answer(job_id)
    first = await begin(library, job_id)
    await desk.let_time_pass(job_id)
    async with library.database.transaction() as transaction:
        await transaction.run(store.JOBS["requeue_job"], **first.claim, delay=0, error_code="x")
    await begin(library, job_id, 2)


async def test_who_waits_too_long_is_told_and_its_run_ends(
    library: Library, desk: ApprovalDesk, ann: Principal
) -> None:
    waiting, approved = await desk.ask(ann, TIME), await desk.ask(ann, OTHER)
    await desk.answer(approved)
    assert await desk.rounds.expire() == 0
    for one in (waiting, approved):
        await desk.let_time_pass(one)
    with pytest.raises(Conflict, match="does not wait"):
        await desk.answer(waiting)
    assert await desk.rounds.expire() == 2
    for one in (waiting, approved):
        job = await desk.job(one)
        assert (job["status"], job["error_code"]) == ("failed", "approval-expired")
        assert desk.run_of(job) == "CANCELLED"
        assert (await desk.of_job(one))["state"] == "expired"


@pytest.mark.parametrize("is_approved", [False, True])
async def test_what_is_started_too_late_is_not_called(
    library: Library, desk: ApprovalDesk, ann: Principal, is_approved: bool
) -> None:
    job_id = await desk.ask(ann, TIME)
    if is_approved:
        await desk.answer(job_id)
    await desk.let_time_pass(job_id)
    assert isinstance(await failure_of(library, job_id), ApprovalExpired)


async def test_a_cancelled_job_waits_for_nothing(library: Library, desk: ApprovalDesk, ann: Principal) -> None:
    job_id = await desk.ask(ann, TIME)
    await store.cancel(library.database, ann, job_id)
    with pytest.raises(Conflict, match="does not wait"):
        await desk.answer(job_id)
    await desk.rounds.expire()
    assert (await desk.of_job(job_id))["state"] == "expired"
    assert (await desk.job(job_id))["status"] == "cancelled"


async def test_each_job_of_a_batch_waits_on_its_own(
    library: Library, desk: ApprovalDesk, server: ServerRef, ann: Principal
) -> None:
    async with library.database.transaction() as transaction:
        await transaction.run(b"DELETE FROM access_grants")
    await desk.guard(server.server_ref_id, "get_current_time")
    free = JobRequest("tool_invoke", "time__convert_time")
    waiting, queued, other = await desk.ask_batch(ann, TIME, free, OTHER)
    await desk.round()
    for one in (waiting, other):
        assert desk.run_of(await desk.job(one)) == "PAUSED"
    assert (await desk.job(queued))["waits"]["for"] != "approval"
    (claimed,) = await library.execution.claim_queued([waiting, queued, other], uuid4())
    assert claimed.id == queued
    await desk.answer(waiting)
    assert isinstance(await library.execution.claim(waiting, 1, uuid4()), Attempt)
    assert isinstance(await library.execution.claim(other, 1, uuid4()), NotClaimed)


async def test_neither_rescuer_nor_reconciler_touches_what_waits(
    library: Library, desk: ApprovalDesk, ann: Principal
) -> None:
    job_id = await desk.ask(ann, TIME)
    before = await desk.job(job_id)
    async with library.database.transaction() as transaction:
        await transaction.run(b"UPDATE job_results SET dispatched_at = dispatched_at - interval '1 hour'")
    await desk.round()
    after = await desk.job(job_id)
    assert after["flow_run_id"] == before["flow_run_id"]
    assert (after["status"], after["attempt"], after["waits"]["for"]) == ("pending", 0, "approval")
    assert desk.run_of(after) == "PAUSED"


async def test_a_yes_that_prefect_did_not_hear_reaches_it_later(desk: ApprovalDesk, ann: Principal) -> None:
    job_id = await desk.ask(ann, TIME)
    desk.prefect.away = True
    await desk.answer(job_id)
    assert desk.run_of(await desk.job(job_id)) == "PAUSED"
    desk.prefect.away = False
    await desk.round()
    assert desk.run_of(await desk.job(job_id)) == "SCHEDULED"


async def test_a_job_stored_while_prefect_is_away_gets_its_run_after(desk: ApprovalDesk, ann: Principal) -> None:
    (job_id,) = await desk.ask_batch(ann, TIME)
    desk.prefect.away = True
    await desk.round()
    assert (await desk.job(job_id))["flow_run_id"] is None
    desk.prefect.away = False
    await desk.answer(job_id)
    assert desk.run_of(await desk.job(job_id)) == "SCHEDULED"


async def test_a_run_that_prefect_refuses_makes_nothing_due(
    library: Library, desk: ApprovalDesk, ann: Principal
) -> None:
    (job_id,) = await desk.ask_batch(ann, TIME)
    desk.prefect.refused.add(job_id)
    await desk.round()
    assert (await desk.job(job_id))["waits"]["for"] == "approval"
    assert isinstance(await library.execution.claim(job_id, 1, uuid4()), NotClaimed)


@pytest.mark.parametrize(
    "arguments",
    [{"a": 1.5, "b": 1e300, "c": 10**30, "d": "é\u2028"}, {"a": "\x00", "b": [1, {"\ud800": None}]}, {}],
)
async def test_the_digest_is_that_of_the_arguments_as_they_are_sent(
    library: Library, desk: ApprovalDesk, server: ServerRef, ann: Principal, arguments: dict[str, object]
) -> None:
    request = JobRequest("tool_invoke", "time__x", arguments)
    ask = await desk.asker.find(ann, request, server, "x")
    assert ask is not None
    job, _ = await store.add(library.database, ann, request, server, "x", ask=ask)
    await desk.answer(job["id"])
    claimed = await library.claimed(job["id"])
    assert digest_call(server, claimed.request()) == ask.digest


async def test_a_denied_approval_lets_nothing_through(library: Library, desk: ApprovalDesk, ann: Principal) -> None:
    job_id = await desk.ask(ann, TIME)
    shown = await desk.of_job(job_id)
    await desk.answer(job_id, approve=False)
    with pytest.raises(ApprovalDenied):
        await use_approval(library.database, job_id, bytes.fromhex(shown["digest"]))


async def test_a_yes_to_a_bundles_call_is_to_what_the_bundle_adds_too(
    library: Library, desk: ApprovalDesk, server: ServerRef, ann: Principal
) -> None:
    bob = await desk.user("bob", decides=True)
    await desk.bundle(server.server_ref_id, "get_current_time", "now", timezone="UTC")
    first, second = [
        await desk.ask(ann, JobRequest("tool_invoke", "office__now", {"day": day})) for day in ("today", "tomorrow")
    ]
    shown, own = await desk.of_job(first, bob), await desk.of_job(first, ann)
    assert (shown["tool"], shown["server"], shown["arguments"]) == (
        "office__now",
        "time",
        {"day": "today", "timezone": "UTC"},
    )
    assert (own["tool"], own["server"], own["arguments"]) == ("office__now", None, {"day": "today"})
    for one in (first, second):
        await desk.answer(one, bob)
    call = (await begin(library, first)).call
    assert call is not None
    assert call.request.arguments == {"day": "today", "timezone": "UTC"}  # type: ignore[union-attr]
    async with library.database.transaction() as transaction:
        await transaction.run(b"""UPDATE bundle_entries SET fixed = '{"timezone": "CET"}'""")
    assert isinstance(await failure_of(library, second), ApprovalNeeded)
