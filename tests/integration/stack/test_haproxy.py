"""The configuration of HAProxy that ships, before a process that stops."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import pytest

from deployments.fleet.places import on_loopback
from deployments.fleet.proxy import CONFIG, write_config

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(HAPROXY is None, reason="haproxy is missing; on Debian: apt-get install haproxy")
SERVERS = ("api-1", "api-2", "prefect-1")
CHECKS_SECONDS = 5
"""Longer than the checks of the configuration need to take a process out."""


@dataclass
class Played:
    """An API process: it answers with its name, once it may."""

    name: str
    ready: int = 200
    calls: int = 0
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = await reader.readuntil(b"\r\n\r\n")
        status = 200
        match head.split()[1]:
            case b"/readyz":
                status = self.ready
            case b"/v1/jobs":
                self.calls += 1
                await self.may_answer.wait()
        body = self.name.encode()
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(body), body))
        await writer.drain()
        writer.close()


@asynccontextmanager
async def proxied(directory: Path) -> AsyncIterator[tuple[httpx.AsyncClient, list[Played]]]:
    """HAProxy before two processes, and a client."""
    places = on_loopback((*SERVERS, "proxy", "proxy-prefect"))
    write_config(CONFIG, directory / "haproxy.cfg", places)
    played = [Played(name) for name in SERVERS]
    listening = [await asyncio.start_server(one.serve, places[one.name].host, places[one.name].port) for one in played]
    assert HAPROXY is not None
    proxy = await asyncio.create_subprocess_exec(
        HAPROXY, "-db", "-f", str(directory / "haproxy.cfg"), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://{places['proxy'].address}", timeout=60, trust_env=False) as http:
            await until(partial(_answers, http))
            yield http, played[:2]
    finally:
        proxy.kill()
        await proxy.wait()
        for one in played:
            one.may_answer.set()
        for server in listening:
            server.close()


async def _answers(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/proxy-healthz")).is_success
    except httpx.TransportError:
        return False


async def shown(http: httpx.AsyncClient, path: str) -> str:
    """What the proxy passes back, or its own status."""
    answer = await http.get(path)
    return answer.text if answer.is_success else str(answer.status_code)


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await look():
            await asyncio.sleep(0.05)


async def under_way(http: httpx.AsyncClient, played: list[Played]) -> tuple["asyncio.Task[str]", Played, Played]:
    """A request that waits for its answer, the process that has it, and the other one."""
    request = asyncio.create_task(shown(http, "/v1/jobs"))

    async def has_come() -> bool:
        return any(one.calls for one in played)

    await until(has_come)
    first, second = sorted(played, key=lambda one: -one.calls)
    second.may_answer.set()
    return request, first, second


async def test_what_says_that_it_stops_gets_nothing_new_and_ends_what_it_has(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (http, played):
        request, first, second = await under_way(http, played)
        first.ready = 503
        await asyncio.sleep(CHECKS_SECONDS)
        assert [await shown(http, "/v1/jobs") for _ in range(4)] == [second.name] * 4
        assert (first.calls, request.done()) == (1, False)
        first.may_answer.set()
        assert await request == first.name
