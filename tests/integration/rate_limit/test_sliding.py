"""How many calls pass: 300 attempts of three users on a system server limited to 100 a minute."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from tests.fixtures.postgres import HubDatabase

CONNECTIONS, ATTEMPTS, LIMIT, SPREAD_SECONDS = 16, 300, 100, 4.0
CHECK = b"SELECT check_rate_limit(%s, %s, %s) AS allowed, clock_timestamp() AS at"
TAKE = b"SELECT allowed, clock_timestamp() AS at FROM take_rate_limit(%s, %s, %s, %s)"
SHIFT = b"UPDATE rate_limit_tracking SET window_start = window_start - %s"
MINUTE = timedelta(seconds=60)


@dataclass
class Traffic:
    """Calls of several users, with a clock that is the database's and what it was moved on by."""

    pool: AsyncConnectionPool
    users: list[UUID] = field(default_factory=lambda: [uuid4() for _ in range(3)])
    moved: timedelta = timedelta()
    passed: list[tuple[datetime, UUID]] = field(default_factory=list)

    async def attempts(self, query: bytes, *limits: int, seconds: float = SPREAD_SECONDS) -> int:
        """All attempts, at moments of their own; how many passed."""
        done = await asyncio.gather(
            *(
                self._attempt(query, self.users[number % 3], limits, random.uniform(0, seconds))
                for number in range(ATTEMPTS)
            )
        )
        return sum(done)

    async def _attempt(self, query: bytes, user: UUID, limits: tuple[int, ...], delay: float) -> bool:
        await asyncio.sleep(delay)
        async with self.pool.connection() as connection:
            row = await (await connection.execute(query, ("srv", user, *limits))).fetchone()
        assert row is not None
        allowed, at = row
        if allowed:
            self.passed.append((at + self.moved, user))
        return bool(allowed)

    async def move_on(self, seconds: float) -> None:
        """Let time pass for the limits: what was counted is that much older."""
        async with self.pool.connection() as connection, connection.transaction():
            for step in (timedelta(days=1000, seconds=seconds), timedelta(days=-1000)):  # no row meets another's second
                await connection.execute(SHIFT, [step])
        self.moved += timedelta(seconds=seconds)

    def fullest_minute(self, user: UUID | None = None) -> int:
        """The most calls that passed in any sliding minute, both of its ends included."""
        times = sorted(at for at, who in self.passed if user in (None, who))
        return max((sum(first <= at <= first + MINUTE for at in times) for first in times), default=0)


@pytest.fixture
async def traffic(database: HubDatabase) -> AsyncIterator[Traffic]:
    async with AsyncConnectionPool(
        database.app_url,
        min_size=CONNECTIONS,
        max_size=CONNECTIONS,
        open=False,
        timeout=120,
        kwargs={"autocommit": True, "options": "-c nexus.scope=service"},
    ) as pool:
        yield Traffic(pool)


async def test_of_300_attempts_of_three_users_100_pass_in_any_sliding_minute(traffic: Traffic) -> None:
    first = await traffic.attempts(CHECK, LIMIT)
    await traffic.move_on(30)
    early = await traffic.attempts(CHECK, LIMIT)
    await traffic.move_on(62)
    later = await traffic.attempts(CHECK, LIMIT)
    fullest = traffic.fullest_minute()
    shown = f"{first}, after 30 s {early}, after 62 s more {later}; fullest minute: {fullest}"
    sys.stdout.write(f"passed of {ATTEMPTS} attempts: {shown}\n")
    assert (first, early, later) == (LIMIT, 0, LIMIT)
    assert fullest == LIMIT


async def test_room_comes_back_as_calls_leave_the_minute_and_no_more_of_it(traffic: Traffic) -> None:
    """Three bursts 15 seconds apart: each leaves after its own minute."""
    sizes = [20, 30, 50]
    for size in sizes:
        await traffic.attempts(CHECK, sum(sizes[: sizes.index(size) + 1]), seconds=0)
        await traffic.move_on(15)
    assert len(traffic.passed) == LIMIT
    came_back = []
    for seconds in (17, 15, 15):  # a call counts for 61 seconds, and its bucket is one more
        await traffic.move_on(seconds)
        came_back.append(await traffic.attempts(CHECK, LIMIT, seconds=0))
    assert came_back == sizes
    assert traffic.fullest_minute() <= LIMIT


async def test_of_two_limits_the_stricter_holds_for_each_user_in_any_sliding_minute(traffic: Traffic) -> None:
    passed = await traffic.attempts(TAKE, LIMIT, 25, seconds=1)
    assert passed == 75
    await traffic.move_on(31)
    assert await traffic.attempts(TAKE, LIMIT, 40, seconds=1) == 25
    assert traffic.fullest_minute() == LIMIT
    assert all(traffic.fullest_minute(user) <= 40 for user in traffic.users)


async def test_of_4200_attempts_in_bursts_no_more_pass_than_the_limit_in_any_sliding_minute(traffic: Traffic) -> None:
    """The long form, in real time, is in the benchmark of rate limits."""
    moves = random.Random(7)
    for _ in range(14):
        await traffic.attempts(CHECK, LIMIT, seconds=0.2)
        await traffic.move_on(moves.choice([0.1, 1, 15, 40, 59.5, 61.5]))
    assert len(traffic.passed) > 3 * LIMIT
    assert traffic.fullest_minute() == LIMIT


@pytest.mark.parametrize(("limit", "passes"), [(0, 0), (-1, 0), (None, 3)])
async def test_a_limit_of_nothing_stops_all_users_and_none_stops_nobody(
    database: HubDatabase, limit: int | None, passes: int
) -> None:
    options = "-c nexus.scope=service"
    async with await psycopg.AsyncConnection.connect(database.app_url, autocommit=True, options=options) as connection:
        rows = [
            await (await connection.execute(CHECK, ("srv", user, limit))).fetchone()
            for user in (None, uuid4(), uuid4())
        ]
    assert sum(bool(row and row[0]) for row in rows) == passes
