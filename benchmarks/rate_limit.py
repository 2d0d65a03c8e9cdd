"""How many calls per second can be held against a rate limit, and does it hold in every sliding minute?

Checks by `check_rate_limit`, with pgbench: 8 connections, prepared statements, fsync on, each way in turns on the same
server:

- seed: the documented function as it was written (a fixed window of a minute, so that 200 of 100 can pass within one),
  with a unique index that takes a NULL user;
- seed, not logged: the same on an UNLOGGED table;
- hub: the hub's own, as its role in service scope, which row-level security holds for.

One hot key, or 1,000 keys; limits that are never reached, or a limit of 1, so that nearly all are denied.

Then 20,000 attempts of the hub's, by 16 connections, over more than two minutes, on one key: how many passed, and how
many of them in the fullest sliding minute, by the database's clock after each check.
"""

import argparse
import asyncio
import os
import random
import re
import subprocess
import tempfile
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median

import psycopg
from psycopg.conninfo import conninfo_to_dict

from benchmarks.many_jobs import server
from benchmarks.report import machine, publish, table
from nexus_hub.db.migrate import migrate
from tests.fixtures.postgres import HubDatabase, created_database, wheel_binaries

CONNECTIONS, KEYS, ROUNDS, SECONDS = 8, 1000, 3, 5
NEVER, ONCE = 1_000_000_000, 1
ATTEMPTS, ATTEMPTING, PER_MINUTE, SPREAD_SECONDS = 20_000, 16, 1000, 140.0
SEED, UNLOGGED, HUB = "seed", "seed, not logged", "hub"
FUNCTIONS = {SEED: "seed.check_rate_limit", UNLOGGED: "seed_unlogged.check_rate_limit", HUB: "check_rate_limit"}
TABLES = ["seed.rate_limit_tracking", "seed_unlogged.rate_limit_tracking", "public.rate_limit_tracking"]
LOADS = {
    "one hot key": ("'hot'", NEVER),
    f"{KEYS:,} keys": ("'server ' || :key", NEVER),
    "one hot key, nearly all denied": ("'hot'", ONCE),
    f"{KEYS:,} keys, nearly all denied": ("'server ' || :key", ONCE),
}
THE_SEEDS = """
    CREATE SCHEMA {schema};
    CREATE {kind} TABLE {schema}.rate_limit_tracking (
        server_id text NOT NULL, user_id uuid, window_start timestamptz NOT NULL, request_count integer DEFAULT 1,
        UNIQUE NULLS NOT DISTINCT (server_id, user_id, window_start)
    );
    CREATE INDEX idx_rate_limit_window ON {schema}.rate_limit_tracking (server_id, user_id, window_start);
    CREATE FUNCTION {schema}.check_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer)
    RETURNS boolean AS $$
    DECLARE
        v_window_start timestamptz;
        v_request_count integer;
    BEGIN
        v_window_start := date_trunc('minute', now());
        INSERT INTO {schema}.rate_limit_tracking (server_id, user_id, window_start, request_count)
        VALUES (p_server_id, p_user_id, v_window_start, 1)
        ON CONFLICT (server_id, user_id, window_start)
        DO UPDATE SET request_count = rate_limit_tracking.request_count + 1
        RETURNING request_count INTO v_request_count;
        RETURN v_request_count <= p_limit_per_minute;
    END;
    $$ LANGUAGE plpgsql;
    GRANT USAGE ON SCHEMA {schema} TO nexus_app;
    GRANT ALL ON {schema}.rate_limit_tracking TO nexus_app;
"""


@contextmanager
def with_both(server_url: str) -> Iterator[HubDatabase]:
    """A database with the hub's schema and, beside it, the seed's table and function."""
    with created_database(server_url, template=None) as database:
        asyncio.run(migrate(database.owner_url, app_url=database.app_url))
        with psycopg.connect(database.admin_url, autocommit=True) as admin:
            for schema, kind in (("seed", ""), ("seed_unlogged", "UNLOGGED")):
                admin.execute(THE_SEEDS.format(schema=schema, kind=kind).encode())
        yield database


def checks_per_second(database: HubDatabase, way: str, load: str, seconds: int) -> float:
    """Run pgbench on empty tables, with what was written before on disk."""
    key, limit = LOADS[load]
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        admin.execute(f"TRUNCATE {', '.join(TABLES)}".encode())
        admin.execute("CHECKPOINT")
    script = f"SELECT {FUNCTIONS[way]}({key}, NULL, {limit});\n"
    if ":key" in key:
        script = f"\\set key random(1, {KEYS})\n{script}"
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        words = ["-n", "-M", "prepared", "-c", str(CONNECTIONS), "-j", "2", "-T", str(seconds), "-f", file.name]
        output = subprocess.run(
            [wheel_binaries() / "pgbench", *words],
            env=_environment(database),
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    found = re.search(r"tps = ([\d.]+)", output)
    assert found is not None
    assert "number of failed transactions: 0 " in output
    return float(found[1])


def _environment(database: HubDatabase) -> dict[str, str]:
    parts = conninfo_to_dict(database.app_url)
    names = {"PGHOST": "host", "PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "dbname"}
    return (
        dict(os.environ)
        | {name: str(parts[part]) for name, part in names.items()}
        | {"PGOPTIONS": "-c nexus.scope=service"}
    )


@dataclass
class Attempts:
    """Attempts on one key by many connections, and when those that passed did."""

    url: str
    passed: list[datetime] = field(default_factory=list)
    denied: int = 0

    async def run(self) -> None:
        """Make all attempts, each connection at moments of its own."""
        await asyncio.gather(*(self._connection() for _ in range(ATTEMPTING)))

    async def _connection(self) -> None:
        moments = sorted(random.uniform(0, SPREAD_SECONDS) for _ in range(ATTEMPTS // ATTEMPTING))
        began = asyncio.get_running_loop().time()
        async with await psycopg.AsyncConnection.connect(
            self.url, autocommit=True, options="-c nexus.scope=service"
        ) as connection:
            for moment in moments:
                await asyncio.sleep(began + moment - asyncio.get_running_loop().time())
                cursor = await connection.execute(
                    "SELECT check_rate_limit('attempts', NULL, %s), clock_timestamp()", [PER_MINUTE]
                )
                allowed, at = await cursor.fetchone() or (False, None)
                if allowed:
                    self.passed.append(at)
                else:
                    self.denied += 1

    def fullest_minute(self) -> int:
        """The most that passed in any sliding minute, both of its ends included."""
        times = sorted(self.passed)
        return max(
            (bisect_right(times, first + timedelta(seconds=60)) - index for index, first in enumerate(times)), default=0
        )


def _report(found: dict[tuple[str, str], list[float]], attempts: Attempts, seconds: int, on: str) -> str:
    rows = [
        [
            load,
            *(f"{median(found[load, way]):,.0f}" for way in FUNCTIONS),
            *(f"{median(found[load, way]) / median(found[load, SEED]):.1f}x" for way in (UNLOGGED, HUB)),
        ]
        for load in LOADS
    ]
    head = ["checks per second", *FUNCTIONS, f"{UNLOGGED} / {SEED}", f"{HUB} / {SEED}"]
    held = table(
        ["attempts", "limit", "passed", "denied", "in the fullest sliding minute"],
        [
            [
                f"{len(attempts.passed) + attempts.denied:,}",
                f"{PER_MINUTE:,}",
                f"{len(attempts.passed):,}",
                f"{attempts.denied:,}",
                f"{attempts.fullest_minute():,}",
            ]
        ],
    )
    parts = [
        f"# {(__doc__ or '').strip()}",
        f"{ROUNDS} rounds of {seconds} s of each, medians.",
        table(head, rows),
        held,
    ]
    return "\n\n".join([*parts, on]) + "\n"


def main() -> None:
    """Measure all ways in turns, then make the attempts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of each measurement")
    seconds = parser.parse_args().seconds
    found: dict[tuple[str, str], list[float]] = {(load, way): [] for load in LOADS for way in FUNCTIONS}
    with server() as url, with_both(url) as database:
        on = machine(url)
        for _ in range(ROUNDS):
            for (load, way), rates in found.items():
                rates.append(checks_per_second(database, way, load, seconds))
        attempts = Attempts(database.app_url)
        asyncio.run(attempts.run())
    publish("rate_limit", _report(found, attempts, seconds, on))


if __name__ == "__main__":
    main()
