"""API tokens over HTTP: named, listed with their last use, revoked one by one, and each user's own."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from nexus_hub.access import last_uses, user_tokens
from nexus_hub.client import HubClient
from nexus_hub.errors import ApiProblem
from tests.fixtures.served import Served

ME = "/v1/users/me/tokens"


async def refused(api: HubClient, method: str, path: str, body: Any = None) -> tuple[int, str]:
    """The status and the code of a request that is refused."""
    with pytest.raises(ApiProblem) as problem:
        await api.request(method, path, body)
    return problem.value.status, problem.value.code


async def test_a_user_makes_names_lists_and_revokes_tokens(served: Served) -> None:
    ann, first = await served.user("ann")
    async with served.client(first) as api:
        made = await api.request(
            "POST", ME, {"name": "laptop", "expires_in_days": 30, "scopes": ["jobs", "tools:list"]}
        )
        assert (made["name"], made["scopes"], made["revoked_at"]) == ("laptop", ["jobs", "tools:list"], None)
        left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
        assert timedelta(days=29) < left <= timedelta(days=30)
        listed = (await api.request("GET", ME))["items"]
        assert [one["name"] for one in listed] == ["laptop", None]
        assert not any(made["token"] in str(one) or "hash" in one for one in listed)
        assert listed == (await api.request("GET", f"/v1/users/{ann.user_id}/tokens"))["items"]
        async with served.client(made["token"]) as laptop:
            await laptop.request("GET", "/v1/jobs")
            revoked = await api.request("DELETE", f"{ME}/{made['id']}")
            assert revoked["revoked_at"] is not None
            assert await refused(laptop, "GET", "/v1/jobs") == (401, "not-authenticated")
        assert await api.request("DELETE", f"{ME}/{made['id']}") == revoked
        assert (await api.request("GET", ME))["items"][0] == revoked
    async with served.client() as operator:
        assert (await operator.request("GET", "/v1/users/ann/tokens"))["items"][0] == revoked


async def test_the_tokens_of_others_are_out_of_reach(served: Served) -> None:
    _, anns = await served.user("ann")
    bob, bobs = await served.user("bob")
    async with served.client(bobs) as api:
        token_id = (await api.request("GET", ME))["items"][0]["id"]
    async with served.client(anns) as api:
        for user in ("bob", str(bob.user_id), "ann", "operator"):
            for method, path in (("GET", ""), ("POST", ""), ("DELETE", ""), ("DELETE", f"/{token_id}")):
                assert await refused(api, method, f"/v1/users/{user}/tokens{path}") == (403, "not-allowed")
        for unknown in (token_id, uuid4()):
            assert await refused(api, "DELETE", f"{ME}/{unknown}") == (404, "not-found")
        assert await refused(api, "DELETE", f"{ME}/x") == (422, "invalid-request")
    async with served.client() as operator:
        assert await refused(operator, "GET", ME) == (404, "not-found")
        assert await refused(operator, "POST", "/v1/users", {"name": "me"}) == (400, "invalid-name")
    async with served.client(bobs) as api:
        await api.request("GET", "/v1/jobs")


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "x" * 101},
        {"name": "a\nb"},
        {"scopes": []},
        {"scopes": ["all"]},
        {"scopes": "jobs"},
        {"expires_in_days": 0},
        {"expires_in_days": -1},
        {"expires_in_days": 4000},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "2099-01-01T00:00:00"},
        {"expires_at": 4070908800},
        {"expires_at": "tomorrow"},
        {"expires_at": "2099-01-01T00:00:00Z", "expires_in_days": 1},
        {"user": "bob"},
    ],
)
async def test_a_token_that_can_not_be_is_not_made(served: Served, body: dict[str, Any]) -> None:
    _, token = await served.user("ann")
    async with served.client(token) as api:
        status, code = await refused(api, "POST", ME, body)
        assert (status in {400, 422}, code) == (True, "invalid-request")
        assert len((await api.request("GET", ME))["items"]) == 1


async def test_a_token_makes_none_that_is_good_for_more(served: Served) -> None:
    _, token = await served.user("ann")
    async with served.client(token) as api:
        made = await api.request("POST", ME, {"scopes": ["admin", "jobs"]})
    async with served.client(made["token"]) as api:
        assert (await api.request("POST", ME))["scopes"] == ["admin", "jobs"]
        assert (await api.request("POST", ME, {"scopes": ["jobs"]}))["scopes"] == ["jobs"]
        assert await refused(api, "POST", ME, {"scopes": ["tools:call"]}) == (403, "insufficient-scope")


async def test_an_expired_token_is_refused_and_stays_listed(served: Served) -> None:
    _, token = await served.user("ann")
    async with served.client(token) as api:
        made = await api.request("POST", ME, {"expires_at": "2099-01-31T09:30:00+02:00"})
        assert datetime.fromisoformat(made["expires_at"]) == datetime(2099, 1, 31, 7, 30, tzinfo=UTC)
        async with served.client(made["token"]) as short:
            await short.request("GET", "/v1/jobs")
            async with await psycopg.AsyncConnection.connect(served.admin_url, autocommit=True) as connection:
                await connection.execute("UPDATE api_tokens SET expires_at = now() WHERE id = %s", [made["id"]])
            served.app.state.authenticator.forget()
            assert await refused(short, "GET", "/v1/jobs") == (401, "not-authenticated")
        assert (await api.request("DELETE", f"{ME}/{made['id']}"))["revoked_at"] is None, "it was over already"


async def test_the_last_use_is_written_beside_the_calls_once_a_minute(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = await served.user("ann")

    async def last_use(api: HubClient) -> str | None:
        used: str | None = (await api.request("GET", "/v1/users/ann/tokens"))["items"][0]["last_used_at"]
        return used

    async with served.client(token) as hers, served.client() as operator:
        assert await last_use(operator) is None
        await hers.request("GET", "/v1/jobs")
        async with asyncio.timeout(60):
            while (first := await last_use(operator)) is None:
                await asyncio.sleep(0.01)
        served.app.state.authenticator.forget()
        await hers.request("GET", "/v1/jobs")
        assert not served.app.state.authenticator._api_tokens._uses._ids
        assert await last_use(operator) == first
        async with await psycopg.AsyncConnection.connect(served.admin_url, autocommit=True) as connection:
            await connection.execute("UPDATE api_tokens SET last_used_at = now() - interval '61 seconds'")
        served.app.state.authenticator.forget()
        await hers.request("GET", "/v1/jobs")
        async with asyncio.timeout(60):
            while (await last_use(operator) or "") <= first:
                await asyncio.sleep(0.01)


async def test_that_a_token_is_used_is_left_out_where_it_can_not_be_written(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    uses = last_uses.LastUses(served.database)
    monkeypatch.setattr(served.database._pool, "timeout", 0.05)
    _, token = await served.user("ann")
    async with await psycopg.AsyncConnection.connect(served.admin_url) as connection:
        await connection.execute("SELECT FROM api_tokens FOR UPDATE")
        token_id = (await user_tokens.list_tokens(served.database, "ann"))[0].id
        uses.note(token_id)
        assert uses._writing is not None
        async with asyncio.timeout(60):
            await uses._writing  # waits for no lock of another
    assert (await user_tokens.list_tokens(served.database, "ann"))[0].last_used_at is None
    await uses.close()
    assert token


async def test_a_user_has_so_many_tokens_and_of_those_that_are_over_the_last_are_kept(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_tokens, "MOST_TOKENS", 3)
    _, token = await served.user("ann")
    async with served.client(token) as api:
        await api.request("POST", ME)
        await api.request("POST", ME)
        assert await refused(api, "POST", ME) == (409, "conflict")
        made = []
        for _ in range(5):
            await api.request("DELETE", f"{ME}/{(await api.request('GET', ME))['items'][0]['id']}")
            made.append((await api.request("POST", ME))["id"])
        listed = (await api.request("GET", ME))["items"]
    assert listed[0]["id"] == made[-1]
    over = [one["id"] for one in listed if one["revoked_at"] is not None]
    assert over == made[-2:-5:-1] + over[3:]
    assert len(over) <= 4


async def test_a_token_for_some_of_it_opens_a_session_for_as_much(served: Served) -> None:
    _, token = await served.user("ann")
    async with served.client(token) as api:
        made = await api.request("POST", ME, {"scopes": ["tools:list"]})
        cookie = await served.app.state.sessions.open(made["token"], "192.0.2.1")
        session = await served.app.state.sessions.find(cookie, "192.0.2.1")
        assert session.principal.scopes == {"tools:list"}
        cookie = await served.app.state.sessions.open(token, "192.0.2.1")
        assert (await served.app.state.sessions.find(cookie, "192.0.2.1")).principal.scopes is None
