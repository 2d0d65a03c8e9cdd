"""The HTTP client for one upstream server: contains failures, limits sizes, guards addresses."""

import asyncio
import codecs
import json
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast
from urllib.request import getproxies

import httpx2
from mcp_types import JSONRPCError

from nexus_hub.address import is_loopback
from nexus_hub.errors import ForbiddenAddress
from nexus_hub.json_text import read
from nexus_hub.upstream import words
from nexus_hub.upstream.addresses import Resolve, resolve_public
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.faults import BUSY, TransportFailure
from nexus_hub.upstream.messages import encode, read_messages
from nexus_hub.upstream.streamable import EMPTY, open_streams
from nexus_hub.upstream.tls import shared_context

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
MAX_CHALLENGE = 4096
JSON = {"content-type": "application/json"}
MAX_REDIRECTS = 5
_MESSAGE = "nexus_hub.message"
"""The member of a request's extensions that holds the message that it was built of."""
_HOPS = "nexus_hub.redirects"
"""The member of a request's extensions that counts the redirects it has followed."""
_SELF_DESCRIPTIONS = {"initialize", "server/discover"}
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

    `failure` is that of the latest request, None when it went well; `assumed` says that the server's era is
    remembered, not asked for.
    """

    def __init__(
        self, *, max_bytes: int, hidden: Iterable[str] = (), max_listing_bytes: int | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self._max_listing_bytes = max_listing_bytes or max_bytes
        self.failure: TransportFailure | None = None
        self.assumed = False
        self._max_bytes = max_bytes
        self.hidden = tuple(hidden)
        """Secrets that are masked in the server's words."""

    def build_request(self, method: str, url: httpx2.URL | str, **options: Any) -> httpx2.Request:
        """Build a request, with a message in the form in which it is to be sent."""
        message = options.pop("json", None)
        if message is not None:
            options["content"] = encode(message)
            options["extensions"] = {**(options.get("extensions") or {}), _MESSAGE: message}
        return super().build_request(method, url, **options)

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send, and turn every failure into an answer."""
        await request.aread()  # one that follows a redirect was not read yet
        if _is_notice(request):
            request.extensions = {**request.extensions, "timeout": httpx2.Timeout(NOTICE_SECONDS).as_dict()}
        try:
            response = await self._contain(await self._exchange(request, **options))
        except ForbiddenAddress as error:
            return self._answer(request, TransportFailure("forbidden", error.host))
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, OSError) as error:
            return self._answer(request, TransportFailure.from_exchange(error))
        return response

    async def _exchange(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        return await super().send(request, **options)

    def _answer(self, request: httpx2.Request, failure: TransportFailure) -> httpx2.Response:
        if _is_request(request):
            self.failure = failure
        return httpx2.Response(502, json=failure.to_message().model_dump(mode="json"), request=request)

    async def _contain(self, response: httpx2.Response) -> httpx2.Response:
        if response.next_request is not None:
            return await self._redirect(response, response.next_request)
        if response.status_code >= 300:
            return await self._refusal(response)
        asked = _is_request(response.request)
        if asked:
            self.failure, self.assumed = None, False
        listing = _is_listing(response.request)
        if response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            return _with_stream(response, self._events(response, self._max_listing_bytes if listing else None))
        if not asked:
            return response
        kept = await self._read(response, self._max_listing_bytes if listing else self._max_bytes)
        if not kept.content.strip():
            return self._answer(response.request, TransportFailure("malformed", EMPTY))
        if kept.status_code < 400:  # whatever the server calls it: the SDK looks at the header, our reader at the body
            kept.headers["content-type"] = "application/json"
            kept.status_code = 200
        return kept

    async def _redirect(self, response: httpx2.Response, following: httpx2.Request) -> httpx2.Response:
        """Let the SDK follow a redirect, without the body that it came with."""
        await response.aclose()
        if not _is_followed(response.request, following):
            return self._answer(response.request, TransportFailure("redirect", following.url.host))
        hops = response.request.extensions.get(_HOPS, 0) + 1
        if hops > MAX_REDIRECTS:
            return self._answer(response.request, TransportFailure("redirects", str(MAX_REDIRECTS)))
        following.extensions = {**following.extensions, _HOPS: hops}
        bare = httpx2.Response(response.status_code, request=response.request)
        bare.next_request = following
        return bare

    async def _events(self, response: httpx2.Response, limit: int | None) -> AsyncGenerator[bytes]:
        """Pass events on up to a limit in bytes; then end the event under way and answer in the server's stead."""
        size = 0
        async for chunk in _without_mark(response.aiter_bytes()):
            size += len(chunk)
            if limit is not None and size > limit:
                self.failure = TransportFailure("too-large", f"{size}/{limit}")
                error = json.dumps(self.failure.to_message().model_dump(mode="json"))
                yield f"\nevent: cut\n\nevent: message\ndata: {error}\n\n".encode()
                return
            yield chunk

    async def _refusal(self, response: httpx2.Response) -> httpx2.Response:
        """Understand a refusal: our own answer if it is the transport's, the server's JSON-RPC error if not."""
        request, status, headers = response.request, response.status_code, response.headers
        content = await _read_head(response)
        reason = words.find_reason(content, headers.get("content-type", ""), headers.get("www-authenticate", ""))
        said = words.make_safe(reason, self.hidden)
        if status == 400 and _method(request) in _SELF_DESCRIPTIONS and b"protocol version" in content.lower():
            return self._answer(request, TransportFailure("version", "400"))
        if gone := self._find_lost_session(response, reason, said):
            return self._answer(request, gone)
        failure = TransportFailure.from_status(status, headers.get("retry-after"), said, headers.get("date"))
        if status in {401, 403}:
            failure = replace(failure, answer=headers.get("www-authenticate", "")[:MAX_CHALLENGE])
        error = _read_rpc_error(content)
        if error is None or failure.kind in {"credentials", "limited"} or status in BUSY:
            return self._answer(request, failure)
        if _is_request(request):
            self.failure = failure
        error.error.message = said or error.error.message
        return httpx2.Response(status, headers=JSON, content=json.dumps(error.model_dump()), request=request)

    def _find_lost_session(self, refusal: httpx2.Response, reason: str, said: str) -> TransportFailure | None:
        """Tell if the server no longer knows our session: 404 by the protocol, any status with such words in practice.

        Source: MCP 2025-11-25, basic/transports, Session Management.
        """
        status, in_session = refusal.status_code, SESSION_HEADER in refusal.request.headers
        assumed_wrongly = self.assumed and status in {400, 404, 405}
        if assumed_wrongly or (status == 404 and in_session) or words.is_forgotten(reason):
            return TransportFailure("session", words=said)
        topic = in_session and 400 <= status < 500 and status not in {401, 403, 407, 408, 425, 429}
        if topic and words.is_forgotten(reason, refused=True):  # not sure: if it says so again, it is its refusal
            return TransportFailure("session", str(status), words=said)
        return None

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


def _plain_headers(response: httpx2.Response) -> list[tuple[str, str]]:
    gone = {"content-encoding", "content-length", "transfer-encoding"}
    return [(name, value) for name, value in response.headers.multi_items() if name.lower() not in gone]


def _with_body(response: httpx2.Response, body: bytes) -> httpx2.Response:
    return httpx2.Response(
        response.status_code, headers=_plain_headers(response), content=body, request=response.request
    )


class _Stream(httpx2.AsyncByteStream):
    """The body of a response that is passed on as it comes."""

    def __init__(self, response: httpx2.Response, chunks: AsyncGenerator[bytes]) -> None:
        self._response = response
        self._chunks = chunks

    def __aiter__(self) -> AsyncGenerator[bytes]:
        return self._chunks

    async def aclose(self) -> None:
        await self._chunks.aclose()
        await self._response.aclose()


def _with_stream(response: httpx2.Response, chunks: AsyncGenerator[bytes]) -> httpx2.Response:
    return httpx2.Response(
        response.status_code,
        headers=_plain_headers(response),
        stream=_Stream(response, chunks),
        request=response.request,
    )


def _message(request: httpx2.Request) -> dict[str, Any]:
    """Give the message of a POST, read anew where it was not built here; empty for a large one, which is a call."""
    if (built := request.extensions.get(_MESSAGE)) is not None:
        return cast("dict[str, Any]", built)
    if request.method != "POST" or len(request.content) > MAX_ERROR_BYTES:
        return {}
    message = read(request.content)
    return message if isinstance(message, dict) else {}


def _method(request: httpx2.Request) -> str | None:
    return _message(request).get("method")


def _is_request(request: httpx2.Request) -> bool:
    """Tell if somebody waits for the answer: neither a notification nor a stream's GET nor the DELETE at the end."""
    return request.method == "POST" and not _is_notice(request)


def _is_listing(request: httpx2.Request) -> bool:
    """Tell if this asks for a part of what a server says of itself."""
    method = _method(request)
    return method is not None and (method in _SELF_DESCRIPTIONS or method.endswith("/list"))


def _is_notice(request: httpx2.Request) -> bool:
    """Tell if this is the POST of a notification or of an answer to the server's own request."""
    message = _message(request)
    return bool(message) and not ("method" in message and "id" in message)


async def _read_head(response: httpx2.Response) -> bytes:
    """Read the beginning of a refusal; what is longer than that is a page."""
    head = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            head += chunk
            if len(head) > MAX_ERROR_BYTES:
                break
    finally:
        await response.aclose()
    return bytes(head[:MAX_ERROR_BYTES])


def _read_rpc_error(content: bytes) -> JSONRPCError | None:
    if b"jsonrpc" not in content:
        return None
    errors = (item for item in read_messages(content) if isinstance(item, JSONRPCError))
    return next(errors, None)


async def _without_mark(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Leave out the byte order mark at the beginning of a stream, which is no part of an event.

    Source: WHATWG HTML, 9.2.6 Interpreting an event stream.
    """
    head = b""
    async for piece in pieces:
        head += piece
        if not codecs.BOM_UTF8.startswith(head):
            yield head.removeprefix(codecs.BOM_UTF8)
            break
    async for piece in pieces:
        yield piece


def build_client(
    config: HttpConfig,
    *,
    guarded: bool,
    resolve: Resolve,
    max_bytes: int,
    connect_timeout: float,
    max_listing_bytes: int | None = None,
    make: Callable[..., ContainedClient] = ContainedClient,
) -> ContainedClient:
    """Make a client with the server's headers; a `guarded` one uses no proxy and reaches only public addresses.

    Nor does one of a server on this machine. `make` is the class of the client.
    """
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=16, keepalive_expiry=REUSE_SECONDS)
    transport: httpx2.AsyncBaseTransport | None = None
    direct = guarded or is_loopback(config.url) or not getproxies()
    if direct:  # through proxies the client goes only by transports of its own
        transport = httpx2.AsyncHTTPTransport(verify=shared_context(), limits=limits, socket_options=KEEP_ALIVE)
    if guarded and transport is not None:
        transport = GuardedTransport(transport, resolve, time.monotonic)
    return make(
        max_bytes=max_bytes,
        hidden=words.find_secrets(config),
        headers={name: value.get_secret_value() for name, value in config.headers.items()},
        max_listing_bytes=max_listing_bytes,
        verify=shared_context(),
        timeout=httpx2.Timeout(connect_timeout, read=None),
        limits=limits,
        transport=transport,
    )


@asynccontextmanager
async def http_streams(config: HttpConfig, client: ContainedClient, max_bytes: int) -> AsyncGenerator[Any]:
    """Open the SDK's streams over our client, which is closed with them."""
    async with client, open_streams(config.url, client, max_bytes) as streams:
        yield streams
        await asyncio.sleep(0)
