"""Servers that want a login: registered before it, called with the caller's own, and never with somebody else's."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import pytest

from nexus_hub.errors import ApiProblem, LoginNeeded
from nexus_hub.execution.direct import DirectCall
from nexus_hub.models import OPERATOR, Principal, ServerRef
from nexus_hub.upstream.requests import ToolCall
from tests.fixtures.careless import DISCOVERED, Careless, Reply, succeed
from tests.fixtures.keys import Json, Keys, credential, listed, register
from tests.fixtures.served import Served


async def call(served: Served, server: Json, principal: Principal = OPERATOR) -> None:
    ref = ServerRef(server["server_type"], UUID(server["id"]))
    await served.runtime.direct.call(DirectCall(ref, ToolCall("say"), principal.user_id, "srv__say"))


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_so():
            await asyncio.sleep(0.02)


async def test_a_server_is_registered_before_its_login_and_its_tools_arrive_after_it(
    served: Served, careless: Careless
) -> None:
    Keys(careless)
    async with served.client() as api:
        server = await register(api, careless)
        assert (server["status"], server["tools"]) == ("needs-login", 0)
        login = {"kind": "header", "credentials": "shared", "state": "none", "expires_at": None, "reason": None}
        assert server["login"] == login

        assert await api.request("PUT", credential(server), {"value": "all"}) == {"state": "ready"}
        server = await listed(api)
        assert (server["status"], server["tools"], server["login"]) == ("ready", 1, login | {"state": "ready"})
        assert "k-all" not in str(server)


async def test_a_server_that_refuses_us_and_offers_no_login_is_not_registered(
    served: Served, careless: Careless
) -> None:
    Keys(careless)
    async with served.client() as api:
        with pytest.raises(ApiProblem, match="no such key") as caught:
            await api.request("POST", "/v1/servers", {"name": "srv", "url": careless.url})
        assert caught.value.code == "upstream-rejected"
        assert (await api.request("GET", "/v1/servers"))["items"] == []


async def test_each_users_calls_carry_their_own_credential(served: Served, careless: Careless) -> None:
    keys = Keys(careless)
    (ann, ann_token), (bob, bob_token) = await served.user("ann"), await served.user("bob")
    async with served.client() as api, served.client(ann_token) as anns, served.client(bob_token) as bobs:
        server = await register(api, careless, credentials="per-user")
        await anns.request("PUT", credential(server), {"value": "ann"})
        states = [(await listed(one))["login"]["state"] for one in (anns, bobs, api)]
        assert states == ["ready", "none", "none"]
        assert (await listed(bobs))["tools"] == 1, "read with ann's, since there is no other"

        await call(served, server, ann)
        for nobody in (bob, OPERATOR):
            with pytest.raises(LoginNeeded) as caught:
                await call(served, server, nobody)
            assert caught.value.link == f"{served.url}/servers/system/{server['id']}?connect=1"
        await bobs.request("PUT", credential(server), {"value": "bob"})
        await call(served, server, bob)
        await call(served, server, ann)
        assert keys.called_with == ["k-ann", "k-bob", "k-ann"]


async def test_what_one_users_account_holds_is_not_listed_for_all(served: Served, careless: Careless) -> None:
    """The names of a user's documents are the user's; those of the account that an operator gives are for all."""
    keys, discovered = Keys(careless), DISCOVERED | {"capabilities": {"tools": {}, "resources": {}}}
    careless.modern, careless.on_open = True, lambda: succeed(**discovered)

    def list_own(method: str, headers: dict[str, str]) -> Reply | None:
        refused = keys(method, headers)
        if refused is None and method == "resources/list":
            return succeed(resources=[{"uri": f"doc://{headers['x-key']}", "name": "pay rise"}])
        return refused

    careless.on_request = list_own
    _, token = await served.user("ann")
    async with served.client() as api, served.client(token) as anns:
        server = await register(api, careless, credentials="per-user")
        await anns.request("PUT", credential(server), {"value": "ann"})
        seen = await listed(api)
        assert (seen["tools"], seen["resources"]) == (1, 0)
        synced = await api.request("POST", f"/v1/servers/system/{server['id']}/sync")
        assert [one["place"] for one in synced["omitted"]] == ["resources"]
        await api.request("PUT", credential(server), {"value": "all"})
        seen = await listed(api)
        assert (seen["tools"], seen["resources"]) == (1, 1)


async def test_what_serves_all_is_the_operators_to_set(served: Served, careless: Careless) -> None:
    keys = Keys(careless)
    ann, token = await served.user("ann")
    async with served.client() as api, served.client(token) as anns:
        server = await register(api, careless)
        with pytest.raises(ApiProblem) as refused:
            await anns.request("PUT", credential(server), {"value": "ann"})
        assert refused.value.code == "not-allowed"
        with pytest.raises(LoginNeeded, match="ask who runs the hub") as caught:
            await call(served, server, ann)
        assert caught.value.link is None
        await api.request("PUT", credential(server), {"value": "all"})
        await call(served, server)
        await call(served, server, ann)
        keys.known = set()
        with pytest.raises(LoginNeeded, match="ask who runs the hub") as caught:
            await call(served, server, ann)
        assert caught.value.link is None
        with pytest.raises(LoginNeeded, match="refuses the header") as caught:
            await call(served, server)
        assert caught.value.link is not None


async def test_a_refused_credential_is_needed_again_and_the_tools_stay(served: Served, careless: Careless) -> None:
    keys = Keys(careless)
    async with served.client() as api:
        server = await register(api, careless)
        await api.request("PUT", credential(server), {"value": "all"})
        await call(served, server)
        keys.known = set()
        with pytest.raises(LoginNeeded, match="refuses the header"):
            await call(served, server)
        seen = keys.seen
        with pytest.raises(ApiProblem):
            await api.request("POST", f"/v1/servers/system/{server['id']}/sync")
        server = await listed(api)
        assert server["tools"] == 1
        assert "needs" not in str(server["catalog"]["error"])
        assert keys.seen > seen
        keys.known = {"k-all"}
        await api.request("PUT", credential(server), {"value": "all"})
        await call(served, server)
        assert (await listed(api))["status"] == "ready"


async def test_a_removed_credential_is_used_no_more(served: Served, careless: Careless) -> None:
    Keys(careless)
    async with served.client() as api:
        server = await register(api, careless)
        await api.request("PUT", credential(server), {"value": "all"})
        await call(served, server)
        await api.request("DELETE", credential(server))
        with pytest.raises(LoginNeeded, match="nobody has logged in"):
            await call(served, server)
        assert (await listed(api))["tools"] == 1


@pytest.mark.parametrize("value", ["a\nb", " a", "ä", "x" * 9000])
async def test_a_value_that_cannot_be_sent_is_refused(served: Served, careless: Careless, value: str) -> None:
    Keys(careless)
    async with served.client() as api:
        server = await register(api, careless)
        with pytest.raises(ApiProblem) as refused:
            await api.request("PUT", credential(server), {"value": value})
        assert refused.value.status in {400, 422}
        assert value.strip() not in refused.value.message.split()


async def test_a_server_that_wants_no_header_takes_none(served: Served, careless: Careless) -> None:
    async with served.client() as api:
        server = await api.request("POST", "/v1/servers", {"name": "srv", "url": careless.url})
        assert server["login"] is None
        with pytest.raises(ApiProblem, match="wants no login"):
            await api.request("PUT", credential(server), {"value": "x"})


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"credentials": "per-user"}, "asks for no login"),
        ({"login": {"kind": "oauth", "client_secret": "canary-secret"}}, "without a client_id"),
        ({"login": {"kind": "oauth", "scope": 'a"b', "client_secret": "canary-secret"}}, "scope"),
        ({"login": {"kind": "key"}}, "login"),
    ],
)
async def test_a_login_that_cannot_be_is_refused(served: Served, careless: Careless, more: Json, fault: str) -> None:
    async with served.client() as api:
        with pytest.raises(ApiProblem, match=fault) as refused:
            await api.request("POST", "/v1/servers", {"name": "srv", "url": careless.url, **more})
        assert "canary" not in refused.value.message


async def test_a_users_server_has_its_owners_login(served: Served, careless: Careless) -> None:
    keys = Keys(careless)
    served.runtime.servers._allow_private = True
    ann, token = await served.user("ann")
    async with served.client(token) as anns, served.client() as api:
        with pytest.raises(ApiProblem, match="one user"):
            await register(anns, careless, credentials="per-user")
        server = await register(anns, careless)
        await anns.request("PUT", credential(server), {"value": "ann"})
        await call(served, server, ann)
        assert (await listed(api))["login"]["state"] == "ready"
        assert keys.called_with == ["k-ann"]
