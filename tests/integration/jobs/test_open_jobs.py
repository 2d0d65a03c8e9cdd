"""Bound on a user's open jobs: exact, however many requests come at the same time."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import psycopg
import pytest

from nexus_hub.db.pool import Database
from nexus_hub.errors import Conflict, TooMany
from nexus_hub.jobs import lists, store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.models import OPERATOR, Principal, ServerRef
from tests.fixtures.postgres import HubDatabase

CALL = JobRequest("tool_invoke", "srv__t", {"a": 1})
REF = ServerRef("system", uuid4())
ANN, BOB = Principal(uuid4()), Principal(uuid4())


async def add(database: Database, principal: Principal = ANN, key: str | None = None, most: int = 3) -> UUID:
    job, _ = await store.add(database, principal, replace(CALL, idempotency_key=key), REF, "t", most_open=most)
    job_id: UUID = job["id"]
    return job_id


async def add_batch(
    database: Database, keys: Sequence[str | None], principal: Principal = ANN, most: int = 3
) -> list[UUID]:
    resolved = [(replace(CALL, idempotency_key=key), REF, "t") for key in keys]
    ids, _ = await store.add_batch(database, principal, resolved, uuid4(), most_open=most)
    return ids


async def count(database: Database, principal: Principal = ANN) -> int:
    return len((await lists.list_jobs(database, principal, limit=1000))["items"])


async def test_one_more_than_the_bound_is_refused_and_nothing_is_stored(hub_database: Database) -> None:
    for _ in range(3):
        await add(hub_database)
    for refused in (add(hub_database), add_batch(hub_database, [None]), add(hub_database, key="new")):
        with pytest.raises(TooMany) as raised:
            await refused
        assert raised.value.bound == "NEXUS_USER_OPEN_JOBS"
    assert await count(hub_database) == 3
    assert len(await add_batch(hub_database, [None] * 3, BOB)) == 3
    assert len(await add_batch(hub_database, [None] * 5, OPERATOR)) == 5


async def test_a_batch_counts_with_all_its_jobs(hub_database: Database) -> None:
    with pytest.raises(TooMany):
        await add_batch(hub_database, [None] * 4)
    assert len(await add_batch(hub_database, [None] * 2)) == 2
    with pytest.raises(TooMany):
        await add_batch(hub_database, [None] * 2)
    assert len(await add_batch(hub_database, [None])) == 1
    assert await count(hub_database) == 3


async def test_what_is_known_is_answered_again_also_at_the_bound(hub_database: Database) -> None:
    first, second = await add(hub_database, key="a"), await add(hub_database, key="b")
    third = await add(hub_database)
    assert await add(hub_database, key="a") == first
    assert await add_batch(hub_database, ["b", "a", "b"]) == [second, first, second]
    with pytest.raises(TooMany):
        await add_batch(hub_database, ["a", "c"])
    await store.cancel(hub_database, ANN, third)
    assert (await add_batch(hub_database, ["a", "c", "c"]))[0] == first
    with pytest.raises(Conflict):
        await store.add(hub_database, ANN, replace(CALL, idempotency_key="a", retry="always"), REF, "t", most_open=3)


async def test_an_end_makes_room_and_a_running_job_does_not(hub_database: Database, database: HubDatabase) -> None:
    jobs = [await add(hub_database) for _ in range(3)]
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as connection:
        await connection.execute("UPDATE job_results SET status = 'running' WHERE id = %s", [jobs[0]])
        with pytest.raises(TooMany):
            await add(hub_database)
        await connection.execute("UPDATE job_results SET status = 'completed' WHERE id = %s", [jobs[0]])
    await add(hub_database)


async def test_a_bound_that_was_lowered_takes_nothing_new(hub_database: Database) -> None:
    first = await add(hub_database, key="a", most=9)
    for _ in range(4):
        await add(hub_database, most=9)
    with pytest.raises(TooMany):
        await add(hub_database, most=2)
    assert await add(hub_database, key="a", most=2) == first
    assert await add_batch(hub_database, ["a"], most=2) == [first]


async def test_many_at_the_same_time_store_exactly_the_bound(hub_database: Database) -> None:
    asked = [add(hub_database, most=7) for _ in range(25)]
    asked += [add(hub_database, key=f"key {number % 5}", most=7) for number in range(25)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(one) for one in answers} <= {UUID, TooMany}
    assert await count(hub_database) == 7


async def test_batches_at_the_same_time_store_no_more_than_the_bound(hub_database: Database) -> None:
    answers = await asyncio.gather(
        *(add_batch(hub_database, [None] * 3, most=10) for _ in range(12)), return_exceptions=True
    )
    assert sum(isinstance(one, list) for one in answers) == 3
    assert await count(hub_database) == 9


async def test_the_open_jobs_are_counted_by_an_index(database: HubDatabase) -> None:
    async with await psycopg.AsyncConnection.connect(database.admin_url) as connection:
        await connection.execute("SET enable_seqscan = off")
        cursor = await connection.execute(
            "EXPLAIN SELECT count(*)"
            " FROM (SELECT FROM job_results WHERE user_id = %s AND nexus_is_live(status) LIMIT 5) AS open",
            [uuid4()],
        )
        plan = "\n".join(row[0] for row in await cursor.fetchall())
    assert "idx_job_results_open" in plan
