"""What servers say unasked, and the requests beyond calls, with real servers of both eras over both transports."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from nexus_hub.errors import UpstreamRejected, UpstreamUnavailable
from nexus_hub.models import ServerRef
from nexus_hub.upstream.config import HttpConfig, StdioConfig
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.peer import PeerRefused
from nexus_hub.upstream.requests import Completion, PromptGet, ResourceRead, ToolCall
from tests.fixtures.upstreams import Process, Serve, own_server, target

LEVEL = "io.modelcontextprotocol/logLevel"
META = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "a=1",
    "baggage": "b=2",
    "com.example/key": {"nested": [1]},
}
OWN = {"progressToken": 7, "io.modelcontextprotocol/protocolVersion": "1999-01-01", "dev.mcp/x": "y"}
KINDS = ["stdio-modern", "stdio-legacy", "http-modern", "http-legacy"]
Make = Callable[..., Awaitable[Target]]


@pytest_asyncio.fixture
async def make(serve: Serve) -> AsyncIterator[Make]:
    """Makes a target of a kind, with options of its server."""

    async def made(kind: str, *options: str) -> Target:
        transport, era = kind.split("-")
        legacy = era == "legacy"
        if transport == "stdio":
            version = "2025-11-25" if legacy else None
            return replace(target(own_server("speaking", *options)), protocol_version=version)
        server = await serve("speaking", *options, *(["--legacy"] if legacy else []))
        return target(HttpConfig(url=server.url))

    yield made


async def seen(connections: Connections, upstream: Target) -> dict[str, Any]:
    """What the server has been asked."""
    result = await connections.request(upstream, ToolCall("seen"), timeout=30)
    found: dict[str, Any] = result["structuredContent"]
    return found


async def say(connections: Connections, upstream: Target, what: str, uri: str = "", times: int = 1) -> None:
    arguments = {"what": what, "uri": uri, "times": times}
    await connections.request(upstream, ToolCall("say", arguments), timeout=30)


async def until(happened: Callable[[], bool], again: Callable[[], Awaitable[object]] | None = None) -> None:
    """Wait until something has happened; what brings it about may be done again, as a stream may not be open yet."""
    async with asyncio.timeout(30):
        while not happened():
            if again is not None:
                await again()
            await asyncio.sleep(0.05)


async def appears(path: Path) -> None:
    await until(path.exists)


class Hearing:
    """A peer that keeps what it hears."""

    capabilities: Mapping[str, Any] = {}
    takes_rounds = False
    speaks_older = False
    obstacle = None

    def __init__(self, owner: str = "a") -> None:
        self.owner = owner
        self.heard: list[object] = []

    async def log(self, params: dict[str, Any]) -> None:
        self.heard.append(params["data"])

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        del method, params
        raise PeerRefused("no")

    async def complete(self, params: dict[str, Any]) -> None:
        del params


@pytest.mark.parametrize("kind", KINDS)
async def test_the_metadata_of_a_caller_arrives_less_the_protocols_own(
    connections: Connections, make: Make, kind: str
) -> None:
    upstream = await make(kind)
    given = META | OWN
    called = await connections.request(upstream, ToolCall("echo", {}, given), timeout=30)
    read = await connections.request(upstream, ResourceRead("speak://a", given), timeout=30)
    reference = {"type": "ref/prompt", "name": "p"}
    completed = await connections.request(
        upstream, Completion(reference, {"name": "a", "value": "v"}, meta=given), timeout=30
    )
    arrived = [
        called["structuredContent"]["meta"],
        json.loads(read["contents"][0]["text"]),
        json.loads(completed["completion"]["values"][4]),
    ]
    for meta in arrived:
        assert {key: meta.get(key) for key in META} == META
        assert [key for key in OWN if meta.get(key) == OWN[key]] == [], "the hub speaks for itself"
    assert given == META | OWN, "the caller's own is untouched"


@pytest.mark.parametrize("kind", KINDS)
async def test_progress_is_asked_for_with_the_hubs_own_token(connections: Connections, make: Make, kind: str) -> None:
    upstream = await make(kind)

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        del progress, total, message

    call = ToolCall("echo", {}, {"progressToken": "theirs"})
    result = await connections.request(upstream, call, timeout=30, on_progress=on_progress)
    token = result["structuredContent"]["meta"]["progressToken"]
    assert token != "theirs"


@pytest.mark.parametrize("kind", KINDS)
async def test_an_argument_is_completed(connections: Connections, make: Make, kind: str) -> None:
    upstream = await make(kind)
    for arguments in (None, {"b": "2"}):
        context = None if arguments is None else {"arguments": arguments}
        request = Completion({"type": "ref/resource", "uri": "speak://{name}"}, {"name": "name", "value": "x"}, context)
        completion = (await connections.request(upstream, request, timeout=30))["completion"]
        assert completion["values"][:4] == ["ref/resource", "name", "x", json.dumps(arguments)]
        assert (completion["total"], completion["hasMore"]) == (5, False)


async def test_a_server_without_completion_says_so(connections: Connections) -> None:
    request = Completion({"type": "ref/prompt", "name": "greet"}, {"name": "a", "value": ""})
    with pytest.raises(UpstreamRejected) as caught:
        await connections.request(target(own_server("habits")), request, timeout=30)
    assert caught.value.rpc_code == -32601


async def test_a_request_without_metadata_is_as_before(connections: Connections) -> None:
    upstream = replace(target(own_server("speaking")), protocol_version="2025-11-25")
    result = await connections.request(upstream, ToolCall("echo"), timeout=30)
    assert result["structuredContent"]["meta"] == {}
    with pytest.raises(UpstreamRejected):
        await connections.request(upstream, PromptGet("none", {}, META), timeout=30)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_change_of_a_list_is_told_with_its_server(connections: Connections, make: Make, kind: str) -> None:
    changed: list[tuple[ServerRef, str]] = []
    connections.on_list_changed(lambda ref, name: changed.append((ref, name)))
    upstream = await make(kind)
    for what in ("tools", "resources", "prompts"):
        told = len(changed)
        await until(lambda told=told: len(changed) > told, lambda what=what: say(connections, upstream, what))  # type: ignore[misc]
    assert set(changed) == {(upstream.ref, "upstream")}


@pytest.mark.parametrize("kind", ["stdio-modern", "http-modern"])
async def test_nobody_listens_where_nobody_wants_to_know(connections: Connections, make: Make, kind: str) -> None:
    upstream = await make(kind)
    await say(connections, upstream, "tools")
    assert "listen" not in (await seen(connections, upstream))["asked"]


@pytest.mark.parametrize("kind", ["stdio-modern", "http-modern"])
async def test_one_stream_serves_a_connection_and_a_server_without_the_offer_is_not_asked(
    connections: Connections, make: Make, kind: str
) -> None:
    changed: list[str] = []
    connections.on_list_changed(lambda _, name: changed.append(name))
    upstream = await make(kind)
    await until(lambda: bool(changed), lambda: say(connections, upstream, "tools"))
    assert (await seen(connections, upstream))["asked"]["listen"] == 1
    assert await connections.request(target(own_server("habits")), ToolCall("echo"), timeout=30)


@pytest.mark.parametrize("kind", ["stdio-modern", "http-modern"])
async def test_a_stream_that_its_server_ends_is_opened_again_and_counts_as_a_change(
    connections: Connections, make: Make, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexus_hub.upstream.listening.random", lambda: 0.0)
    changed: list[str] = []
    connections.on_list_changed(lambda _, name: changed.append(name))
    upstream = await make(kind)
    await until(lambda: bool(changed), lambda: say(connections, upstream, "tools"))
    changed.clear()
    await say(connections, upstream, "end")
    await until(lambda: bool(changed))
    asked = (await seen(connections, upstream))["asked"]
    assert (asked["listen"], asked["listening"]) == (2, 1)


@pytest.mark.parametrize("kind", ["stdio-modern", "http-modern"])
async def test_the_stream_ends_with_the_connection(make: Make, kind: str, tmp_path: Path) -> None:
    """The server is asked over another connection, for a command that is another process."""
    upstream = await make(kind)
    changed: list[str] = []
    async with Connections(log_dir=tmp_path) as first:
        first.on_list_changed(lambda _, name: changed.append(name))
        await until(lambda: bool(changed), lambda: say(first, upstream, "tools"))
    if kind == "http-modern":
        async with Connections(log_dir=tmp_path) as second:
            asked: dict[str, int] = {}

            async def look() -> None:
                asked.update((await seen(second, upstream))["asked"])

            await until(lambda: asked.get("listening") == 0, look)


async def test_an_idle_connection_closes_in_spite_of_its_stream(serve: Serve, tmp_path: Path) -> None:
    upstream = target(HttpConfig(url=(await serve("speaking")).url))
    changed: list[str] = []
    async with Connections(log_dir=tmp_path, idle_seconds=0.3) as connections:
        connections.on_list_changed(lambda _, name: changed.append(name))
        await until(lambda: bool(changed), lambda: say(connections, upstream, "tools"))
        async with Connections(log_dir=tmp_path) as other:
            asked: dict[str, int] = {}

            async def look() -> None:
                asked.update((await seen(other, upstream))["asked"])

            await until(lambda: asked.get("listening") == 0, look)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_flood_of_notices_loses_no_answer(connections: Connections, make: Make, kind: str) -> None:
    changed: list[str] = []
    connections.on_list_changed(lambda _, name: changed.append(name))
    upstream = await make(kind)
    await asyncio.gather(*(say(connections, upstream, "tools", times=200) for _ in range(3)))
    assert await connections.request(upstream, ToolCall("echo"), timeout=30)


@pytest.mark.parametrize("kind", KINDS)
async def test_log_messages_of_a_call_reach_its_caller_in_order(
    connections: Connections, make: Make, kind: str
) -> None:
    upstream, peer = await make(kind), Hearing()
    texts = [f"text {n}" for n in range(20)]
    call = ToolCall("log", {"texts": texts}, {LEVEL: "info"})
    await connections.request(upstream, call, timeout=30, peer=peer)
    assert peer.heard == texts
    unasked = ToolCall("log", {"texts": ["more"]}, {LEVEL: "info"})
    await connections.request(upstream, unasked, timeout=30)
    assert peer.heard == texts


@pytest.mark.parametrize("kind", KINDS)
async def test_messages_below_the_level_of_the_caller_are_left_out(
    connections: Connections, make: Make, kind: str
) -> None:
    upstream, peer = await make(kind), Hearing()
    for level in ("debug", "warning", "critical"):
        call = ToolCall("log", {"texts": [level], "level": level}, {LEVEL: "warning"})
        await connections.request(upstream, call, timeout=30, peer=peer)
    assert peer.heard == ["warning", "critical"]


@pytest.mark.parametrize("kind", ["stdio-modern", "http-modern"])
async def test_a_server_of_today_is_asked_for_messages_only_by_a_caller_who_wants_them(
    connections: Connections, make: Make, kind: str
) -> None:
    upstream, peer = await make(kind), Hearing()
    call = ToolCall("log", {"texts": ["unasked"]})
    await connections.request(upstream, call, timeout=30, peer=peer)
    assert peer.heard == []


@pytest.mark.parametrize("kind", KINDS)
async def test_of_two_users_calls_each_hears_its_own_messages_or_none(
    connections: Connections, make: Make, kind: str, tmp_path: Path
) -> None:
    """Over HTTP the stream tells whose they are; a child's messages may be anybody's."""
    upstream = await make(kind)
    peers = {"a": Hearing("a"), "b": Hearing("b")}
    calls = []
    for user, peer in peers.items():
        call = ToolCall("later", {"folder": str(tmp_path), "text": user}, {LEVEL: "debug"})
        calls.append(connections.request(upstream, call, timeout=30, peer=peer))
    running = asyncio.gather(*calls)
    for user in peers:
        await appears(tmp_path / f"began-{user}")
    (tmp_path / "go").touch()
    await running
    heard = {user: peer.heard for user, peer in peers.items()}
    assert heard == ({"a": ["a"], "b": ["b"]} if kind.startswith("http") else {"a": [], "b": []})


@pytest.mark.parametrize("kind", ["stdio-legacy", "http-legacy"])
async def test_a_message_beside_the_stream_of_its_call_never_reaches_another_user(
    connections: Connections, make: Make, kind: str, tmp_path: Path
) -> None:
    upstream = await make(kind)
    first, second = Hearing("a"), Hearing("b")
    call = ToolCall("later", {"folder": str(tmp_path), "text": "secret of a", "alone": True})
    abandoned = asyncio.create_task(connections.request(upstream, call, timeout=30, peer=first))
    await appears(tmp_path / "began-secret of a")
    abandoned.cancel()
    await asyncio.wait([abandoned])
    other = ToolCall("later", {"folder": str(tmp_path), "text": "own of b", "until": "end", "alone": True})
    running = asyncio.create_task(connections.request(upstream, other, timeout=30, peer=second))
    await appears(tmp_path / "began-own of b")
    (tmp_path / "go").touch()
    await connections.request(upstream, ToolCall("echo"), timeout=30)
    (tmp_path / "end").touch()
    await running
    assert (first.heard, second.heard) == ([], [])


@pytest.mark.parametrize("kind", KINDS)
async def test_the_level_of_a_caller_is_told_to_servers_of_today_alone(
    connections: Connections, make: Make, kind: str
) -> None:
    upstream = await make(kind)
    result = await connections.request(upstream, ToolCall("echo", {}, {LEVEL: "error"}), timeout=30, peer=Hearing())
    arrived = result["structuredContent"]["meta"].get(LEVEL)
    assert arrived == ("error" if kind.endswith("modern") else None)


@pytest.mark.parametrize("kind", KINDS)
async def test_no_level_is_set_at_a_server_that_many_share(connections: Connections, make: Make, kind: str) -> None:
    upstream, peer = await make(kind), Hearing()
    call = ToolCall("log", {"texts": ["x"]}, {LEVEL: "debug"})
    await connections.request(upstream, call, timeout=30, peer=peer)
    asked = (await seen(connections, upstream))["asked"]
    assert [name for name in asked if name.startswith("level")] == []


@pytest.mark.parametrize("kind", KINDS)
async def test_many_receivers_share_one_subscription(connections: Connections, make: Make, kind: str) -> None:
    upstream = await make(kind)
    first: list[str] = []
    second: list[str] = []
    await connections.subscribe(upstream, "speak://a", first.append)
    await connections.subscribe(upstream, "speak://a", second.append)
    await until(lambda: bool(first and second), lambda: say(connections, upstream, "updated", "speak://a"))
    assert set(first) == set(second) == {"speak://a"}
    assert (await seen(connections, upstream))["subscribed"] == ["+speak://a"]

    connections.unsubscribe(upstream, "speak://a", first.append)
    told = len(second)
    before = len(first)
    await until(lambda: len(second) > told, lambda: say(connections, upstream, "updated", "speak://a"))
    assert len(first) == before
    assert (await seen(connections, upstream))["subscribed"] == ["+speak://a"]

    connections.unsubscribe(upstream, "speak://a", second.append)
    subscribed: list[str] = []

    async def look() -> None:
        subscribed[:] = (await seen(connections, upstream))["subscribed"]

    await until(lambda: subscribed == ["+speak://a", "-speak://a"], look)


@pytest.mark.parametrize("kind", KINDS)
async def test_more_and_fewer_resources_are_subscribed_to_without_a_gap(
    connections: Connections, make: Make, kind: str
) -> None:
    upstream = await make(kind)
    heard: list[str] = []
    await connections.subscribe(upstream, "speak://a", heard.append)
    await connections.subscribe(upstream, "speak://b", heard.append)
    for uri in ("speak://a", "speak://b"):
        await until(lambda uri=uri: uri in heard, lambda uri=uri: say(connections, upstream, "updated", uri))  # type: ignore[misc]
    connections.unsubscribe(upstream, "speak://b", heard.append)
    heard.clear()
    await until(lambda: "speak://a" in heard, lambda: say(connections, upstream, "updated", "speak://a"))
    assert set(heard) == {"speak://a"}


async def test_an_update_of_a_part_is_told_to_those_of_the_whole(connections: Connections, make: Make) -> None:
    upstream = await make("stdio-legacy")
    heard: list[str] = []
    await connections.subscribe(upstream, "speak://a", heard.append)
    for uri in ("speak://a/part", "speak://a#1", "speak://ab", "speak://"):
        await say(connections, upstream, "updated", uri)
    await say(connections, upstream, "updated", "speak://a")
    await until(lambda: "speak://a" in heard)
    assert heard == ["speak://a/part", "speak://a#1", "speak://a"]


async def test_a_server_that_takes_no_subscriptions_refuses(connections: Connections) -> None:
    with pytest.raises(UpstreamRejected, match="no subscriptions"):
        await connections.subscribe(target(own_server("habits")), "x://y", print)
    with pytest.raises(UpstreamRejected, match="no subscriptions"):
        await connections.subscribe(target(own_server("handmade")), "x://y", print)


async def test_a_server_that_cannot_be_reached_refuses(connections: Connections) -> None:
    with pytest.raises(UpstreamUnavailable):
        await connections.subscribe(target(StdioConfig(command="no-such-command-here")), "x://y", print)


@pytest.mark.parametrize("legacy", [False, True])
async def test_subscriptions_outlive_their_server_and_say_that_updates_may_have_been_missed(
    connections: Connections, serve: Serve, legacy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexus_hub.upstream.subscriptions.random", lambda: 0.0)
    options = ["--legacy"] if legacy else []
    server: Process = await serve("speaking", *options)
    upstream = target(HttpConfig(url=server.url))
    heard: list[str] = []
    await connections.subscribe(upstream, "speak://a", heard.append)
    await server.kill()
    await serve("speaking", *options, port=int(server.url.split(":")[2].split("/")[0]))

    async def call() -> None:
        with suppress(UpstreamUnavailable):
            await connections.request(upstream, ToolCall("echo"), timeout=30)

    await until(lambda: heard == ["speak://a"], call)
    await until(lambda: len(heard) > 1, lambda: say(connections, upstream, "updated", "speak://a"))


async def test_who_follows_a_resource_is_told_when_its_server_takes_no_subscriptions_any_more(
    connections: Connections, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexus_hub.upstream.subscriptions.random", lambda: 0.0)
    server = await serve("speaking")
    upstream = target(HttpConfig(url=server.url))
    heard: list[str] = []
    await connections.subscribe(upstream, "speak://a", heard.append)
    await server.kill()
    await serve("habits", port=int(server.url.split(":")[2].split("/")[0]))
    await until(lambda: heard == ["speak://a"])
    with pytest.raises(UpstreamRejected):
        await connections.subscribe(upstream, "speak://a", heard.append)
    connections.unsubscribe(upstream, "speak://a", heard.append)


async def test_who_still_waits_for_a_subscription_is_refused_when_the_connections_close(serve: Serve) -> None:
    upstream = target(HttpConfig(url=(await serve("handmade")).url.replace("mcp", "silent")))
    async with Connections(log_dir=None, connect_timeout=60) as connections:
        waiting = [
            asyncio.create_task(connections.subscribe(upstream, uri, print)) for uri in ("x://1", "x://1", "x://2")
        ]
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [UpstreamUnavailable] * 3


@pytest.mark.parametrize("kind", ["stdio-legacy", "http-modern"])
async def test_subscriptions_keep_a_connection_open_and_move_to_a_newer_revision(
    make: Make, kind: str, tmp_path: Path
) -> None:
    upstream = await make(kind)
    heard: list[str] = []
    async with Connections(log_dir=tmp_path, idle_seconds=0.2, jitter=lambda: 0.0) as connections:
        await connections.subscribe(upstream, "speak://a", heard.append)
        await asyncio.sleep(0.6)
        await until(lambda: bool(heard), lambda: say(connections, upstream, "updated", "speak://a"))
        heard.clear()
        changed = replace(upstream, revision=2)
        await until(lambda: bool(heard), lambda: say(connections, changed, "updated", "speak://a"))
        subscribed: list[str] = []

        async def look() -> None:
            subscribed[:] = (await seen(connections, changed))["subscribed"]

        await until(lambda: subscribed[-1:] == ["+speak://a"], look)


@pytest.mark.parametrize(("ttl", "seconds"), [("90000", 90.0), ("1", 0.001), ("0", None), (str(10**15), None)])
async def test_the_time_to_live_of_a_servers_lists_is_read(
    connections: Connections, make: Make, ttl: str, seconds: float | None
) -> None:
    assert (await connections.inspect(await make("stdio-modern", "--ttl", ttl))).ttl_seconds == seconds


async def test_a_server_of_the_older_era_says_nothing_of_a_time_to_live(connections: Connections, make: Make) -> None:
    assert (await connections.inspect(await make("stdio-legacy", "--ttl", "90000"))).ttl_seconds is None
