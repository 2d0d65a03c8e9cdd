"""Middleware of the API: a log of requests, a limit on bodies, and an answer to every error."""

import asyncio
import time
from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nexus_hub import memory
from nexus_hub.api.admission import Admission
from nexus_hub.api.bodies import PIECE_BYTES, ValueCount
from nexus_hub.api.problems import CODE, Problem, from_error
from nexus_hub.api.traces import RequestTraces
from nexus_hub.api.trail import AuditTrail
from nexus_hub.db.pool import LARGE_BYTES
from nexus_hub.errors import HubError, RequestCutOff, RequestTimedOut, TooLarge
from nexus_hub.telemetry.bus import emit, report_defect
from nexus_hub.telemetry.events import RequestAnswered, RequestRejected

TRIM_SECONDS = 1.0


def install(
    app: FastAPI,
    *,
    max_body_bytes: int,
    max_body_values: int,
    body_seconds: float,
    user_requests: int,
    user_calls: int,
    origins: Sequence[str] = (),
) -> None:
    """Put the middleware around the app, the outermost last: first the token, then the size, then the body."""
    app.add_middleware(BodyLimit, limit=max_body_bytes, values=max_body_values, seconds=body_seconds)
    app.add_middleware(RequestTraces)
    app.add_middleware(Admission, user_requests=user_requests, user_calls=user_calls)
    app.add_middleware(MemoryReturn)
    app.add_middleware(LastResort)
    app.add_middleware(AuditTrail)
    app.add_middleware(RequestLog)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=["Mcp-Session-Id", "Location", "Retry-After", "WWW-Authenticate"],
        )


class RequestLog:
    """Tells of each request once it is answered: by its route, never by what was sent."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and note the status of the answer."""
        began, status = time.perf_counter(), 0

        async def note_status(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        await self.app(scope, receive, note_status)
        if not status:  # nobody was there any more
            return
        if 400 <= status < 500:
            emit(RequestRejected(_route_of(scope), status, scope.get(CODE, "http-error")))
        else:
            emit(RequestAnswered(_route_of(scope), status, (time.perf_counter() - began) * 1000))


def _route_of(scope: Scope) -> str:
    """Name a request by its method and its route's template; all that no route takes goes by one name."""
    route = scope.get("route")
    return f"{scope['method']} {route.path}" if route is not None else "no route"


class MemoryReturn:
    """Gives free memory back a moment after large bodies and answers, once for all of that moment."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._trim: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and count what goes in and out."""
        size = 0

        async def count_received() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            return message

        async def count_sent(message: Message) -> None:
            nonlocal size
            size += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, count_received, count_sent)
        finally:
            if size > LARGE_BYTES and self._trim is None:
                self._trim = asyncio.get_running_loop().call_later(TRIM_SECONDS, self._trim_in_thread)

    def _trim_in_thread(self) -> None:
        self._trim = None
        asyncio.get_running_loop().run_in_executor(None, memory.trim)


class LastResort:
    """Answers an unexpected error, whose message may hold anything and is not logged, and what is cut off."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and answer what nobody else did."""
        started = False

        async def note_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, note_start)
        except ClientDisconnect:
            return  # who has left wants no answer
        except asyncio.CancelledError:
            if scope["type"] != "http" or started or not scope["app"].state.draining:
                raise
            await from_error(RequestCutOff())(scope, receive, send)
        except Exception as error:
            report_defect(error)
            if scope["type"] == "http" and not started:
                await Problem(500, "internal-error", "An unexpected error happened; the API's log says where.")(
                    scope, receive, send
                )


class BodyLimit:
    """Refuses bodies over a limit of bytes or values, by what they declare and what arrives, and those too slow."""

    def __init__(self, app: ASGIApp, limit: int, values: int, seconds: float) -> None:
        self.app = app
        self.limit = limit
        self.values = values
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is within the limit."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.limit:
            await from_error(TooLarge("A body", int(declared), self.limit))(scope, receive, send)
            return
        values = ValueCount(self.values, "NEXUS_MAX_BODY_VALUES")
        counted = _CountedBody(receive, send, self.limit, values, self.seconds)
        try:
            await self.app(scope, counted.receive, counted.send)
        except Exception:
            if counted.refused is None:
                raise
        if counted.refused and not counted.started:
            await from_error(counted.refused)(scope, receive, send)


class _CountedBody:
    """A request whose body is counted as it arrives; what the app says of a refused one does not go out."""

    def __init__(self, receive: Receive, send: Send, limit: int, values: ValueCount, seconds: float) -> None:
        self._receive = receive
        self._send = send
        self._limit = limit
        self._values = values
        self._received = 0
        self._seconds = seconds
        self._until: float | None = asyncio.get_running_loop().time() + seconds
        self.started = False
        self.refused: HubError | None = None

    async def receive(self) -> Message:
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            self.refused = RequestTimedOut("body", self._seconds, "NEXUS_BODY_SECONDS")
            raise self.refused from None
        if not message.get("more_body"):
            self._until = None
        try:
            await self._count(message.get("body", b""))
        except HubError as error:
            self.refused = error
            raise
        return message

    async def _count(self, body: bytes) -> None:
        self._received += len(body)
        if self._received > self._limit:
            raise TooLarge("A body", self._received, self._limit)
        for begin in range(0, len(body), PIECE_BYTES):
            self._values.add(body[begin : begin + PIECE_BYTES])
            if begin:
                await asyncio.sleep(0)

    async def send(self, message: Message) -> None:
        if self.refused is None or self.started:
            self.started = True
            await self._send(message)
