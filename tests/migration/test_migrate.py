import asyncio
import re

import psycopg
import pytest

from nexus_hub.db.migrate import Migration, find_newer, known_migrations, migrate, pending
from nexus_hub.errors import CannotMigrate, DatabaseUnavailable
from tests.fixtures.postgres import OWNER, HubDatabase, created_database, embedded_server, ensure_role, url_as

pytestmark = pytest.mark.one_table

NAMES = [migration.name for migration in known_migrations()]
KEEPS_READERS_OUT = (
    b"SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'job_results'::regclass "
    b"AND mode = 'AccessExclusiveLock'"
)


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


def test_readers_of_jobs_wait_for_no_index_that_is_built(database: HubDatabase) -> None:
    (text,) = [migration.text for migration in known_migrations() if migration.name == "0016_size"]
    built = 0
    with psycopg.connect(database.owner_url) as connection:
        for statement in re.sub(rb"--.*", b"", text).split(b";"):
            if b"CREATE" in statement:
                built += 1
                assert connection.execute(KEEPS_READERS_OUT).rowcount == 0
            connection.execute(statement)
        assert connection.execute(KEEPS_READERS_OUT).rowcount == 1
    assert built > 10


async def test_a_file_that_changed_after_it_was_applied_is_named(database: HubDatabase) -> None:
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("UPDATE schema_migrations SET checksum = 'other' WHERE version = 2")
    with pytest.raises(CannotMigrate, match="0002_servers was changed"):
        await migrate(database.owner_url)
    with pytest.raises(CannotMigrate, match="0002_servers was changed"):
        await pending(database.owner_url)


async def test_a_schema_of_a_later_release_is_left_as_it_is(database: HubDatabase) -> None:
    assert await find_newer(database.owner_url) is None
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("INSERT INTO schema_migrations (version, name, checksum) VALUES (9999, '9999_later', 'x')")
    assert await pending(database.owner_url) == []
    assert await migrate(database.owner_url, app_url="postgresql://nobody@127.0.0.1/x") == []
    assert await find_newer(database.owner_url) == 9999


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


async def test_a_migration_lets_readers_pass_while_a_table_that_it_changes_is_in_use(
    database: HubDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexus_hub.db.migrate.LOCK_PAUSE_SECONDS", 0.2)
    _know_more(monkeypatch)
    with psycopg.connect(database.owner_url) as user, psycopg.connect(database.owner_url, autocommit=True) as reader:
        user.execute("SELECT FROM job_results")
        migrating = asyncio.create_task(migrate(database.owner_url))
        waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'job_results'::regclass"
        while not reader.execute(waiting).rowcount:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(reader.execute, "SELECT FROM job_results")
        assert not migrating.done()
        user.rollback()
        assert await migrating == ["more"]


async def test_a_migration_whose_table_stays_in_use_changes_nothing_and_says_what_to_do(
    database: HubDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexus_hub.db.migrate.LOCK_PAUSE_SECONDS", 0)
    monkeypatch.setattr("nexus_hub.db.migrate.LOCK_TRIES", 1)
    _know_more(monkeypatch)
    with psycopg.connect(database.owner_url) as user:
        user.execute("SELECT FROM job_results")
        with pytest.raises(CannotMigrate, match="more changed nothing: a table that it changes was in use"):
            await migrate(database.owner_url)
    assert await pending(database.owner_url) == ["more"]


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


async def test_an_owner_who_may_not_create_the_group_role_is_told_how() -> None:
    """On a server of its own: elsewhere others need that role."""
    with embedded_server() as url, psycopg.connect(url, autocommit=True) as connection:
        ensure_role(connection, OWNER, "LOGIN NOCREATEROLE PASSWORD 'nexus-test'")
        with created_database(url, template=None) as database:
            with pytest.raises(CannotMigrate, match="CREATE ROLE nexus_app NOLOGIN"):
                await migrate(database.owner_url)
            connection.execute("CREATE ROLE nexus_app NOLOGIN")
            assert await migrate(database.owner_url) == NAMES


async def test_a_wrong_password_is_not_quoted(database: HubDatabase) -> None:
    with pytest.raises(DatabaseUnavailable) as raised:
        await migrate(url_as(database.owner_url, password="wrong-canary"))
    assert "canary" not in str(raised.value)
    assert OWNER not in str(raised.value)


def _know_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the code have one migration more, which changes a table that all use."""
    known = known_migrations()
    more = Migration(len(known) + 1, "more", b"ALTER TABLE job_results ADD COLUMN note text", "checksum")
    monkeypatch.setattr("nexus_hub.db.migrate.known_migrations", lambda: (*known, more))


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
