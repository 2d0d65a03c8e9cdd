"""Attacks on calls that wait for a person's yes: races, changed grants, rows put in by SQL, numbers on their way."""

import asyncio

import pytest

from nexus_hub.errors import Conflict, NotAllowed, NotFound
from nexus_hub.jobs import store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.models import OPERATOR, Principal, ServerRef
from nexus_hub.orchestration.approvals import Answer
from tests.fixtures.approvals import ApprovalDesk
from tests.fixtures.bundles import put_catalog
from tests.fixtures.library import Library

TIME = JobRequest("tool_invoke", "time__get_current_time", {"timezone": "UTC"})


FORGED = b"""
    INSERT INTO approvals (job_id, user_id, digest, self_approval, expires_at)
    VALUES (%(job_id)s, %(user_id)s, %(digest)s, true, now() + interval '1 hour')"""


@pytest.mark.parametrize("approve", [True, False])
async def test_a_job_that_is_cancelled_at_this_moment_gets_no_answer(
    desk: ApprovalDesk, ann: Principal, approve: bool
) -> None:
    job_id = await desk.ask(ann, TIME)
    shown = await desk.of_job(job_id)
    async with desk.database.transaction(ann) as transaction:
        await transaction.run(store.JOBS["cancel_job"], id=job_id)
        deciding = asyncio.create_task(
            desk.approvals.decide(OPERATOR, "api", shown["id"], Answer(approve, shown["digest"]))
        )
        await asyncio.sleep(0.5)
    with pytest.raises(Conflict):
        await deciding
    assert (await desk.job(job_id))["status"] == "cancelled"
    assert (await desk.of_job(job_id))["state"] == "waiting"


@pytest.mark.parametrize("value", [1e22, -0.0, 1.0, 1e-7, 10**40, True])
async def test_a_yes_is_good_for_numbers_in_whatever_form_they_are_kept(
    library: Library, server: ServerRef, desk: ApprovalDesk, ann: Principal, value: float
) -> None:
    await put_catalog(library.database, server, "time", {"name": "any", "inputSchema": {"type": "object"}})
    job_id = await desk.ask(ann, JobRequest("tool_invoke", "time__any", {"text": "a\x00b", "at": {"least": value}}))
    await desk.answer(job_id)
    await library.execution.open(await library.claimed(job_id))


async def test_of_many_answers_at_once_one_counts(desk: ApprovalDesk, ann: Principal) -> None:
    for _ in range(10):
        job_id = await desk.ask(ann, TIME)
        said = await asyncio.gather(
            *(desk.answer(job_id, approve=one % 2 == 0) for one in range(6)), return_exceptions=True
        )
        assert sum(not isinstance(one, BaseException) for one in said) == 1, said
        assert all(isinstance(one, (dict, Conflict)) for one in said), said


async def test_a_grant_that_allows_no_self_approval_any_more_allows_none_for_what_waits(
    desk: ApprovalDesk, ann: Principal
) -> None:
    async with desk.database.transaction() as transaction:
        await transaction.run(b"UPDATE access_grants SET self_approval = true")
    job_id = await desk.ask(ann, TIME)
    async with desk.database.transaction() as transaction:
        await transaction.run(b"UPDATE access_grants SET self_approval = false")
    with pytest.raises(NotAllowed):
        await desk.answer(job_id, ann, "console")


async def test_a_group_that_the_grant_does_not_name_any_more_neither_sees_nor_decides(
    desk: ApprovalDesk, ann: Principal
) -> None:
    bob = await desk.user("bob", decides=True)
    job_id = await desk.ask(ann, TIME)
    assert (await desk.of_job(job_id, bob))["may_decide"]
    async with desk.database.transaction() as transaction:
        await transaction.run(b"UPDATE access_grants SET approvers = NULL")
    with pytest.raises(NotFound):
        await desk.answer(job_id, bob)
    assert (await desk.approvals.list_approvals(bob, "api")).items == []


async def test_a_question_put_in_by_its_user_names_nobody_that_the_grant_does_not(
    desk: ApprovalDesk, ann: Principal
) -> None:
    job_id = await desk.ask(ann, TIME)
    digest = bytes.fromhex((await desk.of_job(job_id))["digest"])
    async with desk.database.transaction() as transaction:
        await transaction.run(b"DELETE FROM approvals")
    async with desk.database.transaction(ann) as transaction:
        await transaction.run(FORGED, job_id=job_id, user_id=ann.user_id, digest=digest)
    for via in ("console", "elicitation"):
        with pytest.raises(NotAllowed):
            await desk.answer(job_id, ann, via)
