"""The limits of a server on a real database: how many pass, when to come back, and what holds without an answer."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from nexus_hub.db.pool import Database
from nexus_hub.rate_limit.limiter import Limiter, Limits
from tests.fixtures.library import CutDatabase
from tests.fixtures.postgres import HubDatabase

SERVER = UUID(int=7)


@contextmanager
def admin(database: HubDatabase) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.admin_url, autocommit=True) as connection:
        yield connection


async def test_of_300_attempts_of_three_users_a_limit_of_100_lets_100_through_in_any_minute(
    database: HubDatabase,
) -> None:
    users = [uuid4() for _ in range(3)]
    passed: list[UUID] = []
    async with Database(database.app_url, name="test", max_size=16) as pool:
        one_process, another = Limiter(pool), Limiter(pool)

        async def attempt(user: UUID, limiter: Limiter = one_process) -> None:
            decision = await limiter.take(SERVER, user, Limits(100))
            if decision.allowed:
                passed.append(user)
            else:
                assert 0 < decision.retry_after <= 61

        for _ in range(10):
            await asyncio.gather(*(attempt(users[number % 3]) for number in range(30)))
            await asyncio.sleep(0.15)
        assert len(passed) == 100
        with admin(database) as connection:
            (counted,) = connection.execute("SELECT sum(request_count) FROM rate_limit_tracking").fetchone() or (0,)
            assert counted == 100, "denied calls write nothing"
            # A while later: only what is older than a minute makes room again, to the very number.
            connection.execute("UPDATE rate_limit_tracking SET window_start = window_start - interval '59 seconds'")
            aged = connection.execute(
                "SELECT coalesce(sum(request_count), 0) FROM rate_limit_tracking"
                " WHERE window_start <= clock_timestamp() - interval '61 seconds'"
            ).fetchone()
        assert aged is not None
        before = len(passed)
        await asyncio.gather(*(attempt(users[number % 3], another) for number in range(150)))
        with admin(database) as connection:
            (live,) = connection.execute(
                "SELECT coalesce(sum(request_count), 0) FROM rate_limit_tracking"
                " WHERE window_start > clock_timestamp() - interval '60 seconds'"
            ).fetchone() or (0,)
        assert len(passed) - before >= aged[0]
        assert live <= 100, "no sliding minute holds more than the limit"


def test_who_is_denied_waits_for_a_while_however_late_it_is(database: HubDatabase) -> None:
    """The oldest call stops to count between two readings of the clock, if there are two; this clock jumps at each."""
    with admin(database) as connection:
        connection.execute("CREATE SCHEMA played")
        connection.execute("CREATE SEQUENCE played.readings")
        connection.execute(
            "CREATE FUNCTION played.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS"
            " $$ SELECT '2026-01-01 00:00:59.5Z'::timestamptz + nextval('played.readings') * interval '1 second' $$"
        )
        connection.execute(
            "ALTER FUNCTION nexus_rate_limit_usage SET search_path = played, pg_catalog, public, pg_temp"
        )
        connection.execute(
            "INSERT INTO rate_limit_tracking (server_id, window_start) VALUES ('srv', '2026-01-01 00:00:00Z')"
        )
        asked = "SELECT remaining, retry_after, reset_after FROM peek_rate_limit('srv', NULL, 1)"
        assert connection.execute(asked).fetchone() == (0, 0.5, 0.5)
        assert connection.execute(asked).fetchone() == (1, 0, 0)


async def test_of_two_limits_the_stricter_wins(hub_database: Database) -> None:
    limiter, ann, bob, eve = Limiter(hub_database), uuid4(), uuid4(), uuid4()
    limits = Limits(5, 2)

    async def passes(user: UUID | None) -> list[bool]:
        return [(await limiter.take(SERVER, user, limits)).allowed for _ in range(3)]

    assert await passes(ann) == [True, True, False], "the user's own limit"
    assert await passes(bob) == [True, True, False]
    assert await passes(eve) == [True, False, False], "the server's limit"
    assert (await limiter.take(uuid4(), ann, limits)).allowed, "another server has limits of its own"


async def test_the_operator_is_limited_too(hub_database: Database) -> None:
    limiter = Limiter(hub_database)
    assert [(await limiter.take(SERVER, None, Limits(None, 2))).allowed for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("limit", "allowed"), [(2, [True, True, False]), (0, [False] * 3), (-1, [False] * 3), (None, [True] * 3)]
)
@pytest.mark.parametrize("user", [None, UUID(int=1)])
def test_check_rate_limit_answers_as_documented(
    database: HubDatabase, user: UUID | None, limit: int | None, allowed: list[bool]
) -> None:
    with psycopg.connect(database.app_url, autocommit=True) as connection:
        connection.execute("SELECT set_config('nexus.scope', 'service', false)")
        rows = [
            connection.execute("SELECT check_rate_limit('srv', %s, %s)", [user, limit]).fetchone() for _ in range(3)
        ]
    assert [row[0] for row in rows if row] == allowed


async def test_while_nobody_answers_a_process_keeps_to_the_limits_by_itself(database: HubDatabase) -> None:
    """A lock that is held too long, as by a stuck transaction, is no open door, and no second burst either."""
    ann = uuid4()
    async with Database(database.app_url, name="test") as pool:
        limiter = Limiter(pool)
        admitted = [(await limiter.take(SERVER, ann, Limits(4))).allowed for _ in range(2)]
        with psycopg.connect(database.admin_url) as stuck:
            stuck.execute("SELECT pg_advisory_xact_lock(hashtextextended('nexus.rate_limit:' || %s, 0))", [str(SERVER)])
            by_itself = [await limiter.take(SERVER, ann, Limits(4)) for _ in range(3)]
        assert admitted == [True, True]
        assert [one.allowed for one in by_itself] == [True, True, False]
        assert 0 < by_itself[2].retry_after <= 61


async def test_a_database_that_comes_back_brings_no_second_burst(database: HubDatabase) -> None:
    async with CutDatabase(database.app_url, name="test") as pool:
        limiter, passed = Limiter(pool), list[int]()
        for pool.cut in (False, True, False):
            tries = 4 if not passed else 20
            passed.append(sum([(await limiter.take(SERVER, None, Limits(10))).allowed for _ in range(tries)]))
    assert passed == [4, 6, 0]


async def test_many_at_the_same_time_in_one_process_get_exactly_the_limit(hub_database: Database) -> None:
    limiter = Limiter(hub_database, longest_wait=60)
    decisions = await asyncio.gather(*(limiter.take(SERVER, None, Limits(10)) for _ in range(50)))
    assert sum(decision.allowed for decision in decisions) == 10


async def test_who_gets_no_connection_goes_by_the_bound_too(database: HubDatabase) -> None:
    async with Database(database.app_url, name="test", max_size=1) as pool, pool.transaction():
        limiter = Limiter(pool, longest_wait=0.1)
        assert [(await limiter.take(SERVER, None, Limits(2))).allowed for _ in range(3)] == [True, True, False]


async def test_old_counts_go_also_of_servers_that_nobody_calls(database: HubDatabase, hub_database: Database) -> None:
    limiter = Limiter(hub_database)
    await limiter.take(SERVER, None, Limits(1))
    with admin(database) as connection:
        connection.execute(
            "INSERT INTO rate_limit_tracking (server_id, window_start) VALUES ('gone', now() - interval '3 minutes')"
        )
    assert await limiter.purge() == 1
    assert not (await limiter.take(SERVER, None, Limits(1))).allowed


async def test_a_purge_waits_for_nobody(database: HubDatabase, hub_database: Database) -> None:
    with admin(database) as connection, psycopg.connect(database.admin_url) as other:
        connection.execute(
            "INSERT INTO rate_limit_tracking (server_id, window_start) VALUES ('gone', now() - interval '3 minutes')"
        )
        other.execute("SELECT FROM rate_limit_tracking FOR UPDATE")
        async with asyncio.timeout(30):
            assert await Limiter(hub_database).purge() == 0
    assert await Limiter(hub_database).purge() == 1
