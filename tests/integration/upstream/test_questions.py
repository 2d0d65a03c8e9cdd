"""Questions of real servers of both eras, to clients that answer while they wait."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from nexus_hub.errors import MalformedResult, UpstreamRejected
from nexus_hub.upstream.config import HttpConfig, StdioConfig
from nexus_hub.upstream.connection import MOST_OWN_SESSIONS
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.requests import PromptGet, ResourceRead, ToolCall
from nexus_hub.upstream.rounds import Wish, wants_input
from nexus_hub.upstream.wire import MalformedAnswer
from tests.fixtures.peers import EVERYTHING, NAMED, PlayedPeer
from tests.fixtures.upstreams import Serve, own_server, target

ERAS = pytest.mark.parametrize("era", [["--legacy"], []], ids=["legacy", "modern"])
TRANSPORTS = pytest.mark.parametrize("transport", ["stdio", "http"])


async def asking(transport: str, serve: Serve, *options: str) -> Target:
    """The server that asks."""
    if transport == "stdio":
        return target(own_server("asking", *options))
    return target(HttpConfig(url=(await serve("asking", *options)).url))


def said(result: Any) -> str:
    text: str = result["content"][0]["text"]
    return text


async def answers_after(gate: asyncio.Event, method: str, params: dict[str, Any]) -> dict[str, Any]:
    del method, params
    await gate.wait()
    return NAMED


@ERAS
@TRANSPORTS
@pytest.mark.parametrize(
    ("tool", "answer"),
    [
        ("name", '"name": "Ada"'),
        ("url", '"action": "accept"'),
        ("sample", '"text": "Hello!"'),
        ("two", "Ada"),
        ("twins", "Ada"),
    ],
)
async def test_a_client_behind_a_call_answers_what_its_server_asks(
    connections: Connections, serve: Serve, era: list[str], transport: str, tool: str, answer: str
) -> None:
    peer = PlayedPeer()
    upstream = await asking(transport, serve, *era)
    result = await connections.request(upstream, ToolCall(tool, {"who": "ada"}), timeout=60, peer=peer)
    assert not result.get("isError"), said(result)
    assert answer in said(result)
    if tool in ("name", "two"):
        assert peer.messages == ["Name of ada?", "Name of ada again?"][: 1 if tool == "name" else 2]


@ERAS
@pytest.mark.parametrize("request_", [ResourceRead("asking://resource"), PromptGet("asking")])
async def test_a_resource_and_a_prompt_may_need_answers_too(
    connections: Connections, serve: Serve, era: list[str], request_: ResourceRead | PromptGet
) -> None:
    upstream = await asking("http", serve, *era)
    result = await connections.request(upstream, request_, timeout=60, peer=PlayedPeer())
    assert "Ada" in json.dumps(dict(result))


@pytest.mark.parametrize(("options", "transport"), [([], "stdio"), ([], "http"), (["--legacy"], "http")])
async def test_roots_are_asked_for_where_they_can_be(
    connections: Connections, serve: Serve, options: list[str], transport: str
) -> None:
    upstream = await asking(transport, serve, *options)
    result = await connections.request(upstream, ToolCall("roots"), timeout=60, peer=PlayedPeer())
    assert "file:///home/ada" in said(result)


async def test_a_command_with_a_session_is_never_told_of_roots(connections: Connections, serve: Serve) -> None:
    peer = PlayedPeer()
    upstream = await asking("stdio", serve, "--legacy")
    result = await connections.request(upstream, ToolCall("roots"), timeout=60, peer=peer)
    assert result["isError"]
    assert "Roots are not offered" in said(result)
    assert not peer.asked


@ERAS
@TRANSPORTS
async def test_a_job_without_a_client_is_asked_nothing(
    connections: Connections, serve: Serve, era: list[str], transport: str
) -> None:
    upstream = await asking(transport, serve, *era)
    call = connections.request(upstream, ToolCall("name"), timeout=60)
    if era:
        assert "no client is behind this call" in said(await call)
    else:
        with pytest.raises(UpstreamRejected, match="asks for input, which the hub does not offer"):
            await call


async def test_a_server_without_sessions_learns_what_each_client_can_be_asked(
    connections: Connections, serve: Serve
) -> None:
    upstream = await asking("http", serve)
    declared: list[Any] = []
    some: dict[str, Any] = {"elicitation": {}, "extensions": {"own": {}}}
    for capabilities in (None, some, EVERYTHING):
        peer = None if capabilities is None else PlayedPeer(capabilities=capabilities)
        result = await connections.request(upstream, ToolCall("capabilities"), timeout=60, peer=peer)
        declared.append(json.loads(said(result))["capabilities"] or {})
    assert declared == [{}, {"elicitation": {}}, EVERYTHING]


async def test_a_server_with_sessions_learns_what_clients_of_the_hub_can_be_asked(
    connections: Connections, serve: Serve
) -> None:
    for transport in ("stdio", "http"):
        upstream = await asking(transport, serve, "--legacy")
        result = await connections.request(upstream, ToolCall("capabilities"), timeout=60)
        expected = {name: EVERYTHING[name] for name in EVERYTHING if name != "roots" or transport == "http"}
        assert json.loads(said(result))["capabilities"] == expected


async def test_a_client_that_takes_rounds_gets_the_servers_wish_and_state(
    connections: Connections, serve: Serve
) -> None:
    upstream = await asking("http", serve)
    peer = PlayedPeer(takes_rounds=True)
    first = await connections.request(upstream, ToolCall("name", {"who": "ada"}), timeout=60, peer=peer)
    assert wants_input(first)
    wish = Wish.read(first)
    assert wish.state == "state of ada"
    assert wish.requests["q"]["params"]["message"] == "Name of ada?"
    retry = ToolCall("name", {"who": "ada"}, input_responses={"q": NAMED}, request_state=wish.state)
    result = await connections.request(upstream, retry, timeout=60, peer=peer)
    assert not wants_input(result)
    assert "Ada" in said(result)
    assert not peer.asked


async def test_a_server_that_never_has_enough_is_given_up(connections: Connections, serve: Serve) -> None:
    peer = PlayedPeer()
    upstream = await asking("http", serve)
    with pytest.raises(UpstreamRejected, match="more than 10 times"):
        await connections.request(upstream, ToolCall("forever"), timeout=60, peer=peer)
    assert len(peer.asked) == 11


async def test_a_server_that_only_wants_to_be_called_again_is(connections: Connections, serve: Serve) -> None:
    upstream = await asking("http", serve)
    result = await connections.request(upstream, ToolCall("idle", {"who": "ada"}), timeout=60, peer=PlayedPeer())
    assert said(result) == "waited"


async def test_a_client_that_lacks_what_a_server_needs_says_so(connections: Connections, serve: Serve) -> None:
    peer = PlayedPeer(capabilities={})
    modern, legacy = await asking("http", serve), await asking("http", serve, "--legacy")
    with pytest.raises(UpstreamRejected, match=r"does not offer elicitation\.form"):
        await connections.request(modern, ToolCall("name"), timeout=60, peer=peer)
    result = await connections.request(legacy, ToolCall("name"), timeout=60, peer=peer)
    assert "does not offer elicitation.form" in said(result)


@ERAS
async def test_the_time_that_somebody_thinks_is_not_the_servers(
    connections: Connections, serve: Serve, era: list[str]
) -> None:
    upstream = await asking("http", serve, *era)
    await connections.request(upstream, ToolCall("capabilities"), timeout=60)
    peer = PlayedPeer()

    async def think(method: str, params: dict[str, Any]) -> dict[str, Any]:
        del method, params
        await asyncio.sleep(2.3)
        return NAMED

    peer.answers = think
    assert "Ada" in said(await connections.request(upstream, ToolCall("name"), timeout=2, peer=peer))


@TRANSPORTS
async def test_many_clients_at_once_are_asked_each_its_own(
    connections: Connections, serve: Serve, transport: str
) -> None:
    """Over stdio nothing says whose a question is: it may be refused at first, but it never reaches another."""
    upstream = await asking(transport, serve, "--legacy")
    people = {name: PlayedPeer(name) for name in ("ada", "bob", "cyd", "dan")}

    async def call(name: str) -> Any:
        return await connections.request(upstream, ToolCall("name", {"who": name}), timeout=60, peer=people[name])

    rounds = [await asyncio.gather(*map(call, people)) for _ in range(2)]
    for name, peer in people.items():
        assert set(peer.messages) <= {f"Name of {name}?"}
    assert all("Ada" in said(result) for result in rounds[1])
    if transport == "http":
        assert all("Ada" in said(result) for result in rounds[0])


async def test_a_question_after_the_end_of_its_call_reaches_no_other_caller(
    connections: Connections, tmp_path: Path
) -> None:
    upstream = target(own_server("asking", "--legacy", "--folder", str(tmp_path)))
    ada, bob = PlayedPeer("ada"), PlayedPeer("bob")
    assert said(await connections.request(upstream, ToolCall("after", {"who": "ada"}), timeout=60, peer=ada)) == "later"
    hold = asyncio.Event()
    bob.answers = lambda method, params: answers_after(hold, method, params)
    holding = asyncio.create_task(connections.request(upstream, ToolCall("name", {"who": "bob"}), timeout=60, peer=bob))
    async with asyncio.timeout(30):
        while not (tmp_path / "asked-bob").exists():
            await asyncio.sleep(0.02)
    (tmp_path / "go").touch()
    async with asyncio.timeout(30):
        while not (tmp_path / "later").exists():
            await asyncio.sleep(0.02)
    hold.set()
    await asyncio.wait([holding])
    assert not [message for message in ada.messages + bob.messages if "ada" in message]
    assert "refused" in (tmp_path / "later").read_text()


async def test_callers_who_are_too_many_for_sessions_of_their_own_share_one_and_are_asked_nothing(
    connections: Connections, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_OWN_SESSIONS == 32
    monkeypatch.setattr("nexus_hub.upstream.connection.MOST_OWN_SESSIONS", 2)
    upstream = await asking("stdio", serve, "--legacy")
    people = [PlayedPeer(number) for number in range(5)]
    for _ in range(2):
        for peer in people:
            result = await connections.request(upstream, ToolCall("name", {"who": "x"}), timeout=60, peer=peer)
    pids = [
        json.loads(said(await connections.request(upstream, ToolCall("capabilities"), timeout=60, peer=peer)))["pid"]
        for peer in people
    ]
    assert len(set(pids)) == 3
    assert "session of its own" in said(result)


async def test_a_cancelled_call_asks_no_more(connections: Connections, serve: Serve) -> None:
    upstream = await asking("stdio", serve, "--legacy")
    hold = asyncio.Event()
    peer = PlayedPeer(answers=lambda method, params: answers_after(hold, method, params))
    call = asyncio.create_task(connections.request(upstream, ToolCall("name"), timeout=60, peer=peer))
    await peer.heard.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    peer.answers = PlayedPeer().answers
    assert "Ada" in said(await connections.request(upstream, ToolCall("name"), timeout=60, peer=peer))


async def test_the_end_of_a_visit_is_told_to_the_client_that_was_sent_there(
    connections: Connections, serve: Serve
) -> None:
    peer = PlayedPeer()
    upstream = await asking("stdio", serve, "--legacy")
    await connections.request(upstream, ToolCall("url"), timeout=60, peer=peer)
    async with asyncio.timeout(30):
        while not peer.completed:
            await asyncio.sleep(0.02)
    assert peer.completed[0]["elicitationId"] == "elicitation-1"


async def test_an_error_that_demands_a_visit_says_where(connections: Connections, tmp_path: Path) -> None:
    upstream = target(own_server("asking", "--legacy", "--folder", str(tmp_path)))
    with pytest.raises(UpstreamRejected) as refused:
        await connections.request(upstream, ToolCall("url-error"), timeout=60, peer=PlayedPeer())
    assert refused.value.rpc_code == -32042
    assert [one["url"] for one in refused.value.rpc_data["elicitations"]] == ["https://example.org/confirm"]


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"inputRequests": None, "requestState": None},
        {"inputRequests": []},
        {"inputRequests": {"q": None}},
        {"inputRequests": {"q": {"method": "tools/call"}}},
        {"inputRequests": {"q": {"method": "elicitation/create", "params": []}}},
        {"inputRequests": {str(number): {"method": "roots/list"} for number in range(33)}},
        {"requestState": 5},
        {"requestState": "x" * 65_537},
    ],
)
def test_a_wish_that_breaks_the_protocol_is_no_wish(wish: dict[str, Any]) -> None:
    with pytest.raises(MalformedAnswer):
        Wish.read(wish)


def test_a_wish_may_be_no_more_than_a_state() -> None:
    assert Wish.read({"requestState": "x" * 65_536}).requests == {}


async def test_a_malformed_wish_is_a_malformed_result(connections: Connections, tmp_path: Path) -> None:
    script = tmp_path / "odd.py"
    script.write_text(ODD)
    upstream = target(StdioConfig(command="python3", args=(str(script),)))
    with pytest.raises(MalformedResult, match="inputRequests"):
        await connections.request(upstream, ToolCall("odd"), timeout=60, peer=PlayedPeer())


ODD = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "server/discover":
        result = {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
                  "serverInfo": {"name": "odd", "version": "1"}, "ttlMs": 0, "cacheScope": "private"}
    elif "id" in message:
        result = {"resultType": "input_required", "inputRequests": {"q": {"method": "tools/call"}}}
    else:
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""
