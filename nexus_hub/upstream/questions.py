"""Questions of servers with sessions in the middle of calls, brought to the client behind the call and to no other.

HTTP says which call a question belongs to, by the stream that it comes on. A command does not, and neither does the
standalone stream: what comes there is asked only if all calls that the session ever took were of one caller, and from
then on each caller has a session of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import anyio
from mcp.shared.dispatcher import coerce_request_id
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types import (
    ErrorData,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
)

from nexus_hub.upstream import peer as peers
from nexus_hub.upstream.notices import LogRelay
from nexus_hub.upstream.peer import LIST_ROOTS, METHODS, Pause, Peer, PeerRefused, find_missing

MOST_QUESTIONS = 32
"""Questions of one session that wait for their answers: half of the calls that it may take at a time."""
MOST_ELICITATIONS = 100
"""Elicitations by URL of one session whose completion is waited for."""
_SEVERAL = 2
_BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError)

Send = Callable[[SessionMessage], Awaitable[None]]


@dataclass(eq=False)
class _OpenCall:
    """A call under way: its client, the clock of its time-out, the ids of its requests, and what is being asked."""

    questions: "Questions"
    peer: Peer | None
    pause: Pause
    logs: LogRelay | None = None
    ids: set[RequestId] = field(default_factory=set)
    asking: set[asyncio.Task[None]] = field(default_factory=set)


_current: ContextVar[_OpenCall | None] = ContextVar("upstream_call", default=None)


class Questions:
    """Answers the questions of one session's server; `on_shared` is called where a session of many callers can't be."""

    def __init__(self, *, is_command: bool, on_unattributed: Callable[[], None]) -> None:
        self.is_modern = False
        """True for a server of 2026-07-28, which asks by its results."""
        self._is_command = is_command
        self._on_unattributed = on_unattributed
        self._calls: list[_OpenCall] = []
        self._owners: set[Hashable] = set()
        self._asking: dict[RequestId, asyncio.Task[None]] = {}
        self._withdrawn: set[RequestId] = set()
        self._elicited: dict[str, Peer] = {}
        self._passing_on: set[asyncio.Task[None]] = set()

    @property
    def offered(self) -> dict[str, Any]:
        """The capabilities that the hub declares for all clients that may be behind its calls.

        A command is never told of a client's roots: it runs on the hub's machine, and some take their bounds from them.
        """
        offered: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}, "sampling": {"context": {}, "tools": {}}}
        return offered if self._is_command else {**offered, "roots": {}}

    @contextmanager
    def call(self, peer: Peer | None, pause: Pause, logs: LogRelay | None = None) -> Iterator[None]:
        """Bring the questions of a call, and its log messages, to its client for as long as it is under way."""
        call = _OpenCall(self, peer, pause, logs)
        self._calls.append(call)
        if len(self._owners) < _SEVERAL:
            self._owners.add(None if peer is None else peer.owner)
        token = _current.set(call)
        try:
            yield
        finally:
            _current.reset(token)
            self._calls.remove(call)
            for task in call.asking:
                task.cancel()

    def note_sent(self, request: JSONRPCRequest) -> None:
        """Note the id of a request of the call that sends it."""
        call = _current.get()
        if call is not None and call.questions is self:
            call.ids.add(request.id)

    def take(self, item: object, send: Send) -> bool:
        """Take a message that is about a question; False for all others."""
        message = item.message if isinstance(item, SessionMessage) else None
        if self.is_modern or not isinstance(message, JSONRPCRequest | JSONRPCNotification):
            return False
        if isinstance(message, JSONRPCRequest):
            if message.method not in METHODS:
                return False
            self._begin(message, _find_origin(item), send)
            return True
        if message.method == "notifications/elicitation/complete":
            self._pass_completion(message.params or {})
            return True
        return message.method == "notifications/cancelled" and self._withdraw((message.params or {}).get("requestId"))

    def find_logs(self, item: SessionMessage) -> LogRelay | None:
        """Find whom a log message is for: the client of the call on whose stream it came.

        Elsewhere nothing says which call it is about, and it may still be about one that has ended: then it is for the
        client of the one call under way, if all calls that the session ever took were of one caller.
        """
        origin = _find_origin(item)
        found = [call for call in self._calls if origin is None or origin in call.ids]
        return found[0].logs if len(found) == 1 and (origin is not None or len(self._owners) == 1) else None

    def expect_completion(self, peer: Peer, elicitation: Mapping[str, Any]) -> None:
        """Remember whom to tell that an elicitation by URL is complete."""
        ident = elicitation.get("elicitationId")
        if isinstance(ident, str):
            self._elicited[ident] = peer
            if len(self._elicited) > MOST_ELICITATIONS:
                del self._elicited[next(iter(self._elicited))]

    def close(self) -> None:
        """Stop asking."""
        self._withdrawn |= self._asking.keys()
        for task in (*self._asking.values(), *self._passing_on):
            task.cancel()

    def _begin(self, request: JSONRPCRequest, origin: RequestId | None, send: Send) -> None:
        key = coerce_request_id(request.id)
        task = asyncio.create_task(self._answer(request, origin, send), name="upstream-question")
        self._asking[key] = task
        task.add_done_callback(lambda done: self._end(key, done))

    def _end(self, key: RequestId, task: asyncio.Task[None]) -> None:
        if self._asking.get(key) is task:
            del self._asking[key]
            self._withdrawn.discard(key)

    def _withdraw(self, ident: Any) -> bool:
        """Stop asking what the server does not want to know any more."""
        key = coerce_request_id(ident) if isinstance(ident, str | int) else None
        if key is None or key not in self._asking:
            return False
        self._withdrawn.add(key)
        self._asking[key].cancel()
        return True

    async def _answer(self, request: JSONRPCRequest, origin: RequestId | None, send: Send) -> None:
        try:
            result = await self._ask(request.method, request.params or {}, origin)
            reply: JSONRPCResponse | JSONRPCError = JSONRPCResponse(jsonrpc="2.0", id=request.id, result=result)
        except PeerRefused as refusal:
            reply = _refuse(request, refusal)
        except asyncio.CancelledError:
            if coerce_request_id(request.id) in self._withdrawn:
                raise
            reply = _refuse(request, PeerRefused("The call that this was asked in has ended."))
        with suppress(*_BROKEN):
            await send(SessionMessage(reply))

    async def _ask(self, method: str, params: dict[str, Any], origin: RequestId | None) -> dict[str, Any]:
        call = self._find_call(method, params, origin)
        if call.peer is None:
            raise PeerRefused("This is not offered here: no client is behind this call.")
        if len(self._asking) > MOST_QUESTIONS:
            raise PeerRefused(f"More than {MOST_QUESTIONS} questions wait for their answers; ask again later.")
        self.expect_completion(call.peer, params)
        task = asyncio.current_task()
        if task is not None:
            call.asking.add(task)
        return await peers.ask(call.peer, method, params, call.pause)

    def _find_call(self, method: str, params: dict[str, Any], origin: RequestId | None) -> _OpenCall:
        """Find the call that a question belongs to; of several of one caller, the last that can answer it."""
        if method == LIST_ROOTS and self._is_command:
            raise PeerRefused("Roots are not offered to commands, which run on another machine than their callers.")
        found = [call for call in self._calls if origin is None or origin in call.ids]
        if not found:
            raise PeerRefused("No call of a client is under way here.")
        if origin is None or method == LIST_ROOTS:
            self._check_alone()
        fitting = [call for call in found if call.peer and not find_missing(call.peer.capabilities, method, params)]
        return (fitting or found)[-1]

    def _check_alone(self) -> None:
        """Refuse what can't be told to belong to a call, or would hold for other calls too, unless all have one caller.

        Calls that ended count too: their server may still be at work on them.
        """
        if self._owners == {None}:
            return
        self._on_unattributed()
        if len(self._owners) == _SEVERAL:
            raise PeerRefused(
                "Calls of several callers went over this session, and nothing says which of them this is about. "
                "From now on each caller has a session of its own: call again."
            )

    def _pass_completion(self, params: dict[str, Any]) -> None:
        ident = params.get("elicitationId")
        peer = self._elicited.pop(ident, None) if isinstance(ident, str) else None
        if peer is not None:
            task = asyncio.create_task(peer.complete(params))
            self._passing_on.add(task)
            task.add_done_callback(self._passing_on.discard)


def _find_origin(item: object) -> RequestId | None:
    metadata = item.metadata if isinstance(item, SessionMessage) else None
    return metadata.related_request_id if isinstance(metadata, ServerMessageMetadata) else None


def _refuse(request: JSONRPCRequest, refusal: PeerRefused) -> JSONRPCError:
    error = ErrorData(code=refusal.code, message=refusal.message, data=refusal.data)
    return JSONRPCError(jsonrpc="2.0", id=request.id, error=error)
