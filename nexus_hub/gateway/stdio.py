"""The process of `nexus-hub mcp`: standard input and output, signals, and the HTTP client between it and the hub."""

import asyncio
import os
import signal
import sys

import httpx2

from nexus_hub import __version__
from nexus_hub.address import goes_direct
from nexus_hub.errors import InvalidSetting
from nexus_hub.gateway.bridge import Bridge
from nexus_hub.gateway.pipe import Pipe
from nexus_hub.telemetry.text import spell_out

_DRAIN_SECONDS = 1.5
"""The time for answers that are on their way when the client sends nothing more; clients wait 2 s before they kill."""
_CLOSE_SECONDS = 1.0
_REUSE_SECONDS = 1.5
"""The age up to which an idle connection is used again: the hub closes its own after 5 s."""
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def serve(url: str, token: str | None) -> None:
    """Bridge standard input and output to an endpoint until the client is gone or a signal comes.

    Raises:
        InvalidSetting: there is no such address.
    """
    try:
        httpx2.URL(url)
    except httpx2.InvalidURL:
        raise InvalidSetting(["NEXUS_URL: it is not a URL"]) from None
    asyncio.run(_serve(url, token))


async def _serve(url: str, token: str | None) -> None:
    if sys.stdin is not None and sys.stdin.isatty():
        _tell("It waits for the messages of an MCP client; nexus-hub mcp config shows what to tell one.")
    pipe, stopped = Pipe(*_take_streams()), asyncio.Event()
    for number in _STOPS:
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with _client(url, token) as http:
        bridge = Bridge(http, url, pipe.write, _tell)
        reading = asyncio.create_task(_read(pipe, bridge))
        ended = asyncio.create_task(pipe.ended.wait())
        over = [asyncio.create_task(event.wait()) for event in (stopped, pipe.closed)]
        await asyncio.wait([reading, ended, *over], return_when=asyncio.FIRST_COMPLETED)
        drained = asyncio.create_task(_drain(reading, bridge))
        if not any(task.done() for task in over):
            await asyncio.wait([drained, *over], timeout=_DRAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in (reading, ended, drained, *over):
            task.cancel()
        await bridge.close(_CLOSE_SECONDS)
        if reading.done() and not reading.cancelled():
            reading.result()


async def _read(pipe: Pipe, bridge: Bridge) -> None:
    async for line in pipe:
        await bridge.take(line)


async def _drain(reading: asyncio.Task[None], bridge: Bridge) -> None:
    await reading
    await bridge.drain(_DRAIN_SECONDS)


def _take_streams() -> tuple[int, int]:
    """Take standard input and output for the protocol alone: whatever else is written goes to standard error."""
    sink = os.dup(1)
    os.dup2(2, 1)
    return os.dup(0), sink


def _client(url: str, token: str | None) -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=16, keepalive_expiry=_REUSE_SECONDS)
    headers = {"user-agent": f"nexus-hub/{__version__}"} | ({"authorization": f"Bearer {token}"} if token else {})
    transport = httpx2.AsyncHTTPTransport(limits=limits) if goes_direct(url) else None
    timeout = httpx2.Timeout(10, read=None, write=60, pool=None)
    return httpx2.AsyncClient(headers=headers, limits=limits, timeout=timeout, transport=transport)


def _tell(text: str) -> None:
    sys.stderr.write(spell_out(f"nexus-hub mcp: {text}") + "\n")
    sys.stderr.flush()
