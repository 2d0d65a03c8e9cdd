"""Jobs in partitions where it is tight: midnight, other programs, broken attempts, days nobody made, rights."""

import subprocess
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from nexus_hub.db.partitions import partition_jobs
from nexus_hub.errors import CannotMigrate
from tests.fixtures.job_days import ENDED, IN_DAYS, JOB, KEYED, SERVICE, Connection, parts
from tests.fixtures.postgres import HubDatabase, wheel_binaries

pytestmark = pytest.mark.one_table

MADE_BY_THE_CHANGE = (
    b"SELECT tgname FROM pg_trigger WHERE tgrelid = 'job_results'::regclass "
    b"AND tgname IN ('reserve', 'keep_key', 'release_key', 'release_keys')"
)
OTHER_STYLE = {"datestyle": "SQL, DMY", "timezone": "Asia/Kolkata"}
"""PostgreSQL writes this zone as IST, and reads that as another one."""
UTC_TIMES = b"SELECT DISTINCT (until AT TIME ZONE 'UTC')::time::text AS time FROM nexus_job_days()"


def days_to_come(connection: Connection) -> list[str]:
    return sorted(name for name in parts(connection) if name.startswith("job_results_p"))


@IN_DAYS
def test_another_program_passes_over_a_job_of_the_same_day_as_in_one_table(
    owner: Connection, service: Connection
) -> None:
    (job,) = service.execute(KEYED, [None, "once", 0]).fetchall()
    assert owner.execute(KEYED, [None, "once", 0]).rowcount == 0
    insert = b"INSERT INTO job_results (id, job_type, server_id) VALUES (%s, 'tool_invoke', 'hub')"
    assert owner.execute(insert + b" ON CONFLICT DO NOTHING", [job["id"]]).rowcount == 0
    with pytest.raises(psycopg.errors.UniqueViolation):
        owner.execute(insert, [job["id"]])


@IN_DAYS
@pytest.mark.parametrize("change", ["created_at = now() - interval '3 days'", "idempotency_key = 'other'"])
def test_a_job_of_whatever_type_keeps_its_day_and_its_key(service: Connection, change: str) -> None:
    """A move to another day would store it anew there, where its own key is taken; it would be lost."""
    store = "INSERT INTO job_results (job_type, server_id, idempotency_key) VALUES ('cache_refresh', 'hub', 'once')"
    service.execute(store.encode())
    with pytest.raises(psycopg.Error) as refused:
        service.execute(f"UPDATE job_results SET {change}".encode())
    assert refused.value.sqlstate == "NX002"
    assert service.execute("UPDATE job_results SET created_at = created_at").rowcount == 1


async def test_an_attempt_that_fails_leaves_the_plain_table_as_it_was(database: HubDatabase, owner: Connection) -> None:
    owner.execute(JOB, ["2100-01-01"])
    owner.execute(KEYED, [None, "once", 0])
    with pytest.raises(CannotMigrate):
        await partition_jobs(database.owner_url)
    assert owner.execute(MADE_BY_THE_CHANGE).fetchall() == []
    assert owner.execute("SELECT * FROM job_keys").fetchall() == []


def test_what_an_attempt_that_was_killed_made_goes_with_the_next_clean_up(
    owner: Connection, service: Connection
) -> None:
    owner.execute("SELECT nexus_prepare_partitions()")
    service.execute(KEYED, [None, "once", 0])
    service.execute("SELECT nexus_add_job_days()")
    assert owner.execute(MADE_BY_THE_CHANGE).fetchall() == []
    assert owner.execute("SELECT * FROM job_keys").fetchall() == []


async def test_a_key_that_was_asked_for_again_before_it_was_copied_stays_with_its_job(
    database: HubDatabase, owner: Connection, service: Connection
) -> None:
    (job,) = service.execute(KEYED, [None, "once", 0]).fetchall()
    owner.execute("SELECT nexus_prepare_partitions()")
    assert service.execute(KEYED, [None, "once", 0]).rowcount == 0
    await partition_jobs(database.owner_url)
    assert owner.execute("SELECT job_id AS id FROM job_keys").fetchall() == [job]
    service.execute("DELETE FROM job_results")
    assert service.execute(KEYED, [None, "once", 0]).rowcount == 1


async def test_days_begin_at_midnight_utc_in_whatever_style_and_zone_times_are_written(
    database: HubDatabase, owner: Connection
) -> None:
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        for name, value in OTHER_STYLE.items():
            admin.execute(f"ALTER DATABASE {database.name} SET {name} = '{value}'".encode())
    await partition_jobs(database.owner_url)
    with psycopg.connect(database.owner_url, autocommit=True, row_factory=dict_row) as other:
        assert other.execute("SHOW datestyle").fetchall() == [{"DateStyle": "SQL, DMY"}]
        other.execute("SELECT nexus_add_job_days(6)")
        assert other.execute(UTC_TIMES).fetchall() == [{"time": "00:00:00"}]
        assert other.execute("SELECT nexus_add_job_days(6) AS made").fetchall() == [{"made": 0}]
    assert owner.execute(UTC_TIMES).fetchall() == [{"time": "00:00:00"}]


@IN_DAYS
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/St_Johns"])
def test_midnight_belongs_to_the_day_that_begins(owner: Connection, service: Connection, zone: str) -> None:
    service.execute("SELECT set_config('timezone', %s, false)", [zone])
    midnight = "(date_trunc('day', now() AT TIME ZONE 'UTC') - interval '3 days') AT TIME ZONE 'UTC'"
    for at in (midnight, f"{midnight} - interval '1 microsecond'"):
        service.execute(JOB.replace(b"%s", at.encode()))
    found = {name for name, jobs in parts(owner).items() if jobs}
    assert found == {"job_results_3_days_ago", "job_results_4_days_ago"}


@IN_DAYS
def test_a_clean_up_that_does_not_see_a_new_job_does_not_drop_it(
    database: HubDatabase, owner: Connection, service: Connection
) -> None:
    service.execute(ENDED, [9, 3])
    with psycopg.connect(database.app_url, options=SERVICE, row_factory=dict_row) as strict:
        strict.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        strict.execute("SELECT 1")
        (late,) = service.execute(KEYED, [None, "late", 9]).fetchall()
        (counts,) = strict.execute("SELECT * FROM cleanup_job_results_manual(7, 1)").fetchall()
    assert counts["total_deleted"] == 3
    assert owner.execute("SELECT id FROM job_results").fetchall() == [late]


@IN_DAYS
def test_a_day_that_a_view_needs_is_deleted_by_its_rows(owner: Connection, service: Connection) -> None:
    service.execute(ENDED, [9, 3])
    owner.execute("CREATE VIEW mine AS SELECT id FROM job_results_9_days_ago")
    (counts,) = service.execute("SELECT * FROM nexus_drop_job_days(7, 1)").fetchall()
    assert (counts["deleted_completed"], counts["busy_days"] > 0) == (0, True)
    (counts,) = service.execute("SELECT * FROM cleanup_job_results_manual(7, 1)").fetchall()
    assert counts["total_deleted"] == 3
    assert parts(owner)["job_results_9_days_ago"] == 0


@IN_DAYS
def test_jobs_of_days_that_nobody_made_are_kept_apart_and_cleaned_up(owner: Connection, service: Connection) -> None:
    """As if the clean-up had not run for days: today is without a partition, and so was the day before yesterday."""
    for name in [*days_to_come(owner), "job_results_2_days_ago"]:
        owner.execute(f"DROP TABLE {name}".encode())
    service.execute(ENDED, [2, 3])
    (today,) = service.execute(KEYED, [None, "once", 0]).fetchall()
    before = len(days_to_come(owner))
    (added,) = service.execute("SELECT nexus_add_job_days(3) AS made").fetchall()
    assert len(days_to_come(owner)) == before + added["made"] > before
    (counts,) = service.execute("SELECT * FROM cleanup_job_results_manual(1, 1)").fetchall()
    assert counts["total_deleted"] == 3
    assert service.execute(KEYED, [None, "once", -1]).rowcount == 0
    assert service.execute("SELECT id FROM job_results").fetchall() == [today]


@IN_DAYS
def test_a_day_that_cannot_be_made_does_not_keep_others_from_being_made(owner: Connection, service: Connection) -> None:
    last = days_to_come(owner)[-1]
    owner.execute(f"ALTER TABLE job_results DETACH PARTITION {last}".encode())
    assert service.execute("SELECT nexus_add_job_days(5) AS made").fetchall() == [{"made": 2}]


async def test_default_privileges_open_no_partition(database: HubDatabase, owner: Connection) -> None:
    owner.execute("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC")
    await partition_jobs(database.owner_url)
    owner.execute("SELECT nexus_add_job_days(5)")
    tables = b"""
        SELECT c.relname, c.relrowsecurity, (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies,
            (SELECT count(*) FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner) AS rights
        FROM pg_class c
        WHERE c.relname = 'job_keys' OR c.oid IN (SELECT relid FROM pg_partition_tree('job_results') WHERE isleaf)"""
    found = owner.execute(tables).fetchall()
    assert len(found) > 6
    assert {(row["relrowsecurity"], row["policies"], row["rights"]) for row in found} == {(True, 0, 0)}


@IN_DAYS
@pytest.mark.parametrize(
    "statement", ["SELECT FROM {}", "UPDATE {} SET idempotency_key = NULL", "DELETE FROM {}", "TRUNCATE {}"]
)
@pytest.mark.parametrize("table", ["job_results_9_days_ago", "job_results_before", "job_results_default", "job_keys"])
def test_nobody_but_the_owner_reaches_a_partition_by_its_name(service: Connection, statement: str, table: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        service.execute(statement.format(table).encode())


@IN_DAYS
def test_a_dump_restores_jobs_keys_and_form(
    database: HubDatabase, empty_database: HubDatabase, service: Connection, tmp_path: Path
) -> None:
    if service.info.server_version < 180000:
        pytest.skip("pg_restore of PostgreSQL 18 sets what older servers do not know")
    for age in (0, 3, 40):
        service.execute(KEYED, [uuid4(), f"key {age}", age])
    programs, dump = wheel_binaries(), tmp_path / "dump"
    subprocess.run([programs / "pg_dump", "-Fc", "-f", dump, database.admin_url], check=True)
    subprocess.run([programs / "pg_restore", "-e", "-d", empty_database.admin_url, dump], check=True)
    with psycopg.connect(empty_database.admin_url, autocommit=True, row_factory=dict_row) as restored:
        assert sorted(parts(restored).values()) == sorted(parts(service).values())
        assert restored.execute("SELECT count(*) FROM job_keys").fetchall() == [{"count": 3}]
    with psycopg.connect(empty_database.app_url, autocommit=True, options=SERVICE) as app:
        assert app.execute(KEYED, [None, "key 3", 0]).rowcount == 1
        (user,) = app.execute("SELECT user_id FROM job_results WHERE idempotency_key = 'key 40'").fetchone() or [None]
        assert app.execute(KEYED, [user, "key 40", 0]).rowcount == 0
