"""The HTTP client for one upstream server: contains failures, limits sizes, guards addresses."""

import asyncio
import json
import secrets
import socket
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.request import getproxies

import httpx2
from mcp.client.streamable_http import streamable_http_client

from nexus_hub.errors import ForbiddenAddress
from nexus_hub.upstream.addresses import Resolve, resolve_public
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.cut_results import CUT_RESULTS
from nexus_hub.upstream.event_stream import cut_events, plain_headers
from nexus_hub.upstream.faults import TransportFailure, to_rpc_error

SESSION_HEADER = "mcp-session-id"
NOTICE_SECONDS = 10.0
"""The longest that a notification's POST may take: the SDK sends no further request before it ends."""
REUSE_SECONDS = 1.5
"""The age up to which an idle connection is used again. Servers close theirs after 5 s (uvicorn, Node.js) or 2 s
(gunicorn) unless told otherwise, and of a call that is sent at that very moment nobody knows the outcome."""
_PROBES = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
KEEP_ALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *((socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in _PROBES.items() if hasattr(socket, name)),
]
"""A call may be silent for hours: what lies between keeps its connection, and a peer that is gone shows in 2 min."""
MAX_ERROR_BYTES = 64 * 1024
_ADDRESS_SECONDS = 30.0


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Connects only to public addresses, and to the very address that was judged."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, resolve: Resolve, clock: Callable[[], float]) -> None:
        self._inner = inner
        self._resolve = resolve
        self._clock = clock
        self._judged: dict[tuple[str, int], tuple[float, list[str]]] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request to one address of its host after the other until one accepts the connection."""
        host = request.url.raw_host.decode("ascii").strip("[]")
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        *others, last = await self._addresses(host, port)
        for address in others:
            try:
                return await self._inner.handle_async_request(_pin(request, host, address))
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
        return await self._inner.handle_async_request(_pin(request, host, last))

    async def _addresses(self, host: str, port: int) -> list[str]:
        until, addresses = self._judged.get((host, port), (0.0, []))
        if not addresses or self._clock() >= until:
            try:
                addresses = await resolve_public(host, port, self._resolve)
            except OSError as error:
                raise httpx2.ConnectError("the host name can't be resolved", request=None) from error
            self._judged[host, port] = (self._clock() + _ADDRESS_SECONDS, addresses)
        return addresses

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def _pin(request: httpx2.Request, host: str, address: str) -> httpx2.Request:
    """Aim a request at an address; the header Host and the name in TLS stay those of the host."""
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )


class ContainedClient(httpx2.AsyncClient):
    """An HTTP client whose failures come back as answers, since an exception would end the SDK's whole transport.

    `failure` is that of the latest request, None when it went well; `mark` is the secret that tells our own
    answers from the server's; `assumed` says that the server's era is remembered, not asked for.
    """

    def __init__(self, *, max_bytes: int, **options: Any) -> None:
        super().__init__(**options)
        self.mark = secrets.token_hex(16)
        self.failure: TransportFailure | None = None
        self.assumed = False
        self._max_bytes = max_bytes

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send, and turn every failure into an answer."""
        if _is_notice(request):
            request.extensions = {**request.extensions, "timeout": httpx2.Timeout(NOTICE_SECONDS).as_dict()}
        try:
            response = await self._contain(await super().send(request, **options))
        except ForbiddenAddress as error:
            return self._answer(request, TransportFailure("forbidden", error.host))
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, OSError) as error:
            return self._answer(request, TransportFailure.from_exchange(error))
        return response

    def _answer(self, request: httpx2.Request, failure: TransportFailure) -> httpx2.Response:
        self.failure = failure
        return httpx2.Response(502, json=to_rpc_error(failure, self.mark), request=request)

    async def _contain(self, response: httpx2.Response) -> httpx2.Response:
        if response.next_request is not None and not _is_followed(response.request, response.next_request):
            await response.aclose()
            return self._answer(response.request, TransportFailure("redirect", response.next_request.url.host))
        if response.status_code >= 400:
            return await self._refusal(response)
        self.failure, self.assumed = None, False
        kind = response.headers.get("content-type", "").lower()
        if kind.startswith("application/json"):
            whole = await self._read(response, self._max_bytes)
            return _with_body(whole, CUT_RESULTS.cut(whole.content))
        return cut_events(response, self._max_bytes) if kind.startswith("text/event-stream") else response

    async def _refusal(self, response: httpx2.Response) -> httpx2.Response:
        kept = await self._read(response, MAX_ERROR_BYTES)
        failure = TransportFailure.from_status(kept.status_code, response.headers.get("retry-after"))
        if failure.kind in {"credentials", "limited"}:
            return self._answer(kept.request, failure)
        error = _read_rpc_error(kept)
        if _is_session_gone(kept, error) or (self.assumed and kept.status_code in {400, 404, 405}):
            return self._answer(kept.request, TransportFailure("session"))
        self.failure = failure
        return kept if error is not None else self._answer(kept.request, failure)

    async def _read(self, response: httpx2.Response, limit: int) -> httpx2.Response:
        """Read the body of a response here, where a connection that breaks is contained."""
        body = bytearray()
        try:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > limit:
                    return self._answer(response.request, TransportFailure("too-large", f"{len(body)}/{limit}"))
        finally:
            await response.aclose()
        return _with_body(response, bytes(body))


def _is_followed(sent: httpx2.Request, following: httpx2.Request) -> bool:
    """Tell if a redirect is one that the SDK follows: the same method and origin, or its default https port."""
    old, new = sent.url, following.url
    upgraded = (old.scheme, new.scheme, old.port, new.port) == ("http", "https", None, None)
    same = (old.scheme, old.port) == (new.scheme, new.port)
    return sent.method == following.method and old.host == new.host and (same or upgraded) and not new.userinfo


def _with_body(response: httpx2.Response, body: bytes) -> httpx2.Response:
    headers = plain_headers(response)
    return httpx2.Response(response.status_code, headers=headers, content=body, request=response.request)


def _is_notice(request: httpx2.Request) -> bool:
    """Tell if this is the POST of a notification or of an answer to the server's own request."""
    if request.method != "POST" or len(request.content) > MAX_ERROR_BYTES:
        return False
    message = json.loads(request.content)
    return not ("method" in message and "id" in message)


def _read_rpc_error(response: httpx2.Response) -> Mapping[str, Any] | None:
    try:
        body = json.loads(response.content)
    except ValueError:
        return None
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) and isinstance(error.get("code"), int) else None


def _is_session_gone(response: httpx2.Response, error: Mapping[str, Any] | None) -> bool:
    """Tell if the server no longer knows our session: 404 by the protocol, 400 with a word about it in practice.

    Source: MCP 2025-11-25, basic/transports, Session Management.
    """
    if SESSION_HEADER not in response.request.headers:
        return False
    says_so = error is not None and "session" in str(error.get("message", "")).lower()
    return response.status_code == 404 or (response.status_code == 400 and says_so)


def build_client(
    config: HttpConfig, *, guarded: bool, resolve: Resolve, max_bytes: int, connect_timeout: float
) -> ContainedClient:
    """Make a client with the server's headers; a `guarded` one uses no proxy and reaches only public addresses."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=16, keepalive_expiry=REUSE_SECONDS)
    transport: httpx2.AsyncBaseTransport | None = None
    if guarded or not getproxies():  # through proxies the client goes only by transports of its own
        transport = httpx2.AsyncHTTPTransport(limits=limits, socket_options=KEEP_ALIVE)
    if guarded and transport is not None:
        transport = GuardedTransport(transport, resolve, time.monotonic)
    return ContainedClient(
        max_bytes=max_bytes,
        headers={name: value.get_secret_value() for name, value in config.headers.items()},
        timeout=httpx2.Timeout(connect_timeout, read=None),
        limits=limits,
        transport=transport,
    )


@asynccontextmanager
async def http_streams(config: HttpConfig, client: ContainedClient, max_bytes: int) -> AsyncGenerator[Any]:
    """Open the SDK's streams over our client, which is closed with them."""
    async with client, streamable_http_client(config.url, http_client=client, max_sse_event_size=max_bytes) as streams:
        yield streams
        await asyncio.sleep(0)
