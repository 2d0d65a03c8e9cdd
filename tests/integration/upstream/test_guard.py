"""User servers reach only public addresses, and the address that was judged is the one that is connected to."""

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx2
import pytest
import pytest_asyncio

from nexus_hub.errors import ForbiddenAddress, UpstreamUnavailable
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.connections import Connections
from nexus_hub.upstream.http import GuardedTransport
from nexus_hub.upstream.requests import ToolCall
from tests.fixtures.upstreams import Serve, free_port, target

PUBLIC = "93.184.215.14"


class Answers:
    """A resolver that gives one answer after the other, and the last one from then on."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        del port
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Seen(httpx2.AsyncBaseTransport):
    """Notes which requests would go out, and refuses the connection to some addresses."""

    def __init__(self, *dead: str) -> None:
        self.dead = dead
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if request.url.host in self.dead:
            raise httpx2.ConnectError("refused")
        return httpx2.Response(200, request=request)


@pytest_asyncio.fixture
async def knocks() -> AsyncIterator[tuple[int, list[int]]]:
    """A listening port of this machine, and a list that grows with each connection to it."""
    connected: list[int] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        connected.append(1)
        writer.close()

    port = free_port()
    async with await asyncio.start_server(note, "127.0.0.1", port):
        yield port, connected


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0"])
async def test_no_connection_is_made_to_a_private_address(
    connections: Connections, knocks: tuple[int, list[int]], host: str
) -> None:
    port, connected = knocks
    upstream = target(HttpConfig(url=f"http://{host}:{port}/mcp"), guarded=True)
    with pytest.raises(ForbiddenAddress):
        await connections.request(upstream, ToolCall("echo"), timeout=30)
    assert connected == []


async def test_one_private_address_among_public_ones_is_enough_to_refuse(knocks: tuple[int, list[int]]) -> None:
    port, connected = knocks
    upstream = target(HttpConfig(url=f"http://mixed.example:{port}/mcp"), guarded=True)
    async with Connections(log_dir=None, resolve=Answers([PUBLIC, "127.0.0.1"])) as connections:
        with pytest.raises(ForbiddenAddress, match=r"mixed\.example"):
            await connections.request(upstream, ToolCall("echo"), timeout=30)
    assert connected == []


async def test_the_connection_goes_to_the_judged_address_with_the_names_of_the_host() -> None:
    seen, answers = Seen(), Answers([PUBLIC], ["127.0.0.1"])
    async with httpx2.AsyncClient(transport=GuardedTransport(seen, answers, lambda: 0.0)) as client:
        for _ in range(2):
            await client.post("https://tools.example/mcp?a=b", content=b"{}")
    assert answers.asked == ["tools.example"]
    for request in seen.requests:
        assert str(request.url) == f"https://{PUBLIC}/mcp?a=b"
        assert request.headers["host"] == "tools.example"
        assert request.extensions["sni_hostname"] == "tools.example"


async def test_a_name_that_comes_to_mean_a_private_address_is_refused_once_it_is_judged_again() -> None:
    now = 0.0
    seen = Seen()
    transport = GuardedTransport(seen, Answers([PUBLIC], ["10.0.0.1"]), lambda: now)
    async with httpx2.AsyncClient(transport=transport) as client:
        await client.get("http://rebound.example/")
        now = 3600.0
        with pytest.raises(ForbiddenAddress):
            await client.get("http://rebound.example/")
    assert len(seen.requests) == 1


async def test_the_next_address_is_tried_when_one_refuses_the_connection() -> None:
    seen = Seen("2606:2800:21f:cb07::1")
    answers = Answers(["2606:2800:21f:cb07::1", PUBLIC])
    async with httpx2.AsyncClient(transport=GuardedTransport(seen, answers, lambda: 0.0)) as client:
        assert (await client.post("http://two.example/", content=b"{}")).status_code == 200
    assert [request.url.host for request in seen.requests] == ["2606:2800:21f:cb07::1", PUBLIC]


async def test_every_step_of_a_redirect_is_judged() -> None:
    class Redirecting(Seen):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            await super().handle_async_request(request)
            return httpx2.Response(307, headers={"location": "http://inside.example/"}, request=request)

    seen = Redirecting()
    transport = GuardedTransport(seen, Answers([PUBLIC], ["169.254.169.254"]), lambda: 0.0)
    async with httpx2.AsyncClient(transport=transport, follow_redirects=True) as client:
        with pytest.raises(ForbiddenAddress, match=r"inside\.example"):
            await client.get("http://outside.example/")
    assert [request.headers["host"] for request in seen.requests] == ["outside.example"]


async def test_a_redirect_to_another_host_is_not_followed(
    connections: Connections, serve: Serve, knocks: tuple[int, list[int]]
) -> None:
    port, connected = knocks
    url = (await serve("handmade")).url.replace("mcp", f"redirect?to=http://localhost:{port}/mcp")
    with pytest.raises(UpstreamUnavailable, match="redirects to localhost"):
        await connections.request(target(HttpConfig(url=url)), ToolCall("echo"), timeout=30)
    assert connected == []


async def test_a_system_server_may_be_on_this_machine(connections: Connections, serve: Serve) -> None:
    upstream = target(HttpConfig(url=(await serve("habits")).url))
    assert await connections.request(upstream, ToolCall("echo"), timeout=30)


async def test_a_guarded_connection_uses_no_proxy_of_the_environment(
    connections: Connections, knocks: tuple[int, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, connected = knocks
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{port}")
    upstream = target(HttpConfig(url="http://192.168.0.1/mcp"), guarded=True)
    with pytest.raises(ForbiddenAddress):
        await connections.request(upstream, ToolCall("echo"), timeout=30)
    assert connected == []


async def test_a_host_that_can_not_be_resolved_is_unavailable() -> None:
    async def nothing(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, f"{host}:{port}")

    upstream = target(HttpConfig(url="http://gone.example/mcp"), guarded=True)
    async with Connections(log_dir=None, resolve=nothing) as connections:
        with pytest.raises(UpstreamUnavailable, match="can't be resolved"):
            await connections.request(upstream, ToolCall("echo"), timeout=30)
