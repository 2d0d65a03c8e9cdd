"""What was stored before results and definitions were kept as they were sent is there afterwards."""

from uuid import uuid4

import psycopg

from nexus_hub.db.migrate import known_migrations
from tests.fixtures.postgres import HubDatabase

DEFINITION = '{"name": "t", "inputSchema": {"type": "object", "properties": {"zebra": {"description": "stripes"}}}}'


def test_definitions_and_results_of_before_stay_and_can_be_searched(empty_database: HubDatabase) -> None:
    number = next(one.version for one in known_migrations() if one.name.endswith("results_as_sent"))
    with psycopg.connect(empty_database.owner_url) as connection:
        for migration in known_migrations()[: number - 1]:
            connection.execute(migration.text)
        connection.execute(
            "INSERT INTO tool_cache (server_type, server_ref_id, tool_name, namespaced_name, definition) "
            "VALUES ('system', %s, 't', 'srv__t', %s)",
            [uuid4(), DEFINITION],
        )
        connection.execute(
            "INSERT INTO job_results (server_id, job_type, params) VALUES ('s', 'tool_invoke', '{\"b\": 1}')"
        )
        connection.execute("UPDATE job_results SET status = 'completed', result = '{\"a\": 1}'")
        for _ in range(2):
            for migration in known_migrations()[number - 1 :]:
                connection.execute(migration.text)
        assert connection.execute(
            "SELECT pg_typeof(definition)::text, definition::jsonb = %s::jsonb, definition_bytes > 0, "
            "search @@ to_tsquery('english', 'stripes & zebra') FROM tool_cache",
            [DEFINITION],
        ).fetchall() == [("json", True, True, True)]
        assert connection.execute("SELECT params, params_sent, result, result_sent FROM job_results").fetchall() == [
            ({"b": 1}, None, {"a": 1}, None)
        ]
