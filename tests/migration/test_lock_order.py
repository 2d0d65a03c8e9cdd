"""Changes of a server beside a refresh of it: none waits for what the other has, whatever is changed."""

import threading
import time
from uuid import UUID

import psycopg
import pytest

from tests.fixtures.job_days import SERVICE, Connection
from tests.fixtures.postgres import HubDatabase

SERVER = "00000000-0000-4000-8000-00000000000a"
CLAIM = f"UPDATE server_state SET failures = failures WHERE server_ref_id = '{SERVER}'"
CACHES = ("tool_cache", "resource_cache", "prompt_cache")
POLICY = (
    "INSERT INTO call_policies (server_type, server_ref_id, tool_name, enabled) "
    f"VALUES ('system', '{SERVER}', '{{}}', false)"
)


@pytest.fixture
def server(owner: Connection) -> UUID:
    """A server with two tools, a resource and a prompt."""
    owner.execute(
        "INSERT INTO system_servers (id, name, transport, endpoint, config_encrypted, key_id) "
        f"VALUES ('{SERVER}', 's', 'http', 'http://s', '\\x{'00' * 40}', '0123abcd')".encode()
    )
    for name in ("one", "two"):
        owner.execute(
            "INSERT INTO tool_cache (server_type, server_ref_id, tool_name, namespaced_name, definition) "
            f"VALUES ('system', '{SERVER}', '{name}', 's__{name}', '{{}}')".encode()
        )
    owner.execute(
        "INSERT INTO resource_cache (server_type, server_ref_id, uri, name, definition) "
        f"VALUES ('system', '{SERVER}', 'a:b', 'r', '{{}}')".encode()
    )
    owner.execute(
        "INSERT INTO prompt_cache (server_type, server_ref_id, prompt_name, namespaced_name, definition) "
        f"VALUES ('system', '{SERVER}', 'p', 's__p', '{{}}')".encode()
    )
    return UUID(SERVER)


@pytest.mark.parametrize(
    "change",
    [
        [f"UPDATE system_servers SET enabled = false WHERE id = '{SERVER}'"],
        [f"UPDATE system_servers SET pin = true WHERE id = '{SERVER}'"],
        [POLICY.format("two"), POLICY.format("one")],
    ],
    ids=["switch", "pin", "policies"],
)
@pytest.mark.usefixtures("server")
def test_a_change_waits_for_the_refresh_that_has_begun(database: HubDatabase, change: list[str]) -> None:
    failed: list[psycopg.Error] = []

    def act() -> None:
        try:
            with psycopg.connect(database.app_url, options=SERVICE, application_name="operator") as operator:
                for statement in change:
                    operator.execute(statement.encode())
        except psycopg.Error as error:
            failed.append(error)

    acting = threading.Thread(target=act)
    with psycopg.connect(database.app_url, options=SERVICE) as refresher:
        refresher.execute(CLAIM.encode())
        acting.start()
        waits_for_lock(database)
        for cache in CACHES:
            refresher.execute(f"UPDATE {cache} SET stale = true WHERE server_ref_id = '{SERVER}'".encode())
    acting.join()
    assert not failed
    with psycopg.connect(database.admin_url) as admin:
        enabled = {name for (name,) in admin.execute("SELECT tool_name FROM tool_cache WHERE enabled")}
        assert bool(enabled) == ("pin" in change[0]), "what was changed holds"


def waits_for_lock(database: HubDatabase) -> None:
    """Wait until the operator's statement waits for a lock."""
    query = "SELECT FROM pg_stat_activity WHERE application_name = 'operator' AND wait_event_type = 'Lock'"
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        while not admin.execute(query).rowcount:
            time.sleep(0.01)
