"""The connection to an upstream server: its session is opened at need, and anew once it was disconnected."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from mcp import Client, ClientSession, MCPError
from pydantic import ValidationError

from nexus_hub.errors import (
    HubError,
    MalformedResult,
    TooLarge,
    UpstreamRejected,
    UpstreamTimedOut,
    UpstreamUnavailable,
)
from nexus_hub.json_object import JsonObject
from nexus_hub.upstream import faults, snapshot, wire
from nexus_hub.upstream.backoff import ConnectBackoff
from nexus_hub.upstream.connector import Connector
from nexus_hub.upstream.faults import NotExecuted
from nexus_hub.upstream.requests import OnProgress, UpstreamRequest
from nexus_hub.upstream.session import Session

T = TypeVar("T")
Work = Callable[[ClientSession], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of a connection, in seconds, requests and bytes."""

    idle_seconds: float = 300.0
    concurrency: int = 64
    max_bytes: int = 32 * 1024 * 1024
    read: snapshot.ReadLimits = snapshot.DEFAULT_LIMITS


class Connection:
    """Sends requests over its session with a server; opens that at need, at most one at a time."""

    def __init__(
        self, connector: Connector, limits: ConnectionLimits, clock: Callable[[], float], backoff: ConnectBackoff
    ) -> None:
        self._connector = connector
        self._limits = limits
        self._clock = clock
        self._backoff = backoff
        self._server = connector.server
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._session: Session | None = None
        self._sessions: set[Session] = set()
        self._fault: Callable[[], HubError] | None = None
        self._failed_session: Session | None = None
        self._retired = False

    async def request(
        self, request: UpstreamRequest, seconds: float | None, on_progress: OnProgress | None
    ) -> JsonObject:
        """Send one request; see `Connections.request`."""
        return await self._run(lambda session: wire.send(session, request, on_progress), seconds)

    async def inspect(self, seconds: float | None) -> snapshot.Snapshot:
        """Read everything the server offers, even during a pause after failures; opening a session comes on top."""

        def work(session: ClientSession) -> Awaitable[snapshot.Snapshot]:
            return snapshot.take(session, self._server, seconds=seconds, limits=self._limits.read)

        total = None if seconds is None else seconds + self._connector.connect_timeout
        return await self._run(work, total, skip_backoff=True)

    def retire(self) -> None:
        """Take no new requests, and close after those under way."""
        self._retired = True
        if self._session is not None:
            self._session.retire()

    async def wait_closed(self) -> None:
        """Wait until a retired connection is closed."""
        await asyncio.gather(*(session.wait_closed() for session in self._sessions))

    async def close(self) -> None:
        """Close now; requests under way fail."""
        self._retired = True
        await asyncio.gather(*(session.close() for session in self._sessions))

    async def _run(self, work: Work[T], seconds: float | None, *, skip_backoff: bool = False) -> T:
        """Do the work within the time-out, twice at most, and only if the first was surely not executed."""
        progress = _Progress(skip_backoff)
        try:
            async with asyncio.timeout(seconds) as deadline, self._slots:
                return await self._with_reconnect(work, progress)
        except TimeoutError:
            if not deadline.expired() or seconds is None:
                raise
            late: HubError = UpstreamTimedOut(self._server, seconds)
            if not progress.sent:
                late = UpstreamUnavailable(self._server, f"The server {self._server!r} was not free or open in time.")
        raise late

    async def _with_reconnect(self, work: Work[T], progress: "_Progress") -> T:
        outcome = await self._attempt(work, progress)
        if isinstance(outcome, NotExecuted):
            progress.sent = False
            outcome = await self._attempt(work, progress)
        if isinstance(outcome, NotExecuted):
            raise outcome.verdict
        return outcome

    async def _attempt(self, work: Work[T], progress: "_Progress") -> T | NotExecuted:
        """Do the work once.

        Errors are raised outside of every except clause, so that they carry no context that holds secrets.
        """
        async with self._use_session(skip_backoff=progress.skip_backoff) as (session, client):
            progress.sent = True
            try:
                return await work(client.session)
            except MCPError as error:
                fault: HubError | NotExecuted = faults.to_call_error(self._server, error, self._connector.hidden)
            except wire.MalformedAnswer as error:
                fault = MalformedResult(self._server, error.place, error.answer)
            except ValidationError:
                fault = MalformedResult(self._server, "it is no result of what was asked for")
            except wire.InputRequired:
                fault = UpstreamRejected(self._server, -32603, "it asks for input, which the hub does not offer")
            if isinstance(fault, TooLarge):
                session.retire()  # a transport may end with it
            if isinstance(fault, NotExecuted):
                session.retire()
                self._connector.forget()
                return fault
        raise fault

    @asynccontextmanager
    async def _use_session(self, *, skip_backoff: bool) -> AsyncGenerator[tuple[Session, Client]]:
        for _ in range(2):
            session = self._pick_session(skip_backoff=skip_backoff)
            opened = await session.wait_open()
            if isinstance(opened, Exception):
                fault = self._note_failure(session, opened)
                raise fault()
            if session.usable:
                break
        else:
            fault = self._note_failure(session, ConnectionAbortedError("closed as soon as it was open"))
            raise fault()
        self._backoff.succeed()
        with session.use():
            yield session, opened

    def _note_failure(self, session: Session, error: Exception) -> Callable[[], HubError]:
        """Note the failure once, however many wait for the session."""
        if self._fault is None or session is not self._failed_session:
            self._failed_session = session
            self._fault = self._connector.fault(error)
            self._connector.forget()
            self._backoff.fail()
        return self._fault

    def _pick_session(self, *, skip_backoff: bool) -> Session:
        if self._retired:
            raise UpstreamUnavailable(self._server, f"The server {self._server!r} was changed or removed; try again.")
        if self._session is not None and self._session.usable:
            return self._session
        if self._fault is not None and self._backoff.seconds_left and not skip_backoff:
            fault = self._fault
            raise fault()
        self._session = self._new_session(after=self._session)
        return self._session

    def _new_session(self, after: Session | None) -> Session:
        """Open a session, which waits for the end of one that is closing, but not for requests on a retired one."""
        session = Session(
            self._connector.client,
            after=after if after is not None and after.over else None,
            connect_timeout=self._connector.connect_timeout,
            idle_seconds=self._limits.idle_seconds,
            clock=self._clock,
            on_closed=self._sessions.discard,
        )
        self._sessions.add(session)
        return session


class _Progress:
    """Progress of a request: `sent` once the SDK has it; `skip_backoff` of one that waits out no pause."""

    def __init__(self, skip_backoff: bool) -> None:
        self.skip_backoff = skip_backoff
        self.sent = False
