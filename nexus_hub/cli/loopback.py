"""A login that ends at a port of this machine, to which the browser is sent back (RFC 8252, 7.3)."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from nexus_hub.client import HubClient
from nexus_hub.errors import HubError, RequestTimedOut

PATH = "/callback"
WAIT_SECONDS = 600.0
"""The time that a person has for a login; the hub gives no more either."""
_MEMBERS = ("state", "code", "iss", "error", "error_description")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A browser that came back: its query, and the page that it is to be shown."""

    query: dict[str, str] = field(repr=False)
    page: "asyncio.Future[tuple[int, str]]"


async def perform(client: HubClient, server: str, scope: str | None, show: Callable[[str], None]) -> dict[str, Any]:
    """Log the hub in at a server; `show` is given the page to open, where a person is needed.

    Raises:
        ApiProblem: the hub says no.
        RequestTimedOut: nobody came back from the page.
    """
    found = await client.request("GET", f"/v1/servers/{server}")
    async with _listen() as (port, arrivals):
        body = {"redirect_uri": f"http://127.0.0.1:{port}{PATH}"} | ({"scope": scope} if scope else {})
        begun = await client.request("POST", f"/v1/servers/{found['server_type']}/{found['id']}/login", body)
        if "authorization_url" in begun:
            show(begun["authorization_url"])
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await _finish(client, arrivals, begun["authorization_url"])
            except TimeoutError:
                raise RequestTimedOut("answer of the browser", WAIT_SECONDS) from None
    return {"server": found["name"], "state": "ready"}


async def _finish(client: HubClient, arrivals: "asyncio.Queue[Arrival]", authorization_url: str) -> None:
    """Finish the login with what the browser brings back, and show there what has come of it."""
    state = parse_qs(urlsplit(authorization_url).query)["state"][0]
    while (arrival := await arrivals.get()).query.get("state") != state:
        arrival.page.set_result((400, "This answers no login that waits here."))
    try:
        await client.request("POST", "/v1/logins:finish", arrival.query)
    except HubError:
        arrival.page.set_result((400, "The login failed; the command line says why."))
        raise
    arrival.page.set_result((200, "The hub is logged in. You can close this page."))


@asynccontextmanager
async def _listen() -> "AsyncGenerator[tuple[int, asyncio.Queue[Arrival]]]":
    """Listen on a port of this machine for the browser."""
    arrivals: asyncio.Queue[Arrival] = asyncio.Queue()
    answering: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs it as one
        answering.add(task)
        try:
            with suppress(OSError, ValueError, IndexError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                target = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode("ascii")
                writer.write(await _answer(target, arrivals))
                await writer.drain()
        finally:
            writer.close()
            answering.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], arrivals
        if answering:
            await asyncio.wait(answering, timeout=1)  # the browser gets its page
    finally:
        server.close()
        for task in answering:
            task.cancel()


async def _answer(target: str, arrivals: "asyncio.Queue[Arrival]") -> bytes:
    parts = urlsplit(target)
    status, said = 404, "There is nothing here."
    if parts.path == PATH:
        query = {name: value for name, value in parse_qsl(parts.query) if name in _MEMBERS}
        arrival = Arrival(query, asyncio.get_running_loop().create_future())
        arrivals.put_nowait(arrival)
        status, said = await arrival.page
    body = f"<!doctype html><meta charset=utf-8><title>nexus-hub</title><p>{said}".encode()
    head = (
        f"HTTP/1.1 {status} -\r\ncontent-type: text/html\r\ncontent-length: {len(body)}\r\nreferrer-policy: no-referrer"
    )
    return f"{head}\r\nconnection: close\r\n\r\n".encode() + body
