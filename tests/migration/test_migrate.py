import asyncio

import psycopg
import pytest
from psycopg import sql

from nexus_hub.db.migrate import known_migrations, migrate, pending
from nexus_hub.errors import CannotMigrate, DatabaseUnavailable
from tests.fixtures.postgres import OWNER, HubDatabase, created_database, ensure_role, url_as

NAMES = [migration.name for migration in known_migrations()]


async def test_an_empty_database_gets_every_migration_once(empty_database: HubDatabase) -> None:
    assert await pending(empty_database.owner_url) == NAMES
    assert await migrate(empty_database.owner_url) == NAMES
    assert await pending(empty_database.owner_url) == []
    assert await migrate(empty_database.owner_url) == []


async def test_pending_changes_nothing(empty_database: HubDatabase) -> None:
    await pending(empty_database.owner_url)
    with psycopg.connect(empty_database.owner_url) as connection:
        assert connection.execute("SELECT FROM pg_tables WHERE schemaname = 'public'").rowcount == 0


async def test_two_at_the_same_time_apply_each_migration_once(empty_database: HubDatabase) -> None:
    applied = await asyncio.gather(*(migrate(empty_database.owner_url) for _ in range(3)))
    assert sorted(applied, key=len) == [[], [], NAMES]


def test_every_file_runs_twice_by_itself(database: HubDatabase) -> None:
    with psycopg.connect(database.owner_url) as connection:
        _some_rows(connection)
        before = _counts(connection)
        for migration in known_migrations():
            connection.execute(migration.text)
            connection.commit()
        assert _counts(connection) == before


async def test_a_file_that_changed_after_it_was_applied_is_named(database: HubDatabase) -> None:
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("UPDATE schema_migrations SET checksum = 'other' WHERE version = 2")
    with pytest.raises(CannotMigrate, match="0002_servers was changed"):
        await migrate(database.owner_url)
    with pytest.raises(CannotMigrate, match="0002_servers was changed"):
        await pending(database.owner_url)


async def test_a_migration_that_fails_leaves_nothing_of_itself(empty_database: HubDatabase) -> None:
    with psycopg.connect(empty_database.owner_url) as connection:
        connection.execute("CREATE TABLE server_state (name text)")
    with pytest.raises(CannotMigrate, match="0003_catalog failed and changed nothing"):
        await migrate(empty_database.owner_url)
    with psycopg.connect(empty_database.owner_url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        applied = connection.execute("SELECT name FROM schema_migrations").fetchall()
    before = {"users", "api_tokens", "schema_migrations", "system_servers", "user_servers"}
    assert {name for (name,) in tables} == {"server_state", *before}
    assert applied == [("0001_access",), ("0002_servers",)]


async def test_the_app_role_is_let_in_and_owns_nothing(empty_database: HubDatabase, stranger: str) -> None:
    app_url = url_as(empty_database.app_url, user=stranger)
    await migrate(empty_database.owner_url, app_url=app_url)
    await migrate(empty_database.owner_url, app_url=app_url)
    with psycopg.connect(app_url) as connection:
        assert connection.execute("SELECT FROM job_results").rowcount == 0
        owned = connection.execute("SELECT FROM pg_class WHERE relowner = current_user::regrole").rowcount
    assert owned == 0


async def test_an_app_role_that_does_not_exist_is_named(database: HubDatabase) -> None:
    with pytest.raises(CannotMigrate, match="role nexus_test_nobody of NEXUS_DATABASE_URL does not exist"):
        await migrate(database.owner_url, app_url=url_as(database.app_url, user="nexus_test_nobody"))


async def test_an_owner_who_may_not_grant_is_told_the_statement(database: HubDatabase, stranger: str) -> None:
    with psycopg.connect(database.admin_url, autocommit=True) as connection:
        ensure_role(connection, "nexus_test_plain_owner", "LOGIN NOCREATEROLE PASSWORD 'nexus-test'")
        connection.execute("GRANT SELECT ON schema_migrations TO nexus_test_plain_owner")
        connection.execute("CREATE POLICY plain ON schema_migrations TO nexus_test_plain_owner USING (true)")
        connection.execute("GRANT CREATE ON SCHEMA public TO nexus_test_plain_owner")
    with pytest.raises(CannotMigrate, match=f"GRANT nexus_app TO {stranger};"):
        await migrate(
            url_as(database.owner_url, user="nexus_test_plain_owner"), app_url=url_as(database.app_url, user=stranger)
        )


async def test_an_owner_who_may_not_create_the_group_role_is_told_how(
    postgres_admin_url: str, migrated_template: str
) -> None:
    with psycopg.connect(postgres_admin_url, autocommit=True) as connection:
        ensure_role(connection, "nexus_test_plain_owner", "LOGIN NOCREATEROLE PASSWORD 'nexus-test'")
        with created_database(postgres_admin_url, template=None) as database:
            connection.execute(
                sql.SQL("ALTER DATABASE {} OWNER TO nexus_test_plain_owner").format(sql.Identifier(database.name))
            )
            connection.execute("ALTER ROLE nexus_app RENAME TO nexus_test_away")
            try:
                with pytest.raises(CannotMigrate, match="CREATE ROLE nexus_app NOLOGIN"):
                    await migrate(url_as(database.owner_url, user="nexus_test_plain_owner"))
            finally:
                connection.execute("ALTER ROLE nexus_test_away RENAME TO nexus_app")
            assert await migrate(url_as(database.owner_url, user="nexus_test_plain_owner")) == NAMES


async def test_a_wrong_password_is_not_quoted(database: HubDatabase) -> None:
    with pytest.raises(DatabaseUnavailable) as raised:
        await migrate(url_as(database.owner_url, password="wrong-canary"))
    assert "canary" not in str(raised.value)
    assert OWNER not in str(raised.value)


def _some_rows(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    connection.execute(
        "INSERT INTO job_results (job_type, server_id, status) VALUES ('tool_invoke', gen_random_uuid(), 'failed'), "
        "('tool_invoke', 'hub', 'running')"
    )
    connection.execute("INSERT INTO user_servers (user_id) VALUES (gen_random_uuid())")
    connection.execute("INSERT INTO tool_cache (namespaced_name) VALUES ('a__b')")
    connection.execute("INSERT INTO rate_limit_tracking (server_id, window_start) VALUES ('a', now())")
    connection.commit()


def _counts(connection: psycopg.Connection[tuple[object, ...]]) -> list[tuple[object, ...]]:
    return connection.execute(
        "SELECT (SELECT count(*) FROM job_results), (SELECT count(*) FROM user_servers), "
        "(SELECT count(*) FROM tool_cache), (SELECT count(*) FROM rate_limit_tracking), "
        "(SELECT count(*) FROM pg_constraint), (SELECT count(*) FROM pg_index), (SELECT count(*) FROM pg_policy), "
        "(SELECT count(*) FROM pg_trigger), (SELECT count(*) FROM pg_proc)"
    ).fetchall()
