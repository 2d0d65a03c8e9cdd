"""The counting of calls in the database: what a check reads, locks and writes, and what it knows after a crash."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from nexus_hub.db.migrate import migrate
from tests.fixtures.postgres import HubDatabase, created_database, embedded_server, ensure_roles

Connection = psycopg.Connection[dict[str, Any]]
Clock = Callable[[float], object]
SERVICE = "-c nexus.scope=service"
TAKE = b"SELECT * FROM take_rate_limit('srv', %s, %s, %s)"
ROWS_READ = b"""
    SELECT seq_tup_read + idx_tup_fetch AS rows FROM pg_stat_xact_user_tables WHERE relname = 'rate_limit_tracking'
"""
ANN, BOB = UUID(int=1), UUID(int=2)


def connect(url: str) -> Connection:
    return psycopg.connect(url, autocommit=True, row_factory=dict_row, options=SERVICE)


@pytest.fixture
def service(database: HubDatabase) -> Iterator[Connection]:
    with connect(database.app_url) as connection:
        yield connection


@pytest.fixture
def clock(database: HubDatabase) -> Iterator[Clock]:
    """The database's clock, as the limits read it: it stands, and is moved by seconds."""
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        admin.execute("CREATE SCHEMA played; CREATE TABLE played.clock AS SELECT now() AS time")
        admin.execute(
            "CREATE FUNCTION played.clock_timestamp() RETURNS timestamptz LANGUAGE sql "
            "AS 'SELECT time FROM played.clock'"
        )
        admin.execute("GRANT USAGE ON SCHEMA played TO PUBLIC; GRANT SELECT ON played.clock TO PUBLIC")
        for name in (b"nexus_take_rate_limit", b"nexus_rate_limit_usage"):
            admin.execute(b"ALTER FUNCTION " + name + b" SET search_path = played, pg_catalog, public, pg_temp")
        yield lambda seconds: admin.execute(
            "UPDATE played.clock SET time = time + make_interval(secs => %s)", [seconds]
        )


def one(service: Connection, query: bytes, *params: object) -> dict[str, Any]:
    row = service.execute(query, params).fetchone()
    assert row is not None
    return row


def take(
    service: Connection, per_minute: int | None, user: UUID | None = None, per_user: int | None = None
) -> dict[str, Any]:
    return one(service, TAKE, user, per_minute, per_user)


def allowed(service: Connection, calls: int, per_minute: int | None, user: UUID | None = None) -> list[bool]:
    return [take(service, per_minute, user)["allowed"] for _ in range(calls)]


def move_on(service: Connection, seconds: float) -> None:
    """Let time pass: what was counted is that much older."""
    for days in (1000, -1000):  # no row meets another's moment
        service.execute(
            "UPDATE rate_limit_tracking SET window_start = window_start - make_interval(days => %s, secs => %s)",
            [days, seconds if days > 0 else 0],
        )


def written_by_others(service: Connection, calls: int, seconds_ago: float, user: UUID | None = None) -> None:
    service.execute(
        "INSERT INTO rate_limit_tracking (server_id, user_id, window_start, request_count) "
        "VALUES ('srv', %s, clock_timestamp() - make_interval(secs => %s), %s)",
        [user, seconds_ago, calls],
    )


@pytest.mark.parametrize("per_minute", [1000, 601], ids=["allowed", "denied"])
def test_a_check_reads_as_much_after_600_calls_as_after_6(service: Connection, per_minute: int) -> None:
    """Two users by turns, so that no two calls share a row."""
    service.execute("SET enable_seqscan = off")
    read = []
    for calls in (6, 594):
        for number in range(calls):
            assert take(service, 1000, (ANN, BOB)[number % 2])["allowed"]
        with service.transaction():  # within which the numbers are kept apart
            before = one(service, ROWS_READ)["rows"]
            take(service, per_minute, ANN)
            read.append(one(service, ROWS_READ)["rows"] - before)
    assert service.execute("SELECT FROM rate_limit_tracking").rowcount > 500
    assert max(read) < 20


def test_a_denied_call_takes_no_lock_and_no_transaction_id(service: Connection) -> None:
    assert allowed(service, 2, 2) == [True, True]
    with service.transaction():
        assert not take(service, 2)["allowed"]
        assert one(
            service,
            b"SELECT pg_current_xact_id_if_assigned()::text AS id, (SELECT count(*) FROM pg_locks "
            b"WHERE pid = pg_backend_pid() AND locktype = 'advisory') AS locks",
        ) == {"id": None, "locks": 0}


def test_a_denied_call_does_not_wait_for_one_that_is_under_way(database: HubDatabase, service: Connection) -> None:
    assert allowed(service, 2, 2) == [True, True]
    with psycopg.connect(database.app_url, row_factory=dict_row, options=SERVICE) as other:
        assert take(other, 3)["allowed"]
        service.execute("SET lock_timeout = '200ms'")
        assert not take(service, 2)["allowed"]
        with pytest.raises(psycopg.errors.LockNotAvailable):
            take(service, 3)


def test_calls_close_to_each_other_share_a_row_and_others_do_not(service: Connection, clock: Clock) -> None:
    for user, seconds in ((None, 0), (None, 0.05), (None, 0.06), (ANN, 0.01), (None, 0.01)):
        clock(seconds)
        take(service, 1000, user)
    rows = service.execute("SELECT user_id, request_count FROM rate_limit_tracking ORDER BY window_start").fetchall()
    assert [(row["user_id"], row["request_count"]) for row in rows] == [(None, 2), (None, 1), (ANN, 1), (None, 1)]


def test_the_documented_columns_say_who_made_how_many_calls(service: Connection) -> None:
    for user in (ANN, ANN, BOB, None, ANN):
        take(service, 10, user)
    rows = service.execute(
        "SELECT user_id, sum(request_count)::integer AS calls, max(window_start) <= clock_timestamp() AS past "
        "FROM rate_limit_tracking WHERE server_id = 'srv' GROUP BY user_id ORDER BY user_id"
    ).fetchall()
    assert [(row["user_id"], row["calls"], row["past"]) for row in rows] == [
        (ANN, 3, True),
        (BOB, 1, True),
        (None, 1, True),
    ]


def test_calls_that_others_wrote_down_count_too(service: Connection) -> None:
    assert allowed(service, 2, 5, ANN) == [True, True]
    written_by_others(service, 2, 30, BOB)
    assert [one_of["remaining"] for one_of in (take(service, 5, ANN), take(service, 5, ANN))] == [0, 0]
    denied = take(service, 5, ANN)
    assert not denied["allowed"]
    assert denied["retry_after"] == pytest.approx(31, abs=5)
    move_on(service, 40)
    assert allowed(service, 3, 5, BOB) == [True, True, False]
    assert not take(service, 9, BOB, 2)["allowed"]
    assert take(service, 9, BOB, 3)["allowed"]


def test_a_lowered_limit_says_when_enough_calls_have_left(service: Connection) -> None:
    for _ in range(3):
        assert allowed(service, 2, 10) == [True, True]
        move_on(service, 15)
    for limit, seconds in ((6, 16), (5, 16), (4, 31), (2, 46), (1, 46)):
        assert take(service, limit)["retry_after"] == pytest.approx(seconds, abs=5), limit
    assert take(service, 7)["remaining"] == 0


def test_rows_that_somebody_deletes_give_room_again(service: Connection) -> None:
    assert allowed(service, 3, 2, ANN) == [True, True, False]
    service.execute("DELETE FROM rate_limit_tracking WHERE server_id = 'srv'")
    assert allowed(service, 3, 2, ANN) == [True, True, False]


@pytest.mark.parametrize("per_minute", [None, 100])
def test_a_limit_of_each_user_holds_however_their_calls_are_mixed(service: Connection, per_minute: int | None) -> None:
    users = (ANN, BOB, None)
    passed = [take(service, per_minute, users[number % 3], 3)["allowed"] for number in range(12)]
    assert passed == [True] * 9 + [False] * 3


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_transaction_that_sees_only_its_beginning_counts_nothing(
    database: HubDatabase, service: Connection, level: str
) -> None:
    with connect(database.app_url) as other, other.transaction(force_rollback=True):
        other.execute(f"SET TRANSACTION ISOLATION LEVEL {level}".encode())
        assert allowed(other, 1, 0) == [False], "what needs no counting works"
        assert allowed(service, 1, 2) == [True]
        with pytest.raises(psycopg.errors.InvalidTransactionState, match=level):
            take(other, 2)
    assert allowed(service, 2, 2) == [True, False]


def test_a_clock_that_is_put_back_lets_no_more_through(service: Connection, clock: Clock) -> None:
    passed = []
    for number, seconds in enumerate((0, -30, 0.05, -1, 5)):
        clock(seconds)
        passed += allowed(service, 2, 6, (ANN, BOB)[number % 2])
    assert passed == [True] * 6 + [False] * 4
    clock(87)
    assert allowed(service, 7, 6) == [True] * 6 + [False]


def test_a_clock_that_was_ahead_for_a_while_holds_up_only_what_it_let_through(
    service: Connection, clock: Clock
) -> None:
    clock(3600)
    assert allowed(service, 1, 3, ANN) == [True]
    clock(-3600)
    for _ in range(3):
        assert allowed(service, 4, 3, ANN).count(True) == 2
        clock(62)
    clock(3600)
    assert allowed(service, 4, 3, ANN).count(True) == 3


def test_calls_of_one_moment_are_all_counted(service: Connection, clock: Clock) -> None:
    assert [take(service, 5, user)["allowed"] for user in (ANN, BOB, None, BOB, ANN, ANN, None)] == [True] * 5 + [
        False
    ] * 2
    clock(61.2)
    assert allowed(service, 6, 5) == [True] * 5 + [False]


def lose_counts(database: HubDatabase) -> None:
    """Empty what a crash empties."""
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        unlogged = admin.execute(
            "SELECT string_agg(oid::regclass::text, ', ') FROM pg_class WHERE relkind = 'r' AND relpersistence = 'u'"
        ).fetchone()
        assert unlogged is not None
        admin.execute(f"TRUNCATE {unlogged[0]}".encode())


@pytest.mark.parametrize("limits", [(5, None), (None, 5), (9, 5)])
@pytest.mark.parametrize("user", [None, ANN])
def test_when_the_counts_are_lost_the_minute_counts_as_full(
    database: HubDatabase, service: Connection, limits: tuple[int | None, int | None], user: UUID | None
) -> None:
    assert take(service, limits[0], user, limits[1])["allowed"]
    lose_counts(database)
    peeked = service.execute("SELECT * FROM peek_rate_limit('srv', %s, %s, %s)", [user, *limits]).fetchall()
    assert {row["remaining"] for row in peeked} == {0}
    denied = take(service, limits[0], user, limits[1])
    assert (denied["allowed"], denied["remaining"]) == (False, 0)
    assert 30 < denied["retry_after"] <= 61
    assert take(service, None, user)["allowed"], "where there is no limit nothing waits"
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        admin.execute("UPDATE rate_limit_counting SET since = since - interval '62 seconds'")
    assert take(service, limits[0], user, limits[1])["allowed"]


def test_a_crash_of_the_database_brings_no_second_burst() -> None:
    with embedded_server() as url:
        ensure_roles(url)
        with created_database(url, template=None) as database:
            asyncio.run(migrate(database.owner_url, app_url=database.app_url))
            with connect(database.app_url) as witness, connect(database.app_url) as connection:
                assert allowed(connection, 3, 2) == [True, True, False]
                os.kill(connection.info.backend_pid, signal.SIGKILL)
                with pytest.raises(psycopg.OperationalError):  # the server ends all others once it has noticed
                    witness.execute("SELECT pg_sleep(60)")
            with _reconnected(database.app_url) as connection:
                assert allowed(connection, 2, 2, uuid4()) == [False, False]


def _reconnected(url: str) -> Connection:
    """Connect once the server has recovered."""
    for _ in range(600):
        try:
            return connect(url)
        except psycopg.OperationalError:
            time.sleep(0.1)
    return connect(url)
