"""The listener: it tells of every change, and nothing that is sent to it ends it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID, uuid4

import psycopg
import pytest

from nexus_hub.live.listener import JobChange, listen
from tests.fixtures.postgres import HubDatabase

Heard = asyncio.Queue[JobChange | None]


@pytest.fixture
def asked() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
def coming() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
async def heard(database: HubDatabase, asked: asyncio.Event, coming: asyncio.Event) -> AsyncIterator[Heard]:
    told: Heard = asyncio.Queue()
    task = asyncio.create_task(listen(database.app_url, told.put_nowait, asked.set, coming.set))
    assert await next_of(told) is None
    yield told
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def next_of(told: Heard) -> JobChange | None:
    async with asyncio.timeout(60):
        return await told.get()


async def say(database: HubDatabase, payload: str) -> None:
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as connection:
        await connection.execute("SELECT pg_notify('nexus_jobs', %s)", [payload])


@pytest.mark.parametrize(
    "payload",
    [
        *("", "x", "[]", "7", "null", "{}", "[" * 7000, '{"id": 5, "version": 1, "status": "pending"}'),
        '{"id": "x", "version": 1, "status": "running"}',
        f'{{"id": "{UUID(int=1)}", "version": 1e999, "status": "running"}}',
        f'{{"id": "{UUID(int=1)}", "version": null, "status": "running"}}',
        f'{{"id": "{UUID(int=1)}", "version": 1, "status": "paused"}}',
        f'{{"id": "{UUID(int=1)}", "version": 1, "status": "running", "user_id": "y"}}',
        f'{{"id": "{UUID(int=1)}", "version": 1, "status": "running", "attempt": {{}}}}',
    ],
)
async def test_a_notice_of_another_shape_is_left_out(database: HubDatabase, heard: Heard, payload: str) -> None:
    job_id = uuid4()
    await say(database, payload)
    await say(database, f'{{"id": "{job_id}", "version": 3, "status": "running"}}')
    assert await next_of(heard) == JobChange(job_id, 3, "running")


async def test_a_notice_says_what_the_change_comes_to(database: HubDatabase, heard: Heard) -> None:
    owner = uuid4()
    async with await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as connection:
        cursor = await connection.execute(
            "INSERT INTO job_results (job_type, server_id, user_id) VALUES ('tool_invoke', 'x', %s) RETURNING id",
            [owner],
        )
        row = await cursor.fetchone()
        assert row
        await connection.execute(
            "UPDATE job_results SET status = 'running', attempt = 1, claim_id = gen_random_uuid(), "
            "lease_expires_at = now() WHERE id = %s",
            row,
        )
        await connection.execute("UPDATE job_results SET progress = '{}' WHERE id = %s", row)
        await connection.execute("UPDATE job_results SET status = 'failed', error_code = 'x' WHERE id = %s", row)
    assert [await next_of(heard) for _ in range(4)] == [
        JobChange(row[0], 1, "pending", owner, "tool_invoke", server_id="x"),
        JobChange(row[0], 2, "running", owner, "tool_invoke", 1, server_id="x"),
        JobChange(row[0], 3, "running", owner, "tool_invoke", 1, event="progress", server_id="x"),
        JobChange(row[0], 4, "failed", owner, "tool_invoke", 1, "x", server_id="x"),
    ]


@pytest.mark.parametrize(
    ("columns", "queued"),
    [
        ({"dispatched_at": "now()"}, True),
        ({"dispatched_at": "now()", "available_at": "now() + interval '1 minute'"}, False),
        ({"dispatched_at": "now()", "flow_run_id": "gen_random_uuid()"}, False),
        ({"dispatched_at": "NULL"}, False),
    ],
)
async def test_a_notice_says_if_a_job_waits_for_a_shared_run(
    database: HubDatabase, heard: Heard, columns: dict[str, str], queued: bool
) -> None:
    names, values = ", ".join(columns), ", ".join(columns.values())
    async with await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as connection:
        await connection.execute(
            f"INSERT INTO job_results (job_type, server_id, {names}) VALUES ('tool_invoke', 'x', {values})".encode()
        )
        await connection.execute("UPDATE job_results SET dispatched_at = now() WHERE dispatched_at IS NULL")
    change = await next_of(heard)
    assert change is not None
    assert (change.queued, change.server_id) == (queued, "x")
    if columns == {"dispatched_at": "NULL"}:
        later = await next_of(heard)
        assert later is not None
        assert later.queued, "as the sweep puts it into the queue"


async def test_a_shared_run_that_was_made_is_told_of(
    database: HubDatabase, heard: Heard, coming: asyncio.Event
) -> None:
    await say(database, "")
    assert not coming.is_set()
    async with await psycopg.AsyncConnection.connect(database.app_url, autocommit=True) as connection:
        await connection.execute("SELECT pg_notify('nexus_runs', '')")
    async with asyncio.timeout(60):
        await coming.wait()


async def test_a_lost_connection_is_made_again_and_told_of(database: HubDatabase, heard: Heard) -> None:
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'nexus-hub listen'"
        )
    assert await next_of(heard) is None


async def test_asking_for_a_job_in_sql_is_told_of(database: HubDatabase, heard: Heard, asked: asyncio.Event) -> None:
    async with await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as connection:
        cursor = await connection.execute(
            "INSERT INTO job_results (job_type, server_id) VALUES ('tool_invoke', 'somewhere') RETURNING id"
        )
        row = await cursor.fetchone()
        assert row
        await connection.execute("SELECT execute_job_via_pg_net(%s)", row)
    async with asyncio.timeout(60):
        await asked.wait()
