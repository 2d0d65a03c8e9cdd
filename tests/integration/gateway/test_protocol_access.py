"""Who may ask, from where, and in which session."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from nexus_hub.settings import Settings
from tests.fixtures.mcp_place import SAY, RawHub
from tests.fixtures.mcp_wire import ERAS, LEGACY, Wire, assert_refused, headers_for, request, wire
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import SERVICE_KEY, serving
from tests.fixtures.upstreams import free_port, own_server

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOTH = pytest.mark.parametrize("era", ERAS)

INVALID_PARAMS = -32602
OLDER = ("2024-11-05", "2025-03-26", "2025-06-18", LEGACY)


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        *(
            {"Host": host}
            for host in ("evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "0.0.0.0")
        ),
        *({"Origin": origin} for origin in ("http://evil.example", "null", "http://localhost.evil.example", "file://")),
        {"Host": "localhost", "Origin": "http://evil.example"},
        {"Host": "evil.example", "Origin": "http://localhost"},
        {"Origin": "http://localhost@evil.example"},
    ],
)
async def test_what_a_page_of_another_site_sends_is_refused(caller: Wire, method: str, headers: dict[str, str]) -> None:
    body = request("tools/list")
    answer = await caller.send(body, headers_for(body) | headers, method)
    assert 400 <= answer.status < 500
    assert answer.status not in {404, 405}


@pytest.mark.parametrize(
    "headers",
    [
        *({"Host": host} for host in ("localhost", "localhost:5", "127.0.0.1:80", "[::1]:80", "LOCALHOST")),
        *({"Origin": origin} for origin in ("http://localhost:5173", "http://127.0.0.1", "https://[::1]:1")),
    ],
)
async def test_what_comes_from_this_machine_is_taken(caller: Wire, headers: dict[str, str]) -> None:
    body = request("tools/list")
    assert "tools" in (await caller.send(body, headers_for(body) | headers)).result


async def test_hosts_and_origins_are_added_by_settings(database: HubDatabase, tmp_path: Path) -> None:
    more = {"allowed_hosts": "hub.example", "allowed_origins": "https://app.example"}
    async with serving(database, tmp_path, free_port(), **more) as served, wire(served.url, SERVICE_KEY) as caller:
        body = request("tools/list")
        good = {"Host": "hub.example", "Origin": "https://app.example"}
        assert "tools" in (await caller.send(body, headers_for(body) | good)).result
        for wrong in (
            {"Host": "www.hub.example"},
            {"Origin": "http://app.example"},
            {"Origin": "https://app.example:1"},
        ):
            assert (await caller.send(body, headers_for(body) | good | wrong)).status == 403


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("path", ["/mcp", "/mcp/lit", "/mcp/nobody", "/mcp?tools=search"])
async def test_without_a_good_token_there_is_only_a_challenge(raw: RawHub, path: str, method: str) -> None:
    async with raw.wire(path, None) as caller:
        for value in (None, "Bearer wrong", f"Basic {SERVICE_KEY}", "Bearer", f"Bearer {SERVICE_KEY}x"):
            headers = {} if value is None else {"Authorization": value}
            answer = await caller.send(b"{", headers, method)
            assert answer.status == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert SERVICE_KEY not in answer.content.decode()


async def test_a_token_in_the_address_is_none(raw: RawHub) -> None:
    async with raw.wire(f"/mcp?token={SERVICE_KEY}&access_token={SERVICE_KEY}", None) as caller:
        assert (await caller.modern("tools/list")).status == 401


@pytest.mark.parametrize("version", OLDER)
async def test_each_older_version_is_spoken_as_it_is_asked_for(caller: Wire, version: str) -> None:
    opened = await caller.initialize(version)
    assert opened.result["protocolVersion"] == version
    assert opened.result["serverInfo"]["name"] == "nexus-hub"
    await caller.open(version)
    assert "tools" in (await caller.legacy("tools/list", {})).result


@pytest.mark.parametrize("version", ["1999-01-01", "2099-01-01", "", "latest"])
async def test_an_unknown_version_is_answered_with_the_newest_that_has_sessions(caller: Wire, version: str) -> None:
    assert (await caller.initialize(version)).result["protocolVersion"] == LEGACY


async def test_a_request_without_a_session_or_with_an_unknown_one_is_refused(caller: Wire) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    assert (await caller.send(body, {"MCP-Protocol-Version": LEGACY})).status == 400
    for unknown in ("0" * 32, "x", "../../etc/passwd"):
        headers = {"MCP-Protocol-Version": LEGACY, "Mcp-Session-Id": unknown}
        assert (await caller.send(body, headers)).status == 404
        assert (await caller.send(b"", headers, "GET")).status == 404
        assert (await caller.send(b"", headers, "DELETE")).status == 404


async def test_a_session_belongs_to_the_caller_that_opened_it(raw: RawHub) -> None:
    async with (
        raw.wire(token=raw.token) as ann,
        raw.wire(token=raw.other_token) as ben,
        raw.wire() as operator,
    ):
        await ann.open()
        for stranger in (ben, operator):
            stranger.session = ann.session
            assert (await stranger.legacy("tools/list", {})).status == 404
            assert (await stranger.send(b"", stranger.in_session, "GET")).status == 404
            assert (await stranger.send(b"", stranger.in_session, "DELETE")).status == 404
        assert "tools" in (await ann.legacy("tools/list", {})).result


async def test_a_session_that_is_ended_is_gone(caller: Wire) -> None:
    await caller.open()
    assert (await caller.send(b"", caller.in_session, "DELETE")).status == 200
    assert (await caller.legacy("tools/list", {})).status == 404


async def test_sessions_are_bounded_and_a_refused_one_takes_no_place(database: HubDatabase, tmp_path: Path) -> None:
    assert Settings.model_fields["max_sessions"].default == 10_000
    async with serving(database, tmp_path, free_port(), max_sessions=2) as served, AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(wire(served.url, SERVICE_KEY)) for _ in range(4)]
        for _ in range(3):
            refused = await callers[0].send({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}})
            assert refused.status == 400
        for caller in callers[:2]:
            await caller.open()
        assert (await callers[2].initialize()).status == 503
        assert "tools" in (await callers[3].modern("tools/list")).result
        assert (await callers[0].send(b"", callers[0].in_session, "DELETE")).status == 200
        await callers[2].open()


@BOTH
async def test_a_users_own_server_hides_the_systems_for_that_user_only(raw: RawHub, era: str) -> None:
    async with (
        raw.over_http("habits") as own,
        raw.server("twin", own, raw.user),
        raw.server("twin", own_server("offers")),
        raw.wire(token=raw.token) as ann,
        raw.wire(token=raw.other_token) as ben,
        raw.wire() as operator,
    ):
        for caller, is_own in ((ann, True), (ben, False), (operator, False)):
            pages = await caller.every(era, "tools/list", "tools")
            names = [tool["name"] for page in pages for tool in page]
            assert names.count("twin__echo") == 1
            assert ("twin__hang" in names) == is_own
            result = (await caller.ask(era, "tools/call", {"name": "twin__echo", "arguments": {}})).result
            assert (result["content"][0]["text"] == "done") == is_own


@BOTH
async def test_another_users_server_is_neither_listed_nor_called_nor_at_an_address(raw: RawHub, era: str) -> None:
    async with (
        raw.over_http("literal") as own,
        raw.server("private", own, raw.user),
        raw.wire(token=raw.token) as ann,
        raw.wire(token=raw.other_token) as ben,
        raw.wire() as operator,
    ):
        say = SAY | {"name": "private__say"}
        assert (await ann.ask(era, "tools/call", say)).result["content"] == []
        for caller in (ben, operator):
            pages = await caller.every(era, "tools/list", "tools")
            assert not [tool for page in pages for tool in page if "private" in tool["name"]]
            assert_refused(await caller.ask(era, "tools/call", say), INVALID_PARAMS, "private__say")
            body = request("tools/list")
            assert (await Wire(caller.http, "/mcp/private").send(body, headers_for(body))).status == 404
