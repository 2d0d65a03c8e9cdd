"""`sql/schema.sql` is the sum of the migrations; NEXUS_WRITE_SCHEMA=1 writes it anew."""

import os
import re
import subprocess

import psycopg
import pytest

from nexus_hub.db.queries import sql_root
from tests.fixtures.postgres import HubDatabase, wheel_binaries

pytestmark = pytest.mark.one_table

SCHEMA = sql_root() / "schema.sql"
HEADER = (
    "-- The whole schema: what all files of migrations/ come to, to read and to compare. A test keeps it so.\n"
    "-- The hub itself is set up by `nexus-hub migrate`, which also makes the role nexus_app.\n"
)
VARYING = re.compile(r"^(SET |SELECT pg_catalog\.set_config|\\(un)?restrict |-- Dumped |--$|-- PostgreSQL database)")


def test_the_schema_file_equals_all_migrations_applied(database: HubDatabase, empty_database: HubDatabase) -> None:
    migrated = _dumped(database)
    if os.environ.get("NEXUS_WRITE_SCHEMA"):
        SCHEMA.write_text(HEADER + migrated)
    with psycopg.connect(empty_database.owner_url) as connection:
        connection.execute("SET check_function_bodies = false")
        connection.execute(SCHEMA.read_bytes())
    assert _dumped(empty_database) == migrated


def test_the_schema_file_is_as_the_tool_writes_it(database: HubDatabase) -> None:
    with psycopg.connect(database.owner_url) as connection:
        if connection.info.server_version < 180000:
            pytest.skip("the file is written from PostgreSQL 18")
    assert HEADER + _dumped(database) == SCHEMA.read_text()


def _dumped(database: HubDatabase) -> str:
    dump = subprocess.run(
        [wheel_binaries() / "pg_dump", "--schema-only", "--no-owner", database.owner_url],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    kept = "\n".join(line for line in dump.splitlines() if not VARYING.match(line))
    return re.sub(r"\n{3,}", "\n\n", kept).strip() + "\n"
