"""Jobs in partitions by day: the change of the form, and what is true of both forms."""

import asyncio
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from nexus_hub.db.partitions import partition_jobs
from nexus_hub.errors import CannotMigrate
from tests.fixtures.job_days import ENDED, IN_DAYS, JOB, KEYED, SERVICE, Connection, parts
from tests.fixtures.postgres import HubDatabase

pytestmark = pytest.mark.one_table

FORM = """
    SELECT 'index', regexp_replace(pg_get_indexdef(i.indexrelid), 'ONLY ', '') FROM pg_index i
    WHERE i.indrelid = 'job_results'::regclass AND NOT i.indisunique
    UNION ALL
    SELECT 'trigger', pg_get_triggerdef(t.oid) FROM pg_trigger t
    WHERE t.tgrelid = 'job_results'::regclass AND NOT t.tgisinternal
        AND t.tgname NOT LIKE 'release%' AND t.tgname NOT IN ('reserve', 'keep_key')
    UNION ALL
    SELECT 'check', pg_get_constraintdef(c.oid) FROM pg_constraint c
    WHERE c.conrelid = 'job_results'::regclass AND c.contype = 'c' AND c.conname <> 'job_results_trace_context'
    UNION ALL
    SELECT 'policy', row(p.tablename, p.policyname, p.permissive, p.roles, p.cmd, p.qual, p.with_check)::text
    FROM pg_policies p
    UNION ALL
    SELECT 'column', row(a.attname, a.attnum, a.atttypid, a.attnotnull, a.attacl, pg_get_expr(d.adbin, d.adrelid))::text
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = 'job_results'::regclass AND a.attnum > 0
    UNION ALL
    SELECT 'table', row(c.relacl, c.relowner, c.relrowsecurity)::text FROM pg_class c
    WHERE c.oid = 'job_results'::regclass
    UNION ALL
    SELECT 'function', row(pg_get_functiondef(p.oid), p.proacl, p.proowner)::text FROM pg_proc p
    WHERE p.pronamespace = 'public'::regnamespace
    ORDER BY 1, 2"""


def partition(database: HubDatabase) -> bool:
    return asyncio.run(partition_jobs(database.owner_url))


def form(connection: Connection) -> list[dict[str, Any]]:
    return connection.execute(FORM.encode()).fetchall()


def test_the_change_loses_nothing_and_leaves_all_that_hangs_on_the_table(
    database: HubDatabase, owner: Connection, service: Connection
) -> None:
    for number in range(20):
        service.execute(KEYED, [uuid4() if number % 2 else None, f"key {number % 3}", number])
    jobs, before = owner.execute("SELECT * FROM job_results ORDER BY id").fetchall(), form(owner)
    assert partition(database) is True
    assert owner.execute("SELECT * FROM job_results ORDER BY id").fetchall() == jobs
    assert form(owner) == before
    keys = owner.execute("SELECT idempotency_key, user_id, job_id AS id FROM job_keys ORDER BY job_id").fetchall()
    assert keys == [{name: job[name] for name in ("idempotency_key", "user_id", "id")} for job in jobs]
    assert parts(owner)["job_results_before"] == len(jobs)


def test_the_change_runs_twice(database: HubDatabase, owner: Connection) -> None:
    assert [partition(database), partition(database)] == [True, False]
    assert list(parts(owner)) == [
        "job_results_before",
        "job_results_default",
        *(name for name in parts(owner) if name.startswith("job_results_p")),
    ]


def test_the_table_goes_on_being_used_by_who_was_connected(
    database: HubDatabase, owner: Connection, service: Connection
) -> None:
    service.prepare_threshold = 0
    (job,) = service.execute(JOB, ["2026-01-01"]).fetchall()
    change = b"UPDATE job_results SET heartbeat_at = now() WHERE id = %s"
    assert service.execute(change, [job["id"]]).rowcount == 1
    partition(database)
    assert service.execute(change, [job["id"]]).rowcount == 1
    service.execute(JOB, ["2100-01-01"])
    assert parts(owner)["job_results_default"] == 1


@pytest.mark.parametrize(
    "make",
    [
        "CREATE VIEW mine AS SELECT id FROM job_results",
        "CREATE TABLE mine (job job_results)",
        "CREATE TABLE mine (id uuid REFERENCES job_results)",
        "CREATE FUNCTION mine() RETURNS bigint LANGUAGE sql RETURN (SELECT count(*) FROM job_results)",
        "CREATE PUBLICATION mine FOR TABLE job_results",
    ],
    ids=["view", "column", "foreign key", "function", "publication"],
)
def test_what_would_go_on_meaning_the_oldest_partition_is_in_the_way(
    database: HubDatabase, owner: Connection, make: str
) -> None:
    with psycopg.connect(database.admin_url) as admin:
        admin.execute(f"GRANT CREATE ON DATABASE {database.name} TO nexus_test_owner".encode())
    owner.execute(make.encode())
    with pytest.raises(CannotMigrate, match="mine"):
        partition(database)
    owner.execute(JOB, ["2100-01-01"])
    assert parts(owner) == {}


def test_a_job_of_the_future_is_named_and_nothing_is_left_of_the_attempt(
    database: HubDatabase, owner: Connection
) -> None:
    owner.execute(JOB, ["2100-01-01"])
    with pytest.raises(CannotMigrate, match="job_results_until"):
        partition(database)
    owner.execute(JOB, ["2100-01-02"])
    assert parts(owner) == {}


def test_the_bound_of_an_attempt_that_was_killed_goes_with_the_next_clean_up(
    owner: Connection, service: Connection
) -> None:
    owner.execute("SELECT nexus_prepare_partitions()")
    with pytest.raises(psycopg.errors.CheckViolation):
        service.execute(JOB, ["2100-01-01"])
    service.execute("SELECT nexus_add_job_days()")
    service.execute(JOB, ["2100-01-01"])


@IN_DAYS
def test_each_job_is_in_the_partition_of_its_day(owner: Connection, service: Connection) -> None:
    for age in (0, 3, 9, 40):
        service.execute(ENDED, [age, age + 1])
    service.execute(JOB, ["2100-01-01"])
    found = {name: jobs for name, jobs in parts(owner).items() if jobs}
    today = next(name for name in found if name.startswith("job_results_p"))
    expected = {today: 1, "job_results_3_days_ago": 4, "job_results_9_days_ago": 10, "job_results_before": 41}
    assert found == expected | {"job_results_default": 1}


@IN_DAYS
def test_a_key_stands_for_one_job_of_whatever_day_until_that_is_deleted(service: Connection) -> None:
    user = uuid4()
    (first,) = service.execute(KEYED, [None, "once", 9]).fetchall()
    assert service.execute(KEYED, [None, "once", 0]).fetchall() == []
    assert len(service.execute(KEYED, [user, "once", 0]).fetchall()) == 1
    service.execute("DELETE FROM job_results WHERE id = %s", [first["id"]])
    assert len(service.execute(KEYED, [None, "once", 0]).fetchall()) == 1


@IN_DAYS
def test_two_at_once_with_one_key_on_two_days_store_one_job(database: HubDatabase, service: Connection) -> None:
    with psycopg.connect(database.app_url, options=SERVICE) as first:
        assert first.execute(KEYED, [None, "once", 1]).rowcount == 1
        service.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            service.execute(KEYED, [None, "once", 0])
    assert service.execute(KEYED, [None, "once", 0]).rowcount == 0


@IN_DAYS
def test_an_id_is_one_jobs_on_all_days(owner: Connection, service: Connection) -> None:
    insert = (
        b"INSERT INTO job_results (id, job_type, server_id, created_at) "
        b"VALUES (%s, 'tool_invoke', 'hub', now() - make_interval(days => %s))"
    )
    job_id = uuid4()
    assert service.execute(insert, [job_id, 4]).rowcount == 1
    passed = insert + b" ON CONFLICT DO NOTHING"
    assert [service.execute(passed, [job_id, age]).rowcount for age in (4, 0, 40)] == [0, 0, 0]
    for age in (4, 0, 40):  # another program is told so, as a plain table tells it
        with pytest.raises(psycopg.errors.UniqueViolation):
            owner.execute(insert, [job_id, age])


@IN_DAYS
@pytest.mark.parametrize("call", ["cleanup_job_results_manual(7, 1)", "nexus_drop_job_days(7, 1)"])
def test_days_of_which_nothing_is_kept_are_dropped_whole(owner: Connection, service: Connection, call: str) -> None:
    service.execute(ENDED, [9, 3])
    service.execute(KEYED, [None, "kept", 10])  # a live job
    (key,) = service.execute(KEYED, [None, "dropped", 9]).fetchall()
    service.execute("UPDATE job_results SET status = 'cancelled', completed_at = created_at WHERE id = %s", [key["id"]])
    service.execute(ENDED, [3, 2])
    (counts,) = service.execute(f"SELECT * FROM {call}".encode()).fetchall()
    assert (counts["deleted_completed"], counts["deleted_orphaned"]) == (4, 0)
    left = parts(owner)
    assert {"job_results_before", "job_results_9_days_ago", "job_results_8_days_ago"} & left.keys() == set()
    assert left["job_results_10_days_ago"] == 1
    assert left["job_results_3_days_ago"] == 2
    assert owner.execute("SELECT idempotency_key FROM job_keys").fetchall() == [{"idempotency_key": "kept"}]


@IN_DAYS
def test_what_no_rule_deletes_keeps_its_day(owner: Connection, service: Connection) -> None:
    """An ended job whose code is an orphan's, though it did not fail: the documented function leaves it."""
    service.execute(ENDED, [9, 3])
    service.execute(
        "INSERT INTO job_results (job_type, server_id, status, error_code, created_at, completed_at) SELECT "
        "'tool_invoke', 'hub', 'cancelled', 'orphaned', created_at, completed_at FROM job_results LIMIT 1"
    )
    (counts,) = service.execute("SELECT * FROM cleanup_job_results_manual(7, 1)").fetchall()
    assert counts == {"deleted_completed": 3, "deleted_orphaned": 0, "total_deleted": 3}
    assert parts(owner)["job_results_9_days_ago"] == 1


@IN_DAYS
def test_a_day_that_somebody_is_in_is_deleted_by_its_rows_or_left(
    database: HubDatabase, owner: Connection, service: Connection
) -> None:
    service.execute(ENDED, [9, 3])
    with psycopg.connect(database.app_url, options=SERVICE) as reader:
        reader.execute("SELECT FROM job_results")
        (counts,) = service.execute("SELECT * FROM nexus_drop_job_days(7, 1)").fetchall()
        assert (counts["deleted_completed"], counts["busy_days"] > 0) == (0, True)
        assert parts(owner)["job_results_9_days_ago"] == 3
        (counts,) = service.execute("SELECT * FROM cleanup_job_results_manual(7, 1)").fetchall()
        assert counts == {"deleted_completed": 3, "deleted_orphaned": 0, "total_deleted": 3}
    assert parts(owner)["job_results_9_days_ago"] == 0


@IN_DAYS
@pytest.mark.parametrize("options", ["", "-c nexus.scope=user"])
def test_nobody_drops_days_but_who_may_delete_all_jobs(
    database: HubDatabase, owner: Connection, service: Connection, options: str
) -> None:
    service.execute(ENDED, [9, 3])
    with psycopg.connect(database.app_url, autocommit=True, options=options) as app:
        assert app.execute("SELECT * FROM nexus_drop_job_days(0, 0, true)").fetchall() == [(0, 0, 0)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("SELECT FROM job_results_9_days_ago")
    assert parts(owner)["job_results_9_days_ago"] == 3


@IN_DAYS
def test_the_days_to_come_are_made_but_for_those_that_have_jobs_elsewhere(
    owner: Connection, service: Connection
) -> None:
    service.execute(KEYED, [None, "later", -5])
    assert service.execute("SELECT nexus_add_job_days(5) AS made").fetchall() == [{"made": 1}]
    assert service.execute("SELECT nexus_add_job_days(5) AS made").fetchall() == [{"made": 0}]
    assert parts(owner)["job_results_default"] == 1


@IN_DAYS
def test_keys_go_with_a_truncation(owner: Connection, service: Connection) -> None:
    service.execute(KEYED, [None, "once", 0])
    owner.execute("TRUNCATE job_results")
    assert len(service.execute(KEYED, [None, "once", 0]).fetchall()) == 1


@IN_DAYS
def test_the_views_count_all_days(owner: Connection) -> None:
    for age in (0, 9):
        owner.execute(ENDED, [age, 6000])
    owner.execute("ANALYZE job_results_9_days_ago")
    (stats,) = owner.execute("SELECT total_jobs, completed, older_than_7_days, table_size FROM job_results_stats")
    assert stats["total_jobs"] == pytest.approx(12_000, rel=0.2)
    assert stats["table_size"] != "0 bytes"
