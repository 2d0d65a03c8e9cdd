"""A reverse proxy that adds a token: the official suite sends none.

It leaves all else as it came, Host and Origin too, and closes either side when the other one is closed.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

END_OF_HEAD = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LIMIT = 1 << 20
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def proxied(port: int, token: str) -> AsyncIterator[int]:
    """The port of a proxy before one on this machine."""
    line = f"Authorization: Bearer {token}".encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        beyond = await asyncio.open_connection("127.0.0.1", port)
        await relay((reader, writer), beyond, line)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=LIMIT)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


async def relay(client: Streams, server: Streams, line: bytes) -> None:
    """Carry requests one way and answers the other until either side ends."""
    ways = [asyncio.create_task(requests(client[0], server[1], line)), asyncio.create_task(copy(server[0], client[1]))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        client[1].close()
        server[1].close()


async def requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes) -> None:
    """Add the line to the head of each request; bodies have a length, as this suite's clients send them."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(END_OF_HEAD)
            assert b"\r\ntransfer-encoding:" not in head.lower(), "a request in chunks"
            length = LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
            writer.write(head.removesuffix(END_OF_HEAD) + b"\r\n" + line + END_OF_HEAD + body)
            await writer.drain()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes as they come."""
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
