"""Groups, grants and the default over the API and by commands, and what users get of the rest."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from typer.testing import CliRunner

from nexus_hub.cli.main import app
from nexus_hub.errors import ApiProblem
from tests.fixtures.allowed import store_server
from tests.fixtures.served import SERVICE_KEY, Served

Run = Callable[..., Awaitable[Any]]


@pytest.fixture
def run(served: Served, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command against the API and reads the JSON that it writes."""
    monkeypatch.setenv("NEXUS_URL", served.url)
    monkeypatch.setenv("NEXUS_TOKEN", SERVICE_KEY)

    async def run(*words: str, token: str = SERVICE_KEY) -> Any:
        monkeypatch.setenv("NEXUS_TOKEN", token)
        done = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout or "null")

    return run


async def test_an_operator_says_by_commands_who_may_do_what(served: Served, run: Run) -> None:
    await served.user("ann")
    git = await store_server(served.runtime.servers, "git")
    assert await run("access") == {"default": "open"}
    assert await run("access", "closed") == {"default": "closed"}
    await run("group", "add", "team", "--claim", "idp-team")
    await run("group", "join", "team", "ann")
    made = await run("group", "grant", "team", "call", "--server", "git")
    assert (made["level"], made["server"], made["tool"]) == ("call", "git", None)
    by = [{"grant": made["id"], "group": "team"}]
    (item,) = (await run("user", "permissions", "ann"))["items"]
    assert (item["target"], item["name"], item["level"], item["by"]) == ("server", "git", "call", by)
    await run("group", "grant", "team", "list", "--tool", "git__drop")
    assert (await served.runtime.permissions((await served.user("bob"))[0].user_id)).servers == {}
    shown = await run("group", "show", "team")
    assert [(one["level"], one["tool"]) for one in shown["grants"]] == [("call", None), ("list", "drop")]
    assert (await run("group", "set", "team", "--name", "crew", "--no-claims"))["claims"] == []
    await run("group", "revoke", "crew", made["id"])
    await run("group", "leave", "crew", "ann")
    await run("group", "remove", "crew")
    assert [one["name"] for one in (await run("group", "list"))["items"]] == ["everyone"]
    changed = await run("server", "set", "git", "--access", "open", "--tags", "code, scm", "--ttl", "2h")
    assert (changed["access"], changed["tags"], changed["ttl_seconds"]) == ("open", ["code", "scm"], 7200)
    assert (await run("user", "permissions", "ann"))["items"][0]["id"] == str(git.server_ref_id)
    async with served.client() as api:
        entries = (await api.request("GET", "/v1/audit"))["items"]
    actions = {entry["action"] for entry in entries}
    assert "crew: ann" in {entry["target"] for entry in entries}
    said = ("group.add", "group.join", "group.change", "group.leave", "group.remove")
    assert {*said, "access.change", "access.grant", "access.revoke"} <= actions


async def test_a_user_sees_its_own_permissions_alone_and_manages_none(served: Served) -> None:
    _, token = await served.user("ann")
    await served.user("bob")
    await store_server(served.runtime.servers, "git")
    async with served.client(token) as ann:
        found = await ann.request("GET", "/v1/users/me/permissions")
        assert [(one["name"], one["level"]) for one in found["items"]] == [("git", "call")]
        for method, path, body in (
            ("GET", "/v1/users/bob/permissions", None),
            ("GET", "/v1/groups", None),
            ("POST", "/v1/groups", {"name": "mine"}),
            ("PUT", "/v1/groups/everyone/members/ann", None),
            ("POST", "/v1/groups/everyone/grants", {"level": "call", "server": "git"}),
            ("GET", "/v1/access", None),
            ("PATCH", "/v1/access", {"default": "open"}),
        ):
            with pytest.raises(ApiProblem) as refusal:
                await ann.request(method, path, body)
            assert refusal.value.status == 403, (method, path)


async def test_what_is_hidden_answers_over_http_as_what_is_not_there(served: Served) -> None:
    _, token = await served.user("ann")
    hidden = await store_server(served.runtime.servers, "secret")
    async with served.client() as api:
        await api.request("PATCH", f"/v1/servers/{hidden}", {"access": "closed"})
    call = {"job_type": "tool_invoke", "name": "secret__add", "arguments": {}}
    routes: list[tuple[str, str, dict[str, Any] | None]] = [
        ("GET", "/v1/servers/secret", None),
        ("GET", f"/v1/servers/{hidden}", None),
        ("GET", f"/v1/servers/{hidden}/limit", None),
        ("PATCH", f"/v1/servers/{hidden}", {"tags": ["x"]}),
        ("DELETE", f"/v1/servers/{hidden}", None),
        ("POST", f"/v1/servers/{hidden}/sync", None),
        ("POST", f"/v1/servers/{hidden}/test", None),
        ("POST", f"/v1/servers/{hidden}/login", {}),
        ("DELETE", f"/v1/servers/{hidden}/login", None),
        ("PUT", f"/v1/servers/{hidden}/credential", {"value": "x"}),
        ("DELETE", f"/v1/servers/{hidden}/credential", None),
        ("GET", "/v1/tools/secret__add", None),
        ("GET", "/v1/tools?server=secret", None),
        ("GET", "/v1/tools?query=secret", None),
        ("GET", "/v1/resources?server=secret", None),
        ("GET", "/v1/jobs?server=secret", None),
        ("POST", "/v1/jobs", call),
        ("POST", "/v1/jobs", call | {"job_type": "prompt_execute", "name": "secret__ask"}),
        ("POST", "/v1/jobs", {"job_type": "resource_fetch", "name": {"server": "secret", "uri": "secret://one"}}),
        ("POST", "/v1/jobs:batch", {"jobs": [call]}),
        ("POST", "/mcp/secret", {"jsonrpc": "2.0", "id": 1, "method": "ping"}),
    ]
    absent = str(uuid4())

    def rename(text: str) -> str:
        return text.replace(str(hidden.server_ref_id), absent).replace("secret", "absent")

    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    async with httpx.AsyncClient(base_url=served.url, headers=headers) as ann:
        for method, path, body in routes:
            seen = await ann.request(method, path, json=body)
            other = await ann.request(
                method, rename(path), json=None if body is None else json.loads(rename(json.dumps(body)))
            )
            assert (seen.status_code, rename(seen.text)) == (other.status_code, other.text), (method, path)
            assert seen.status_code == 404 or seen.json()["items"] == [], (method, path)


async def test_a_server_is_registered_for_whom_it_is_to_be(served: Served) -> None:
    async with served.client() as api:
        for body, status in (({"access": "closed", "tags": ["a b"]}, 400), ({"ttl_seconds": 0}, 400)):
            with pytest.raises(ApiProblem) as refusal:
                await api.request(
                    "POST", "/v1/servers", {"name": "x", "url": "http://127.0.0.1:9/mcp", "enabled": False} | body
                )
            assert refusal.value.status == status
        git = {"name": "git", "url": "http://127.0.0.1:9/mcp", "enabled": False, "access": "closed", "pin": True}
        made = await api.request("POST", "/v1/servers", git)
        assert (made["access"], made["pin"]) == ("closed", True)
    _, token = await served.user("ann")
    async with served.client(token) as ann:
        assert (await ann.request("GET", "/v1/servers"))["items"] == []
