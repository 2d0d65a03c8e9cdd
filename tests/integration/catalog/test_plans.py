"""How the planner finds what is one user's in large caches."""

from uuid import uuid4

import psycopg

from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from tests.fixtures.postgres import HubDatabase

CACHES = {
    "tool_cache": "tool_name, namespaced_name",
    "resource_cache": "uri",
    "prompt_cache": "prompt_name, namespaced_name",
}


def fill(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO server_state (server_type, server_ref_id, user_id, name)"
            " SELECT 'user', gen_random_uuid(), gen_random_uuid(), 's' FROM generate_series(1, 2000)"
        )
        for cache, names in CACHES.items():
            values = ", ".join(["'n'"] * len(names.split(", ")))
            connection.execute(
                f"INSERT INTO {cache} (server_type, server_ref_id, user_id, {names}, definition)"
                f" SELECT server_type, server_ref_id, user_id, {values}, '{{}}' FROM server_state".encode()
            )
        connection.execute("ANALYZE")


async def test_what_a_user_has_is_counted_without_reading_what_others_have(
    database: HubDatabase, hub_database: Database
) -> None:
    fill(database.admin_url)
    async with hub_database.transaction() as transaction:
        query = b"EXPLAIN " + load("catalog")["count_user_catalog"]
        lines = await transaction.all(query, str, user_id=uuid4())
    plan = "\n".join(lines)
    assert [cache for cache in CACHES if f"Seq Scan on {cache}" in plan] == []
