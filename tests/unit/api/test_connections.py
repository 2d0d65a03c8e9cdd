"""Connections: what keeps one open without a request, a body or a reader ends, and makes room for others."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from nexus_hub.api import connections
from nexus_hub.api.connections import KNOWN, ServerConfig, ServingLimits

SECONDS = 60
GET = b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /quick HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n"
UNFINISHED = [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"y" * 5000]
IMPATIENT = ServingLimits(header_seconds=0.1, send_seconds=0.1)


@dataclass
class Program:
    """An app that answers at once, when it is told to (whether it knows who asks, or not), or with much."""

    port: int
    go: asyncio.Event
    begun: int = 0
    ended: int = 0
    sender: str = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        self.begun += 1
        self.sender = scope["client"][0]
        try:
            if scope["path"] == "/slow":
                scope["state"][KNOWN]()
            if scope["path"] in {"/slow", "/unknown"}:
                await self.go.wait()
            headers = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for _ in range(64 if scope["path"] == "/large" else 0):
                await send({"type": "http.response.body", "body": b"x" * 256 * 1024, "more_body": True})
            await send({"type": "http.response.body", "body": b"done"})
        finally:
            self.ended += 1


@asynccontextmanager
async def serving(limits: ServingLimits) -> AsyncIterator[Program]:
    program = Program(0, asyncio.Event())
    options: dict[str, Any] = {"lifespan": "off", "log_config": None, "access_log": False, "log_level": "error"}
    server = uvicorn.Server(ServerConfig(program, limits, host="127.0.0.1", port=0, **options))
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(SECONDS):
        while not server.started:
            await asyncio.sleep(0.005)
        program.port = server.servers[0].sockets[0].getsockname()[1]
        yield program
        program.go.set()
        server.should_exit = True
        await task


Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(program: Program, *sent: bytes, limit: int = 2**16) -> Peer:
    reader, writer = await asyncio.open_connection("127.0.0.1", program.port, limit=limit)
    for part in sent:
        writer.write(part)
        await writer.drain()
    return reader, writer


async def read_all(peer: Peer) -> bytes:
    """What comes until the hub closes; it may be that it does so in the hard way."""
    got = b""
    try:
        while part := await peer[0].read(65536):
            got += part
    except ConnectionError:
        pass
    peer[1].close()
    return got


async def answered(peer: Peer) -> bytes:
    """The head of an answer that is of chunks."""
    head = await peer[0].readuntil(b"\r\n\r\n")
    await peer[0].readuntil(b"0\r\n\r\n")
    return head


def problem(answer: bytes, status: int) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer
    assert b"content-type: application/problem+json" in head.lower()
    found: dict[str, Any] = json.loads(body)
    return found


async def until(holds: Callable[[], bool | Awaitable[bool]]) -> None:
    while not holds():
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("head", UNFINISHED)
async def test_a_head_that_is_not_finished_in_time_is_a_408_and_the_end(head: bytes) -> None:
    async with serving(IMPATIENT) as program:
        said = problem(await read_all(await connect(program, head)), 408)
        assert said["code"] == "request-timed-out"
        assert "NEXUS_HEADER_SECONDS" in said["error"]
        assert program.begun == 0


async def test_a_connection_without_a_word_is_closed_without_one() -> None:
    async with serving(IMPATIENT) as program:
        assert await read_all(await connect(program)) == b""


async def test_a_head_that_comes_byte_by_byte_gains_no_time() -> None:
    async with serving(IMPATIENT) as program:
        _, writer = peer = await connect(program, b"GET / HTTP/1.1\r\nX: ")
        reading = asyncio.create_task(read_all(peer))
        while not reading.done():
            writer.write(b"y")
            await asyncio.sleep(0.005)
        problem(await reading, 408)


async def test_the_next_head_of_a_connection_has_its_time_too() -> None:
    async with serving(IMPATIENT) as program:
        peer = await connect(program, GET)
        await answered(peer)
        peer[1].write(b"GET / HT")
        problem(await read_all(peer), 408)


async def test_a_request_that_is_worked_on_has_no_such_end() -> None:
    async with serving(IMPATIENT) as program:
        peer = await connect(program, SLOW)
        for _ in UNFINISHED:  # each takes the time of a head
            await read_all(await connect(program, b"G"))
        program.go.set()
        assert (await answered(peer)).startswith(b"HTTP/1.1 200")


async def test_two_requests_at_once_get_two_answers() -> None:
    async with serving(IMPATIENT) as program:
        peer = await connect(program, GET + GET)
        assert [(await answered(peer))[:12] for _ in range(2)] == [b"HTTP/1.1 200"] * 2


async def test_a_body_that_nobody_wants_holds_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LINGER_SECONDS", 0.1)
    async with serving(ServingLimits()) as program:
        _, writer = peer = await connect(program, POST, b"x")
        assert (await answered(peer)).startswith(b"HTTP/1.1 200")
        reading = asyncio.create_task(read_all(peer))
        while not reading.done():
            writer.write(b"x")
            await asyncio.sleep(0.005)
        assert await reading == b""


async def test_who_sends_its_body_first_reads_an_early_answer_all_the_same() -> None:
    async with serving(ServingLimits()) as program:
        peer = await connect(program, POST, b"x" * 500_000)
        assert (await answered(peer)).startswith(b"HTTP/1.1 200")
        peer[1].write(GET)
        assert (await answered(peer)).startswith(b"HTTP/1.1 200"), "the connection can be used again"


UNKNOWN = b"GET /unknown HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", *UNFINISHED, GET, UNKNOWN])
async def test_connections_without_a_request_make_room_the_oldest_first(sent: bytes) -> None:
    async with serving(ServingLimits(max_connections=5)) as program:
        kept = await connect(program, SLOW)
        await until(lambda: program.begun == 1)
        idle = [await connect(program, *([sent] if sent else [])) for _ in range(4)]
        if sent == GET:
            for one in idle:
                await answered(one)
        crowd = [await connect(program, b"G") for _ in range(30)]
        assert [(await read_all(one)) for one in (*idle, *crowd[:20])] == [b""] * 24
        assert (await answered(await connect(program, GET))).startswith(b"HTTP/1.1 200")
        program.go.set()
        assert (await answered(kept)).startswith(b"HTTP/1.1 200")


async def test_where_all_have_a_request_under_way_a_new_one_is_refused() -> None:
    async with serving(ServingLimits(max_connections=3)) as program:
        busy = [await connect(program, SLOW) for _ in range(3)]
        await until(lambda: program.begun == 3)
        answer = await read_all(await connect(program))
        assert problem(answer, 503)["code"] == "too-many-connections"
        assert b"retry-after: 1" in answer.lower()
        program.go.set()
        assert [(await answered(one))[:12] for one in busy] == [b"HTTP/1.1 200"] * 3
        assert (await answered(await connect(program, GET))).startswith(b"HTTP/1.1 200")


async def test_a_reader_who_does_not_read_is_dropped_and_what_waited_for_it() -> None:
    async with serving(IMPATIENT) as program:
        _, writer = await connect(program, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n", limit=1024)
        await until(lambda: program.ended == 1)
        writer.close()


async def test_a_reader_who_goes_on_reading_gets_all_of_it() -> None:
    async with serving(ServingLimits(send_seconds=5)) as program:
        peer = await connect(program, b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", limit=1024)
        await asyncio.sleep(0.05)
        assert len(await read_all(peer)) > 64 * 256 * 1024


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000]
)
async def test_what_is_no_http_is_a_problem_too(sent: bytes) -> None:
    async with serving(ServingLimits()) as program:
        assert problem(await read_all(await connect(program, sent)), 400)["code"] == "invalid-request"


async def test_no_connection_becomes_a_websocket() -> None:
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n"
    async with serving(ServingLimits()) as program:
        peer = await connect(program, b"GET / HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\n")
        assert (await answered(peer)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("trusted", "said", "sender"),
    [
        ("127.0.0.1", b"203.0.113.7", "203.0.113.7"),
        ("127.0.0.0/8, 10.1.0.0/16", b"198.51.100.9, 203.0.113.7, 10.1.2.3", "203.0.113.7"),
        ("10.0.0.2", b"203.0.113.7", "127.0.0.1"),
    ],
)
async def test_the_senders_address_is_what_a_proxy_of_ours_says_and_nobody_else(
    trusted: str, said: bytes, sender: str
) -> None:
    async with serving(ServingLimits(trusted_proxies=trusted)) as program:
        await answered(await connect(program, GET[:-2] + b"X-Forwarded-For: " + said + b"\r\n\r\n"))
        assert program.sender == sender
