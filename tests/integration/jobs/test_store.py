"""Jobs as rows: pages, filters, and calls of tools with odd names."""

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from nexus_hub.db.pool import Database
from nexus_hub.errors import InvalidRequest, JobEnded, NotFound
from nexus_hub.execution.attempt import Attempt
from nexus_hub.jobs import lists, store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.models import OPERATOR, Principal, ServerRef
from nexus_hub.orchestration.ownership import Ownership, take_run
from nexus_hub.upstream.requests import ToolCall
from tests.fixtures.jobs import LONG_AGO, Table, ago
from tests.fixtures.library import Library
from tests.fixtures.postgres import HubDatabase

CALL = JobRequest("tool_invoke", "srv__t", {"a": 1})
REF = ServerRef("system", uuid4())

pytestmark = pytest.mark.both_forms


async def add(database: Database, principal: Principal = OPERATOR, name: str = "t", **more: Any) -> UUID:
    job, _ = await store.add(database, principal, CALL, REF, name, **more)
    job_id: UUID = job["id"]
    return job_id


async def test_pages_go_from_the_newest_to_the_oldest_without_gaps(hub_database: Database) -> None:
    jobs = [await add(hub_database) for _ in range(7)]
    found: list[UUID] = []
    cursor: str | None = None
    while True:
        page = await lists.list_jobs(hub_database, OPERATOR, limit=3, cursor=cursor)
        found += [item["id"] for item in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
        await add(hub_database)
    assert found == jobs[::-1]


async def test_jobs_of_the_same_moment_are_all_listed(hub_database: Database, database: HubDatabase) -> None:
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as connection:
        await connection.execute(
            "INSERT INTO job_results (job_type, server_id, created_at)"
            " SELECT 'tool_invoke', 'x', '2026-01-01T00:00:00.000001Z' FROM generate_series(1, 5)"
        )
    first = await lists.list_jobs(hub_database, OPERATOR, limit=3)
    rest = await lists.list_jobs(hub_database, OPERATOR, limit=3, cursor=first["next_cursor"])
    assert len({item["id"] for item in first["items"] + rest["items"]}) == 5
    assert rest["next_cursor"] is None


async def test_a_list_can_be_narrowed_to_a_state(hub_database: Database) -> None:
    pending, cancelled = await add(hub_database), await add(hub_database)
    await store.cancel(hub_database, OPERATOR, cancelled)
    for status, expected in {"pending": [pending], "cancelled": [cancelled], "running": []}.items():
        page = await lists.list_jobs(hub_database, OPERATOR, lists.JobFilter(status=status))  # type: ignore[arg-type]
        assert [item["id"] for item in page["items"]] == expected


async def test_the_operator_sees_all_jobs_and_a_user_its_own(hub_database: Database) -> None:
    ann, bob = Principal(uuid4()), Principal(uuid4())
    hers, his = await add(hub_database, ann), await add(hub_database, bob)
    assert [item["id"] for item in (await lists.list_jobs(hub_database, ann))["items"]] == [hers]
    assert {item["id"] for item in (await lists.list_jobs(hub_database, OPERATOR))["items"]} == {hers, his}
    with pytest.raises(NotFound):
        await store.cancel(hub_database, ann, his)


@pytest.mark.parametrize("text", ["", "x", "1", "' OR true --", "../x", "\x00", "é" * 500, f"{UUID(int=1)}0", "\ud800"])
def test_a_hostile_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="uuid"):
        store.parse_id(text)


async def test_what_has_ended_is_not_cancelled_again(hub_database: Database) -> None:
    job_id = await add(hub_database)
    await store.cancel(hub_database, OPERATOR, job_id)
    with pytest.raises(JobEnded, match="cancelled"):
        await store.cancel(hub_database, OPERATOR, job_id)


@pytest.mark.parametrize("name", ["NUL \x00", "half \ud800", "\x1a0000", "é"])
async def test_a_tool_with_an_odd_name_is_called_by_just_that_name(library: Library, name: str) -> None:
    job_id = await add(library.database, name=name)
    assert (await store.get(library.database, OPERATOR, job_id))["tool_name"] == name
    claimed = await library.execution.claim(job_id, 1, None)
    assert isinstance(claimed, Attempt)
    assert claimed.request() == ToolCall(name, {"a": 1})


async def test_storing_a_job_gives_its_row_as_reading_it_does_whether_it_is_new_or_not(hub_database: Database) -> None:
    odd = replace(CALL, arguments={"a": "NUL \x00"}, idempotency_key="once")
    stored, place = await store.add(hub_database, OPERATOR, odd, REF, "t")
    again, place_again = await store.add(hub_database, OPERATOR, odd, REF, "t")
    read = await store.get(hub_database, OPERATOR, stored["id"])
    assert (place, place_again) == (store.Place(queued=False, joined=False), None)
    assert list(stored.items()) == list(again.items()) == list(read.items())
    assert stored["params"] == odd.arguments


async def test_the_two_large_columns_are_not_listed(hub_database: Database) -> None:
    await add(hub_database)
    (item,) = (await lists.list_jobs(hub_database, OPERATOR))["items"]
    assert not {"params", "result", "claim_id", "request_digest", "idempotency_key"} & item.keys()


async def test_a_run_is_taken_by_one_of_many_who_ask(hub_database: Database, table: Table) -> None:
    run, many = uuid4(), uuid4()
    job = await add(hub_database, flow_run_id=run)
    for _ in range(3):
        await table.add(flow_run_id=many, dispatched_at=ago(LONG_AGO))
    for one in (run, many):
        rights = await asyncio.gather(*(take_run(hub_database, one) for _ in range(12)))
        assert Counter(rights) == {Ownership.ACQUIRED: 1, Ownership.HELD_ELSEWHERE: 11}
    assert (await store.get(hub_database, OPERATOR, job))["status"] == "pending"


async def test_a_run_that_was_taken_and_not_begun_is_had_of_prefect(hub_database: Database, table: Table) -> None:
    run = uuid4()
    await table.add(flow_run_id=run, dispatched_at=ago(LONG_AGO), heartbeat_at=ago(LONG_AGO))
    assert await take_run(hub_database, run) is Ownership.UNKNOWN


async def test_only_a_run_of_new_jobs_is_had_without_prefect(hub_database: Database, table: Table) -> None:
    new, begun, later, claimed, mixed = (uuid4() for _ in range(5))
    dispatched = {"dispatched_at": ago(LONG_AGO)}
    await table.add(**dispatched, flow_run_id=new)
    await table.add(**dispatched, flow_run_id=begun, started_at=ago(LONG_AGO))
    await table.add(**dispatched, flow_run_id=later, available_at=ago(-LONG_AGO))
    await table.running(flow_run_id=claimed, started_at=ago(LONG_AGO))
    await table.add(**dispatched, flow_run_id=mixed)
    await table.running(flow_run_id=mixed, started_at=ago(LONG_AGO))
    for run in (begun, later, claimed, mixed, uuid4()):
        assert await take_run(hub_database, run) is Ownership.UNKNOWN
    assert await take_run(hub_database, new) is Ownership.ACQUIRED


async def test_a_run_stays_taken_though_the_job_that_says_so_is_cancelled(hub_database: Database, table: Table) -> None:
    run = uuid4()
    jobs = [await table.add(flow_run_id=run, dispatched_at=ago(LONG_AGO)) for _ in range(3)]
    assert await take_run(hub_database, run) is Ownership.ACQUIRED
    await store.cancel(hub_database, OPERATOR, min(jobs))
    assert await take_run(hub_database, run) is Ownership.HELD_ELSEWHERE
