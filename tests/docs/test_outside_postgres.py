"""The SQL that the operations page tells an administrator to run is enough for `nexus-hub migrate`."""

import re

import psycopg
import pytest

from nexus_hub.db.migrate import known_migrations, migrate
from tests.fixtures.postgres import embedded_server, url_as
from tests.fixtures.upstreams import ROOT

BLOCKS = re.findall(r"^```sql\n(.*?)^```$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE | re.DOTALL)
PASSWORD = "of-the-tests"


@pytest.mark.parametrize("may_create_roles", [True, False])
async def test_the_roles_of_the_page_let_a_new_database_be_migrated(may_create_roles: bool) -> None:
    roles, group, *_ = BLOCKS
    statements = roles if may_create_roles else roles.replace(" CREATEROLE", "") + group
    with embedded_server() as admin:
        with psycopg.connect(admin, autocommit=True) as connection:
            for statement in statements.replace("'...'", f"'{PASSWORD}'").split(";\n"):
                connection.execute(statement.encode())
        owner, app = (
            url_as(admin, user=user, password=PASSWORD, dbname="hub") for user in ("nexus_owner", "nexus_hub")
        )
        assert await migrate(owner, app_url=app) == [migration.name for migration in known_migrations()]
        with psycopg.connect(app) as connection:
            connection.execute("SELECT set_config('nexus.scope', 'service', true)")
            connection.execute("INSERT INTO users (name) VALUES ('ann')")
            owned = connection.execute("SELECT FROM pg_class WHERE relowner = 'nexus_hub'::regrole").fetchall()
    assert owned == []
