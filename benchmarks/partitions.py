"""What do partitions by day change, and how long does the change to them keep others waiting?

Two databases on one server with the same jobs, ended on each of the last eight days: one table, and partitions by day.

- A job's path and the hub's rounds on both, asked in turns, with the WAL of a path.
- The clean-up of what ended more than 7 days ago (the oldest day, and a part of the next), by the hub's flow and by the
  documented function, beside a writer that updates one job after the other.
- `nexus-hub migrate --partition-jobs` on so many jobs in one table, at most 1,000,000, beside the same writer.

`--rows` and `--rounds` make it smaller, or larger.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any

import psycopg

from benchmarks import cleanup
from benchmarks.big_tables import Place
from benchmarks.many_jobs import copied, filled, server
from benchmarks.report import machine, milliseconds, percentile, publish, table
from nexus_hub.db.migrate import migrate
from nexus_hub.db.partitions import partition_jobs
from nexus_hub.db.pool import Database
from tests.fixtures.postgres import SINCE, HubDatabase, created_database, put_into_days

ROWS, ROUNDS, DAYS, CHANGED = 5_000_000, 200, 8, 1_000_000
ONE, DAILY = "one table", "partitions"
ENDED = """
    INSERT INTO {table} (user_id, job_type, server_id, tool_name, params, status, result, attempt, flow_run_id,
                         idempotency_key, created_at, available_at, dispatched_at, started_at, heartbeat_at,
                         completed_at)
    SELECT CASE WHEN n %% 10 = 0 THEN NULL
                ELSE ('00000000-0000-4000-8000-' || lpad(CASE WHEN n %% 4 = 1 THEN 1 ELSE n %% 1000 END::text, 12, '0'))
           END::uuid,
           'tool_invoke', 'hub', 'get_current_time', '{{"timezone": "Europe/Paris"}}',
           CASE WHEN n %% 20 = 2 THEN 'failed' ELSE 'completed' END,
           '{{"content": [{{"type": "text", "text": "{{\\"timezone\\": \\"Europe/Paris\\", \\"is_dst\\": false}}"}}]}}',
           1, gen_random_uuid(), CASE WHEN n %% 10 = 3 THEN 'key ' || %(day)s || ' ' || n END, at, at, at, at, at, at
    FROM generate_series(1, %(rows)s) AS n,
         LATERAL (SELECT {since} + n * interval '1 day' / (%(rows)s + 1) AS at) AS job
"""
LIVE = b"""
    INSERT INTO job_results (job_type, server_id, status, attempt, claim_id, lease_expires_at, started_at)
    SELECT 'tool_invoke', 'hub', 'running', 1, gen_random_uuid(), now() + interval '1 day', now()
    FROM generate_series(1, 1000)"""


def add_ended(admin: psycopg.Connection[Any], name: str, day: int, rows: int) -> None:
    """Add the jobs of a day; no trigger fires."""
    admin.execute(ENDED.format(table=name, since=SINCE.replace("%s", str(day))).encode(), {"rows": rows, "day": day})


@contextmanager
def without_indexes(admin: psycopg.Connection[Any]) -> Iterator[None]:
    """Take the indexes from the table meanwhile, so that it fills faster."""
    indexes = admin.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
        "WHERE indrelid = 'job_results'::regclass AND NOT indisprimary"
    ).fetchall()
    admin.execute("ALTER TABLE job_results DROP CONSTRAINT job_results_pkey")
    for name, _ in indexes:
        admin.execute(f"DROP INDEX {name}".encode())
    yield
    admin.execute("ALTER TABLE job_results ADD PRIMARY KEY (id)")
    for _, definition in indexes:
        admin.execute(str(definition).encode())


@contextmanager
def filled_in(form: str, server_url: str, rows: int) -> Iterator[HubDatabase]:
    """A database with so many ended jobs and 1,000 running ones."""
    with created_database(server_url, template=None) as database:
        asyncio.run(migrate(database.owner_url, app_url=database.app_url))
        with psycopg.connect(database.admin_url, autocommit=True, options="-c search_path=public") as admin:
            admin.execute("SET session_replication_role = replica")
            admin.execute("SET maintenance_work_mem = '512MB'")
            if form == ONE:
                with without_indexes(admin):
                    for day in range(-DAYS, 0):
                        add_ended(admin, "job_results", day, rows // DAYS)
            else:
                put_into_days(database, DAYS, lambda name, day: add_ended(admin, name, day, rows // DAYS))
                admin.execute(
                    "INSERT INTO job_keys (idempotency_key, user_id, job_id) "
                    "SELECT idempotency_key, user_id, id FROM job_results WHERE idempotency_key IS NOT NULL"
                )
            admin.execute(LIVE)
            admin.execute("VACUUM ANALYZE")
        yield database


async def compared(databases: dict[str, HubDatabase], rounds: int) -> dict[str, Place]:
    """Ask both in turns."""
    async with (
        Database(databases[ONE].app_url, name="benchmark", max_size=1) as one,
        Database(databases[DAILY].app_url, name="benchmark", max_size=1) as daily,
    ):
        places = {ONE: Place(one), DAILY: Place(daily)}
        for number in range(rounds + 10):
            for place in places.values():
                await place.round()
                if number == 9:  # statements are prepared, pages are read
                    place.seconds.clear()
        return places


async def wal_of_a_path(database: HubDatabase, rounds: int) -> float:
    """Give the bytes of WAL that a job's path makes."""
    with psycopg.connect(database.admin_url, autocommit=True) as admin:

        def position() -> int:
            return int((admin.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone() or (0,))[0])

        async with Database(database.app_url, name="benchmark", max_size=1) as pool:
            place = Place(pool)
            await place.round()
            before = position()
            for _ in range(rounds):
                await place.round()
            return (position() - before) / rounds


def sizes(database: HubDatabase) -> list[float]:
    """Give the bytes of a job in the table, and in its indexes."""
    with psycopg.connect(database.admin_url) as admin:
        row = admin.execute(
            "SELECT sum(pg_table_size(c.oid)) / sum(c.reltuples), sum(pg_indexes_size(c.oid)) / sum(c.reltuples) "
            "FROM pg_class c WHERE c.relname LIKE 'job_results%' AND c.relkind = 'r' AND c.reltuples > 0"
        ).fetchone()
    assert row is not None
    return [float(row[0]), float(row[1])]


async def changed(database: HubDatabase) -> tuple[float, cleanup.Times]:
    """Change the form of a table, with a writer beside it; the seconds, and the writer's waits."""
    times = cleanup.Times()

    async def change(_cleanup: object, writer: cleanup.Writer) -> int:
        writer.next_in_line = range(0)
        return int(await partition_jobs(database.owner_url))

    await cleanup.measured(change, database, times)
    return times.seconds[0], times


def _report(
    places: dict[str, Place],
    facts: list[list[str]],
    cleaned: dict[str, cleanup.Times],
    change: tuple[float, cleanup.Times],
    rows: int,
    on: str,
) -> str:
    queries = []
    for name in places[ONE].seconds:
        one, daily = (percentile(places[place].seconds[name], 50) for place in (ONE, DAILY))
        queries.append([name, f"{1000 * one:.2f} ms", f"{1000 * daily:.2f} ms", f"{daily / one:.2f}x"])
    deletions = [
        [
            way,
            f"{times.deleted:,}",
            f"{median(times.seconds):.1f} s",
            f"{len(times.live):,}",
            milliseconds(percentile(times.live, 50)),
            milliseconds(percentile(times.live, 99)),
            milliseconds(max(times.live)),
        ]
        for way, times in cleaned.items()
    ]
    seconds, waits = change
    return (
        "\n\n".join(
            [
                f"# {(__doc__ or '').strip()}",
                f"{rows:,} jobs. Each query with its transaction, medians; paths and rounds in turns.",
                table(["query", ONE, DAILY, f"{DAILY} / {ONE}"], queries),
                table(["", ONE, DAILY], facts),
                "The clean-up, and updates of running jobs meanwhile:",
                table(["way", "deleted", "took", "updates", "p50", "p99", "longest"], deletions),
                f"The change of {min(CHANGED, rows):,} jobs into partitions took {seconds:.1f} s; of "
                f"{len(waits.live):,} updates of running jobs meanwhile the median took "
                f"{milliseconds(percentile(waits.live, 50))}, the longest {milliseconds(max(waits.live))}.",
                on,
            ]
        )
        + "\n"
    )


def main() -> None:
    """Fill both, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    with ExitStack() as stack:
        url = stack.enter_context(server())
        on = machine(url)
        began = time.monotonic()
        databases = {form: stack.enter_context(filled_in(form, url, asked.rows)) for form in (ONE, DAILY)}
        sys.stderr.write(f"filled in {time.monotonic() - began:.0f} s\n")
        places = asyncio.run(compared(databases, asked.rounds))
        wal = [asyncio.run(wal_of_a_path(one, asked.rounds)) for one in databases.values()]
        in_table, in_indexes = zip(*(sizes(one) for one in databases.values()), strict=True)
        facts = [
            ["bytes of a job in the table", *(f"{one:,.0f}" for one in in_table)],
            ["in its indexes", *(f"{one:,.0f}" for one in in_indexes)],
            ["bytes of WAL of a path", *(f"{one:,.0f}" for one in wal)],
        ]
        cleaned = {}
        for form, original in databases.items():
            for name, way in (("function", cleanup.by_function), ("flow", cleanup.by_cleanup)):
                with copied(url, original) as database:
                    cleaned[f"{form}, {name}"] = times = cleanup.Times()
                    asyncio.run(cleanup.measured(way, database, times))
        with filled(url, min(CHANGED, asked.rows)) as original, copied(url, original) as database:
            change = asyncio.run(changed(database))
    publish("partitions", _report(places, facts, cleaned, change, asked.rows, on))


if __name__ == "__main__":
    main()
