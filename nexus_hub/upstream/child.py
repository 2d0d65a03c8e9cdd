"""The conversation with a child process: messages to its standard input, and from its standard output.

Like the SDK's own transport in its streams and in the order of its end; but a line has a limit and is read in linear
time, and an answer that can't be read ends the call that waits for it at once.
"""

import logging
import math
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import AsyncResource, Process
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.os.posix.utilities import terminate_posix_process_tree
from mcp.shared.message import SessionMessage
from mcp_types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
)

from nexus_hub.upstream.faults import TransportFailure
from nexus_hub.upstream.lines import Lines, LineTooLongError
from nexus_hub.upstream.messages import NO_ID, Item, Unreadable, encode, to_plain

PAUSE_SECONDS = 1.0
"""The pause after which that is read which lacks a newline, and a call ends whose answer seems to have been garbage."""
STALL_SECONDS = 30.0
"""The further pause in the middle of a line after which no more of it is waited for."""
FLUSH_SECONDS = 0.5
EXIT_SECONDS = 2.0
POLL_SECONDS = 0.01
BROKEN = (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Suspicion:
    """A call of which something that can't be read was probably the answer."""

    id: RequestId
    item: Unreadable


class Child:
    """The streams of a process that speaks MCP, and the calls that it has not answered yet."""

    def __init__(self, process: Process, max_bytes: int) -> None:
        self._process = process
        self._max_bytes = max_bytes
        self._lines = Lines(max_bytes)
        self._pending: set[RequestId] = set()
        self._suspicion: _Suspicion | None = None
        self._pauses = 0
        self._incoming: MemoryObjectSendStream[SessionMessage | Exception]
        self._outgoing: MemoryObjectReceiveStream[SessionMessage]
        self._flushed = anyio.Event()

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[tuple[Any, Any]]:
        """Give the streams, as the SDK takes them; at the end close standard input, wait, and end all processes."""
        self._incoming, reading = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        writing, self._outgoing = anyio.create_memory_object_stream[SessionMessage](0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read)
            tasks.start_soon(self._write)
            try:
                yield reading, writing
            finally:
                with anyio.CancelScope(shield=True):
                    reading.close()
                    writing.close()
                    with anyio.move_on_after(FLUSH_SECONDS):
                        await self._flushed.wait()
                    await self._stop()
                    for stream in (self._incoming, self._outgoing):
                        await stream.aclose()
                tasks.cancel_scope.cancel()

    async def _write(self) -> None:
        try:
            async with self._outgoing:
                async for item in self._outgoing:
                    self._note_request(item.message)
                    await _standard_input(self._process).send(encode(to_plain(item.message)) + b"\n")
        except BROKEN:
            await self._incoming.aclose()  # nobody takes requests any more: those under way end
        finally:
            self._flushed.set()

    def _note_request(self, message: JSONRPCMessage) -> None:
        match message:
            case JSONRPCRequest(id=ident, method="initialize"):
                self._pending = {_key(ident)}  # whatever was asked before has been given up
            case JSONRPCRequest(method="subscriptions/listen"):
                pass  # its answer is the end of a stream: nothing that can't be read is taken for it
            case JSONRPCRequest(id=ident):
                self._pending.add(_key(ident))
            case JSONRPCNotification(method="notifications/cancelled", params={"requestId": int() | str() as ident}):
                self._pending.discard(_key(ident))

    async def _read(self) -> None:
        try:
            async with self._incoming:
                try:
                    await self._read_messages()
                except LineTooLongError as error:
                    await self._end_all(TransportFailure("too-large", f"{error.size}/{self._max_bytes}"))
        except BROKEN:
            pass
        await self._drain()

    async def _read_messages(self) -> None:
        output = _standard_output(self._process)
        while True:
            data = None
            with anyio.move_on_after(self._patience()):
                try:
                    data = await output.receive()
                except BROKEN:
                    await self._deliver(self._lines.settle(give_up=True))
                    await self._end_suspect()
                    return
            if data is None:
                await self._settle()
            else:
                self._pauses = 0
                for item in self._lines.feed(data):
                    await self._deliver([item])

    def _patience(self) -> float:
        """Seconds to wait for more before that which is there is looked at again."""
        if self._suspicion is not None or (self._lines.waiting and self._pauses == 0):
            return PAUSE_SECONDS
        return STALL_SECONDS if self._lines.waiting and self._pauses == 1 else math.inf

    async def _settle(self) -> None:
        await self._deliver(self._lines.settle(give_up=self._pauses > 0))
        self._pauses += 1
        await self._end_suspect()

    async def _end_suspect(self) -> None:
        suspicion, self._suspicion = self._suspicion, None
        if suspicion is not None and suspicion.id in self._pending:
            await self._end(suspicion.id, _to_failure(suspicion.item))

    async def _deliver(self, items: Iterable[Item]) -> None:
        for item in items:
            match item:
                case Unreadable():
                    await self._attribute(item)
                case JSONRPCError(id=None):
                    self._suspect(Unreadable(NO_ID), of=item.error.code in {PARSE_ERROR, INVALID_REQUEST})
                case _:
                    if isinstance(item, JSONRPCResponse | JSONRPCError) and item.id is not None:
                        self._pending.discard(_key(item.id))
                    await self._incoming.send(SessionMessage(item))

    async def _attribute(self, item: Unreadable) -> None:
        """End the call that something unreadable is the answer to; if that is not sure, after a pause."""
        ids = self._pending & {_key(ident) for ident in item.ids}
        if len(ids) == 1:
            await self._end(ids.pop(), _to_failure(item))
        else:
            self._suspect(item, of=item.is_answer and not item.ids)

    def _suspect(self, item: Unreadable, *, of: bool) -> None:
        if of and len(self._pending) == 1:
            self._suspicion = _Suspicion(next(iter(self._pending)), item)

    async def _end_all(self, failure: TransportFailure) -> None:
        for ident in sorted(self._pending, key=str):
            await self._end(ident, failure)

    async def _end(self, ident: RequestId, failure: TransportFailure) -> None:
        self._pending.discard(ident)
        await self._incoming.send(SessionMessage(failure.to_message(ident)))

    async def _drain(self) -> None:
        """Throw away what still comes, so that a child that writes can go on to its end."""
        with anyio.CancelScope(shield=True), suppress(*BROKEN):
            while True:
                await _standard_output(self._process).receive()

    async def _stop(self) -> None:
        """Close standard input, give the child time to end, then end it and all that it started.

        Source: MCP 2025-11-25, basic/lifecycle, Shutdown.
        """
        await _close(_standard_input(self._process))
        if not await self._exits():
            await terminate_posix_process_tree(self._process, EXIT_SECONDS)
            if not await self._exits():
                _log.warning("The process %d of an upstream server can't be ended.", self._process.pid)
        await _close(_standard_output(self._process))
        _release(self._process)

    async def _exits(self) -> bool:
        """Wait for the exit of the process itself; `Process.wait` waits for its descendants' pipes, too."""
        with anyio.move_on_after(EXIT_SECONDS):
            while self._process.returncode is None:  # noqa: ASYNC110
                await anyio.sleep(POLL_SECONDS)
        return self._process.returncode is not None


def _to_failure(item: Unreadable) -> TransportFailure:
    return TransportFailure("malformed", item.reason, answer=item.answer)


def _key(ident: RequestId) -> RequestId:
    """Give the form of an id in which "7" and 7 are the same, as they are for the SDK."""
    return int(ident) if isinstance(ident, str) and ident.isascii() and ident.isdigit() else ident


def _standard_input(process: Process) -> anyio.abc.ByteSendStream:
    if process.stdin is None:
        raise anyio.ClosedResourceError
    return process.stdin


def _standard_output(process: Process) -> anyio.abc.ByteReceiveStream:
    if process.stdout is None:
        raise anyio.ClosedResourceError
    return process.stdout


async def _close(stream: AsyncResource) -> None:
    with suppress(*BROKEN):
        await stream.aclose()


def _release(process: Process) -> None:
    """Close the transport of a process whose pipes a descendant still holds; nothing public gives it."""
    transport = getattr(getattr(process, "_process", None), "_transport", None)
    if transport is not None:
        with suppress(PermissionError):
            transport.close()
