"""A database that was built by the seed's corrected SQL is taken over without losing a row."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

from nexus_hub.db.migrate import migrate, pending
from nexus_hub.errors import CannotMigrate, CannotOpen
from tests.fixtures.postgres import HubDatabase

pytestmark = pytest.mark.one_table

SEED = Path(__file__).with_name("seed.sql").read_bytes()
ALICE = UUID("00000000-0000-4000-8000-00000000000a")
PLAIN = UUID("00000000-0000-4000-8000-0000000000f1")
TABLES = ("job_results", "user_servers", "tool_cache", "resource_cache", "prompt_cache", "rate_limit_tracking")
COUNTS = {
    "job_results": 8,
    "user_servers": 3,
    "tool_cache": 4,
    "resource_cache": 1,
    "prompt_cache": 1,
    "rate_limit_tracking": 1,
}


class Sealer:
    """Turns a config's bytes round, which is enough to see what was sealed and whether it was opened."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken

    async def seal_config(self, row_id: UUID, owner: UUID, config: Mapping[str, Any]) -> tuple[bytes, str]:
        return json.dumps([str(row_id), config]).ljust(28).encode()[::-1], "0123abcd"

    async def open_config(self, row_id: UUID, owner: UUID, sealed: bytes, key_id: str | None) -> Mapping[str, Any]:
        if self.broken or key_id is None:
            raise CannotOpen(f"user server {row_id}", key_id)
        sealed_id, config = json.loads(sealed[::-1])
        assert sealed_id == str(row_id)
        return dict(config)


@pytest.fixture
def seeded(empty_database: HubDatabase) -> HubDatabase:
    """A database of the seed's making, without plain configs."""
    with psycopg.connect(empty_database.owner_url) as connection:
        connection.execute(SEED)
    return empty_database


@pytest.fixture
def seeded_plain(seeded: HubDatabase) -> HubDatabase:
    """The same before the seed's step that drops the plain configs."""
    with psycopg.connect(seeded.owner_url) as connection:
        connection.execute("ALTER TABLE user_servers ADD COLUMN config jsonb")
        connection.execute(
            "INSERT INTO user_servers (id, user_id, config) VALUES (%s, %s, %s)",
            (PLAIN, ALICE, json.dumps({"transport": "http", "url": "https://example.com/mcp"})),
        )
    return seeded


def rows(database: HubDatabase, query: bytes) -> list[dict[str, Any]]:
    with psycopg.connect(database.owner_url, row_factory=dict_row) as connection:
        return connection.execute(query).fetchall()


def counts(database: HubDatabase) -> dict[str, int]:
    return {table: len(rows(database, f"SELECT FROM {table}".encode())) for table in TABLES}


async def test_no_row_is_lost(seeded: HubDatabase) -> None:
    assert counts(seeded) == COUNTS
    assert await migrate(seeded.owner_url) != []
    assert counts(seeded) == COUNTS
    assert await pending(seeded.owner_url) == []


@pytest.mark.parametrize(
    "query",
    [
        "SELECT attrelid::regclass::text || '.' || attname AS name, format_type(atttypid, atttypmod), attnotnull, "
        "attacl::text, pg_get_expr(adbin, adrelid) FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid "
        "LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum "
        "WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped",
        "SELECT conrelid::regclass::text || '.' || conname AS name, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = 'public'::regnamespace",
        "SELECT indexname AS name, replace(indexdef, '(enabled = true)', 'enabled') FROM pg_indexes "
        "WHERE schemaname = 'public'",
        "SELECT tgrelid::regclass::text || '.' || tgname AS name, pg_get_triggerdef(oid) FROM pg_trigger "
        "WHERE NOT tgisinternal",
        "SELECT tablename || '.' || policyname AS name, roles, cmd, qual, with_check FROM pg_policies",
        "SELECT oid::regprocedure::text AS name, pg_get_functiondef(oid), proacl::text FROM pg_proc "
        "WHERE pronamespace = 'public'::regnamespace",
        "SELECT relname AS name, relrowsecurity, relacl::text, reloptions FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')",
    ],
    ids=["columns", "constraints", "indexes", "triggers", "policies", "functions", "rights"],
)
async def test_what_was_taken_over_has_the_schema_of_a_new_database(
    seeded: HubDatabase, database: HubDatabase, query: str
) -> None:
    await migrate(seeded.owner_url, app_url=seeded.app_url)
    ordered = f"{query} ORDER BY name".encode()
    found = rows(database, ordered)
    assert len(found) > 5
    assert rows(seeded, ordered) == found


async def test_documented_values_stay_as_they_were(seeded: HubDatabase) -> None:
    query = b"SELECT id, user_id, job_type, tool_name, status, result, error, server_id FROM job_results ORDER BY id"
    before = rows(seeded, query)
    await migrate(seeded.owner_url)
    assert rows(seeded, query) == before


async def test_ended_jobs_get_an_end_and_others_lose_theirs(seeded: HubDatabase) -> None:
    await migrate(seeded.owner_url)
    ended = rows(
        seeded, b"SELECT FROM job_results WHERE status IN ('completed', 'failed', 'cancelled') AND completed_at IS NULL"
    )
    unended = rows(
        seeded, b"SELECT FROM job_results WHERE status IN ('pending', 'running') AND completed_at IS NOT NULL"
    )
    assert (ended, unended) == ([], [])


async def test_a_running_job_without_a_claim_is_kept_for_the_sweep(seeded: HubDatabase) -> None:
    await migrate(seeded.owner_url)
    running = rows(
        seeded, b"SELECT claim_id, started_at IS NOT NULL AS started FROM job_results WHERE status = 'running'"
    )
    assert running == [{"claim_id": None, "started": True}] * 2


async def test_references_are_derived_from_the_server_id(seeded: HubDatabase) -> None:
    await migrate(seeded.owner_url)
    found = rows(
        seeded,
        b"SELECT DISTINCT server_id, server_ref_id::text, server_type FROM job_results ORDER BY server_id",
    )
    assert found == [
        {"server_id": f"{ALICE}", "server_ref_id": f"{ALICE}", "server_type": None},
        {
            "server_id": "00000000-0000-4000-8000-0000000000e1",
            "server_ref_id": "00000000-0000-4000-8000-0000000000e1",
            "server_type": "user",
        },
        {"server_id": "github", "server_ref_id": None, "server_type": None},
    ]


async def test_servers_get_a_name_and_a_state_row(seeded: HubDatabase) -> None:
    await migrate(seeded.owner_url)
    found = rows(
        seeded,
        b"SELECT s.user_id, s.name, t.name AS state_name, s.key_id FROM user_servers s "
        b"JOIN server_state t ON t.server_type = 'user' AND t.server_ref_id = s.id ORDER BY s.id",
    )
    assert len(found) == 3
    assert all(row["name"] == row["state_name"] for row in found)
    assert len({(row["user_id"], row["name"]) for row in found}) == 3
    assert found[0] == {"user_id": ALICE, "name": "server-00000000", "state_name": "server-00000000", "key_id": None}


async def test_entries_that_never_expired_are_due(seeded: HubDatabase) -> None:
    await migrate(seeded.owner_url)
    assert rows(seeded, b"SELECT FROM tool_cache WHERE expires_at IS NULL") == []
    due = rows(seeded, b"SELECT server_ref_id::text, server_type FROM refresh_expired_cache_entries()")
    assert {"server_ref_id": "00000000-0000-4000-8000-0000000000e1", "server_type": "user"} in due


async def test_a_call_without_a_user_is_limited(seeded: HubDatabase) -> None:
    await migrate(seeded.owner_url)
    query = b"SELECT check_rate_limit('github', NULL, 1) AS allowed"
    with psycopg.connect(seeded.owner_url) as connection:
        assert [connection.execute(query).fetchone() for _ in range(2)] == [(True,), (False,)]


async def test_the_seed_functions_are_replaced_without_overloads(seeded: HubDatabase) -> None:
    await migrate(seeded.owner_url)
    found = rows(
        seeded,
        b"SELECT proname, prosecdef FROM pg_proc WHERE proname IN ('check_rate_limit', 'rotate_vault_key', "
        b"'refresh_expired_cache_entries', 'cleanup_old_job_results', 'cleanup_job_results_manual', "
        b"'execute_job_via_pg_net')",
    )
    assert len(found) == 6
    assert not any(row["prosecdef"] for row in found)


async def test_plain_configs_are_sealed_verified_and_dropped(seeded_plain: HubDatabase) -> None:
    await migrate(seeded_plain.owner_url, sealer=Sealer())
    (row,) = rows(seeded_plain, f"SELECT config_encrypted, key_id FROM user_servers WHERE id = '{PLAIN}'".encode())
    opened = await Sealer().open_config(PLAIN, PLAIN, row["config_encrypted"], row["key_id"])
    assert opened == {"transport": "http", "url": "https://example.com/mcp"}
    assert rows(seeded_plain, b"SELECT FROM pg_attribute WHERE attname = 'config' AND NOT attisdropped") == []


@pytest.mark.parametrize("sealer", [None, Sealer(broken=True)])
async def test_plain_configs_stay_when_they_cannot_be_sealed(seeded_plain: HubDatabase, sealer: Sealer | None) -> None:
    with pytest.raises(CannotMigrate, match=r"hold their config in plain|can't be verified"):
        await migrate(seeded_plain.owner_url, sealer=sealer)
    query = f"SELECT config ->> 'url' AS url, config_encrypted FROM user_servers WHERE id = '{PLAIN}'".encode()
    assert rows(seeded_plain, query) == [{"url": "https://example.com/mcp", "config_encrypted": None}]
    assert await migrate(seeded_plain.owner_url, sealer=Sealer()) == []


async def test_a_row_with_both_configs_is_not_guessed_about(seeded_plain: HubDatabase) -> None:
    with psycopg.connect(seeded_plain.owner_url) as connection:
        connection.execute("UPDATE user_servers SET config_encrypted = %s WHERE id = %s", (b"x" * 40, PLAIN))
    with pytest.raises(CannotMigrate, match=str(PLAIN)):
        await migrate(seeded_plain.owner_url, sealer=Sealer())
    assert len(rows(seeded_plain, b"SELECT FROM user_servers WHERE config IS NOT NULL")) == 1


async def test_an_empty_plain_column_needs_no_key(seeded: HubDatabase) -> None:
    with psycopg.connect(seeded.owner_url) as connection:
        connection.execute("ALTER TABLE user_servers ADD COLUMN config jsonb")
    await migrate(seeded.owner_url)
    assert rows(seeded, b"SELECT FROM pg_attribute WHERE attname = 'config' AND NOT attisdropped") == []
