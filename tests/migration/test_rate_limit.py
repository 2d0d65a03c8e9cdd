"""Calls that were counted before the table left the log count on."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from nexus_hub.db.migrate import known_migrations
from tests.fixtures.postgres import HubDatabase

Connection = psycopg.Connection[tuple[Any, ...]]
TAKEN = b"SELECT allowed, remaining FROM take_rate_limit('srv', NULL, %s)"


@pytest.fixture
def owner(empty_database: HubDatabase) -> Iterator[Connection]:
    """The owner of a database as it was before."""
    with psycopg.connect(empty_database.owner_url) as connection:
        for migration in known_migrations():
            if migration.name.endswith("rate_limit"):
                break
            connection.execute(migration.text)
        yield connection


def migrate_on(owner: Connection) -> None:
    for migration in known_migrations():
        if migration.name.endswith("rate_limit"):
            owner.execute(migration.text)


def test_calls_of_the_last_minute_count_on_also_when_it_runs_twice(owner: Connection) -> None:
    assert [owner.execute(TAKEN, [5]).fetchone() for _ in range(3)] == [(True, 4), (True, 3), (True, 2)]
    before = owner.execute("SELECT server_id, user_id, window_start, request_count FROM rate_limit_tracking").fetchall()
    migrate_on(owner)
    rows = owner.execute("SELECT server_id, user_id, window_start, request_count FROM rate_limit_tracking").fetchall()
    assert rows == before
    assert owner.execute(TAKEN, [5]).fetchone() == (True, 1)
    migrate_on(owner)
    assert [owner.execute(TAKEN, [5]).fetchone() for _ in range(2)] == [(True, 0), (False, 0)]


def test_a_database_that_never_lost_its_counts_holds_nobody_back(owner: Connection) -> None:
    migrate_on(owner)
    assert owner.execute(TAKEN, [1]).fetchone() == (True, 0)


def test_the_counts_are_not_logged(owner: Connection) -> None:
    migrate_on(owner)
    found = owner.execute(
        "SELECT relname, relpersistence FROM pg_class WHERE relname LIKE 'rate_limit_%' AND relkind = 'r' ORDER BY 1"
    ).fetchall()
    assert found == [("rate_limit_counting", "u"), ("rate_limit_tracking", "u")]
