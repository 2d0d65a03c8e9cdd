"""What the seed documents of the schema is there under its names: in a new database, and in one that was taken over."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from nexus_hub.db.migrate import migrate
from tests.fixtures.postgres import HubDatabase

Connection = psycopg.Connection[tuple[Any, ...]]
SEED = Path(__file__).with_name("seed.sql").read_bytes()
IN_A_DAY = "(now() + '24:00:00'::interval)"
COLUMNS: dict[str, tuple[str, bool, str | None]] = {
    "job_results.id": ("uuid", True, "gen_random_uuid()"),
    "job_results.user_id": ("uuid", False, None),
    "job_results.job_type": ("text", True, None),
    "job_results.server_id": ("text", True, None),
    "job_results.tool_name": ("text", False, None),
    "job_results.params": ("jsonb", True, "'{}'::jsonb"),
    "job_results.status": ("text", True, "'pending'::text"),
    "job_results.result": ("jsonb", False, None),
    "job_results.error": ("text", False, None),
    "job_results.created_at": ("timestamp with time zone", True, "now()"),
    "job_results.started_at": ("timestamp with time zone", False, None),
    "job_results.completed_at": ("timestamp with time zone", False, None),
    "user_servers.id": ("uuid", True, "gen_random_uuid()"),
    "user_servers.user_id": ("uuid", True, None),
    "user_servers.config_encrypted": ("bytea", False, None),
    "tool_cache.server_ref_id": ("uuid", False, None),
    "tool_cache.server_type": ("text", False, None),
    "tool_cache.user_id": ("uuid", False, None),
    "tool_cache.namespaced_name": ("text", True, None),
    "tool_cache.enabled": ("boolean", True, "true"),
    "tool_cache.expires_at": ("timestamp with time zone", True, IN_A_DAY),
    "resource_cache.server_ref_id": ("uuid", False, None),
    "resource_cache.server_type": ("text", False, None),
    "resource_cache.user_id": ("uuid", False, None),
    "resource_cache.expires_at": ("timestamp with time zone", True, IN_A_DAY),
    "prompt_cache.server_ref_id": ("uuid", False, None),
    "prompt_cache.server_type": ("text", False, None),
    "prompt_cache.user_id": ("uuid", False, None),
    "prompt_cache.expires_at": ("timestamp with time zone", True, IN_A_DAY),
    "rate_limit_tracking.server_id": ("text", True, None),
    "rate_limit_tracking.user_id": ("uuid", False, None),
    "rate_limit_tracking.window_start": ("timestamp with time zone", True, None),
    "rate_limit_tracking.request_count": ("integer", True, "1"),
}
"""Type, whether it is required, and default."""
INDEXES = {
    "idx_tool_cache_expires": "tool_cache USING btree (expires_at) WHERE enabled",
    "idx_resource_cache_expires": "resource_cache USING btree (expires_at)",
    "idx_prompt_cache_expires": "prompt_cache USING btree (expires_at)",
    "idx_rate_limit_window": "rate_limit_tracking USING btree (server_id, window_start)",
    "idx_job_results_cleanup": "job_results USING btree (status, completed_at) "
    "WHERE (status = ANY (ARRAY['completed'::text, 'failed'::text, 'cancelled'::text]))",
    "idx_job_results_orphaned": "job_results USING btree (status, created_at) "
    "WHERE (status = ANY (ARRAY['pending'::text, 'running'::text]))",
}
FUNCTIONS = {
    "execute_job_via_pg_net": ("job_id uuid", "void"),
    "refresh_expired_cache_entries": ("", "TABLE(server_ref_id uuid, server_type text, user_id uuid)"),
    "check_rate_limit": ("p_server_id text, p_user_id uuid, p_limit_per_minute integer", "boolean"),
    "rotate_vault_key": ("", "TABLE(servers_updated integer, errors text[])"),
    "cleanup_old_job_results": ("", "integer"),
    "cleanup_job_results_manual": (
        "p_days_completed integer DEFAULT 7, p_days_orphaned integer DEFAULT 1",
        "TABLE(deleted_completed integer, deleted_orphaned integer, total_deleted integer)",
    ),
}
"""Parameters and what is returned."""


@pytest.fixture(params=["database", "empty_database"], ids=["new", "taken over"])
def owner(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """The owner of a new database, and of one that had the seed's tables before it was migrated."""
    database: HubDatabase = request.getfixturevalue(request.param)
    if request.param == "empty_database":
        with psycopg.connect(database.owner_url) as connection:
            connection.execute(SEED)
        asyncio.run(migrate(database.owner_url))
    with psycopg.connect(database.owner_url) as connection:
        yield connection


def test_each_documented_column_has_its_type_and_default(owner: Connection) -> None:
    found = owner.execute(
        "SELECT a.attrelid::regclass || '.' || a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, "
        "pg_get_expr(d.adbin, d.adrelid) FROM pg_attribute a "
        "LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
        "WHERE a.attrelid::regclass || '.' || a.attname = ANY (%s)",
        (list(COLUMNS),),
    ).fetchall()
    assert {name: (kind, required, default) for name, kind, required, default in found} == COLUMNS


@pytest.mark.one_table
def test_each_documented_index_covers_its_columns_and_rows(owner: Connection) -> None:
    found = owner.execute(
        "SELECT indexname, replace(split_part(indexdef, ' ON ', 2), 'public.', '') FROM pg_indexes "
        "WHERE indexname = ANY (%s)",
        (list(INDEXES),),
    ).fetchall()
    assert {name: text.replace("(enabled = true)", "enabled") for name, text in found} == INDEXES


def test_each_documented_function_has_its_signature_and_no_other(owner: Connection) -> None:
    found = owner.execute(
        "SELECT proname, pg_get_function_arguments(oid), pg_get_function_result(oid) FROM pg_proc "
        "WHERE pronamespace = 'public'::regnamespace AND proname = ANY (%s)",
        (list(FUNCTIONS),),
    ).fetchall()
    assert len(found) == len(FUNCTIONS)
    assert {name: (parameters, result) for name, parameters, result in found} == FUNCTIONS
