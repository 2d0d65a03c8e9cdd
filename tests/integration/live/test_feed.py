"""Changes of jobs: each is handed on once and in order, and no end is lost with the listener's connection."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio

from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.db.pool import Database
from nexus_hub.jobs.store import JOBS
from nexus_hub.live import feed as module
from nexus_hub.live.feed import Feed, Follower, Signal
from nexus_hub.live.listener import JobChange, listen
from nexus_hub.live.streams import StreamEvent, begin_feed, begin_job
from nexus_hub.models import OPERATOR, JobStatus, Principal
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import all_heard

PATIENCE = 15.0


@dataclass
class Live:
    """Changes on a real database: a listener that can be cut off, and plain SQL that changes jobs."""

    database: Database
    feed: Feed
    connection: psycopg.AsyncConnection[Any]
    url: str
    listener: asyncio.Task[None] | None = None

    async def listening(self) -> None:
        """Begin to listen, as at a start or after a cut."""
        connected = asyncio.Event()

        def told(change: JobChange | None) -> None:
            self.feed.notice(change)
            connected.set()

        self.listener = asyncio.create_task(listen(self.url, told, lambda: None))
        async with asyncio.timeout(PATIENCE):
            await connected.wait()

    async def deaf(self) -> None:
        """End the listener."""
        if self.listener is not None:
            await cancel_and_wait(self.listener)
        self.listener = None

    async def insert(self, user_id: UUID | None = None) -> UUID:
        """A pending job."""
        cursor = await self.connection.execute(
            "INSERT INTO job_results (job_type, server_id, user_id) VALUES ('tool_invoke', 'x', %s) RETURNING id",
            [user_id],
        )
        row = await cursor.fetchone()
        assert row is not None
        job_id: UUID = row[0]
        return job_id

    async def move(self, job_id: UUID, *statuses: JobStatus) -> None:
        """Change a job's status, once for each of these."""
        for status in statuses:
            await self.connection.execute("UPDATE job_results SET status = %s WHERE id = %s", [status, job_id])


@pytest_asyncio.fixture
async def live(hub_database: Database, database: HubDatabase) -> AsyncIterator[Live]:
    changes = Feed(hub_database, interval=0.3)
    running = asyncio.create_task(changes.run())
    async with await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as connection:
        made = Live(hub_database, changes, connection, database.app_url)
        await made.listening()
        yield made
        await made.deaf()
    await cancel_and_wait(running)


async def heard(follower: Follower, count: int) -> list[tuple[UUID, int, str]]:
    """The next changes, without the signals between."""
    found: list[tuple[UUID, int, str]] = []
    while len(found) < count:
        match await follower.next(PATIENCE):
            case JobChange() as change:
                found.append((change.job_id, change.version, change.status))
            case signal:
                assert signal is Signal.RESYNC, signal
    return found


async def taken(stream: AsyncIterator[StreamEvent | None], count: int) -> list[StreamEvent]:
    found: list[StreamEvent] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            if (told := await anext(stream)) is not None:
                found.append(told)
    return found


async def test_each_change_is_heard_once_and_in_order(live: Live) -> None:
    with live.feed.follow(OPERATOR) as follower:
        jobs = [await live.insert() for _ in range(3)]
        for job_id in jobs:
            await live.move(job_id, "running", "pending", "running", "completed")
        found = await heard(follower, 15)
        assert await follower.next(1.5) is Signal.IDLE
    for job_id in jobs:
        assert [change[1:] for change in found if change[0] == job_id] == [
            *((1, "pending"), (2, "running"), (3, "pending"), (4, "running"), (5, "completed"))
        ]


async def test_what_the_snapshot_has_already_is_not_told_again(live: Live) -> None:
    job_id = await live.insert()
    with live.feed.follow(OPERATOR) as follower:
        await live.move(job_id, "running")
        while not follower._queue:  # the notice is there before the snapshot is taken
            await asyncio.sleep(0.01)
        stream = await begin_feed(live.database, follower, PATIENCE)
        await live.move(job_id, "failed")
        assert [told.version for told in await taken(stream, 2)] == [2, 3]


async def test_what_a_follower_knows_takes_no_room_in_its_queue(live: Live) -> None:
    """After a cut all open jobs are told of again: to a thousand followers that would be a million events."""
    with live.feed.follow(OPERATOR) as follower:
        for number in range(3):
            change = JobChange(UUID(int=number), 2, "running")
            follower.offer(change)
            assert await follower.next(1) == change
            follower.offer(change)
        assert not follower._queue


async def test_an_old_notice_is_dropped(live: Live) -> None:
    job_id = await live.insert()
    await all_heard(live.feed, live.url)
    with live.feed.follow(OPERATOR) as follower:
        await live.move(job_id, "running", "completed")
        assert await heard(follower, 2) == [(job_id, 2, "running"), (job_id, 3, "completed")]
        live.feed.notice(JobChange(job_id, 2, "running"))
        live.feed.notice(JobChange(job_id, 3, "completed"))
        assert await follower.next(0.2) is Signal.IDLE


async def test_a_cut_is_told_of_and_what_was_missed_follows(live: Live) -> None:
    live.feed._interval = 600  # the backstop is not what is shown here
    known = await live.insert()
    with live.feed.follow(OPERATOR) as follower:
        stream = await begin_feed(live.database, follower, PATIENCE)
        await taken(stream, 1)
        await live.deaf()
        await live.move(known, "running", "completed")
        unknown, waiting = await live.insert(), await live.insert()
        await live.move(unknown, "running", "failed")
        await live.listening()
        told = await taken(stream, 4)
    assert told[0].event == "resync"
    assert {(one.data["id"], one.version, one.data["status"]) for one in told[1:]} == {
        (str(known), 3, "completed"),
        (str(unknown), 3, "failed"),
        (str(waiting), 1, "pending"),
    }


async def test_no_end_is_missed_while_a_dead_connection_says_nothing(live: Live) -> None:
    known = await live.insert()
    with live.feed.follow(OPERATOR) as follower:
        stream = await begin_feed(live.database, follower, PATIENCE)
        await taken(stream, 1)
        await live.deaf()
        unknown = await live.insert()
        await live.move(known, "running", "completed")
        await live.move(unknown, "running", "failed")
        found: set[tuple[str, str]] = set()
        while not found >= {(str(known), "completed"), (str(unknown), "failed")}:
            (told,) = await taken(stream, 1)
            assert told.event == "state"
            found.add((told.data["id"], told.data["status"]))


async def test_the_row_of_a_followed_job_is_read_again_after_a_cut(live: Live) -> None:
    job_id = await live.insert()
    with live.feed.follow(OPERATOR, job_id) as follower:
        stream = await begin_job(live.database, follower, job_id, PATIENCE)
        await taken(stream, 1)
        await live.deaf()
        await live.move(job_id, "running")
        await live.listening()
        (running,) = await taken(stream, 1)
        await live.deaf()
        await live.move(job_id, "completed")
        (completed,) = await taken(stream, 1)
        assert [told async for told in stream] == []
    assert [(told.version, told.data["status"], "result" in told.data) for told in (running, completed)] == [
        (2, "running", True),
        (3, "completed", True),
    ]


async def test_an_end_that_claims_to_be_long_ago_is_heard_all_the_same(live: Live) -> None:
    job_id = await live.insert()
    with live.feed.follow(OPERATOR) as follower:
        stream = await begin_feed(live.database, follower, PATIENCE)
        await taken(stream, 1)
        await live.deaf()
        await live.connection.execute(
            "UPDATE job_results SET status = 'completed', completed_at = '2020-01-01' WHERE id = %s", [job_id]
        )
        assert [told.data["status"] for told in await taken(stream, 1)] == ["completed"]


async def test_what_ended_before_one_began_to_follow_is_not_told(live: Live) -> None:
    for _ in range(3):
        await live.move(await live.insert(), "running", "completed")
    await all_heard(live.feed, live.url)
    with live.feed.follow(OPERATOR) as follower:
        follower._since += 5  # as if they had ended a while ago
        live.feed.notice(None)
        assert await follower.next(PATIENCE) is Signal.RESYNC
        assert await follower.next(1.5) is Signal.IDLE


async def test_a_user_hears_of_its_own_jobs_only(live: Live) -> None:
    ann, bob = Principal(uuid4()), Principal(uuid4())
    with live.feed.follow(ann) as hers, live.feed.follow(bob) as his:
        jobs = [await live.insert(owner) for owner in (bob.user_id, None, ann.user_id)]
        assert await heard(hers, 1) == [(jobs[2], 1, "pending")]
        assert await heard(his, 1) == [(jobs[0], 1, "pending")]
        live.feed.notice(None)
        await live.move(jobs[0], "cancelled")
        assert await heard(his, 1) == [(jobs[0], 2, "cancelled")]
        assert await hers.next(1.5) is Signal.RESYNC
        assert await hers.next(1.5) is Signal.IDLE


async def test_one_who_is_too_slow_gets_the_last_change_of_each_job(live: Live) -> None:
    jobs = [uuid4() for _ in range(5)]
    with live.feed.follow(OPERATOR) as follower:
        for version in range(1, module.QUEUE_LIMIT):
            for job_id in jobs:
                live.feed.notice(JobChange(job_id, version, "running"))
        for job_id in jobs:
            live.feed.notice(JobChange(job_id, module.QUEUE_LIMIT, "completed"))
        assert len(follower._queue) <= 2 * module.QUEUE_LIMIT
        assert await follower.next(1) is Signal.RESYNC
        last = {job_id: (version, status) for job_id, version, status in await heard(follower, len(follower._queue))}
    assert last == dict.fromkeys(jobs, (module.QUEUE_LIMIT, "completed"))


async def test_one_who_is_hopelessly_slow_closed(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_QUEUE", 1500)
    with live.feed.follow(OPERATOR) as slow, live.feed.follow(OPERATOR, uuid4()) as other:
        for _ in range(4 * module.QUEUE_LIMIT):
            live.feed.notice(JobChange(uuid4(), 1, "pending"))
        assert await slow.next(1) is Signal.END
        assert not other.closed


async def test_after_the_close_everyone_closed(live: Live) -> None:
    with live.feed.follow(OPERATOR) as before:
        live.feed.close()
        with live.feed.follow(OPERATOR) as after:
            assert [await before.next(1), await after.next(1)] == [Signal.END, Signal.END]


async def test_nothing_is_kept_of_those_who_left(live: Live) -> None:
    with live.feed.follow(OPERATOR), live.feed.follow(OPERATOR, uuid4()):
        await live.insert()
    assert not live.feed._followers
    live.feed.notice(JobChange(uuid4(), 1, "pending"))
    with live.feed.follow(OPERATOR):
        assert not live.feed._versions


async def test_an_outage_of_the_database_ends_no_feed(live: Live, database: HubDatabase) -> None:
    job_id = await live.insert()
    with live.feed.follow(OPERATOR) as follower, live.feed.follow(OPERATOR, job_id) as single:
        feed = await begin_feed(live.database, follower, PATIENCE)
        one = await begin_job(live.database, single, job_id, PATIENCE)
        await taken(feed, 1), await taken(one, 1)
        async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND usename = 'nexus_test_app'"
            )
        await live.move(job_id, "running", "completed")
        while (await taken(feed, 1))[0].data.get("status") != "completed":
            pass
        assert [told.data["status"] async for told in one if told is not None][-1] == "completed"


@pytest.mark.one_table
async def test_the_index_serves_the_reading_of_what_ended(live: Live) -> None:
    await live.connection.execute(
        "INSERT INTO job_results (job_type, server_id, status, completed_at)"
        " SELECT 'tool_invoke', 'x', 'completed', now() - make_interval(secs => n) FROM generate_series(1, 20000) AS n"
    )
    await live.connection.execute("ANALYZE job_results")
    async with live.database.transaction() as transaction:
        rows = await transaction.all(
            b"EXPLAIN " + JOBS["ended_jobs"], seconds=35, after_completed_at=None, after_id=None, limit=1000
        )
        assert "idx_job_results_ended" in "\n".join(row["QUERY PLAN"] for row in rows)
        found = await module._read_ended(transaction, 3000)
    assert len({row["id"] for row in found}) == len(found) >= 2990
    assert found == sorted(found, key=lambda row: (row["completed_at"], row["id"]))
