"""Bundles at addresses of their own: a user sees the bundle's names and no trace of the servers behind them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx2
import pytest
from mcp import MCPError

from nexus_hub.catalog.store import store
from nexus_hub.errors import ApiProblem, ApprovalNeeded, NotFound
from nexus_hub.gateway.followers import ALL_LISTS, Address
from nexus_hub.models import Principal, ServerRef
from nexus_hub.upstream.snapshot import Snapshot
from tests.fixtures.bundles import entry, put_catalog, tool
from tests.fixtures.served import SERVICE_KEY, Served
from tests.fixtures.upstreams import own_server
from tests.integration.gateway.test_listing_and_calling import ERAS, connected

URI = "offers://greeting"
ENTRIES = [
    entry("weather", "echo", "forecast", description="Tells it.", fixed={"units": "metric"}, hidden=["debug"]),
    entry("weather", "*"),
    entry("weather", "greet", "hello", fixed={"tone": "kind"}) | {"kind": "prompt"},
    entry("weather", "*") | {"kind": "resource"},
]
BUNDLE = {"name": "travel", "access": "open", "instructions": "Plan journeys.", "entries": ENTRIES}
ADD_OWN = (
    b"INSERT INTO user_servers (user_id, name, transport, endpoint, config_encrypted, key_id) "
    b"VALUES (%(user_id)s, 'travel', 'http', 'x', %(sealed)s, '0123abcd') RETURNING id"
)
GRANT = (
    b"INSERT INTO access_grants (group_id, level, bundle_id) "
    b"SELECT g.id, %(level)s, b.id FROM user_groups g, bundles b WHERE g.is_everyone"
)
SECRETS = ("weather", "echo", "greet", "metric", "units", "debug")


@pytest.fixture
async def ann(served: Served) -> tuple[Principal, str]:
    """A user who may use the bundle `travel`, and not the server `weather` behind it."""
    server = await served.runtime.servers.register("weather", own_server("offers"))
    ref = ServerRef("system", server.id)
    echo = tool("echo", "city", "units", "debug", required=["city", "units"])
    prompt = {"name": "greet", "arguments": [{"name": "who"}, {"name": "tone"}]}
    resource = {"uri": URI, "name": "greeting"}
    await put_catalog(served.database, ref, "weather", echo, tool("other"), prompts=[prompt], resources=[resource])
    async with served.database.transaction() as transaction:
        await transaction.run(b"UPDATE system_servers SET access = 'closed'")
    async with served.client() as api:
        await api.request("POST", "/v1/bundles", BUNDLE)
    return await served.user("ann")


def text_of(result: Any) -> str:
    return str(result.content[0].text)


@ERAS
async def test_a_bundle_is_listed_and_called_by_its_own_names(
    served: Served, ann: tuple[Principal, str], mode: str
) -> None:
    async with connected(served, "/mcp/travel", mode=mode, token=ann[1]) as client:
        assert client.instructions == "Plan journeys."
        tools = {one.name: one for one in (await client.list_tools()).tools if not one.name.startswith("hub__")}
        assert list(tools) == ["forecast", "weather__other"]
        assert tools["forecast"].description == "Tells it."
        assert list(tools["forecast"].input_schema["properties"]) == ["city"]
        assert tools["forecast"].input_schema["required"] == ["city"]
        called = await client.call_tool("forecast", {"city": "Oslo"})
        assert text_of(called) == str({"city": "Oslo", "units": "metric"})
        (prompt,) = (await client.list_prompts()).prompts
        assert (prompt.name, [one.name for one in prompt.arguments or []]) == ("hello", ["who"])
        assert (await client.get_prompt("hello", {"who": "Bo"})).messages
        assert [str(one.uri) for one in (await client.list_resources()).resources] == [URI]
        assert (await client.read_resource(URI)).contents


@ERAS
@pytest.mark.parametrize("sent", [{"units": "imperial"}, {"debug": "1"}, {"city": 5}, {}])
async def test_arguments_that_are_fixed_hidden_or_wrong_are_refused(
    served: Served, ann: tuple[Principal, str], mode: str, sent: dict[str, Any]
) -> None:
    async with connected(served, "/mcp/travel", mode=mode, token=ann[1]) as client:
        refused = await client.call_tool("forecast", sent if "city" in sent or not sent else {"city": "Oslo"} | sent)
    assert refused.is_error
    said = text_of(refused)
    assert next(iter(sent), "city") in said, "it names what was sent, or what is missing"
    assert "echo" not in said
    assert "weather" not in said


@ERAS
async def test_what_is_behind_a_bundle_is_not_there_elsewhere(
    served: Served, ann: tuple[Principal, str], mode: str
) -> None:
    async with connected(served, mode=mode, token=ann[1]) as client:
        names = [one.name for one in (await client.list_tools()).tools]
        assert [name for name in names if not name.startswith("hub__")] == []
        for name in ("weather__echo", "travel__forecast", "forecast"):
            with pytest.raises(MCPError, match="Unknown tool"):
                await client.call_tool(name, {"city": "Oslo"})
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {ann[1]}"}) as http:
        assert (await http.post(f"{served.url}/mcp/weather", json={})).status_code == 404


async def test_a_bundle_can_be_searched(served: Served, ann: tuple[Principal, str]) -> None:
    async with connected(served, "/mcp/travel?tools=search", token=ann[1]) as client:
        found = await client.call_tool("search_tools", {"query": "tells"})
        assert found.structured_content == {
            "tools": [{"name": "forecast", "description": "Tells it."}],
            "more": False,
        }
        described = await client.call_tool("describe_tool", {"name": "forecast"})
        assert "units" not in text_of(described)
        called = await client.call_tool("call_tool", {"name": "forecast", "arguments": {"city": "Oslo"}})
        assert text_of(called) == str({"city": "Oslo", "units": "metric"})
        nothing = await client.call_tool("search_tools", {"query": "zzz"})
        assert "weather" not in text_of(nothing)


async def test_the_api_lists_what_the_address_does_and_hides_what_is_behind_it(
    served: Served, ann: tuple[Principal, str]
) -> None:
    async with served.client(ann[1]) as api, served.client() as operator:
        listed = (await api.request("GET", "/v1/tools", bundle="travel"))["items"]
        assert [one["name"] for one in listed] == ["travel__forecast", "travel__weather__other"]
        shown = await api.request("GET", "/v1/tools/travel__forecast")
        assert shown == listed[0]
        assert (shown["tool_name"], shown["server_ref_id"], shown["bundle"]) == ("forecast", None, "travel")
        assert list(shown["definition"]["inputSchema"]["properties"]) == ["city"]
        assert not [word for word in SECRETS if word in json.dumps(shown)]
        (seen,) = (await operator.request("GET", "/v1/tools", bundle="travel", query="tells"))["items"]
        assert (seen["tool_name"], seen["server_type"]) == ("echo", "system")
        page = await api.request("GET", "/v1/tools", bundle="travel", limit=1, compact=True)
        assert [one["name"] for one in page["items"]] == ["travel__forecast"]
        rest = await api.request("GET", "/v1/tools", bundle="travel", cursor=page["next_cursor"])
        assert [one["name"] for one in rest["items"]] == ["travel__weather__other"]
        for path in ("/v1/tools/weather__echo", "/v1/tools/travel__echo", "/v1/tools/nobody__forecast"):
            with pytest.raises(ApiProblem, match="There is no tool"):
                await api.request("GET", path)


@pytest.fixture
async def job_of_ann(served: Served, ann: tuple[Principal, str]) -> AsyncIterator[str]:
    async with served.client(ann[1]) as api:
        job = await api.request("POST", "/v1/jobs", {"name": "travel__forecast", "arguments": {"city": "Oslo"}})
        yield str(job["id"])


async def test_a_job_by_a_bundles_name_gets_what_is_fixed_and_shows_it_to_no_user(
    served: Served, ann: tuple[Principal, str], job_of_ann: str
) -> None:
    attempt = await served.claimed(UUID(job_of_ann))
    with served.execution.hold(attempt):
        await served.execution.make_steps().run(attempt)
        assert await served.execution.record(attempt) == "completed"
    async with served.client(ann[1]) as api, served.client() as operator:
        job = await api.job(job_of_ann)
        assert job["result"]["content"][0]["text"] == str({"city": "Oslo", "units": "metric"}), (
            "the server's own answer"
        )
        assert (job["called_as"], job["tool_name"], job["server"]) == ("travel__forecast", "forecast", "travel")
        assert job["params"] == {"city": "Oslo"}
        told = {key: value for key, value in job.items() if key != "result"}
        timeline = await api.request("GET", f"/v1/jobs/{job_of_ann}/timeline")
        (listed,) = (await api.request("GET", "/v1/jobs"))["items"]
        for one in (told, timeline, listed):
            assert not [word for word in SECRETS if word in json.dumps(one)]
        for filters in ({"tool": "echo"}, {"search": "echo"}, {"search": "weather"}):
            assert (await api.request("GET", "/v1/jobs", **filters))["items"] == []
        both = await operator.job(job_of_ann)
        assert (both["called_as"], both["tool_name"], both["server"]) == ("travel__forecast", "echo", "weather")
        again = await api.request("POST", f"/v1/jobs/{job_of_ann}:run-again")
        assert (again["called_as"], again["params"]) == ("travel__forecast", {"city": "Oslo"})


async def test_a_users_own_server_hides_the_bundle_of_its_name(served: Served, ann: tuple[Principal, str]) -> None:
    async with served.database.transaction() as transaction:
        server_id = await transaction.only(ADD_OWN, UUID, user_id=ann[0].user_id, sealed=b"x" * 40)
    seen = Snapshot("2026-07-28", None, None, {}, tools=[tool("mine")])
    async with served.database.transaction() as transaction:
        await store(transaction, ServerRef("user", server_id), "travel", ann[0].user_id, seen)
    served.runtime.notice_catalog(None)
    _, bobs = await served.user("bob")
    for token, names in ((ann[1], ["mine"]), (bobs, ["forecast", "weather__other"])):
        async with connected(served, "/mcp/travel", token=token) as client:
            listed = [one.name for one in (await client.list_tools()).tools]
            assert [name for name in listed if not name.startswith("hub__")] == names
    async with served.client(ann[1]) as api:
        assert (await api.request("GET", "/v1/bundles"))["items"] == []
        with pytest.raises(ApiProblem, match="There is no tool 'travel__forecast'"):
            await api.request("POST", "/v1/jobs", {"name": "travel__forecast", "arguments": {"city": "Oslo"}})


async def test_who_may_only_see_a_bundle_is_told_so(served: Served, ann: tuple[Principal, str]) -> None:
    async with served.database.transaction() as transaction:
        await transaction.run(GRANT, level="list")
    served.runtime.notice_permissions()
    async with connected(served, "/mcp/travel", token=ann[1]) as client:
        assert "forecast" in [one.name for one in (await client.list_tools()).tools]
        refused = await client.call_tool("forecast", {"city": "Oslo"})
        assert "You may see the tool forecast and not call it" in text_of(refused)
    async with served.client(ann[1]) as api:
        with pytest.raises(ApiProblem, match="You may see the tool travel__forecast and not call it"):
            await api.request("POST", "/v1/jobs:batch", {"jobs": [{"name": "travel__forecast"}]})


async def test_jobs_of_a_bundle_are_seen_at_its_address_and_at_no_servers(
    served: Served, ann: tuple[Principal, str], job_of_ann: str
) -> None:
    async with served.database.transaction() as transaction:
        await transaction.run(b"UPDATE system_servers SET access = 'open'")
    served.runtime.notice_permissions()
    for path, tools in (("travel", ["travel__forecast"]), ("", ["travel__forecast"]), ("weather", [])):
        async with connected(served, f"/mcp/{path}".rstrip("/"), token=ann[1]) as client:
            jobs = (await client.call_tool("hub__jobs", {})).structured_content or {}
            assert [one["tool"] for one in jobs["jobs"]] == tools
            shown = await client.call_tool("hub__job_wait", {"id": job_of_ann, "seconds": 0})
            assert ("travel__forecast" in text_of(shown)) == bool(tools)


async def test_a_session_is_told_that_its_bundle_has_changed(served: Served, ann: tuple[Principal, str]) -> None:
    address = Address.of(await served.app.state.gateway.views.view(ann[0], "travel"))
    followers = served.app.state.gateway.subscriptions.followers
    with followers.follow(address, ALL_LISTS) as follower:
        async with served.client() as api:
            await api.request("PUT", "/v1/bundles/travel", BUNDLE | {"entries": ENTRIES[:1]})
        async with asyncio.timeout(30):
            async for changed in follower.rounds():
                await followers.renew(follower)
                if changed:
                    break
        assert {topic.method for topic in changed} <= {topic.method for topic in ALL_LISTS}
        async with served.client() as api:
            await api.request("DELETE", "/v1/bundles/travel")
        async with asyncio.timeout(30):
            async for _ in follower.rounds():
                await followers.renew(follower)
    assert follower.closed.is_set()


@ERAS
async def test_an_error_names_the_bundle_and_not_the_server(
    served: Served, ann: tuple[Principal, str], mode: str
) -> None:
    async with served.database.transaction() as transaction:
        await transaction.run(b"UPDATE system_servers SET limit_per_minute = 1")
    served.runtime.direct.forget(None)
    async with connected(served, "/mcp/travel", mode=mode, token=ann[1]) as client:
        results = [await client.call_tool("forecast", {"city": "Oslo"}) for _ in range(2)]
    assert "The rate limit of server 'travel' is used up" in text_of(results[1])


async def test_the_audit_shows_its_user_the_bundles_names_and_an_operator_both(
    served: Served, ann: tuple[Principal, str]
) -> None:
    async with connected(served, "/mcp/travel", token=ann[1]) as client:
        await client.call_tool("forecast", {"city": "Oslo"})
    async with served.client(ann[1]) as api, served.client() as operator:
        async with asyncio.timeout(30):
            while not (found := (await operator.request("GET", "/v1/audit", action="tool.call"))["items"]):
                await asyncio.sleep(0.05)
        assert [(one["server"], one["tool"], one["called_as"]) for one in found] == [
            ("weather", "echo", "travel__forecast")
        ]
        (own,) = (await api.request("GET", "/v1/audit", action="tool.call"))["items"]
        assert (own["server"], own["tool"], own["target"]) == ("travel", "forecast", "forecast")
        for filters in ({"server": "weather"}, {"search": "echo"}):
            assert (await api.request("GET", "/v1/audit", action="tool.call", **filters))["items"] == []


async def ask_and_answer(served: Served, token: str) -> UUID:
    """A call by a bundle's name that somebody has said yes to."""
    async with served.client(token) as api, served.client() as operator:
        job = await api.request("POST", "/v1/jobs", {"name": "travel__forecast", "arguments": {"city": "Oslo"}})
        found = (await operator.request("GET", "/v1/approvals", state="waiting"))["items"]
        (asked,) = (one for one in found if one["job_id"] == job["id"])
        assert asked["tool"] == "travel__forecast"
        answer = {"approve": True, "digest": asked["digest"]}
        await operator.request("POST", f"/v1/approvals/{asked['id']}", answer)
    return UUID(job["id"])


async def test_a_yes_is_for_what_is_sent_with_what_the_bundle_fixes(served: Served, ann: tuple[Principal, str]) -> None:
    async with served.database.transaction() as transaction:
        await transaction.run(GRANT, level="approve")
    served.runtime.notice_permissions()
    first, second = await ask_and_answer(served, ann[1]), await ask_and_answer(served, ann[1])
    await served.execution.open(await served.claimed(first))
    async with served.client() as api:
        changed = ENTRIES[0] | {"fixed": {"units": "imperial"}}
        await api.request("PUT", "/v1/bundles/travel", BUNDLE | {"entries": [changed, *ENTRIES[1:]]})
    served.runtime.notice_permissions()
    with pytest.raises(ApprovalNeeded):
        await served.execution.open(await served.claimed(second))


async def test_no_name_behind_a_bundle_is_found_out_by_looking_for_it(
    served: Served, ann: tuple[Principal, str]
) -> None:
    async with served.client(ann[1]) as api, served.client() as operator:
        for city in ("Oslo", "Bergen"):
            await api.request("POST", "/v1/jobs", {"name": "travel__forecast", "arguments": {"city": city}})
        for filters in ({"tool": "echo"}, {"search": "ec"}, {"search": "weat"}, {"search": "weather__echo"}):
            nothing = await api.request("GET", "/v1/jobs", limit=1, **filters)
            assert nothing == {"items": [], "next_cursor": None}
            if filters != {"search": "weat"}:
                assert len((await operator.request("GET", "/v1/jobs", **filters))["items"]) == 2
        async with asyncio.timeout(30):
            while len((await operator.request("GET", "/v1/audit", search="echo"))["items"]) < 2:
                await asyncio.sleep(0.05)
        for filters in ({"server": "weather"}, {"search": "ech"}):
            nothing = await api.request("GET", "/v1/audit", limit=1, **filters)
            assert nothing == {"items": [], "next_cursor": None}
        assert len((await api.request("GET", "/v1/audit", server="travel", search="forecast"))["items"]) == 2


@ERAS
async def test_a_server_that_is_left_alone_or_switched_off_is_not_named(
    served: Served, ann: tuple[Principal, str], mode: str
) -> None:
    view = await served.app.state.gateway.views.view(ann[0], "travel")
    ref = view.entries("tool")["forecast"].ref
    circuit = served.runtime.execution.connections.circuits.of(ref)
    while circuit.state != "open":
        circuit.fail("no answer", decisive=True)
    async with connected(served, "/mcp/travel", mode=mode, token=ann[1]) as client:
        refused = await client.call_tool("forecast", {"city": "Oslo"})
        assert "'travel'" in text_of(refused)
        assert "weather" not in text_of(refused)
        async with served.client() as operator:
            await operator.request("PATCH", f"/v1/servers/system/{ref.server_ref_id}", {"enabled": False})
        with pytest.raises(MCPError, match="Unknown tool: forecast") as unknown:
            await client.call_tool("forecast", {"city": "Oslo"})
        assert "weather" not in str(unknown.value)


async def test_a_job_of_a_server_that_is_switched_off_names_the_bundle_alone(
    served: Served, ann: tuple[Principal, str], job_of_ann: str
) -> None:
    async with served.database.transaction() as transaction:
        await transaction.run(b"UPDATE system_servers SET enabled = false")
    with pytest.raises(NotFound, match="There is no tool 'forecast'"):
        await served.execution.open(await served.claimed(UUID(job_of_ann)))


async def test_a_resource_is_followed_as_long_as_the_bundle_has_it(
    served: Served, ann: tuple[Principal, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    subscriptions = served.app.state.gateway.subscriptions

    @asynccontextmanager
    async def watch(*_: object) -> AsyncIterator[None]:
        yield

    monkeypatch.setattr(subscriptions, "_watch_resource", watch)
    address = Address.of(await subscriptions._views.view(ann[0], "travel"))
    with subscriptions.followers.follow(address, ALL_LISTS) as follower:
        async with subscriptions._watches(follower) as watches, served.client() as operator:
            await watches.add(URI)
            for entries, held in ((ENTRIES[1:], [URI]), (ENTRIES[:2], [])):
                await operator.request("PUT", "/v1/bundles/travel", BUNDLE | {"entries": entries})
                served.runtime.notice_permissions()
                follower.doubt()
                assert await subscriptions.followers.renew(follower)
                await watches.drop_hidden()
                assert list(watches._held) == held


async def test_what_fails_by_a_bundles_name_is_not_told_of_at_its_server(
    served: Served, ann: tuple[Principal, str], job_of_ann: str
) -> None:
    attempt = await served.claimed(UUID(job_of_ann))
    attempt.failure = NotFound("tool", "forecast")
    assert await served.execution.record(attempt) == "failed"
    async with served.database.transaction() as transaction:
        await transaction.run(b"UPDATE system_servers SET access = 'open'")
    served.runtime.notice_permissions()
    for token, told in ((ann[1], False), (SERVICE_KEY, True)):
        async with served.client(token) as api:
            (server,) = (await api.request("GET", "/v1/servers"))["items"]
            assert bool(server["last_errors"]) == told
            health = await api.request("GET", "/v1/health")
            assert bool(health["hour"]["by_server"]) == told
