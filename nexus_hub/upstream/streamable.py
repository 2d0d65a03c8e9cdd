"""Streamable HTTP as the SDK speaks it, with answers that are read leniently and failures in our words."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
from mcp.client.streamable_http import StreamableHTTPTransport
from mcp.shared._context_streams import create_context_streams
from mcp.shared.message import SessionMessage
from mcp_types import CONNECTION_CLOSED, JSONRPCError, JSONRPCMessage, JSONRPCResponse, RequestId

from nexus_hub.upstream.faults import TransportFailure
from nexus_hub.upstream.messages import NO_OUTCOME, Item, Unreadable, read_messages

EMPTY = "it is empty"


class LenientTransport(StreamableHTTPTransport):
    """The SDK's transport with a reader of our own: what it can't read ends the one request that it answers."""

    async def _handle_json_response(
        self, response: httpx2.Response, read_stream_writer: Any, *, request_id: RequestId
    ) -> None:
        content = await response.aread()
        items = read_messages(content) or [Unreadable(EMPTY)]
        for message in answer_request(request_id, items):
            await read_stream_writer.send(SessionMessage(message))

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
                await read_stream_writer.send(SessionMessage(message))
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


@asynccontextmanager
async def open_streams(url: str, client: httpx2.AsyncClient, max_event_bytes: int) -> AsyncGenerator[Any]:
    """Open the streams of a server, as `streamable_http_client` of the SDK does for its own transport."""
    transport = LenientTransport(url, max_sse_event_size=max_event_bytes)
    incoming, reading = create_context_streams[SessionMessage | Exception](0)
    writing, outgoing = create_context_streams[SessionMessage](0)
    async with incoming, reading, writing, outgoing, anyio.create_task_group() as tasks:

        def start_get_stream() -> None:
            tasks.start_soon(transport.handle_get_stream, client, incoming)

        tasks.start_soon(transport.post_writer, client, outgoing, incoming, writing, start_get_stream, tasks)
        try:
            yield reading, writing
        finally:
            if transport.session_id:
                await transport.terminate_session(client)
            tasks.cancel_scope.cancel()
