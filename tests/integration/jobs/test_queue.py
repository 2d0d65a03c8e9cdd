"""What a pending job waits for, and the queue user by user: what is said, and what is read for it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from nexus_hub.access import users
from nexus_hub.db.pool import SESSION, Database
from nexus_hub.jobs import queue, store
from nexus_hub.jobs.queue import QUEUE, UserQueue, read_queue
from nexus_hub.models import MOST_AHEAD, OPERATOR, Principal
from tests.fixtures.jobs import LONG_AGO, Table, ago
from tests.fixtures.postgres import HubDatabase
from tests.integration.jobs.test_history import rows_read

NOTHING = {"position": None, "running": None, "until": None, "reason": None}
FLOOD = """
    INSERT INTO job_results (user_id, job_type, server_id, dispatched_at, available_at)
    SELECT %(user)s, 'tool_invoke', 'x', now(), now() - make_interval(secs => n)
    FROM generate_series(1, %(jobs)s) AS n
"""


def later() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=5)


async def queued(table: Table, user: UUID | None = None, seconds: float = 300, **columns: Any) -> UUID:
    """A job in the queue that is due for so many seconds."""
    since = ago(timedelta(seconds=seconds))
    return await table.add(user_id=user, **{"dispatched_at": since, "available_at": since} | columns)


async def waits(database: Database, job_id: UUID, principal: Principal = OPERATOR) -> Any:
    return (await store.get(database, principal, job_id, with_waits=True))["waits"]


async def test_a_job_in_the_queue_says_its_place_among_those_of_its_user(hub_database: Database, table: Table) -> None:
    ann, bob = uuid4(), uuid4()
    jobs = {user: [await queued(table, user, 300 - n) for n in range(3)] for user in (ann, bob, None)}
    await queued(table, ann, 500, available_at=later())  # not due
    await table.add(user_id=ann, available_at=ago(LONG_AGO * 2))  # not in the queue
    await table.add(user_id=ann, dispatched_at=ago(LONG_AGO), flow_run_id=uuid4(), available_at=ago(LONG_AGO * 2))
    await table.running(user_id=ann)
    await table.running(user_id=ann)
    await table.running(user_id=None)
    await table.running(user_id=None, job_type="cache_refresh")
    for user, running in ((ann, 2), (bob, 0), (None, 1)):
        for principal in {OPERATOR, Principal(user)}:
            said = [await waits(hub_database, job_id, principal) for job_id in jobs[user]]
            assert said == [
                NOTHING | {"for": "queue", "position": position, "running": running} for position in (1, 2, 3)
            ]


async def test_jobs_of_the_same_moment_have_places_of_their_own(hub_database: Database, table: Table) -> None:
    since = ago(LONG_AGO)
    jobs = [await table.add(dispatched_at=since, available_at=since) for _ in range(5)]
    assert sorted([(await waits(hub_database, job_id))["position"] for job_id in jobs]) == [1, 2, 3, 4, 5]


async def test_those_who_go_before_leave_the_place_to_the_next(hub_database: Database, table: Table) -> None:
    first, second = await queued(table, None, 20), await queued(table, None, 10)
    assert (await waits(hub_database, second))["position"] == 2
    await store.cancel(hub_database, OPERATOR, first)
    assert (await waits(hub_database, second))["position"] == 1
    assert await waits(hub_database, first) is None


RUN = uuid4()
TIMES: dict[str, tuple[dict[str, Any], str | None]] = {
    "rate limit, in the queue": ({"dispatched_at": ago(LONG_AGO)}, "rate-limited"),
    "rate limit, after a failure": (
        {"dispatched_at": ago(LONG_AGO), "attempt": 1, "error_code": "upstream-unavailable"},
        "rate-limited",
    ),
    "rate limit, in its own run": ({"dispatched_at": ago(LONG_AGO), "flow_run_id": RUN}, "rate-limited"),
    "a silent server, in the queue": (
        {"dispatched_at": ago(LONG_AGO), "error_code": "circuit-open"},
        "circuit-open",
    ),
    "a silent server, in its own run": (
        {"dispatched_at": ago(LONG_AGO), "flow_run_id": RUN, "error_code": "circuit-open"},
        "circuit-open",
    ),
    "between attempts": ({"attempt": 1, "error_code": "upstream-unavailable"}, "upstream-unavailable"),
    "after lost runs": ({"lost_runs": 3, "lost_flow_run_id": RUN, "error_code": "run-lost"}, "run-lost"),
    "refused by Prefect": ({"error_code": "prefect-refused"}, "prefect-refused"),
    "stored for later": ({}, None),
}


@pytest.mark.parametrize("case", TIMES)
async def test_a_job_that_is_not_due_says_until_when_and_why(hub_database: Database, table: Table, case: str) -> None:
    columns, reason = TIMES[case]
    until = later()
    job_id = await table.add(available_at=until, **columns)
    expected = NOTHING | {"for": "time", "until": until, "reason": reason}
    assert await waits(hub_database, job_id) == expected


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"flow_run_id": RUN, "dispatched_at": ago(LONG_AGO)}, "flow-run"),
        ({}, "prefect"),
        ({"attempt": 1, "error_code": "lease-expired", "lost_flow_run_id": RUN}, "prefect"),
    ],
)
async def test_a_job_that_is_due_and_not_in_the_queue_waits_for_prefect(
    hub_database: Database, table: Table, columns: dict[str, Any], what: str
) -> None:
    job_id = await table.add(**columns)
    assert await waits(hub_database, job_id) == NOTHING | {"for": what}


async def test_a_job_that_runs_or_has_ended_waits_for_nothing(hub_database: Database, table: Table) -> None:
    jobs = [await table.running()]
    jobs += [await table.add(status=status, completed_at=ago(LONG_AGO)) for status in ("completed", "failed")]
    assert [await waits(hub_database, job_id) for job_id in jobs] == [None] * 3


async def test_only_who_asks_is_told(hub_database: Database, table: Table) -> None:
    row = await store.get(hub_database, OPERATOR, await table.add())
    assert "waits" not in row


async def explained(database: HubDatabase, query: str, principal: Principal, **parameters: Any) -> float:
    """The rows that a query reads for a principal."""
    scope = {
        "scope": "service" if principal.is_operator else "user",
        "user_id": str(principal.user_id or ""),
        "statement_timeout": None,
    }
    async with await psycopg.AsyncConnection.connect(database.app_url) as connection:
        await connection.execute(SESSION["set_scope"], scope)
        await connection.execute("SET LOCAL enable_seqscan = off")  # the table is small here, and read in one go
        cursor = await connection.execute(b"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) " + QUEUE[query], parameters)
        row = await cursor.fetchone()
    assert row is not None
    return rows_read(row[0][0]["Plan"])


async def test_a_place_far_behind_is_counted_to_a_bound(
    hub_database: Database, database: HubDatabase, table: Table
) -> None:
    ann = uuid4()
    for user in (None, uuid4()):
        await table.connection.execute(FLOOD.encode(), {"user": user, "jobs": 3000})
    await table.connection.execute(FLOOD.encode(), {"user": ann, "jobs": MOST_AHEAD + 500})
    last = await queued(table, ann, 0)
    await table.connection.execute("ANALYZE job_results")
    assert (await waits(hub_database, last, Principal(ann)))["position"] == MOST_AHEAD + 1
    for principal in (OPERATOR, Principal(ann)):
        read = await explained(database, "job_waits", principal, id=last, most_ahead=MOST_AHEAD)
        assert read <= MOST_AHEAD + 50


def shown(user: UserQueue) -> tuple[Any, ...]:
    return user.name, user.waiting, user.later, user.running


async def test_the_queue_names_each_user_with_open_jobs_and_whoever_waits_longest_first(
    hub_database: Database, table: Table
) -> None:
    ann, bob, gone = (await users.add(hub_database, "ann")).id, (await users.add(hub_database, "bob")).id, uuid4()
    await users.add(hub_database, "idle")
    for seconds in (10, 50):
        await queued(table, ann, seconds)
    await queued(table, ann, 90, available_at=later())
    await table.running(user_id=ann)
    await table.add(user_id=bob, available_at=ago(timedelta(seconds=70)))  # Prefect has not been told of it
    await table.add(  # its run has not begun
        user_id=gone,
        available_at=ago(timedelta(seconds=30)),
        dispatched_at=ago(LONG_AGO),
        flow_run_id=uuid4(),
    )
    await table.running(user_id=None)
    await table.running(user_id=None, job_type="cache_refresh")
    await table.add(user_id=ann, status="completed", completed_at=ago(LONG_AGO))
    report = await read_queue(hub_database, OPERATOR)
    assert [shown(user) for user in report.users] == [
        ("bob", 1, 0, 0),
        ("ann", 2, 1, 1),
        (None, 1, 0, 0),
        (None, 0, 0, 1),
    ]
    assert [user.user_id for user in report.users] == [bob, ann, gone, None]
    waited = [user.oldest_seconds for user in report.users]
    assert waited[3] is None
    assert all(seconds >= least for seconds, least in zip(waited[:3], (70, 50, 30), strict=True) if seconds is not None)
    assert (report.waiting, report.later, report.running, report.more) == (4, 1, 2, False)


async def test_a_user_sees_its_own_part_of_the_queue_and_runs_that_carry_its_jobs(
    hub_database: Database, table: Table
) -> None:
    ann, bob = uuid4(), uuid4()
    runs = {name: uuid4() for name in ("ann's", "other", "coming", "dead", "closed")}
    times = {"coming": (None, None, None), "dead": (ago(LONG_AGO), ago(LONG_AGO), None)}
    for name, run in runs.items():
        begun, leased, closed = times.get(name, (ago(LONG_AGO), later(), later() if name == "closed" else None))
        await table.connection.execute(
            "INSERT INTO shared_runs (id, flow_run_id, begun_at, lease_expires_at, closed_at)"
            " VALUES (%s, %s, %s, %s, %s)",
            [uuid4(), run, begun, leased, closed],
        )
    for user, name in ((ann, "ann's"), (ann, "closed"), (bob, "other")):
        await table.running(user_id=user, flow_run_id=runs[name])
        await queued(table, user)
    await queued(table, None)
    hers = await read_queue(hub_database, Principal(ann))
    assert ([shown(user) for user in hers.users], hers.waiting, hers.running) == ([(None, 2, 0, 2)], 2, 2)
    assert hers.users[0].user_id == ann
    assert hers.runs == [runs["ann's"]]
    everything = await read_queue(hub_database, OPERATOR)
    assert set(everything.runs) == {runs["ann's"], runs["other"], runs["coming"]}
    assert {user.user_id for user in everything.users} == {ann, bob, None}


async def test_the_queue_of_nobody_is_empty(hub_database: Database) -> None:
    for principal in (OPERATOR, Principal(uuid4())):
        report = await read_queue(hub_database, principal)
        assert (report.users, report.runs, report.waiting, report.more) == ([], [], 0, False)


@pytest.mark.one_table
async def test_a_flood_is_counted_to_a_bound_and_hides_neither_its_oldest_job_nor_other_users(
    hub_database: Database, database: HubDatabase, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "MOST_JOBS", 100)
    ann, bob = uuid4(), uuid4()
    for user in (None, ann):
        await table.connection.execute(FLOOD.encode(), {"user": user, "jobs": 3000})
        await queued(table, user, 5000)
    await queued(table, bob, 10)
    for user in (None, ann, ann):
        await table.running(user_id=user)
    await table.connection.execute("ANALYZE job_results")
    report = await read_queue(hub_database, OPERATOR)
    found = {user.user_id: user for user in report.users}
    counts = {user: (one.waiting, one.more, one.running) for user, one in found.items()}
    assert counts == {None: (100, True, 1), ann: (100, True, 2), bob: (1, False, 0)}
    assert [found[user].oldest_seconds >= 5000 for user in (None, ann, bob)] == [True, True, False]  # type: ignore[operator]
    bounds = {"most_users": 10, "most_jobs": 100}
    for principal, most in ((OPERATOR, 300), (Principal(ann), 150)):
        seen = {"all_users": principal.is_operator, "user_id": principal.user_id}
        read = await explained(database, "queues", principal, **seen, **bounds)
        assert read <= most


async def test_more_users_than_are_shown_are_said(
    hub_database: Database, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "MOST_USERS", 2)
    for number in range(2):
        await queued(table, uuid4())
        report = await read_queue(hub_database, OPERATOR)
        assert (len(report.users), report.more) == (number + 1, False)
    await queued(table, uuid4())
    report = await read_queue(hub_database, OPERATOR)
    assert (len(report.users), report.waiting, report.more) == (2, 2, True)
