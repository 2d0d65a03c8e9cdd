"""Calls with logins by OAuth at a server that demands a real issuer's tokens: each user's own, renewed, stepped up."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
import pytest_asyncio

from nexus_hub.cli import doctor
from nexus_hub.cli.checks import run_check
from nexus_hub.client import HubClient
from nexus_hub.errors import LoginNeeded
from nexus_hub.execution.direct import DirectCall
from nexus_hub.json_object import JsonObject
from nexus_hub.models import OPERATOR, Principal, ServerRef
from nexus_hub.orchestration.advice import advise
from nexus_hub.orchestration.gauges import METRICS
from nexus_hub.orchestration.health_figures import read_figures
from nexus_hub.servers.login_rows import LoginKey
from nexus_hub.upstream.requests import ToolCall
from tests.fixtures.oidc import Issuer
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import Served, serving
from tests.fixtures.upstreams import Serve, free_port

pytestmark = pytest.mark.node
Json = dict[str, Any]


@dataclass
class Team:
    """A hub, a server that demands an issuer's tokens, and two users."""

    hub: Served
    issuer: Issuer
    url: str
    users: dict[str, tuple[Principal, str]]

    async def register(self, **more: Any) -> Json:
        async with self.hub.client() as api:
            return dict(await api.request("POST", "/v1/servers", {"name": "docs", "url": self.url, **more}))

    async def log_in(self, server: Json, name: str | None) -> str:
        """Log a user in, None the operator; the scopes that were asked for."""
        async with self.client(name) as api:
            begun = await api.request("POST", f"/v1/servers/{server['server_type']}/{server['id']}/login", {})
            back = await self.issuer.sign_in(begun["authorization_url"], name)
            await api.request("POST", "/v1/logins:finish", back)
        return parse_qs(urlsplit(str(begun["authorization_url"])).query).get("scope", [""])[0]

    async def call(self, server: Json, name: str | None, tool: str = "whoami") -> str:
        """Call a tool directly."""
        principal = OPERATOR if name is None else self.users[name][0]
        ref = ServerRef(server["server_type"], UUID(server["id"]))
        call = DirectCall(ref, ToolCall(tool), principal.user_id, f"docs__{tool}")
        result = await self.hub.runtime.direct.call(call)
        assert isinstance(result, JsonObject)
        return str(result["content"][0]["text"])

    def client(self, name: str | None) -> HubClient:
        return self.hub.client() if name is None else self.hub.client(self.users[name][1])

    async def listed(self, name: str | None = None) -> Json:
        async with self.client(name) as api:
            (server,) = (await api.request("GET", "/v1/servers"))["items"]
            return dict(server)

    async def advice(self, name: str) -> list[str]:
        """Give what the hub advises a user about the server."""
        figures = await read_figures(self.hub.database, self.users[name][0])
        return [one.title for one in advise([], figures) if "docs" in one.title]


@pytest_asyncio.fixture
async def team(database: HubDatabase, tmp_path: Path, serve: Serve, issuer: Issuer) -> AsyncIterator[Team]:
    """The team; the servers are on this machine."""
    guarded = await serve("guarded", "--issuer", issuer.url)
    async with serving(database, tmp_path, free_port(), allow_private_upstreams=True) as hub:
        yield Team(hub, issuer, guarded.url, {name: await hub.user(name) for name in ("ann", "bob")})


async def test_each_user_calls_with_a_login_of_their_own(team: Team) -> None:
    server = await team.register(credentials="per-user")
    assert server["status"] == "needs-login"
    assert (server["login"]["kind"], server["login"]["state"]) == ("oauth", "none")
    for name in ("ann", "bob"):
        await team.log_in(server, name)
    assert (await team.listed())["tools"] == 2, "read with a user's login, since the operator has none"
    names = ["ann", "bob"] * 10
    assert await asyncio.gather(*(team.call(server, name) for name in names)) == names
    with pytest.raises(LoginNeeded):
        await team.call(server, None)
    await team.log_in(server, None)
    assert await team.call(server, None) == "ann", "the account that signs in where nobody says another one"


async def test_a_scope_that_a_call_lacks_is_asked_for_at_the_next_login(team: Team) -> None:
    server = await team.register()
    assert "write" not in (await team.log_in(server, None)).split()
    with pytest.raises(LoginNeeded, match="it wants the scopes read write") as caught:
        await team.call(server, None, "write")
    assert caught.value.link == f"{team.hub.url}/servers/system/{server['id']}?connect=1"
    assert await team.call(server, None) == "ann", "what the login is good for goes on"
    assert "write" in (await team.log_in(server, None)).split()
    assert await team.call(server, None, "write") == "written"


async def test_an_expired_token_is_renewed_within_the_call(team: Team) -> None:
    await team.issuer.steer(access_seconds=2)
    server = await team.register()
    await team.log_in(server, None)
    await team.issuer.steer(access_seconds=3600)
    await asyncio.sleep(2.1)  # the server refuses the token from here on, while the hub may take it to hold
    await asyncio.gather(*(team.call(server, None) for _ in range(5)))
    assert await team.issuer.exchanges(grant="refresh_token", outcome="ok") >= 1
    assert (await team.listed())["login"]["state"] == "ready"


async def test_a_login_that_is_over_is_told_everywhere_and_the_tools_stay(team: Team) -> None:
    server = await team.register(credentials="per-user")
    await team.log_in(server, "ann")
    ann, _ = team.users["ann"]
    await team.issuer.steer(drop=["Grant", "RefreshToken", "AccessToken"])
    assert (await team.advice("ann")) == []
    key = LoginKey(ServerRef("system", UUID(server["id"])), ann.user_id)
    assert await team.hub.runtime.logins.refresh(key) == "needed"
    with pytest.raises(LoginNeeded):
        await team.call(server, "ann")
    seen = await team.listed("ann")
    assert (seen["tools"], seen["login"]["state"]) == (2, "needed")
    assert seen["login"]["reason"]
    assert (await team.listed("bob"))["login"]["state"] == "none"
    (advice,) = await team.advice("ann")
    assert advice.startswith("The server docs wants your login")
    assert await team.advice("bob") == []
    async with team.hub.database.transaction() as transaction:
        counts = {row["state"]: row["logins"] for row in await transaction.all(METRICS["login_counts"])}
    assert counts == {"needed": 1, "none": 0}
    check = await run_check("logins", doctor._check_logins(team.hub.database), "")
    assert (check.ok, check.detail) == (False, "Logins that are over, by server: docs (1).")

    await team.log_in(server, "ann")
    assert await team.call(server, "ann") == "ann"
    assert (await team.listed("ann"))["login"]["state"] == "ready"
