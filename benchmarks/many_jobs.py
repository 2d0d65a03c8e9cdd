"""A PostgreSQL with its usual settings, and databases with many jobs in it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from nexus_hub.db.migrate import migrate
from tests.fixtures.postgres import HubDatabase, created_database, embedded_server, ensure_roles

FILL = """
    INSERT INTO job_results (job_type, server_id, tool_name, params, status, result, attempt, claim_id,
                             lease_expires_at, created_at, started_at, completed_at)
    SELECT 'tool_invoke', 'hub', 'get_current_time', '{"timezone": "Europe/Paris"}', status,
           '{"content": [{"type": "text", "text": "{\\"timezone\\": \\"Europe/Paris\\", \\"is_dst\\": false}"}]}',
           1, CASE status WHEN 'running' THEN gen_random_uuid() END,
           CASE status WHEN 'running' THEN now() + interval '1 day' END, at, at,
           CASE status WHEN 'running' THEN NULL ELSE at END
    FROM generate_series(1, %(rows)s) AS n,
         LATERAL (SELECT CASE WHEN n %% 200 = 0 THEN 'running' WHEN n %% 20 = 2 THEN 'failed' ELSE 'completed' END
                            AS status,
                         now() - (n %% 2) * interval '8 days' - n * interval '1 s' / 10 AS at) AS job
"""


@contextmanager
def server() -> Iterator[str]:
    """A server of its own, with fsync; its superuser's URL."""
    with embedded_server(fsync=True) as url:
        ensure_roles(url)
        yield url


@contextmanager
def filled(server_url: str, rows: int) -> Iterator[HubDatabase]:
    """A database with so many jobs: every second one ended over 8 days ago, one of 200 is running."""
    with created_database(server_url, template=None) as database:
        asyncio.run(migrate(database.owner_url, app_url=database.app_url))
        with psycopg.connect(database.admin_url, autocommit=True) as admin:
            admin.execute("ALTER TABLE job_results DISABLE TRIGGER USER")
            admin.execute(FILL.encode(), {"rows": rows})
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
