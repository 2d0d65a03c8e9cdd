"""User A cannot see, call, cancel or read anything of user B: by the API, and by SQL as the app's role."""

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.fixtures.hub import Hub
from tests.fixtures.upstreams import free_port

pytestmark = pytest.mark.stack
TOOL = {"name": "time__get_current_time", "arguments": {"timezone": "UTC"}}
PRIVATE = ("job_results", "user_servers", "tool_cache", "server_state")


@pytest.fixture(scope="module")
def bobs(hub: Hub) -> dict[str, Any]:
    """Two users; Bob has a job and, registered for him in the database, a server of his own."""
    ann, bob = hub.user("ann"), hub.user("bob")
    job = hub.called(TOOL, bob)
    with psycopg.connect(hub.app_url) as connection:
        connection.execute("SELECT set_config('nexus.scope', 'service', true)")
        server = connection.execute(
            "INSERT INTO user_servers (user_id, name, config_encrypted, key_id, endpoint)"
            " VALUES (%s, 'bobs', %s, '00000000', 'https://bob.example') RETURNING id",
            (job["user_id"], bytes(40)),
        ).fetchone()
        assert server
        connection.execute(
            "INSERT INTO tool_cache (server_type, server_ref_id, user_id, tool_name, namespaced_name, definition)"
            " VALUES ('user', %s, %s, 'secret', 'bobs__secret', '{}')",
            (server[0], job["user_id"]),
        )
    return {"ann": ann, "bob": bob, "job": job, "server": server[0]}


def test_another_users_job_is_a_404(hub: Hub, bobs: dict[str, Any]) -> None:
    with hub.api(bobs["ann"]) as api:
        assert api.get(f"/v1/jobs/{bobs['job']['id']}").status_code == 404
        assert api.delete(f"/v1/jobs/{bobs['job']['id']}").status_code == 404
        assert api.get("/v1/jobs").json()["items"] == []
    with hub.api(bobs["bob"]) as api:
        assert api.get(f"/v1/jobs/{bobs['job']['id']}").status_code == 200


def test_another_users_server_and_its_tools_are_a_404(hub: Hub, bobs: dict[str, Any]) -> None:
    with hub.api(bobs["ann"]) as api:
        assert api.get("/v1/servers/bobs").status_code == 404
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/sync"), ("POST", "/test")):
            assert api.request(method, f"/v1/servers/user/{bobs['server']}{path}").status_code == 404
        assert [server["name"] for server in api.get("/v1/servers").json()["items"]] == ["time"]
        assert not [tool for tool in api.get("/v1/tools").json()["items"] if tool["name"].startswith("bobs")]
        assert api.post("/v1/jobs", json={"name": "bobs__secret"}).status_code == 404
        resource = {"job_type": "resource_fetch", "name": {"server": "bobs", "uri": "x://y"}}
        assert api.post("/v1/jobs", json=resource).status_code == 404
    with hub.api(bobs["bob"]) as api:
        assert api.get("/v1/servers/bobs").status_code == 200
        assert [tool["name"] for tool in api.get("/v1/tools?server=bobs").json()["items"]] == ["bobs__secret"]


def test_users_may_not_do_what_operators_do(hub: Hub, bobs: dict[str, Any]) -> None:
    with hub.api(bobs["ann"]) as api:
        assert api.get("/v1/users").status_code == 403
        assert api.post("/v1/users/bob/tokens").status_code == 403
        stdio = api.post("/v1/servers", json={"name": "shell", "command": "sh", "args": ["-c", "id"]})
        assert (stdio.status_code, stdio.json()["code"]) == (400, "invalid-config")
        system = api.get("/v1/servers/time").json()
        removed = api.delete(f"/v1/servers/system/{system['id']}")
        assert (removed.status_code, removed.json()["code"]) == (403, "not-allowed")
        for action in ("sync", "test"):
            assert api.post(f"/v1/servers/system/{system['id']}/{action}").status_code == 403
        for_bob = api.post("/v1/servers", json={"name": "x", "url": "https://example.org", "owner": "bob"})
        assert for_bob.status_code == 403


def test_users_may_not_point_at_private_addresses(hub: Hub, bobs: dict[str, Any]) -> None:
    with hub.api(bobs["ann"]) as api:
        for url in (hub.prefect_url, f"http://localhost:{free_port()}/mcp", "http://169.254.169.254/", "http://[::1]/"):
            answer = api.post("/v1/servers", json={"name": "inside", "url": url})
            assert (answer.status_code, answer.json()["code"]) == (400, "forbidden-address"), url


def test_a_revoked_token_is_refused(hub: Hub) -> None:
    token = hub.user("rae")
    with hub.api(token) as api:
        assert api.get("/v1/jobs").status_code == 200
        assert hub.run("user", "revoke", "rae").code == 0
        assert api.get("/v1/jobs").status_code == 401


@pytest.mark.parametrize("table", PRIVATE)
def test_the_apps_role_sees_only_what_its_user_may(hub: Hub, bobs: dict[str, Any], table: str) -> None:
    with hub.api(bobs["ann"]) as api:
        ann = UUID(api.post("/v1/jobs", json=TOOL).json()["user_id"])
    owner = bobs["job"]["user_id"]
    with psycopg.connect(hub.app_url) as connection:
        count = f"SELECT count(*) FROM {table} WHERE user_id = %s"
        assert connection.execute(count, (owner,)).fetchone() == (0,), "no scope at all"
        connection.execute("SELECT set_config('nexus.scope', 'user', false)")
        connection.execute("SELECT set_config('nexus.user_id', %s, false)", (str(ann),))
        assert connection.execute(count, (owner,)).fetchone() == (0,), "another user's scope"
        if table in {"job_results", "user_servers"}:
            assert (
                connection.execute(
                    f"DELETE FROM {table}"
                    if table == "user_servers"
                    else "UPDATE job_results SET status = 'cancelled' WHERE user_id <> %s".replace("%s", f"'{ann}'")
                ).rowcount
                == 0
            )
        connection.execute("SELECT set_config('nexus.user_id', %s, false)", (owner,))
        found = connection.execute(count, (owner,)).fetchone()
        assert found is not None
        assert found[0] > 0, "the owner's own scope"
        connection.rollback()


def test_the_apps_role_owns_nothing(hub: Hub) -> None:
    with psycopg.connect(hub.app_url) as connection:
        owned = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)"
        ).fetchone()
        assert owned == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("TRUNCATE job_results")
