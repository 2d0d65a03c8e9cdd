"""Every query of the seed's client code works on the migrated database, under the roles that it ran as.

The roles are made as Supabase makes them, also with its default privileges; a gateway there sets the role and the
verified claims for one transaction. Where nobody may create BYPASSRLS roles, service_role has none.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from nexus_hub.db.migrate import migrate
from tests.fixtures.postgres import created_database, embedded_server, ensure_role, ensure_roles

ALICE, BOB = uuid4(), uuid4()
Connection = psycopg.Connection[dict[str, Any]]
ROLES = ("anon", "authenticated", "service_role")
CLIENT_ROLES = ("service_role", "authenticated")
CREATE_JOB = (
    b"INSERT INTO public.job_results (user_id, job_type, server_id, tool_name, params, status) "
    b"SELECT user_id, job_type, server_id, tool_name, params, status "
    b"FROM json_populate_record(NULL::public.job_results, %s) RETURNING id"
)
GET_JOB = b"SELECT * FROM public.job_results WHERE id = %s"
TO_RUNNING = b"UPDATE public.job_results SET status = 'running', started_at = %s WHERE id = %s AND status = 'pending'"
TO_COMPLETED = b"UPDATE public.job_results SET status = 'completed', result = %s, completed_at = now() WHERE id = %s"
TO_FAILED = b"UPDATE public.job_results SET status = 'failed', error = %s, completed_at = now() WHERE id = %s"
CACHED_TOOLS = (
    b"SELECT * FROM public.tool_cache WHERE (user_id = %s OR user_id IS NULL) AND enabled = true "
    b"AND expires_at >= now() ORDER BY namespaced_name"
)


@dataclass(frozen=True, slots=True)
class Gateway:
    """Runs each request in a transaction of its own, as a role with claims."""

    connection: Connection

    @contextmanager
    def request(self, role: str, user_id: UUID | None = ALICE) -> Iterator[Connection]:
        claims = json.dumps({"role": role} | ({"sub": str(user_id)} if user_id else {}))
        with self.connection.transaction():
            self.connection.execute("SELECT set_config('request.jwt.claims', %s, true)", (claims,))
            self.connection.execute(f"SET LOCAL ROLE {role}".encode())
            yield self.connection

    def create_job(self, role: str, user_id: UUID = ALICE) -> UUID:
        job = {
            "user_id": str(user_id),
            "job_type": "tool_invoke",
            "server_id": str(uuid4()),
            "tool_name": None,
            "params": {"a": 1},
            "status": "pending",
        }
        with self.request(role) as connection:
            row = connection.execute(CREATE_JOB, (json.dumps(job),)).fetchone()
        assert row is not None
        return UUID(str(row["id"]))

    def job(self, role: str, job_id: UUID) -> dict[str, Any]:
        with self.request(role) as connection:
            row = connection.execute(GET_JOB, (job_id,)).fetchone()
        assert row is not None
        return row


@pytest.fixture(scope="module", params=["BYPASSRLS", "NOBYPASSRLS"])
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """A database that was migrated where Supabase's roles, privileges and publication existed.

    Its server is its own: elsewhere whatever is migrated meanwhile would grant rights to those roles.
    """
    with embedded_server() as url:
        ensure_roles(url)
        with psycopg.connect(url, autocommit=True) as admin:
            for role in ROLES:
                ensure_role(admin, role, "NOLOGIN NOBYPASSRLS")
            ensure_role(admin, "service_role", request.param)
        with created_database(url, template=None) as database:
            with psycopg.connect(database.owner_url) as owner:
                for kind in ("TABLES", "FUNCTIONS", "SEQUENCES"):
                    owner.execute(f"ALTER DEFAULT PRIVILEGES GRANT ALL ON {kind} TO {', '.join(ROLES)}".encode())
                owner.execute("CREATE PUBLICATION supabase_realtime")
            asyncio.run(migrate(database.owner_url))
            with psycopg.connect(database.admin_url, autocommit=True, row_factory=dict_row) as connection:
                yield Gateway(connection)


@pytest.fixture(autouse=True)
def _empty(gateway: Gateway) -> None:
    gateway.connection.execute(
        "TRUNCATE job_results, user_servers, system_servers, server_state, tool_cache, resource_cache, prompt_cache, "
        "rate_limit_tracking, vault_rotations, vault_backups, call_policies, job_inputs, tool_pins, catalog_changes, "
        "bundle_entries, access_grants"
    )


@pytest.mark.parametrize("role", CLIENT_ROLES)
def test_create_job_inserts_and_triggers(gateway: Gateway, role: str) -> None:
    job_id = gateway.create_job(role)
    with gateway.request(role) as connection:
        connection.execute("SELECT public.execute_job_via_pg_net(job_id => %s)", (job_id,))
    row = gateway.job(role, job_id)
    assert (row["status"], row["user_id"], row["params"]) == ("pending", ALICE, {"a": 1})
    assert str(row["server_ref_id"]) == row["server_id"]


@pytest.mark.parametrize("role", CLIENT_ROLES)
def test_create_job_gives_up_a_job_that_could_not_be_triggered(gateway: Gateway, role: str) -> None:
    job_id = gateway.create_job(role)
    with gateway.request(role) as connection:
        updated = connection.execute(
            "UPDATE public.job_results SET status = 'failed', error = %s WHERE id = %s", ("no trigger", job_id)
        )
    assert updated.rowcount == 1
    row = gateway.job(role, job_id)
    assert (row["status"], row["error"]) == ("failed", "no trigger")
    assert row["completed_at"] is not None


def test_triggering_an_unknown_or_foreign_job_raises(gateway: Gateway) -> None:
    foreign = gateway.create_job("service_role", BOB)
    for role, job_id in (("service_role", uuid4()), ("authenticated", uuid4()), ("authenticated", foreign)):
        with pytest.raises(psycopg.errors.NoDataFound), gateway.request(role) as connection:
            connection.execute("SELECT public.execute_job_via_pg_net(job_id => %s)", (job_id,))


def test_execute_job_runs_and_completes(gateway: Gateway) -> None:
    job_id = gateway.create_job("service_role")
    with gateway.request("service_role") as connection:
        assert connection.execute(TO_RUNNING, ("2026-01-01T00:00:00Z", job_id)).rowcount == 1
    with gateway.request("service_role") as connection:
        assert connection.execute(TO_COMPLETED, ('{"success": true}', job_id)).rowcount == 1
    row = gateway.job("authenticated", job_id)
    assert (row["status"], row["result"]) == ("completed", {"success": True})
    assert row["started_at"].year == 2026


def test_execute_job_records_an_error(gateway: Gateway) -> None:
    job_id = gateway.create_job("service_role")
    with gateway.request("service_role") as connection:
        connection.execute(TO_RUNNING, ("2026-01-01T00:00:00Z", job_id))
        assert connection.execute(TO_FAILED, ("Unknown error", job_id)).rowcount == 1
    assert gateway.job("authenticated", job_id)["error"] == "Unknown error"


def test_a_late_end_of_an_ended_job_changes_nothing(gateway: Gateway) -> None:
    job_id = gateway.create_job("service_role")
    with gateway.request("service_role") as connection:
        connection.execute(TO_COMPLETED, ('{"success": true}', job_id))
    with pytest.raises(psycopg.DatabaseError, match="has ended"), gateway.request("service_role") as connection:
        connection.execute(TO_FAILED, ("late", job_id))
    assert gateway.job("service_role", job_id)["status"] == "completed"


@pytest.mark.parametrize("role", CLIENT_ROLES)
def test_get_cached_tools_are_the_users_and_the_systems(gateway: Gateway, role: str) -> None:
    with gateway.request("service_role") as connection:
        connection.execute(
            "INSERT INTO public.tool_cache (server_ref_id, server_type, user_id, namespaced_name, enabled, expires_at) "
            "SELECT gen_random_uuid(), t.server_type, t.user_id, t.name, t.enabled, now() + t.lasts "
            "FROM (VALUES ('user', %(alice)s::uuid, 'mine__b', true, interval '1 h'), "
            "('system', NULL, 'all__a', true, '1 h'), ('user', %(bob)s, 'bobs__a', true, '1 h'), "
            "('system', NULL, 'off__a', false, '1 h'), ('system', NULL, 'old__a', true, '-1 h')"
            ") AS t (server_type, user_id, name, enabled, lasts)",
            {"alice": ALICE, "bob": BOB},
        )
    with gateway.request(role) as connection:
        found = connection.execute(CACHED_TOOLS, (ALICE,)).fetchall()
    assert [row["namespaced_name"] for row in found] == ["all__a", "mine__b"]
    with gateway.request("authenticated") as connection:
        assert connection.execute("SELECT FROM public.tool_cache WHERE user_id = %s", (BOB,)).rowcount == 0


def test_caches_take_plain_inserts_and_lose_entries(gateway: Gateway) -> None:
    with gateway.request("service_role") as connection:
        for table in ("resource_cache", "prompt_cache"):
            connection.execute(
                f"INSERT INTO public.{table} (server_ref_id, server_type, user_id) VALUES (%s, 'user', %s)".encode(),
                (uuid4(), ALICE),
            )
            assert connection.execute(f"DELETE FROM public.{table}".encode()).rowcount == 1


def test_refresh_names_the_servers_that_are_due(gateway: Gateway) -> None:
    with gateway.request("service_role") as connection:
        row = connection.execute("INSERT INTO user_servers (user_id) VALUES (%s) RETURNING id", (ALICE,)).fetchone()
        assert row is not None
        found = connection.execute("SELECT * FROM public.refresh_expired_cache_entries()").fetchall()
    assert found == [{"server_ref_id": row["id"], "server_type": "user", "user_id": ALICE}]


@pytest.mark.parametrize("user_id", [ALICE, None])
def test_check_rate_limit_allows_up_to_the_limit(gateway: Gateway, user_id: UUID | None) -> None:
    query = (
        b"SELECT public.check_rate_limit(p_limit_per_minute => 2, p_server_id => 'github', p_user_id => %s) AS allowed"
    )
    answers = []
    for _ in range(3):
        with gateway.request("service_role") as connection:
            row = connection.execute(query, (user_id,)).fetchone()
            assert row is not None
            answers.append(row["allowed"])
    assert answers == [True, True, False]
    with gateway.request("service_role") as connection:
        counts = connection.execute("SELECT sum(request_count) AS total FROM public.rate_limit_tracking").fetchall()
    assert counts == [{"total": 2}]


def test_rotation_reads_and_rewrites_configs(gateway: Gateway) -> None:
    gateway.connection.execute(
        "INSERT INTO user_servers (user_id, config_encrypted, key_id) VALUES (%s, %s, '0123abcd')", (ALICE, b"x" * 60)
    )
    with gateway.request("service_role") as connection:
        (server,) = connection.execute(
            "SELECT id, config_encrypted, user_id FROM public.user_servers WHERE config_encrypted IS NOT NULL"
        ).fetchall()
        updated = connection.execute(
            "UPDATE public.user_servers SET config_encrypted = %s WHERE id = %s", (b"y" * 60, server["id"])
        )
        assert updated.rowcount == 1
        after = connection.execute("SELECT config_encrypted, key_id FROM public.user_servers").fetchall()
    assert after == [{"config_encrypted": b"y" * 60, "key_id": None}]


def test_rotate_vault_key_reports(gateway: Gateway) -> None:
    with gateway.request("service_role") as connection:
        connection.execute("INSERT INTO user_servers (user_id, config_encrypted) VALUES (%s, %s)", (ALICE, b"x" * 60))
        connection.execute("SELECT set_config('nexus.vault_primary_key_id', '0123abcd', true)")
        row = connection.execute("SELECT * FROM public.rotate_vault_key()").fetchone()
    assert row is not None
    assert (row["servers_updated"], len(row["errors"])) == (0, 1)


def test_rotate_vault_key_reports_on_the_last_rotation_of_the_hub(gateway: Gateway) -> None:
    gateway.connection.execute(
        "INSERT INTO vault_rotations (new_key_id, finished_at) VALUES ('0123abcd', now()), ('89abcdef', NULL)"
    )
    gateway.connection.execute(
        "INSERT INTO user_servers (user_id, config_encrypted, key_id) VALUES (%s, %s, '0123abcd')", (ALICE, b"x" * 60)
    )
    with gateway.request("service_role") as connection:
        rows = connection.execute("SELECT * FROM public.rotate_vault_key()").fetchall()
    assert rows == [{"servers_updated": 1, "errors": []}]


def test_only_the_hub_seals_anew_without_a_new_revision(gateway: Gateway) -> None:
    gateway.connection.execute(
        "INSERT INTO user_servers (user_id, config_encrypted, key_id) VALUES (%s, %s, '0123abcd')", (ALICE, b"x" * 60)
    )
    with gateway.request("service_role") as connection:
        connection.execute("SELECT set_config('nexus.reseal', 'on', true)")
        connection.execute("UPDATE public.user_servers SET config_encrypted = %s", (b"y" * 60,))
        after = connection.execute("SELECT revision, key_id FROM public.user_servers").fetchall()
    assert after == [{"revision": 2, "key_id": None}]


@pytest.mark.parametrize("role", ROLES)
def test_nobody_but_the_hub_sees_what_a_rotation_replaced(gateway: Gateway, role: str) -> None:
    for table in ("vault_backups", "vault_rotations"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), gateway.request(role) as connection:
            connection.execute(f"SELECT * FROM public.{table}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege), gateway.request(role) as connection:
            connection.execute(f"DELETE FROM public.{table}".encode())


def test_clean_up_deletes_old_jobs(gateway: Gateway) -> None:
    with gateway.request("service_role") as connection:
        connection.execute(
            "INSERT INTO job_results (job_type, server_id, status, completed_at) "
            "VALUES ('tool_invoke', 'a', 'failed', now() - interval '8 days'), ('tool_invoke', 'a', 'pending', NULL)"
        )
        row = connection.execute(
            "SELECT * FROM public.cleanup_job_results_manual(p_days_completed => 7, p_days_orphaned => 1)"
        ).fetchone()
        nightly = connection.execute("SELECT public.cleanup_old_job_results() AS deleted").fetchone()
    assert row == {"deleted_completed": 1, "deleted_orphaned": 0, "total_deleted": 1}
    assert nightly == {"deleted": 0}


def test_realtime_publishes_jobs_and_only_ones_own_are_read(gateway: Gateway) -> None:
    published = gateway.connection.execute(
        "SELECT tablename FROM pg_publication_tables WHERE pubname = 'supabase_realtime' AND schemaname = 'public'"
    ).fetchall()
    assert published == [{"tablename": "job_results"}]
    mine, foreign = gateway.create_job("service_role"), gateway.create_job("service_role", BOB)
    with gateway.request("authenticated") as connection:
        visible = connection.execute("SELECT id FROM public.job_results WHERE id = ANY (%s)", ([mine, foreign],))
        assert visible.fetchall() == [{"id": mine}]


def test_monitoring_queries(gateway: Gateway) -> None:
    gateway.create_job("service_role")
    with gateway.request("service_role") as connection:
        sizes = connection.execute(
            "SELECT COUNT(*) AS total_jobs, COUNT(*) FILTER (WHERE status = 'pending') AS pending, "
            "COUNT(*) FILTER (WHERE created_at < now() - interval '7 days') AS older_than_7_days, "
            "pg_size_pretty(pg_total_relation_size('job_results')) AS table_size FROM job_results"
        ).fetchone()
        alert = connection.execute(
            "SELECT CASE WHEN COUNT(*) > 1000000 THEN 'ALERT: job_results table exceeds 1M rows' ELSE 'OK' END "
            "AS status, COUNT(*) AS row_count FROM job_results"
        ).fetchone()
    assert sizes is not None
    assert (sizes["total_jobs"], sizes["pending"], sizes["older_than_7_days"]) == (1, 1, 0)
    assert alert == {"status": "OK", "row_count": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"user_id": str(BOB)},
        {"user_id": None},
        {"status": "completed"},
        {"job_type": "key_rotation"},
    ],
)
def test_authenticated_stores_only_new_jobs_of_its_own(gateway: Gateway, changes: dict[str, str | None]) -> None:
    job = {"user_id": str(ALICE), "job_type": "tool_invoke", "server_id": "a", "params": {}, "status": "pending"}
    with pytest.raises(psycopg.errors.InsufficientPrivilege), gateway.request("authenticated") as connection:
        connection.execute(CREATE_JOB, (json.dumps(job | changes),))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE job_results SET result = '1'",
        "UPDATE job_results SET status = 'completed'",
        "DELETE FROM job_results",
        "TRUNCATE job_results",
        "SELECT FROM user_servers",
        "SELECT FROM system_servers",
        "SELECT FROM users",
        "SELECT FROM api_tokens",
        "SELECT FROM rate_limit_tracking",
        "SELECT cleanup_job_results_manual(0, 0)",
        "SELECT check_rate_limit('a', NULL, 1)",
        "SELECT rotate_vault_key()",
    ],
)
def test_authenticated_may_do_no_more(gateway: Gateway, statement: str) -> None:
    gateway.create_job("authenticated")
    with pytest.raises(psycopg.errors.InsufficientPrivilege), gateway.request("authenticated") as connection:
        connection.execute(statement.encode())


def test_authenticated_cannot_give_up_a_job_that_runs(gateway: Gateway) -> None:
    job_id = gateway.create_job("authenticated")
    with gateway.request("service_role") as connection:
        connection.execute(TO_RUNNING, ("2026-01-01T00:00:00Z", job_id))
    with gateway.request("authenticated") as connection:
        updated = connection.execute("UPDATE job_results SET status = 'failed', error = 'x' WHERE id = %s", (job_id,))
    assert updated.rowcount == 0
    assert gateway.job("service_role", job_id)["status"] == "running"


def test_authenticated_is_who_the_claims_say_whatever_it_sets(gateway: Gateway) -> None:
    foreign = gateway.create_job("service_role", BOB)
    with gateway.request("authenticated") as connection:
        connection.execute("SELECT set_config('nexus.scope', 'service', true)")
        assert connection.execute(GET_JOB, (foreign,)).rowcount == 0
        connection.execute(
            "SELECT set_config('nexus.scope', 'user', true), set_config('nexus.user_id', %s, true)", (str(BOB),)
        )
        assert connection.execute(GET_JOB, (foreign,)).rowcount == 0


def test_without_a_subject_authenticated_sees_nothing(gateway: Gateway) -> None:
    gateway.create_job("service_role")
    with gateway.request("service_role") as connection:
        connection.execute("INSERT INTO tool_cache (namespaced_name) VALUES ('a__b')")
    with gateway.request("authenticated", None) as connection:
        for table in ("job_results", "tool_cache", "server_state"):
            assert connection.execute(f"SELECT count(*) AS rows FROM {table}".encode()).fetchall() == [{"rows": 0}]


def test_anon_may_do_nothing(gateway: Gateway) -> None:
    names = gateway.connection.execute(
        "SELECT format('SELECT 1 FROM %I', tablename) AS statement FROM pg_tables WHERE schemaname = 'public' "
        "UNION ALL SELECT 'SELECT check_rate_limit(''a'', NULL, 1)' "
        "UNION ALL SELECT 'SELECT execute_job_via_pg_net(gen_random_uuid())'"
    ).fetchall()
    assert len(names) >= 15
    for row in names:
        with pytest.raises(psycopg.errors.InsufficientPrivilege), gateway.request("anon", None) as connection:
            connection.execute(row["statement"].encode())


def test_service_role_reads_no_sealed_system_server(gateway: Gateway) -> None:
    with gateway.request("service_role") as connection:
        connection.execute("SELECT id, name, key_id FROM system_servers")
    for column in ("config_encrypted", "*"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), gateway.request("service_role") as connection:
            connection.execute(f"SELECT {column} FROM system_servers".encode())
