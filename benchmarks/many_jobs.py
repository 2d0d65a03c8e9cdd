"""A PostgreSQL with its usual settings, and databases with many jobs in it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from nexus_hub.db.migrate import migrate
from tests.fixtures.postgres import HubDatabase, created_database, embedded_server, ensure_roles

HEAVY_USER = "00000000-0000-4000-8000-000000000001"
"""The user of every fourth job; each tenth is the operator's, and 900 others share the rest."""
FILL = """
    INSERT INTO job_results (user_id, job_type, server_id, tool_name, params, status, result, attempt, claim_id,
                             flow_run_id, idempotency_key, lease_expires_at, created_at, available_at, dispatched_at,
                             started_at, heartbeat_at, completed_at)
    SELECT CASE WHEN n %% 10 = 0 THEN NULL
                ELSE ('00000000-0000-4000-8000-' || lpad(CASE WHEN n %% 4 = 1 THEN 1 ELSE n %% 1000 END::text, 12, '0'))
           END::uuid,
           'tool_invoke', 'hub', 'get_current_time', '{"timezone": "Europe/Paris"}', status,
           '{"content": [{"type": "text", "text": "{\\"timezone\\": \\"Europe/Paris\\", \\"is_dst\\": false}"}]}',
           1, CASE status WHEN 'running' THEN gen_random_uuid() END, gen_random_uuid(),
           CASE WHEN n %% 3 = 0 THEN 'key ' || n END,
           CASE status WHEN 'running' THEN now() + interval '1 day' END, at, at, at, at, at,
           CASE status WHEN 'running' THEN NULL ELSE at END
    FROM generate_series(1, %(rows)s) AS n,
         LATERAL (SELECT CASE WHEN %(live)s AND n %% 200 = 0 THEN 'running' WHEN n %% 20 = 2 THEN 'failed'
                              ELSE 'completed' END AS status,
                         now() - (n %% 2) * interval '8 days' - n * interval '1 s' / 10 AS at) AS job
"""

ADD_ENDED = """
    INSERT INTO job_results (job_type, server_id, tool_name, params, status, result, attempt, created_at, started_at,
                             completed_at)
    SELECT 'tool_invoke', 'hub', 'echo', '{"n": 1}', CASE WHEN n %% 20 = 2 THEN 'failed' ELSE 'completed' END,
           '{"content": [{"type": "text", "text": "1"}]}', 1, at, at, at
    FROM generate_series(1, %(rows)s) AS n, LATERAL (SELECT now() - n * (interval '6 days' / %(rows)s) AS at) AS job
"""
"""Ended within the last six days: none is old enough for the clean-up."""


def add_ended(admin_url: str, rows: int) -> None:
    """Add so many ended jobs to a database in use; nobody is told of them."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute("SET session_replication_role = replica")  # no trigger fires
        admin.execute(ADD_ENDED.encode(), {"rows": rows})
        admin.execute("ANALYZE job_results")


def remove_all(admin_url: str) -> None:
    """Remove all jobs of a database in use; none of them may be open."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute("TRUNCATE job_results")
        admin.execute("ANALYZE job_results")


@contextmanager
def held_open(admin_url: str) -> Iterator[None]:
    """A transaction whose snapshot is from before the block, open until its end."""
    with psycopg.connect(admin_url) as admin:
        admin.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        admin.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        admin.execute("SELECT FROM job_results LIMIT 1")
        yield
        admin.rollback()


@contextmanager
def server() -> Iterator[str]:
    """A server of its own, with fsync; its superuser's URL."""
    with embedded_server(fsync=True) as url:
        ensure_roles(url)
        yield url


@contextmanager
def filled(server_url: str, rows: int, *, live: bool = True) -> Iterator[HubDatabase]:
    """A database with so many jobs: every second one ended over 8 days ago, one of 200 is running where some live."""
    with created_database(server_url, template=None) as database:
        asyncio.run(migrate(database.owner_url, app_url=database.app_url))
        with psycopg.connect(database.admin_url, autocommit=True) as admin:
            admin.execute("ALTER TABLE job_results DISABLE TRIGGER USER")
            admin.execute(FILL.encode(), {"rows": rows, "live": live})
            admin.execute("ALTER TABLE job_results ENABLE TRIGGER USER")
            admin.execute("VACUUM ANALYZE job_results")
        yield database


@contextmanager
def copied(server_url: str, original: HubDatabase) -> Iterator[HubDatabase]:
    """A copy of a database to which nobody is connected, on disk before it is used."""
    with created_database(server_url, template=original.name) as database:
        with psycopg.connect(server_url, autocommit=True) as admin:
            admin.execute("CHECKPOINT")
        yield database
