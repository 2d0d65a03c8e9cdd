"""A migration is applied while the previous release runs: it may add, and takes nothing unless it says so."""

import re

import psycopg
import pytest

from nexus_hub.db.migrate import known_migrations
from nexus_hub.db.queries import load, sql_root
from tests.fixtures.postgres import HubDatabase
from tests.migration import compatibility

pytestmark = pytest.mark.one_table

FIRST = 40
"""The migrations before were made for a first release, which nothing ran before."""
Described = list[tuple[bytes | None, int, int]]


def test_no_migration_takes_what_the_previous_release_counts_on(empty_database: HubDatabase) -> None:
    with psycopg.connect(empty_database.owner_url) as connection:
        for migration in known_migrations():
            before = compatibility.read(connection) if migration.version >= FIRST else None
            connection.execute(migration.text)
            if before is not None:
                broken = compatibility.broken(before, compatibility.read(connection))
                assert broken == compatibility.contracted(migration.text.decode()), migration.name


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ("ALTER TABLE job_results ADD COLUMN note text", set()),
        ("ALTER TABLE job_results ADD COLUMN note text NOT NULL DEFAULT ''", set()),
        (
            "CREATE TABLE notes (id uuid PRIMARY KEY, job_id uuid NOT NULL REFERENCES job_results, "
            "text text CHECK (text <> ''))",
            set(),
        ),
        ("CREATE OR REPLACE FUNCTION nexus_has_ended(p_status text) RETURNS boolean RETURN p_status <> 'x'", set()),
        (
            "ALTER TABLE job_results ADD COLUMN note text NOT NULL",
            {"demanded: value job_results.note"},
        ),
        (
            "ALTER TABLE job_results ALTER COLUMN error SET NOT NULL",
            {"demanded: value job_results.error"},
        ),
        ("ALTER TABLE job_results ALTER COLUMN lane DROP DEFAULT", {"demanded: value job_results.lane"}),
        (
            "ALTER TABLE job_results RENAME COLUMN trace_context TO trace",
            {"gone: column job_results.trace_context text"},
        ),
        (
            "ALTER TABLE job_results ADD CONSTRAINT short CHECK (length(error) < 10)",
            {"demanded: constraint job_results CHECK ((length(error) < 10))"},
        ),
        (
            "CREATE UNIQUE INDEX one_each ON job_results (tool_name)",
            {"demanded: unique job_results btree (tool_name)"},
        ),
        ("REVOKE INSERT ON job_results FROM nexus_app", {"gone: right INSERT job_results"}),
        (
            "ALTER FUNCTION cleanup_old_job_results() RENAME TO clean_up",
            {"gone: function cleanup_old_job_results() "},
        ),
    ],
)
def test_what_a_migration_takes_is_found(database: HubDatabase, change: str, broken: set[str]) -> None:
    with psycopg.connect(database.owner_url) as connection:
        before = compatibility.read(connection)
        connection.execute(change.encode())
        found = compatibility.broken(before, compatibility.read(connection))
    assert len(found) >= len(broken)
    assert all(any(one.startswith(what) for one in found) for what in broken), found
    assert bool(found) == bool(broken), found


def test_what_a_migration_says_that_it_takes_is_read() -> None:
    text = "-- Nothing reads it since 0.3.\n-- contract: gone: column a.b text\nALTER TABLE a DROP COLUMN b;\n"
    assert compatibility.contracted(text) == {"gone: column a.b text"}


def test_no_query_gives_more_when_a_table_gets_a_column(database: HubDatabase) -> None:
    """Connections keep statements prepared; one whose result gets another form fails until its connection ends."""
    with psycopg.connect(database.admin_url, autocommit=True) as connection:
        before = _describe_all(connection)
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 2200"
        ).fetchall()
        for (table,) in tables:
            connection.execute(f'ALTER TABLE "{table}" ADD COLUMN of_the_next_release text'.encode())
        after = _describe_all(connection)
    assert len(before) > 250
    assert {name: found for name, found in after.items() if before.get(name) != found} == {}


def _describe_all(connection: psycopg.Connection[tuple[object, ...]]) -> dict[str, Described]:
    found = {}
    for path in sorted((sql_root() / "queries").glob("*.sql")):
        for name, query in load(path.stem).items():
            described = _describe(connection, query.decode())
            if described is not None:
                found[f"{path.stem}.{name}"] = described
    return found


def _describe(connection: psycopg.Connection[tuple[object, ...]], query: str) -> Described | None:
    """Describe the columns of a query's result; None if it is one that no connection prepares."""
    numbers: dict[str, int] = {}
    text = re.sub(r"%\((\w+)\)s", lambda one: f"${numbers.setdefault(one[1], len(numbers) + 1)}", query)
    prepared = connection.pgconn.prepare(b"", text.replace("%%", "%").encode())
    if prepared.error_message:
        return None
    described = connection.pgconn.describe_prepared(b"")
    return [
        (described.fname(number), described.ftype(number), described.fmod(number))
        for number in range(described.nfields)
    ]
