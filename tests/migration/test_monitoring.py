"""The views for monitoring: exact while the table is small, cheap when it is large, and closed to strangers."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from nexus_hub.db.migrate import known_migrations
from tests.fixtures.postgres import HubDatabase

pytestmark = pytest.mark.one_table

Connection = psycopg.Connection[dict[str, Any]]
SERVICE = "-c nexus.scope=service"
VIEWS = ("job_results_stats", "job_results_alert")
HELD_ELSEWHERE = ("anon", "authenticated", "service_role")
SEEDS_STATS = b"""
    SELECT COUNT(*) as total_jobs,
      COUNT(*) FILTER (WHERE status = 'completed') as completed,
      COUNT(*) FILTER (WHERE status = 'failed') as failed,
      COUNT(*) FILTER (WHERE status = 'pending') as pending,
      COUNT(*) FILTER (WHERE status = 'running') as running,
      COUNT(*) FILTER (WHERE created_at < now() - interval '7 days') as older_than_7_days,
      pg_size_pretty(pg_total_relation_size('job_results')) as table_size
    FROM job_results"""


@pytest.fixture
def app(database: HubDatabase) -> Iterator[Connection]:
    with psycopg.connect(database.app_url, autocommit=True, row_factory=dict_row, options=SERVICE) as connection:
        yield connection


@pytest.fixture
def admin(database: HubDatabase) -> Iterator[Connection]:
    """A superuser, who fills the table without triggers and says when it is analyzed."""
    with psycopg.connect(database.admin_url, autocommit=True, row_factory=dict_row) as connection:
        connection.execute("ALTER TABLE job_results DISABLE TRIGGER USER")
        connection.execute("ALTER TABLE job_results SET (autovacuum_enabled = off)")
        yield connection


def fill(admin: Connection, count: int) -> None:
    """Jobs of the last 20 days; of 100 there are 70 completed, 20 failed, 8 cancelled, 1 pending and 1 running."""
    admin.execute(
        "INSERT INTO job_results (job_type, server_id, status, created_at, started_at, completed_at) "
        "SELECT 'tool_invoke', 'hub', status, at, at, CASE WHEN status NOT IN ('pending', 'running') THEN at END "
        "FROM generate_series(1, %(count)s) AS n, "
        "LATERAL (SELECT now() - n * interval '20 days' / %(count)s AS at, CASE WHEN n %% 100 < 70 THEN 'completed' "
        "WHEN n %% 100 < 90 THEN 'failed' WHEN n %% 100 < 98 THEN 'cancelled' WHEN n %% 100 = 98 THEN 'pending' "
        "ELSE 'running' END AS status) AS job",
        {"count": count},
    )


def strip(admin: Connection) -> None:
    """Take constraints and indexes from the table, so that it fills faster."""
    admin.execute(
        "DO $$ DECLARE v record; BEGIN "
        "FOR v IN SELECT conname FROM pg_constraint WHERE conrelid = 'job_results'::regclass AND contype IN ('c', 'p') "
        "LOOP EXECUTE format('ALTER TABLE job_results DROP CONSTRAINT %I', v.conname); END LOOP; "
        "FOR v IN SELECT indexrelid::regclass AS name FROM pg_index WHERE indrelid = 'job_results'::regclass "
        "LOOP EXECUTE format('DROP INDEX %s', v.name); END LOOP; END $$"
    )


def one(connection: Connection, query: bytes) -> dict[str, Any]:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row


def stats(connection: Connection) -> dict[str, Any]:
    return one(connection, b"SELECT * FROM job_results_stats")


def alert(connection: Connection) -> dict[str, Any]:
    return one(connection, b"SELECT * FROM job_results_alert")


def test_an_empty_table_is_counted(app: Connection) -> None:
    assert list(stats(app).items())[:6] == [
        ("total_jobs", 0),
        ("completed", 0),
        ("failed", 0),
        ("pending", 0),
        ("running", 0),
        ("older_than_7_days", 0),
    ]
    assert alert(app) == {"status": "OK", "row_count": 0}


@pytest.mark.parametrize("analyzed", [True, False])
def test_a_small_table_is_counted_as_the_documented_query_counts(
    app: Connection, admin: Connection, analyzed: bool
) -> None:
    fill(admin, 1000)
    if analyzed:
        admin.execute("ANALYZE job_results")
        fill(admin, 500)
    assert stats(app) == one(admin, SEEDS_STATS)
    assert alert(app) == {"status": "OK", "row_count": stats(app)["total_jobs"]}


def test_a_large_table_that_was_never_analyzed_is_counted(app: Connection, admin: Connection) -> None:
    fill(admin, 50_000)
    assert stats(app) == one(admin, SEEDS_STATS)


def test_a_large_table_is_estimated_well_and_its_live_jobs_counted(app: Connection, admin: Connection) -> None:
    fill(admin, 200_000)
    admin.execute("ANALYZE job_results")
    exact, estimated = one(admin, SEEDS_STATS), stats(app)
    assert list(estimated) == list(exact)
    for column in ("pending", "running", "table_size"):
        assert estimated[column] == exact[column]
    for column in ("total_jobs", "completed", "failed", "older_than_7_days"):
        assert estimated[column] == pytest.approx(exact[column], rel=0.1)
    assert alert(app) == {"status": "OK", "row_count": estimated["total_jobs"]}


def test_a_table_that_grew_since_it_was_analyzed_is_estimated_by_its_size(app: Connection, admin: Connection) -> None:
    fill(admin, 50_000)
    admin.execute("ANALYZE job_results")
    fill(admin, 100_000)
    exact, estimated = one(admin, SEEDS_STATS), stats(app)
    for column in ("total_jobs", "completed", "failed"):
        assert estimated[column] == pytest.approx(exact[column], rel=0.1)


def test_a_large_table_is_not_read_for_its_numbers(app: Connection, admin: Connection) -> None:
    fill(admin, 50_000)
    admin.execute("VACUUM ANALYZE job_results")
    before = one(admin, b"SELECT pg_stat_get_numscans('job_results'::regclass) AS scans")
    for view in VIEWS:
        app.execute(f"SELECT * FROM {view}".encode())
    app.execute("SELECT pg_stat_force_next_flush()")
    assert one(admin, b"SELECT pg_stat_get_numscans('job_results'::regclass) AS scans") == before


def test_past_a_million_rows_the_alert_is_raised(app: Connection, admin: Connection) -> None:
    strip(admin)
    fill(admin, 1_000_000)
    assert alert(app) == {"status": "OK", "row_count": 1_000_000}
    fill(admin, 1)
    raised = {"status": "ALERT: job_results table exceeds 1M rows", "row_count": 1_000_001}
    assert alert(app) == raised
    fill(admin, 200_000)
    admin.execute("ANALYZE job_results")
    estimated = alert(app)
    assert estimated["status"] == raised["status"]
    assert estimated["row_count"] == pytest.approx(1_200_001, rel=0.1)


@pytest.mark.parametrize("options", ["", "-c nexus.scope=user", "-c default_transaction_read_only=on"])
def test_the_app_sees_all_jobs_numbers_whatever_its_scope(
    database: HubDatabase, admin: Connection, options: str
) -> None:
    fill(admin, 10)
    with psycopg.connect(database.app_url, row_factory=dict_row, options=options) as connection:
        assert stats(connection)["total_jobs"] == 10


def test_the_owner_reads_the_views(database: HubDatabase, admin: Connection) -> None:
    fill(admin, 10)
    with psycopg.connect(database.owner_url, row_factory=dict_row) as connection:
        assert alert(connection)["row_count"] == 10


@pytest.mark.parametrize("query", [*(f"SELECT * FROM {view}" for view in VIEWS), "SELECT * FROM nexus_job_counts()"])
def test_only_the_app_and_the_service_see_the_numbers(database: HubDatabase, query: str) -> None:
    """The roles are made in a transaction that is rolled back: roles belong to the whole server."""
    with psycopg.connect(database.admin_url) as connection:
        for role in HELD_ELSEWHERE:
            connection.execute(f"CREATE ROLE {role} NOLOGIN".encode())
            connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}".encode())
            connection.execute(f"GRANT ALL ON ALL FUNCTIONS IN SCHEMA public TO {role}".encode())
        connection.execute("CREATE ROLE stranger NOLOGIN")
        for migration in known_migrations():
            connection.execute(migration.text)
        for role in ("anon", "authenticated", "stranger"):
            connection.execute(f"SET ROLE {role}".encode())
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(query.encode())
            connection.execute("RESET ROLE")
        connection.execute("SET ROLE service_role")
        assert connection.execute(query.encode()).rowcount == 1
        connection.rollback()


def test_no_object_of_the_caller_gets_in_between(database: HubDatabase, app: Connection, admin: Connection) -> None:
    fill(admin, 3)
    app.execute("CREATE TEMP TABLE job_results (status text, created_at timestamptz)")
    app.execute("CREATE TEMP VIEW pg_stats AS SELECT 1 AS one")
    app.execute("SET search_path = pg_temp, public")
    assert stats(app)["total_jobs"] == 3
