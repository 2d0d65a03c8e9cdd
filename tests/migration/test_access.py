"""What the app's role can see and do, by the scope that a transaction declares."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from nexus_hub.db.migrate import migrate
from nexus_hub.db.queries import load
from tests.fixtures.postgres import HubDatabase

ALICE, BOB = uuid4(), uuid4()
TABLES = [
    "job_results",
    "system_servers",
    "user_servers",
    "server_state",
    "tool_cache",
    "resource_cache",
    "prompt_cache",
    "rate_limit_tracking",
    "rate_limit_counting",
    "users",
    "api_tokens",
    "vault_rotations",
    "vault_backups",
    "shared_runs",
    "used_states",
    "job_inputs",
    "console_sessions",
    "console_links",
    "audit_log",
    "upstream_logins",
    "login_requests",
    "oauth_clients",
    "oauth_requests",
    "oauth_grants",
    "oauth_tokens",
    "hub_settings",
    "user_groups",
    "group_members",
    "bundles",
    "bundle_entries",
    "access_grants",
    "approvals",
    "tool_pins",
    "catalog_changes",
    "applied_configuration",
]
DEFINERS = {
    "nexus_add_job_days",
    "nexus_approval_note",
    "nexus_server_check_name",
    "nexus_user_server_check_name",
    "nexus_server_keep_state",
    "nexus_cache_before_write",
    "nexus_drop_job_days",
    "nexus_entry_decide",
    "nexus_groups_of",
    "nexus_is_open",
    "nexus_job_counts",
    "nexus_job_release",
    "nexus_job_reserve",
    "nexus_login_after_write",
    "nexus_permissions",
    "nexus_policy_decide",
    "nexus_policy_hold",
    "nexus_purge_audit",
    "nexus_seen_servers",
    "nexus_seen_tools",
    "nexus_server_decide",
    "nexus_server_hold",
    "nexus_tool_decide",
    "nexus_user_after_delete",
}
CONDITIONS = [
    ("job_results", "nexus_has_ended(status) AND completed_at < now()", "idx_job_results_ended"),
    ("job_results", "nexus_is_live(status) AND created_at < now()", "idx_job_results_newest_open"),
    ("job_results", "nexus_is_orphan(status, error_code) AND completed_at < now()", "idx_job_results_failed_orphans"),
    ("job_results", "nexus_is_call(job_type)", None),
    ("job_results", "nexus_is_queued(status, dispatched_at, flow_run_id)", "idx_job_results_queued"),
    ("job_results", "nexus_owner(user_id) = gen_random_uuid()", None),
    ("job_results", "nexus_last_sign(t) < now()", None),
    ("job_results", "nexus_uuid(server_id) IS NOT NULL", None),
    (
        "job_results",
        "nexus_job_is_asked(t, true, NULL, NULL, NULL, 'direct', NULL, NULL, NULL, NULL, NULL)",
        "idx_job_results_by_lane",
    ),
    ("tool_cache", "nexus_is_seen_by(false, gen_random_uuid(), user_id)", None),
    ("server_state", "nexus_is_meant('x', name, server_ref_id)", None),
    ("system_servers", "nexus_rotation_takes(key_id, 'x', NULL)", None),
]
INSERT_JOB = b"INSERT INTO job_results (user_id, job_type, server_id) VALUES (%s, 'tool_invoke', 'hub')"


@pytest.fixture
def app(database: HubDatabase) -> Iterator[psycopg.Connection[Any]]:
    """The app's role on a database where the system, Alice and Bob each have one of everything."""
    with psycopg.connect(database.owner_url) as owner:
        owner.execute(
            "INSERT INTO system_servers (name, transport, config_encrypted, key_id, endpoint) "
            "VALUES ('time', 'http', %s, '0123abcd', 'x')",
            (b"x" * 40,),
        )
        owner.execute("INSERT INTO users (id, name) VALUES (%s, 'alice')", (ALICE,))
        owner.execute("INSERT INTO api_tokens (user_id, token_hash) VALUES (%s, %s)", (ALICE, b"x" * 32))
        owner.execute("INSERT INTO rate_limit_tracking (server_id, window_start) VALUES ('a', now())")
        owner.execute("INSERT INTO vault_rotations (new_key_id) VALUES ('0123abcd')")
        owner.execute(
            "INSERT INTO vault_backups "
            "(server_type, server_ref_id, new_key_id, rotation_id, config_encrypted, resealed_digest) "
            "SELECT 'system', s.id, r.new_key_id, r.id, s.config_encrypted, 'x' "
            "FROM system_servers s, vault_rotations r"
        )
        owner.execute("INSERT INTO shared_runs (id) VALUES (gen_random_uuid())")
        owner.execute("INSERT INTO used_states VALUES (gen_random_uuid(), now())")
        for table, column in (("console_sessions", "cookie_hash"), ("console_links", "code_hash")):
            owner.execute(
                f"INSERT INTO {table} ({column}, token_id, expires_at) "
                "SELECT token_hash, id, now() FROM api_tokens".encode()
            )
        owner.execute(
            "INSERT INTO oauth_clients (id, name, redirect_uris, grant_types, is_document, address) "
            "VALUES ('c', 'c', '{}', '{}', false, 'x')"
        )
        owner.execute(
            "INSERT INTO oauth_requests (client_id, redirect_uri, redirect_given, state, code_challenge, scopes, "
            "resource, issuer, address, expires_at) VALUES ('c', 'x', true, 'x', 'x', '{}', '', 'x', 'x', now())"
        )
        owner.execute(
            "WITH made AS (INSERT INTO oauth_grants (user_id, client_id, scopes, resource, expires_at) "
            "VALUES (%s, 'c', '{}', '', now()) RETURNING id) "
            "INSERT INTO oauth_tokens (token_hash, grant_id, kind, scopes, expires_at) "
            "SELECT %s, id, 'access', '{}', now() FROM made",
            (ALICE, b"x" * 32),
        )
        owner.execute(INSERT_JOB, (None,))
        for user_id in (None, ALICE, BOB):
            owner.execute(
                "INSERT INTO audit_log (id, at, actor, actor_id, action, outcome) "
                "VALUES (gen_random_uuid(), now(), 'x', %s, 'tool.list', 'ok')",
                (user_id,),
            )
        for user_id in (ALICE, BOB):
            owner.execute(INSERT_JOB, (user_id,))
            owner.execute("INSERT INTO user_servers (user_id, name) VALUES (%s, 'git')", (user_id,))
            for table, more, values in (
                ("upstream_logins", "kind", "'oauth'"),
                ("login_requests", "state_hash, expires_at", "sha256(gen_random_uuid()::text::bytea), now()"),
            ):
                owner.execute(
                    f"INSERT INTO {table} (server_type, server_ref_id, user_id, sealed, key_id, {more}) "
                    f"SELECT 'system', id, %s, config_encrypted, key_id, {values} FROM system_servers".encode(),
                    (user_id,),
                )
        owner.execute(
            "INSERT INTO approvals (job_id, user_id, digest, expires_at) "
            "SELECT id, user_id, sha256('x'), now() FROM job_results WHERE user_id IS NOT NULL"
        )
        owner.execute(
            "INSERT INTO job_inputs (job_id, claim_id, method, params) "
            "SELECT id, gen_random_uuid(), 'roots/list', '{}' FROM job_results"
        )
        for table, name in (("tool_cache", "namespaced_name"), ("resource_cache", "uri"), ("prompt_cache", "title")):
            owner.execute(
                f"INSERT INTO {table} (server_type, server_ref_id, user_id, {name}, definition) "
                "SELECT server_type, server_ref_id, user_id, 'x', '{}' FROM server_state".encode()
            )
    with psycopg.connect(database.app_url, autocommit=True) as connection:
        yield connection


@contextmanager
def acting(app: psycopg.Connection[Any], scope: str, user_id: UUID | str = "") -> Iterator[psycopg.Connection[Any]]:
    with app.transaction():
        app.execute(
            "SELECT set_config('nexus.scope', %s, true), set_config('nexus.user_id', %s, true)", (scope, str(user_id))
        )
        yield app


def seen(app: psycopg.Connection[Any]) -> dict[str, int]:
    counts = {table: app.execute(f"SELECT FROM {table}".encode()).rowcount for table in TABLES}
    return {table: count for table, count in counts.items() if count}


def test_without_a_scope_nothing_is_seen(app: psycopg.Connection[Any]) -> None:
    assert seen(app) == {}
    for scope, user_id in (("", ""), ("other", ALICE), ("", ALICE), ("user", ""), ("user", "not a uuid")):
        with acting(app, scope, user_id):
            assert seen(app) == {}


def test_a_scope_ends_with_its_transaction(app: psycopg.Connection[Any]) -> None:
    with acting(app, "service"):
        assert seen(app) != {}
    assert seen(app) == {}
    with acting(app, "user", ALICE):
        assert seen(app) != {}
    assert seen(app) == {}


def test_the_service_sees_everything(app: psycopg.Connection[Any]) -> None:
    with acting(app, "service"):
        assert seen(app) == {
            "hub_settings": 1,
            "user_groups": 1,
            "job_results": 3,
            "system_servers": 1,
            "user_servers": 2,
            "server_state": 3,
            "tool_cache": 3,
            "resource_cache": 3,
            "prompt_cache": 3,
            "rate_limit_tracking": 1,
            "rate_limit_counting": 1,
            "users": 1,
            "api_tokens": 1,
            "vault_rotations": 1,
            "vault_backups": 1,
            "shared_runs": 1,
            "used_states": 1,
            "job_inputs": 3,
            "console_sessions": 1,
            "console_links": 1,
            "audit_log": 5,
            "upstream_logins": 2,
            "login_requests": 2,
            "oauth_clients": 1,
            "oauth_requests": 1,
            "oauth_grants": 1,
            "oauth_tokens": 1,
            "approvals": 2,
        }


def test_a_user_sees_own_things_and_the_systems_catalog(app: psycopg.Connection[Any]) -> None:
    with acting(app, "user", ALICE):
        assert seen(app) == {
            "job_results": 1,
            "user_servers": 1,
            "server_state": 2,
            "tool_cache": 2,
            "resource_cache": 2,
            "prompt_cache": 2,
            "shared_runs": 1,
            "job_inputs": 1,
            "audit_log": 2,
            "approvals": 1,
        }
        for table in ("job_results", "user_servers"):
            assert app.execute(f"SELECT user_id FROM {table}".encode()).fetchall() == [(ALICE,)]
        for table in ("tool_cache", "resource_cache", "prompt_cache", "server_state"):
            assert set(app.execute(f"SELECT user_id FROM {table}".encode())) == {(ALICE,), (None,)}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE job_results SET status = 'cancelled' WHERE user_id IS DISTINCT FROM %(me)s",
        "DELETE FROM job_results",
        "UPDATE user_servers SET enabled = false WHERE user_id <> %(me)s",
        "DELETE FROM user_servers WHERE user_id <> %(me)s",
        "UPDATE system_servers SET enabled = false",
        "DELETE FROM system_servers",
        "UPDATE server_state SET status = 'failing'",
        "DELETE FROM server_state",
        "UPDATE tool_cache SET enabled = false",
        "DELETE FROM tool_cache",
        "DELETE FROM rate_limit_tracking",
        "DELETE FROM users",
        "DELETE FROM vault_backups",
        "UPDATE vault_rotations SET errors = '{}'",
        "UPDATE api_tokens SET revoked_at = NULL",
        "DELETE FROM shared_runs",
        "DELETE FROM used_states",
        "UPDATE console_sessions SET expires_at = 'infinity'",
        "DELETE FROM console_links",
        "UPDATE upstream_logins SET user_id = %(me)s",
        "DELETE FROM login_requests",
        "UPDATE approvals SET state = 'approved', decided_at = now(), decided_via = 'api'",
        "DELETE FROM approvals",
    ],
)
def test_a_user_changes_nothing_else(app: psycopg.Connection[Any], statement: str) -> None:
    with acting(app, "user", ALICE):
        assert app.execute(statement.encode(), {"me": ALICE}).rowcount == 0


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO job_results (user_id, job_type, server_id) VALUES (%(other)s, 'tool_invoke', 'hub')",
        "INSERT INTO job_results (job_type, server_id) VALUES ('tool_invoke', 'hub')",
        "INSERT INTO user_servers (user_id, name) VALUES (%(other)s, 'mine')",
        "UPDATE user_servers SET user_id = %(other)s",
        "INSERT INTO system_servers (name, transport, config_encrypted, key_id, endpoint) "
        "VALUES ('mine', 'stdio', repeat('x', 40)::bytea, '0123abcd', 'x')",
        "INSERT INTO tool_cache (namespaced_name) VALUES ('x')",
        "INSERT INTO users (name) VALUES ('eve')",
        "INSERT INTO shared_runs (id) VALUES (gen_random_uuid())",
        "INSERT INTO used_states VALUES (gen_random_uuid(), now())",
        "INSERT INTO console_sessions (cookie_hash, key_mark, expires_at) "
        "VALUES (decode(repeat('00', 32), 'hex'), 'x', 'infinity')",
        "INSERT INTO job_inputs (job_id, claim_id, method, params) "
        "VALUES (gen_random_uuid(), gen_random_uuid(), 'roots/list', '{}')",
        "UPDATE shared_runs SET closed_at = now()",
        "INSERT INTO approvals (job_id, user_id, digest, expires_at) "
        "VALUES (gen_random_uuid(), %(other)s, sha256('x'), now())",
        "INSERT INTO approvals (job_id, user_id, digest, expires_at, state, decided_at, decided_via) "
        "SELECT gen_random_uuid(), user_id, sha256('x'), now(), 'approved', now(), 'api' FROM approvals",
    ],
)
def test_a_user_puts_nothing_under_another_name(app: psycopg.Connection[Any], statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege), acting(app, "user", ALICE):
        app.execute(statement.encode(), {"other": BOB})


def test_a_user_gives_no_job_to_another(app: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.DatabaseError, match="what was asked never changes"), acting(app, "user", ALICE):
        app.execute("UPDATE job_results SET user_id = %s", (BOB,))


def test_a_user_stores_jobs_and_servers_and_removes_servers(app: psycopg.Connection[Any]) -> None:
    with acting(app, "user", ALICE):
        app.execute(INSERT_JOB, (ALICE,))
        app.execute("UPDATE job_results SET status = 'cancelled'")
        app.execute("INSERT INTO user_servers (user_id, name) VALUES (%s, 'hg')", (ALICE,))
        assert app.execute("SELECT FROM server_state WHERE name = 'hg'").rowcount == 1
        assert app.execute("DELETE FROM user_servers").rowcount == 2
        assert app.execute("SELECT FROM server_state WHERE user_id IS NOT NULL").rowcount == 0


def test_a_user_may_not_take_a_name_that_only_the_service_sees(app: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation), acting(app, "user", ALICE):
        app.execute("INSERT INTO user_servers (user_id, name) VALUES (%s, 'time')", (ALICE,))


def test_a_user_may_join_a_shared_run_which_stays_open_until_then(app: psycopg.Connection[Any]) -> None:
    with acting(app, "user", ALICE):
        assert app.execute("SELECT FROM shared_runs FOR KEY SHARE").rowcount == 1


@pytest.mark.parametrize(
    "claims", ["", "{}", "no json", '{"sub": "no uuid"}', '{"sub": null}', "[]", '{"a": {"sub": "x"}}']
)
def test_claims_without_a_uuid_show_nothing_and_raise_nothing(app: psycopg.Connection[Any], claims: str) -> None:
    with app.transaction():
        app.execute("SELECT set_config('request.jwt.claims', %s, true)", (claims,))
        assert seen(app) == {}


def test_the_subject_of_the_claims_is_a_user(app: psycopg.Connection[Any]) -> None:
    with app.transaction():
        app.execute("SELECT set_config('request.jwt.claims', %s, true)", (f'{{"sub": "{ALICE}"}}',))
        assert app.execute("SELECT user_id FROM job_results").fetchall() == [(ALICE,)]


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE job_results",
        "DROP TABLE job_results",
        "ALTER TABLE job_results DISABLE ROW LEVEL SECURITY",
        "CREATE TABLE mine (id integer)",
        "UPDATE schema_migrations SET checksum = 'x'",
        "INSERT INTO schema_migrations (version, name, checksum) VALUES (99, 'x', 'x')",
        "SET ROLE nexus_test_owner",
        "CREATE OR REPLACE FUNCTION nexus_scope_is_service() RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    ],
)
def test_the_app_may_not_touch_the_schema(app: psycopg.Connection[Any], statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege), acting(app, "service"):
        app.execute(statement.encode())


def test_the_app_owns_nothing_and_reads_the_ledger(app: psycopg.Connection[Any]) -> None:
    assert app.execute("SELECT FROM pg_class WHERE relowner = 'nexus_test_app'::regrole").rowcount == 0
    assert app.execute("SELECT FROM schema_migrations").rowcount > 0


def test_public_may_run_no_function_of_the_hub(database: HubDatabase) -> None:
    with psycopg.connect(database.owner_url) as connection:
        open_to_all = connection.execute(
            "SELECT p.proname FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a "
            "WHERE p.pronamespace = 'public'::regnamespace AND a.grantee = 0"
        ).fetchall()
    assert open_to_all == []


def test_the_search_path_of_every_function_is_pinned(database: HubDatabase) -> None:
    """One whose body was parsed when it was made needs none; one with the owner's rights never looks into public."""
    with psycopg.connect(database.owner_url) as connection:
        functions = connection.execute(
            "SELECT p.proname, p.prosecdef, p.proconfig FROM pg_proc p "
            "WHERE p.pronamespace = 'public'::regnamespace AND (p.prosqlbody IS NULL OR p.prosecdef)"
        ).fetchall()
    assert {name for name, definer, _ in functions if definer} == DEFINERS
    paths = {True: ["search_path=pg_catalog, pg_temp"], False: ["search_path=pg_catalog, public, pg_temp"]}
    pinned = {name: [one for one in config or () if one.startswith("search_path=")] for name, _, config in functions}
    assert [name for name, definer, _ in functions if pinned[name] != paths[definer]] == []


def test_nobody_but_the_owner_creates_objects_in_the_schema(empty_database: HubDatabase) -> None:
    """As in a database that was upgraded from a PostgreSQL where everybody could."""
    with psycopg.connect(empty_database.owner_url, autocommit=True) as owner:
        owner.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    asyncio.run(migrate(empty_database.owner_url, app_url=empty_database.app_url))
    with psycopg.connect(empty_database.app_url) as app, pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute("CREATE FUNCTION mine() RETURNS integer LANGUAGE sql RETURN 1")


@pytest.mark.parametrize(("table", "condition", "index"), CONDITIONS)
def test_a_named_condition_is_part_of_the_plan(
    database: HubDatabase, app: psycopg.Connection[Any], table: str, condition: str, index: str | None
) -> None:
    """A call of a function would be opaque to the planner: no index would be used, and each row would pay for it."""
    if index is not None:
        _leave_only(database, index)
    app.execute("SET enable_seqscan = off")
    with acting(app, "service"):
        lines = app.execute(f"EXPLAIN (VERBOSE, COSTS OFF) SELECT FROM {table} AS t WHERE {condition}".encode())
        plan = "\n".join(line for (line,) in lines)
    assert condition.partition("(")[0] not in plan
    assert index is None or index in plan


def _leave_only(database: HubDatabase, index: str) -> None:
    """In a small table the planner may as well take another index of the jobs."""
    with psycopg.connect(database.owner_url) as owner:
        others = owner.execute(
            "SELECT indexname FROM pg_indexes WHERE tablename = 'job_results' AND indexname NOT IN (%s, %s)",
            (index, "job_results_pkey"),
        ).fetchall()
        owner.execute(f"DROP INDEX {', '.join(name for (name,) in others)}".encode())


def test_each_named_condition_is_held_against_a_plan(database: HubDatabase) -> None:
    with psycopg.connect(database.owner_url) as connection:
        found = connection.execute(
            "SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prosqlbody IS NOT NULL"
        ).fetchall()
    assert {name for (name,) in found} == {condition.partition("(")[0] for _, condition, _ in CONDITIONS}


def test_rights_are_taken_from_all_but_the_owner_and_given_to_roles_that_exist(database: HubDatabase) -> None:
    with psycopg.connect(database.owner_url) as owner:
        owner.execute("CREATE TABLE later (id integer)")
        owner.execute("GRANT ALL ON later TO PUBLIC, nexus_app")
        owner.execute("SELECT nexus_revoke_all('later'), nexus_grant('SELECT ON later', 'nexus_app', 'no_such_role')")
        left = owner.execute(
            "SELECT a.grantee::regrole::text, a.privilege_type FROM pg_class c, aclexplode(c.relacl) a "
            "WHERE c.relname = 'later' AND a.grantee <> c.relowner"
        ).fetchall()
    assert left == [("nexus_app", "SELECT")]


def test_every_table_has_row_security(database: HubDatabase) -> None:
    with psycopg.connect(database.owner_url) as connection:
        open_tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
            "AND NOT relrowsecurity"
        ).fetchall()
    assert open_tables == []


def test_what_runs_with_the_owners_rights_finds_only_what_is_meant(database: HubDatabase) -> None:
    unsafe = load("doctor")["unsafe_functions"]
    with psycopg.connect(database.owner_url) as owner:
        definers = owner.execute("SELECT proname, prosrc FROM pg_proc WHERE prosecdef").fetchall()
        assert len(definers) >= 4
        tables = [name for (name,) in owner.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        for name, source in definers:
            bare = [table for table in tables if re.search(rf"(?:FROM|JOIN|INTO|UPDATE) {table}\b", source)]
            assert bare == [], name
        assert owner.execute(unsafe).fetchall() == []


@pytest.mark.parametrize(
    "make",
    [
        b"CREATE FUNCTION f() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'",
        b"CREATE FUNCTION f() RETURNS int SECURITY DEFINER LANGUAGE sql SET search_path = public AS 'SELECT 1'",
        b"CREATE FUNCTION f() RETURNS int SECURITY DEFINER LANGUAGE sql SET search_path = pg_catalog AS 'SELECT 1'",
        b"CREATE FUNCTION f() RETURNS int SECURITY DEFINER LANGUAGE sql SET search_path = pg_catalog, pg_temp "
        b"AS 'SELECT 1'",
        b"GRANT CREATE ON SCHEMA public TO PUBLIC",
    ],
    ids=["no path", "public", "temporary first", "everybody", "schema"],
)
def test_a_function_that_others_could_lead_astray_is_found(database: HubDatabase, make: bytes) -> None:
    unsafe = load("doctor")["unsafe_functions"]
    with psycopg.connect(database.admin_url) as admin:
        admin.execute(make)
        assert len(admin.execute(unsafe).fetchall()) == 1
        admin.rollback()
