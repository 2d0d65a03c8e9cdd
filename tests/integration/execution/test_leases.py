"""Leases of all attempts of a process, single ones and those of shared runs, renewed together by one loop."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from nexus_hub.db.pool import Database, Transaction
from nexus_hub.execution.attempt import Attempt, ClaimStale
from nexus_hub.execution.steps import Execution
from nexus_hub.jobs import store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.jobs.submit import submit_batch
from nexus_hub.models import OPERATOR, Principal
from nexus_hub.rate_limit.limiter import Limiter
from nexus_hub.upstream.connections import Connections
from tests.fixtures.jobs import Table
from tests.fixtures.library import CutDatabase, Library, looping
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.shared_runs import carried
from tests.fixtures.upstreams import own_server

RENEWED = "heartbeat_at > started_at"


@pytest.fixture
async def fast(library: Library) -> AsyncIterator[Library]:
    """The library with a heartbeat of 0.2 s."""
    await library.servers.register("habits", own_server("habits"))
    async with looping(replace(library.execution, heartbeat_seconds=0.2)) as execution:
        yield replace(library, execution=execution)


def hang(folder: Path) -> JobRequest:
    folder.mkdir()
    return JobRequest("tool_invoke", "habits__hang", {"folder": str(folder)})


async def appears(file: Path) -> None:
    async with asyncio.timeout(60):
        while not file.exists():
            await asyncio.sleep(0.05)


async def becomes(table: Table, job_id: UUID, condition: str) -> None:
    async with asyncio.timeout(60):
        while await table.get(job_id, condition) != (True,):
            await asyncio.sleep(0.05)


async def take_away(table: Table, job_id: UUID) -> None:
    """Let the job belong to another claim from here on."""
    await table.connection.execute("UPDATE job_results SET status = 'pending' WHERE id = %s", [job_id])
    await table.connection.execute(
        "UPDATE job_results SET status = 'running', attempt = attempt + 1, claim_id = gen_random_uuid(),"
        " lease_expires_at = now() + interval '1 h' WHERE id = %s",
        [job_id],
    )


async def test_single_jobs_and_those_of_shared_runs_are_renewed_in_the_same_statement(
    fast: Library, table: Table, tmp_path: Path
) -> None:
    job_id = await fast.submitted(hang(tmp_path / "single"))
    ids, _, _ = await submit_batch(fast.database, OPERATOR, [hang(tmp_path / name) for name in ("a", "b")])
    single = asyncio.create_task(fast.ran(job_id))
    run = asyncio.create_task(carried(fast.execution))
    for name in ("single", "a", "b"):
        await appears(tmp_path / name / "began")
    await becomes(table, ids[1], RENEWED)
    assert len(fast.execution.leases.held) == 3
    cursor = await table.connection.execute("SELECT heartbeat_at, lease_expires_at FROM job_results")
    assert len(set(await cursor.fetchall())) == 1
    for one in (job_id, *ids):
        await store.cancel(fast.database, OPERATOR, one)
    assert (await run).outcomes == {"cancelled": 2}
    await asyncio.wait([single])
    assert not fast.execution.leases.held


async def test_a_claim_that_another_took_over_ends_its_call_and_no_other(
    fast: Library, table: Table, tmp_path: Path
) -> None:
    requests = [hang(tmp_path / "kept"), hang(tmp_path / "taken")]
    ids, _, _ = await submit_batch(fast.database, OPERATOR, requests)
    working = asyncio.create_task(carried(fast.execution))
    for name in ("kept", "taken"):
        await appears(tmp_path / name / "began")
    await take_away(table, ids[1])
    await appears(tmp_path / "taken" / "cancelled")
    await becomes(table, ids[0], RENEWED)
    assert not (tmp_path / "kept" / "cancelled").exists()
    await store.cancel(fast.database, OPERATOR, ids[0])
    assert (await working).outcomes == {"stale": 1, "cancelled": 1}


async def test_a_job_that_is_taken_between_two_heartbeats_is_renewed_by_the_next(fast: Library, table: Table) -> None:
    echo = JobRequest("tool_invoke", "habits__echo")
    first = await fast.claimed(await fast.submitted(echo))
    with fast.execution.hold(first):
        await becomes(table, first.id, RENEWED)
        second = await fast.claimed(await fast.submitted(echo))
        with fast.execution.hold(second):
            await becomes(table, second.id, RENEWED)


async def test_a_row_that_somebody_else_is_writing_holds_up_no_other_and_stays_with_its_claim(
    fast: Library, table: Table
) -> None:
    echo = JobRequest("tool_invoke", "habits__echo")
    locked, free = [await fast.claimed(await fast.submitted(echo)) for _ in range(2)]
    with fast.execution.hold(locked), fast.execution.hold(free):
        async with table.connection.transaction():
            await table.connection.execute("SELECT FROM job_results WHERE id = %s FOR UPDATE", [locked.id])
            since = free.renewed_at
            async with asyncio.timeout(60):
                while free.renewed_at == since:
                    await asyncio.sleep(0.02)
            assert not locked.stale
            assert locked.renewed_at == locked.claimed_at
        await becomes(table, locked.id, RENEWED)


async def test_no_error_ends_the_loop(library: Library, table: Table) -> None:
    class Failing(Database):
        """A database that fails in a way that nobody expects, as often as it is told to."""

        errors = 2

        @asynccontextmanager
        async def transaction(
            self, principal: Principal = OPERATOR, *, bounded: bool = False
        ) -> AsyncIterator[Transaction]:
            if self.errors:
                self.errors -= 1
                raise RuntimeError
            async with library.database.transaction(principal) as transaction:
                yield transaction

    await library.servers.register("habits", own_server("habits"))
    claimed = await library.claimed(await library.submitted(JobRequest("tool_invoke", "habits__echo")))
    failing = Failing("unused", name="failing")
    async with looping(replace(library.execution, database=failing, heartbeat_seconds=0.05)) as execution:
        with execution.hold(claimed):
            await becomes(table, claimed.id, RENEWED)
    assert failing.errors == 0


async def test_a_call_that_may_be_repeated_ends_before_its_lease_does_even_while_the_database_gives_no_answer(
    library: Library, database: HubDatabase, connections: Connections, table: Table
) -> None:
    await library.servers.register("habits", own_server("habits"))
    wait = JobRequest("tool_invoke", "habits__wait", {"seconds": 60}, retry="always")
    job_id = await library.submitted(wait)
    async with CutDatabase(database.app_url, name="cut") as cut:
        execution = Execution(
            cut, library.servers, connections, Limiter(cut), 1024, lease_seconds=6, heartbeat_seconds=1
        )
        claimed = await execution.claim(job_id, 1, None)
        assert isinstance(claimed, Attempt)
        async with looping(execution), table.connection.transaction():
            with execution.hold(claimed):
                await execution.open(claimed)
                await table.connection.execute("LOCK TABLE job_results IN EXCLUSIVE MODE")
                with pytest.raises(ClaimStale):
                    await execution.call(claimed)
            assert await table.get(job_id, "lease_expires_at > clock_timestamp()") == (True,)
    assert claimed.stale


async def test_a_job_that_is_taken_while_the_process_stops_is_not_called(fast: Library) -> None:
    fast.execution.shutdown()
    claimed = await fast.claimed(await fast.submitted(JobRequest("tool_invoke", "habits__echo")))
    with fast.execution.hold(claimed):
        assert claimed.shutting_down


async def test_leases_are_renewed_while_the_event_loop_is_held_up(
    library: Library, database: HubDatabase, table: Table
) -> None:
    await library.servers.register("habits", own_server("habits"))
    claimed = await library.claimed(await library.submitted(JobRequest("tool_invoke", "habits__echo")))
    async with looping(replace(library.execution, heartbeat_seconds=0.3)) as execution:
        with execution.hold(claimed), psycopg.connect(database.admin_url, autocommit=True) as watching:
            await becomes(table, claimed.id, RENEWED)
            last = watching.execute("SELECT heartbeat_at FROM job_results").fetchone()
            for _ in range(600):
                time.sleep(0.1)
                if watching.execute("SELECT heartbeat_at FROM job_results").fetchone() != last:
                    break
            else:
                raise AssertionError("no lease was renewed in a minute")
        assert claimed.renewed_at > claimed.claimed_at
