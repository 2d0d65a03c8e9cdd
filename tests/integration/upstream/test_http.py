"""Connections of the HTTP client: kept under a silent call, and not used again once their server may close them."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx2
import pytest
import pytest_asyncio

from nexus_hub.upstream import addresses
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.http import REUSE_SECONDS, ContainedClient, build_client
from tests.fixtures.upstreams import free_port

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


@dataclass
class Patient:
    """A server that keeps connections, and counts them."""

    url: str
    connections: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            writer.write(ANSWER)
            await writer.drain()
        writer.close()


@pytest_asyncio.fixture
async def patient() -> AsyncIterator[Patient]:
    port = free_port()
    server = Patient(f"http://127.0.0.1:{port}/mcp")
    async with await asyncio.start_server(server.serve, "127.0.0.1", port):
        yield server
        for connection in server.connections:
            connection.close()


def client(url: str) -> ContainedClient:
    config = HttpConfig(url=url)
    return build_client(config, guarded=False, resolve=addresses.resolve, max_bytes=1000, connect_timeout=5)


async def test_a_connection_is_not_used_again_when_its_server_may_be_closing_it(patient: Patient) -> None:
    async with client(patient.url) as http:
        assert (await http.get(patient.url)).is_success
        await asyncio.sleep(REUSE_SECONDS + 0.2)
        assert (await http.get(patient.url)).is_success
    assert len(patient.connections) == 2


async def test_a_silent_connection_is_probed(patient: Patient) -> None:
    sockets: list[socket.socket] = []

    async def note(response: httpx2.Response) -> None:
        sockets.append(response.extensions["network_stream"].get_extra_info("socket"))

    async with client(patient.url) as http:
        http.event_hooks = {"response": [note]}
        await http.get(patient.url)
        assert sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_a_proxy_of_the_environment_is_used(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", patient.url)
    monkeypatch.setenv("no_proxy", "")
    async with client("http://elsewhere.example/mcp") as http:
        assert (await http.get("http://elsewhere.example/mcp")).is_success
    assert len(patient.connections) == 1
