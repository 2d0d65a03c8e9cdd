"""Streamable HTTP as the SDK speaks it, with answers that are read leniently and failures in our words."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from random import random
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.abc
import httpx2
from mcp import MCPError
from mcp.client.streamable_http import LAST_EVENT_ID, RequestContext, StreamableHTTPTransport, _InFlightPost
from mcp.shared._context_streams import create_context_streams
from mcp.shared._httpx_utils import sse_within_origin
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp.shared.message import ClientMessageMetadata, ServerMessageMetadata, SessionMessage
from mcp_types import CONNECTION_CLOSED, JSONRPCError, JSONRPCMessage, JSONRPCRequest, JSONRPCResponse, RequestId
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from nexus_hub.upstream.backoff import ConnectBackoff
from nexus_hub.upstream.faults import UNSENT, TransportFailure
from nexus_hub.upstream.messages import NO_OUTCOME, Item, Unreadable, read_messages, to_plain

EMPTY = "it is empty"
CALM_SECONDS = 60.0
"""A stream that was open for so long is opened again after the shortest pause."""
LONGEST_PAUSE_SECONDS = 300.0
_PASSING = {408, 425, 429, 500, 502, 503, 504}


class _AsSent(JSONRPCRequest):
    """A request that the SDK writes with its parameters as they are."""

    @classmethod
    def of(cls, message: JSONRPCRequest) -> "_AsSent":
        return cls.model_construct(message.model_fields_set, **dict(message))

    def model_dump(self, **_: Any) -> dict[str, Any]:
        return to_plain(self)


class LenientTransport(StreamableHTTPTransport):
    """The SDK's transport with a reader of our own: what it can't read ends the one request that it answers."""

    async def handle_get_stream(self, client: httpx2.AsyncClient, read_stream_writer: Any) -> None:
        """Keep the stream open that brings what belongs to no request, as long as the server offers it.

        The SDK gives it up after two failures, and opens it without a pause if the server says so.
        """
        backoff = ConnectBackoff(time.monotonic, random, longest=LONGEST_PAUSE_SECONDS)
        place = _StreamPlace()
        while self.session_id:
            opened_at = time.monotonic()
            try:
                if not await self._read_get_stream(client, read_stream_writer, place):
                    return
            except (httpx2.HTTPError, httpx2.StreamError, httpx2.SSEError):
                pass
            if time.monotonic() - opened_at >= CALM_SECONDS:
                backoff.succeed()
            backoff.fail()
            await asyncio.sleep(max(backoff.seconds_left, min(place.retry_seconds, LONGEST_PAUSE_SECONDS)))

    async def _read_get_stream(
        self, client: httpx2.AsyncClient, read_stream_writer: Any, place: "_StreamPlace"
    ) -> bool:
        """Read it to its end; False if the server does not offer it."""
        headers = self._prepare_headers() | ({LAST_EVENT_ID: place.event_id} if place.event_id else {})
        async with sse_within_origin(
            client, self.url, headers=headers, max_event_size=self.max_sse_event_size
        ) as events:
            if events.response.status_code != 200:
                return await _may_pass(events.response)
            async for event in events:
                place.event_id = event.id or place.event_id
                place.retry_seconds = place.retry_seconds if event.retry is None else event.retry / 1000
                await self._handle_sse_event(event, read_stream_writer)
        return True

    async def _handle_post_request(self, ctx: RequestContext) -> None:
        message = ctx.session_message.message
        if isinstance(message, JSONRPCRequest):
            ctx = replace(ctx, session_message=replace(ctx.session_message, message=_AsSent.of(message)))
        await super()._handle_post_request(ctx)

    async def _handle_json_response(
        self, response: httpx2.Response, read_stream_writer: Any, *, request_id: RequestId
    ) -> None:
        content = await response.aread()
        items = read_messages(content) or [Unreadable(EMPTY)]
        for message in answer_request(request_id, items):
            await read_stream_writer.send(_attribute(message, request_id))

    async def _handle_sse_event(
        self,
        sse: httpx2.ServerSentEvent,
        read_stream_writer: Any,
        original_request_id: RequestId | None = None,
        resumption_callback: Callable[[str], Awaitable[None]] | None = None,
    ) -> bool:
        """Pass on the messages of an event, whatever it is called; True once the request is answered."""
        items = read_messages(sse.data.encode("utf-8", "surrogatepass")) if sse.data else []
        answered = False
        for item in items:
            message = _to_message(original_request_id, item)
            if message is not None and not answered:
                answered = isinstance(message, JSONRPCResponse | JSONRPCError) and original_request_id is not None
                await read_stream_writer.send(_attribute(message, original_request_id))
        if sse.id and resumption_callback:
            await resumption_callback(sse.id)
        return answered

    async def _resolve_abandoned_request(
        self, read_stream_writer: Any, request_id: RequestId, message: str, *, code: int = CONNECTION_CLOSED
    ) -> None:
        """End a request that gets no answer any more; an event over the limit is told from a broken connection."""
        if message.startswith("SSE stream failed") and "exceeded" in message:
            limit = self.max_sse_event_size
            failure = TransportFailure("too-large", f"{(limit or 0) + 1}/{limit}")
            try:
                await read_stream_writer.send(SessionMessage(failure.to_message(request_id)))
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return
        else:
            await super()._resolve_abandoned_request(read_stream_writer, request_id, message, code=code)


@dataclass(slots=True)
class _StreamPlace:
    """The place in a stream that it is read on from, and the pause before that which its server wants."""

    event_id: str = ""
    retry_seconds: float = 0.0


async def _may_pass(refusal: httpx2.Response) -> bool:
    """Tell if a server that refused the stream may give it later: it is busy, or could not be reached."""
    failures = (
        TransportFailure.from_rpc(MCPError.from_jsonrpc_error(item))
        for item in read_messages(await refusal.aread())
        if isinstance(item, JSONRPCError)
    )
    failure = next((each for each in failures if each is not None), None)
    if failure is None:
        return refusal.status_code in _PASSING
    if failure.kind == "status":
        return int(failure.detail) in _PASSING
    return failure.kind in {"refused", "unresolved", "disconnected", "limited", *UNSENT}


def answer_request(request_id: RequestId, items: list[Item]) -> list[JSONRPCMessage]:
    """Give the messages of a response to a request: it ends with one answer, be it that there was none."""
    answers = [item for item in items if isinstance(item, JSONRPCResponse | JSONRPCError)]
    answers.sort(key=lambda answer: answer.id != request_id)
    unreadable = [item for item in items if isinstance(item, Unreadable)]
    others = [item for item in items if not isinstance(item, Unreadable | JSONRPCResponse | JSONRPCError)]
    if answers:
        answers[0].id = request_id
        return [*others, answers[0]]
    found = unreadable[0] if unreadable else Unreadable(NO_OUTCOME)
    return [*others, TransportFailure("malformed", found.reason, answer=found.answer).to_message(request_id)]


def _to_message(request_id: RequestId | None, item: Item) -> JSONRPCMessage | None:
    """Make a message of an item; answers belong to the request on whose stream they came."""
    if isinstance(item, Unreadable):
        if request_id is None or not item.is_answer:
            return None
        return TransportFailure("malformed", item.reason, answer=item.answer).to_message(request_id)
    if request_id is not None and isinstance(item, JSONRPCResponse | JSONRPCError):
        item.id = request_id
    return item


def _attribute(message: JSONRPCMessage, request_id: RequestId | None) -> SessionMessage:
    """Say of a message to which of our requests its stream belongs; None: to none."""
    return SessionMessage(message, ServerMessageMetadata(related_request_id=request_id))


class _Outgoing:
    """The stream of messages to a server, each of which is posted by a task of its own.

    A notification goes out before all that is sent after it, as with the SDK's own stream, whose loop passes each
    message through two more tasks and a queue.
    """

    def __init__(
        self, transport: LenientTransport, client: httpx2.AsyncClient, incoming: Any, tasks: anyio.abc.TaskGroup
    ) -> None:
        self._transport = transport
        self._client = client
        self._incoming = incoming
        self._tasks = tasks
        self._notices = asyncio.Lock()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Take no more messages; nor will there be answers."""
        self._closed = True
        await self._incoming.aclose()

    async def send(self, item: SessionMessage) -> None:
        """Have a message posted."""
        if self._closed:
            raise anyio.ClosedResourceError
        transport, message = self._transport, item.message
        if transport._consume_modern_cancellation(item):
            return
        metadata = item.metadata if isinstance(item.metadata, ClientMessageMetadata) else None
        self._note_version(message, metadata)
        context = RequestContext(self._client, transport.session_id, item, metadata, self._incoming)
        if isinstance(message, JSONRPCRequest):
            post = _InFlightPost(
                scope=anyio.CancelScope(), modern=transport._protocol_version_header in MODERN_PROTOCOL_VERSIONS
            )
            transport._in_flight_posts[message.id] = post
            self._tasks.start_soon(transport._run_request_post, partial(self._post, context), post, message.id)
        else:
            self._tasks.start_soon(self._post_notice, context)

    def _note_version(self, message: JSONRPCMessage, metadata: ClientMessageMetadata | None) -> None:
        """Keep the version that goes with messages which name none; a handshake begins without."""
        transport = self._transport
        if transport._is_initialization_request(message):
            transport._protocol_version_header = None
        elif metadata is not None and metadata.headers is not None:
            version = metadata.headers.get(MCP_PROTOCOL_VERSION_HEADER)
            transport._protocol_version_header = version or transport._protocol_version_header

    async def _post(self, context: RequestContext) -> None:
        if self._notices.locked():
            async with self._notices:
                pass
        await self._transport._handle_post_request(context)

    async def _post_notice(self, context: RequestContext) -> None:
        async with self._notices:
            if self._transport._is_initialized_notification(context.session_message.message):
                self._tasks.start_soon(self._transport.handle_get_stream, self._client, self._incoming)
            await self._transport._handle_post_request(context)


@asynccontextmanager
async def open_streams(url: str, client: httpx2.AsyncClient, max_event_bytes: int) -> AsyncGenerator[Any]:
    """Open the streams of a server, as `streamable_http_client` of the SDK does for its own transport."""
    transport = LenientTransport(url, max_sse_event_size=max_event_bytes)
    incoming, reading = create_context_streams[SessionMessage | Exception](0)
    async with incoming, reading, anyio.create_task_group() as tasks:
        try:
            yield reading, _Outgoing(transport, client, incoming, tasks)
        finally:
            if transport.session_id:
                await transport.terminate_session(client)
            tasks.cancel_scope.cancel()
