"""Progress of all calls of a process, written down by one loop."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from nexus_hub.execution.attempt import Attempt
from nexus_hub.execution.steps import Execution
from nexus_hub.jobs import store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.jobs.submit import submit_batch
from nexus_hub.models import OPERATOR
from nexus_hub.rate_limit.limiter import Limiter
from nexus_hub.upstream.connections import Connections
from tests.fixtures.jobs import Table
from tests.fixtures.library import CutDatabase, Library, looping
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.shared_runs import carried
from tests.fixtures.upstreams import own_server

ECHO = JobRequest("tool_invoke", "habits__echo")


@pytest.fixture
async def hub(library: Library) -> AsyncIterator[Library]:
    """The library, which writes progress down often."""
    await library.servers.register("habits", own_server("habits"))
    async with looping(replace(library.execution, progress_seconds=0.05)) as execution:
        yield replace(library, execution=execution)


async def messages(hub: Library, *attempts: Attempt) -> list[str | None]:
    jobs = [await store.get(hub.database, OPERATOR, attempt.id) for attempt in attempts]
    return [job["progress"] and job["progress"]["message"] for job in jobs]


async def until(hub: Library, attempts: list[Attempt], expected: list[str]) -> None:
    async with asyncio.timeout(60):
        while await messages(hub, *attempts) != expected:
            await asyncio.sleep(0.02)


async def test_progress_of_a_job_in_a_shared_run_is_written_down(hub: Library) -> None:
    steps = JobRequest("tool_invoke", "habits__steps", {"count": 4, "seconds": 2})
    (job_id,), _, _ = await submit_batch(hub.database, OPERATOR, [steps])
    working = asyncio.create_task(carried(hub.execution))
    seen = set()
    while not working.done():
        job = await store.get(hub.database, OPERATOR, job_id)
        if job["status"] == "running" and job["progress"]:
            seen.add(job["progress"]["message"])
        await asyncio.sleep(0.02)
    assert (await working).jobs == 1
    assert seen


async def test_of_each_job_the_latest_note_is_written_and_of_all_together(hub: Library, table: Table) -> None:
    attempts = [await hub.claimed(await hub.submitted(ECHO)) for _ in range(3)]
    for number in range(10):
        for attempt in attempts:
            await hub.execution.recorder.note_progress(attempt, number, 10, f"step {number}")
    await until(hub, attempts, ["step 9"] * 3)
    cursor = await table.connection.execute("SELECT version FROM job_results")
    assert {version for (version,) in await cursor.fetchall()} == {3}, "stored, claimed, and one note"


async def test_a_row_that_somebody_else_is_writing_gets_its_note_later_and_holds_up_no_other(
    hub: Library, table: Table
) -> None:
    locked, free = attempts = [await hub.claimed(await hub.submitted(ECHO)) for _ in range(2)]
    async with table.connection.transaction():
        await table.connection.execute("SELECT FROM job_results WHERE id = %s FOR UPDATE", [locked.id])
        for attempt in attempts:
            await hub.execution.recorder.note_progress(attempt, 1, None, "half")
        await until(hub, [free], ["half"])
        assert await messages(hub, locked) == [None]
    await until(hub, attempts, ["half", "half"])


async def test_notes_wait_for_a_database_that_is_away(
    hub: Library, database: HubDatabase, connections: Connections
) -> None:
    job_id = await hub.submitted(ECHO)
    async with CutDatabase(database.app_url, name="cut") as cut:
        execution = Execution(cut, hub.servers, connections, Limiter(cut), 1024, progress_seconds=0.05)
        claimed = await execution.claim(job_id, 1, None)
        assert isinstance(claimed, Attempt)
        cut.cut = True
        async with looping(execution):
            await execution.recorder.note_progress(claimed, 1, None, "half")
            await asyncio.sleep(0.3)
            cut.cut = False
            await until(hub, [claimed], ["half"])


async def test_nothing_is_written_under_an_older_claim_nor_after_the_end(hub: Library, table: Table) -> None:
    older = await hub.claimed(await hub.submitted(ECHO))
    await hub.execution.snooze(older, 0)
    newer = await hub.claimed(older.id)
    await hub.execution.recorder.note_progress(older, 1, None, "older")
    await hub.execution.recorder.note_progress(newer, 1, None, "newer")
    await until(hub, [newer], ["newer"])
    newer.result = {"content": []}
    assert await hub.execution.record(newer) == "completed"
    (version,) = await table.get(newer.id, "version")
    await hub.execution.recorder.note_progress(newer, 2, None, "too late")
    await hub.execution.recorder.write_progress()
    assert await table.get(newer.id, "version") == (version,)


async def test_notes_of_a_job_that_is_not_held_any_more_are_forgotten(hub: Library) -> None:
    claimed = await hub.claimed(await hub.submitted(ECHO))
    with hub.execution.hold(claimed):
        hub.execution.recorder._progressed[claimed.claim_id] = claimed
    assert not hub.execution.recorder._progressed
