"""Tokens that are not good for everything, at `/mcp` and at the API, in both eras."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from starlette.types import Receive

from nexus_hub.access.scopes import METHODS, OFFERED, ROUTES, SCOPES, find_route_need
from nexus_hub.access.tokens import Bearer
from nexus_hub.api.admission import is_public
from nexus_hub.gateway import endpoint
from nexus_hub.gateway.names import OWN_TOOLS, WAIT_TOOL
from nexus_hub.models import OPERATOR, Principal
from tests.fixtures.mcp_wire import ERAS, LEGACY, MODERN, Answer, Wire, wire
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import Served, serving
from tests.fixtures.upstreams import free_port

METADATA = "/.well-known/oauth-protected-resource"


@asynccontextmanager
async def caller(served: Served, *scopes: str, path: str = "/mcp", era: str = MODERN) -> AsyncIterator[Wire]:
    """A caller with a token that is good for these scopes only."""
    await served.user("ann")
    async with served.client() as api:
        made = await api.request("POST", "/v1/users/ann/tokens", {"scopes": list(scopes)})
    async with wire(served.url, made["token"], path) as opened:
        if era == LEGACY:
            await opened.open(LEGACY)
        yield opened


async def ask(client: Wire, era: str, method: str, params: dict[str, Any]) -> Answer:
    return await (client.modern(method, params) if era == MODERN else client.legacy(method, params))


def challenge(answer: Answer) -> str:
    """The challenge of an answer that the token is not good enough for."""
    assert answer.status == 403, answer.content
    said: str = answer.headers["www-authenticate"]
    assert 'error="insufficient_scope"' in said
    return said


def guarded_routes(served: Served) -> list[tuple[str, str]]:
    """The methods and paths of the API that are answered to holders of tokens only."""
    return [
        (method, str(route.path))
        for route in iter_route_contexts(served.app.routes)
        for method in route.methods or ()
        if not is_public(method, str(route.path)) or str(route.path).startswith("/v1/")
    ]


def test_every_route_has_its_scopes_and_every_row_its_route(served: Served) -> None:
    known = {f"{method} {re.sub('{[^}]*}', '{}', path)}" for method, path in guarded_routes(served)}
    assert known == ROUTES.keys()


async def test_every_method_has_its_scopes(served: Served) -> None:
    assert served.app.state.gateway.methods == METHODS.keys()
    assert all(name.startswith("hub__") for name in OWN_TOOLS)


@pytest.mark.parametrize("era", ERAS)
async def test_a_token_to_look_looks_and_learns_by_a_403_what_more_is_needed(served: Served, era: str) -> None:
    async with caller(served, "tools:list", era=era) as client:
        for method in ("tools/list", "resources/list", "prompts/list", "resources/templates/list"):
            assert (await ask(client, era, method, {})).status == 200
        said = challenge(await ask(client, era, "tools/call", {"name": "notes__add", "arguments": {}}))
        assert 'scope="tools:call"' in said
        assert f'resource_metadata="{served.url}{METADATA}/mcp"' in said
        for method, params in (("resources/read", {"uri": "x://y"}), ("prompts/get", {"name": "p"})):
            assert 'scope="tools:call"' in challenge(await ask(client, era, method, params))
        assert 'scope="jobs"' in challenge(await ask(client, era, "tools/call", {"name": WAIT_TOOL, "arguments": {}}))
        assert 'scope="jobs"' in challenge(await ask(client, era, "tasks/get", {"taskId": "x"}))


@pytest.mark.parametrize("era", ERAS)
async def test_a_token_to_call_calls_and_does_not_look(served: Served, era: str) -> None:
    async with caller(served, "tools:call", era=era) as client:
        called = await ask(client, era, "tools/call", {"name": "nobody__add", "arguments": {}})
        assert called.status != 403
        assert 'scope="tools:list"' in challenge(await ask(client, era, "tools/list", {}))


async def test_in_search_mode_the_tool_that_is_called_counts(served: Served) -> None:
    async with caller(served, "tools:list", path="/mcp?tools=search") as client:
        found = await client.modern("tools/call", {"name": "search_tools", "arguments": {"query": "x"}})
        assert found.status == 200
        inner = {"name": "call_tool", "arguments": {"name": WAIT_TOOL, "arguments": {}}}
        assert 'scope="jobs"' in challenge(await client.modern("tools/call", inner))
        inner["arguments"] = {"name": "notes__add"}
        assert 'scope="tools:call"' in challenge(await client.modern("tools/call", inner))


@pytest.mark.parametrize("era", ERAS)
async def test_a_body_that_got_past_the_first_look_is_refused_by_the_gateway(
    served: Served, monkeypatch: pytest.MonkeyPatch, era: str
) -> None:
    async def admit_all(_principal: Principal, receive: Receive, _mode: str) -> Receive:
        return receive

    async with caller(served, "jobs", era=era) as client:
        monkeypatch.setattr(endpoint, "admit_body", admit_all)
        for method, params in (("tools/list", {}), ("tools/call", {"name": "notes__add", "arguments": {}})):
            answer = await ask(client, era, method, params)
            assert answer.message["error"]["data"]["code"] == "insufficient-scope"
        assert (await ask(client, era, "tools/call", {"name": WAIT_TOOL, "arguments": {}})).status == 200


async def test_a_session_belongs_to_the_user_and_each_request_to_its_token(served: Served) -> None:
    async with caller(served, "tools:list", era=LEGACY) as client:
        async with served.client() as api:
            other = (await api.request("POST", "/v1/users/ann/tokens", {"scopes": ["jobs"]}))["token"]
        assert (await client.legacy("tools/list", {})).status == 200
        client.http.headers["Authorization"] = f"Bearer {other}"
        assert 'scope="tools:list"' in challenge(await client.legacy("tools/list", {}))
        assert (await client.legacy("tools/call", {"name": WAIT_TOOL, "arguments": {}})).status == 200


async def rest(served: Served, token: str, method: str, path: str, body: Any = None) -> httpx.Response:
    async with httpx.AsyncClient(base_url=served.url, trust_env=False, verify=False) as http:  # reads no certificates
        return await http.request(method, path, json=body, headers={"Authorization": f"Bearer {token}"})


async def test_each_route_of_the_api_asks_for_its_scopes_before_all_else(served: Served) -> None:
    await served.user("ann")
    async with served.client() as api:
        tokens: dict[str, str] = {
            scope: (await api.request("POST", "/v1/users/ann/tokens", {"scopes": [scope]}))["token"] for scope in SCOPES
        }
    for method, route in guarded_routes(served):
        needed, path = find_route_need(method, route), route.replace("{", "").replace("}", "")
        for token in [token for scope, token in tokens.items() if not needed <= {scope}]:
            answer = await rest(served, token, method, path)
            assert (answer.status_code, answer.json()["code"]) == (403, "insufficient-scope"), (method, path)
            assert answer.json()["scopes"] == sorted(needed)
            assert f'scope="{" ".join(sorted(needed))}"' in answer.headers["www-authenticate"]
    for path, scope in (("/v1/tools", "tools:list"), ("/v1/jobs", "jobs")):
        assert (await rest(served, tokens[scope], "GET", path)).status_code == 200


async def test_what_is_only_the_operators_stays_so_whatever_a_token_says(served: Served) -> None:
    await served.user("ann")
    async with served.client() as api:
        made = await api.request("POST", "/v1/users/ann/tokens", {"scopes": ["admin"]})
    answer = await rest(served, made["token"], "GET", "/v1/users")
    assert (answer.status_code, answer.json()["code"]) == (403, "not-allowed")


class Issued:
    """Tokens of an issuer that are good for some of what the operator may do, or at some paths only."""

    def __init__(self) -> None:
        self.bearers = {
            "t-list": Bearer(Principal(scopes=frozenset({"tools:list"}))),
            "t-admin": Bearer(Principal(scopes=frozenset({"admin"}))),
            "t-mcp": Bearer(OPERATOR, "/mcp"),
            "t-notes": Bearer(OPERATOR, "/mcp/notes"),
        }

    def takes(self, token: str) -> bool:
        return token.startswith("t-")

    async def verify(self, token: str) -> Bearer | None:
        return self.bearers.get(token)


async def test_an_operators_token_without_the_scope_manages_nothing(
    database: HubDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexus_hub.api.app.make_verifiers", lambda *_: [Issued()])
    async with serving(database, tmp_path, free_port()) as served:
        answer = await rest(served, "t-list", "GET", "/v1/users")
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient-scope")
        assert (await rest(served, "t-list", "GET", "/v1/servers")).status_code == 200
        assert (await rest(served, "t-admin", "GET", "/v1/users")).status_code == 200
        assert (await rest(served, "t-admin", "GET", "/v1/jobs")).status_code == 403
        for token in Issued().bearers:
            refused = await rest(served, token, "POST", "/v1/session", {"token": token})
            assert refused.status_code == 401, "only the hub's own tokens open sessions of the console"


async def test_a_token_is_good_at_the_resource_that_it_was_made_for(
    database: HubDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexus_hub.api.app.make_verifiers", lambda *_: [Issued()])
    async with serving(database, tmp_path, free_port()) as served:
        refused = await rest(served, "t-mcp", "GET", "/v1/jobs")
        assert refused.status_code == 401
        assert 'error="invalid_token", error_description="This token was made' in refused.headers["www-authenticate"]
        async with wire(served.url, "t-mcp") as client:
            assert (await client.modern("tools/list")).status == 200
        async with wire(served.url, "t-notes") as client:
            answer = await client.modern("tools/list")
            assert answer.status == 401
            assert f'resource_metadata="{served.url}{METADATA}/mcp"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("path", "resource", "scopes"),
    [
        ("", "", SCOPES),
        ("/mcp", "/mcp", OFFERED),
        ("/mcp/notes", "/mcp/notes", OFFERED),
        ("/mcp/a%20b", "/mcp/a%20b", OFFERED),
    ],
)
async def test_metadata_of_a_resource_is_there_for_everybody(
    served: Served, path: str, resource: str, scopes: tuple[str, ...]
) -> None:
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as http:
        answer = await http.get(f"{METADATA}{path}", headers={"Origin": "https://client.example"})
        asked = await http.options(f"{METADATA}{path}", headers={"Access-Control-Request-Method": "GET"})
        lied = await http.get(f"{METADATA}{path}", headers={"Host": "evil.example"})
    assert answer.json() == {
        "resource": f"{served.url}{resource}",
        "authorization_servers": [served.url],
        "scopes_supported": list(scopes),
        "bearer_methods_supported": ["header"],
        "resource_name": "nexus-hub",
    }
    assert answer.headers["access-control-allow-origin"] == asked.headers["access-control-allow-origin"] == "*"
    assert (lied.status_code, "evil" in lied.text) == (403, False)


async def test_a_client_finds_the_metadata_by_the_challenge_and_it_names_what_was_asked_for(
    database: HubDatabase, tmp_path: Path
) -> None:
    base = "https://hub.example"
    async with (
        serving(database, tmp_path, free_port(), public_url=base) as served,
        httpx.AsyncClient(base_url=served.url, trust_env=False) as http,
    ):
        for path in ("/mcp", "/mcp/notes"):
            challenged = await http.post(path, headers={"Host": "hub.example"})
            url = f"{base}{METADATA}{path}"
            expected = f'Bearer resource_metadata="{url}", scope="tools:list tools:call jobs"'
            assert challenged.headers["www-authenticate"] == expected
            told = (await http.get(f"{METADATA}{path}", headers={"Host": "elsewhere.example"})).json()
            assert (told["resource"], told["authorization_servers"]) == (f"{base}{path}", [base])


async def test_with_an_issuer_the_metadata_sends_clients_there(database: HubDatabase, tmp_path: Path) -> None:
    named = {"public_url": "https://hub.example", "issuer": "https://login.example"}
    async with (
        serving(database, tmp_path, free_port(), **named) as served,
        httpx.AsyncClient(base_url=served.url, trust_env=False) as http,
    ):
        assert (await http.get(f"{METADATA}/mcp")).json()["authorization_servers"] == ["https://login.example"]
