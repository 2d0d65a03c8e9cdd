"""Logins at upstream servers through the API and the command line: begun, finished by who began them, ended."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import psycopg
import pytest
import pytest_asyncio

from nexus_hub.cli.loopback import perform
from nexus_hub.client import HubClient
from nexus_hub.errors import ApiProblem
from tests.fixtures.oidc import MACHINE, Issuer
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import Served, serving
from tests.fixtures.upstreams import Process, Serve, free_port

pytestmark = pytest.mark.node


@dataclass
class Place:
    """A hub, a server that demands an issuer's tokens, and that issuer."""

    hub: Served
    guarded: Process
    issuer: Issuer
    database: HubDatabase

    async def register(self, client: HubClient, name: str = "docs", **more: Any) -> dict[str, Any]:
        """Register the server."""
        return await client.request("POST", "/v1/servers", {"name": name, "url": self.guarded.url, **more})

    async def come_back(self, begun: dict[str, Any], account: str = "ann") -> dict[str, str]:
        """Log in at the issuer as a person does: what the browser brings back."""
        return await self.issuer.sign_in(begun["authorization_url"], account)

    def rows(self, table: str) -> list[str]:
        """All that a table holds, as text."""
        with psycopg.connect(self.database.owner_url) as connection:
            return [row for (row,) in connection.execute(f"SELECT t::text FROM {table} AS t".encode())]


def path_of(server: dict[str, Any]) -> str:
    """The path of a server's login."""
    return f"/v1/servers/{server['server_type']}/{server['id']}/login"


@pytest_asyncio.fixture
async def place(database: HubDatabase, tmp_path: Path, serve: Serve, issuer: Issuer) -> AsyncIterator[Place]:
    """The place; the servers are on this machine, which users' servers may be too."""
    guarded = await serve("guarded", "--issuer", issuer.url)
    async with serving(database, tmp_path, free_port(), allow_private_upstreams=True) as hub:
        yield Place(hub, guarded, issuer, database)


async def test_an_operator_logs_in_for_all_and_the_tools_come(place: Place) -> None:
    """What waits and what is kept is sealed; a state is good once."""
    async with place.hub.client() as operator:
        server = await place.register(operator)
        assert server["tools"] == 0
        begun = await operator.request("POST", path_of(server), {})
        asked = parse_qs(urlsplit(begun["authorization_url"]).query)
        assert asked["redirect_uri"] == [f"{place.hub.url}/oauth/callback"]
        waiting = "".join(place.rows("login_requests"))
        assert waiting
        assert asked["state"][0] not in waiting
        back = await place.come_back(begun)
        done = await operator.request("POST", "/v1/logins:finish", back)
        assert done == {
            "server": {"server_type": "system", "id": server["id"], "name": "docs"},
            "state": "ready",
        }
        assert place.rows("login_requests") == []
        with pytest.raises(ApiProblem, match="was finished already") as again:
            await operator.request("POST", "/v1/logins:finish", back)
        assert again.value.status == 409
        assert (await operator.request("GET", f"/v1/servers/{server['id']}"))["tools"] == 2
        await operator.request("DELETE", path_of(server))
        assert place.rows("upstream_logins") == []
        assert (await place.issuer.requests("/token/revocation")) == 1
        with pytest.raises(ApiProblem, match="no login at the server") as none:
            await operator.request("DELETE", path_of(server))
        assert none.value.status == 404


async def test_somebody_elses_login_is_not_finished(place: Place) -> None:
    """Nor can it be by who began it, once another has tried."""
    _, ann = await place.hub.user("ann")
    _, bob = await place.hub.user("bob")
    async with place.hub.client() as operator, place.hub.client(ann) as anns, place.hub.client(bob) as bobs:
        server = await place.register(operator, credentials="per-user")
        back = await place.come_back(await anns.request("POST", path_of(server), {}))
        for client in (bobs, operator):
            with pytest.raises(ApiProblem) as refused:
                await client.request("POST", "/v1/logins:finish", back)
            assert refused.value.status in {403, 409}
        with pytest.raises(ApiProblem, match="begin it anew"):
            await anns.request("POST", "/v1/logins:finish", back)
        assert place.rows("upstream_logins") == []


async def test_a_login_that_waits_is_bound_to_its_server(place: Place) -> None:
    """Who can change its row can't have the tokens sent elsewhere."""
    async with place.hub.client() as operator:
        server, other = await place.register(operator), await place.register(operator, "other")
        back = await place.come_back(await operator.request("POST", path_of(server), {}))
        with psycopg.connect(place.database.owner_url) as connection:
            connection.execute("UPDATE login_requests SET server_ref_id = %s", [other["id"]])
        with pytest.raises(ApiProblem, match="can't be finished any more"):
            await operator.request("POST", "/v1/logins:finish", back)
        assert await place.issuer.exchanges() == 0


async def test_each_user_has_a_login_where_the_server_is_set_so(place: Place) -> None:
    """And ends it alone."""
    _, ann = await place.hub.user("ann")
    _, bob = await place.hub.user("bob")
    async with place.hub.client() as operator, place.hub.client(ann) as anns, place.hub.client(bob) as bobs:
        server = await place.register(operator, credentials="per-user")
        for name, client in (("ann", anns), ("bob", bobs)):
            back = await place.come_back(await client.request("POST", path_of(server), {}), name)
            await client.request("POST", "/v1/logins:finish", back)
        assert len(place.rows("upstream_logins")) == 2
        await anns.request("DELETE", path_of(server))
        assert len(place.rows("upstream_logins")) == 1
        with pytest.raises(ApiProblem):
            await anns.request("DELETE", path_of(server))


async def test_whose_login_it_is(place: Place) -> None:
    """One for all is the operator's; that of a user's server its owner's; others see no such server."""
    _, ann = await place.hub.user("ann")
    _, bob = await place.hub.user("bob")
    async with place.hub.client() as operator, place.hub.client(ann) as anns, place.hub.client(bob) as bobs:
        shared, own = await place.register(operator), await place.register(anns, "mine")
        for client, server, status in ((anns, shared, 403), (operator, own, 403), (bobs, own, 404)):
            with pytest.raises(ApiProblem) as refused:
                await client.request("POST", path_of(server), {})
            assert refused.value.status == status
        back = await place.come_back(await anns.request("POST", path_of(own), {}))
        assert (await anns.request("POST", "/v1/logins:finish", back))["server"]["name"] == "mine"


async def test_a_refusal_is_told_without_the_words_of_others(place: Place) -> None:
    """Where a person says no, and where another issuer answers."""
    async with place.hub.client() as operator:
        server = await place.register(operator)
        await place.issuer.steer(deny=True)
        back = await place.come_back(await operator.request("POST", path_of(server), {}))
        with pytest.raises(ApiProblem, match=r"says no \(access_denied\)") as refused:
            await operator.request("POST", "/v1/logins:finish", back)
        assert (refused.value.status, refused.value.code) == (409, "login-failed")
        await place.issuer.steer(deny=False)
        back = await place.come_back(await operator.request("POST", path_of(server), {}))
        with pytest.raises(ApiProblem, match="not from the authorization server"):
            await operator.request("POST", "/v1/logins:finish", back | {"iss": "https://evil.example"})
        with pytest.raises(ApiProblem) as extra:
            await operator.request("POST", "/v1/logins:finish", {"state": "x", "code": "the-code", "more": "y"})
        assert "the-code" not in extra.value.message
        assert await place.issuer.exchanges() == 0


async def test_scopes_that_nobody_grants_are_asked_for_once(place: Place) -> None:
    """A server may ask for anything; with the login that was refused for it the next one does without."""
    async with place.hub.client() as operator:
        server = await place.register(operator)
        await operator.request(
            "POST", "/v1/logins:finish", await place.come_back(await operator.request("POST", path_of(server), {}))
        )
        with psycopg.connect(place.database.owner_url) as connection:
            connection.execute("UPDATE upstream_logins SET scope = scope || ' moon'")
        begun = await operator.request("POST", path_of(server), {})
        asked = parse_qs(urlsplit(begun["authorization_url"]).query)
        assert "moon" in asked["scope"][0].split()
        back = {"state": asked["state"][0], "error": "invalid_scope", "iss": place.issuer.url}
        with pytest.raises(ApiProblem, match="invalid_scope"):
            await operator.request("POST", "/v1/logins:finish", back)
        begun = await operator.request("POST", path_of(server), {})
        assert "moon" not in begun["authorization_url"]


async def test_a_login_can_be_finished_again_where_the_issuer_failed(place: Place) -> None:
    """The code was not used up."""
    async with place.hub.client() as operator:
        server = await place.register(operator)
        back = await place.come_back(await operator.request("POST", path_of(server), {}))
        await place.issuer.steer(fail_share=1)
        with pytest.raises(ApiProblem) as failed:
            await operator.request("POST", "/v1/logins:finish", back)
        assert (failed.value.status, failed.value.code) == (502, "upstream-unavailable")
        await place.issuer.steer(fail_share=0)
        assert (await operator.request("POST", "/v1/logins:finish", back))["state"] == "ready"


async def test_a_machine_is_logged_in_at_once(place: Place) -> None:
    login = {
        "kind": "oauth",
        "grant": "client_credentials",
        "client_id": MACHINE["client_id"],
        "client_secret": MACHINE["client_secret"],
        "issuer": place.issuer.url,
    }
    async with place.hub.client() as operator:
        server = await place.register(operator, login=login)
        assert await operator.request("POST", path_of(server), {}) == {"state": "ready"}
        assert (await operator.request("GET", f"/v1/servers/{server['id']}"))["tools"] == 2
        assert MACHINE["client_secret"] not in "".join(place.rows("upstream_logins") + place.rows("system_servers"))


async def test_a_person_begins_a_bounded_number_of_logins(place: Place) -> None:
    """One more ends the oldest."""
    async with place.hub.client() as operator:
        server = await place.register(operator)
        with pytest.raises(ApiProblem, match="redirect_uri must be"):
            await operator.request("POST", path_of(server), {"redirect_uri": "https://evil.example/callback"})
        begun = [await operator.request("POST", path_of(server), {}) for _ in range(22)]
        assert len(place.rows("login_requests")) == 20
        with pytest.raises(ApiProblem, match="begin it anew"):
            await operator.request("POST", "/v1/logins:finish", await place.come_back(begun[0]))
        back = await place.come_back(begun[-1])
        assert (await operator.request("POST", "/v1/logins:finish", back))["state"] == "ready"


async def test_the_command_line_takes_the_browser_back_itself(place: Place) -> None:
    """What comes with another state is not the answer."""
    pages: list[httpx.Response] = []
    opened: list[asyncio.Task[None]] = []

    async def browse(url: str) -> None:
        back = await place.issuer.sign_in(url)
        redirect = parse_qs(urlsplit(url).query)["redirect_uri"][0]
        async with httpx.AsyncClient() as browser:
            pages.append(await browser.get(redirect.replace("/callback", "/favicon.ico")))
            pages.append(await browser.get(redirect, params=back | {"state": "other"}))
            pages.append(await browser.get(redirect, params=back))

    async with place.hub.client() as operator:
        await place.register(operator)
        done = await perform(operator, "docs", None, lambda url: opened.append(asyncio.create_task(browse(url))))
        await asyncio.gather(*opened)
        assert done == {"server": "docs", "state": "ready"}
        assert [page.status_code for page in pages] == [404, 400, 200]
        assert (await operator.request("GET", "/v1/servers/docs"))["tools"] == 2


async def test_the_hubs_document_is_there_where_others_can_read_it(database: HubDatabase, tmp_path: Path) -> None:
    """Without a token; nothing of it is there without an https address."""
    path, url = "/oauth/client-metadata.json", "https://hub.example"
    async with httpx.AsyncClient() as client:
        async with serving(database, tmp_path, free_port()) as hub:
            assert (await client.get(hub.url + path)).status_code == 404
        async with serving(database, tmp_path, free_port(), public_url=url) as hub:
            answer = await client.get(hub.url + path)
    assert answer.json()["client_id"] == url + path
