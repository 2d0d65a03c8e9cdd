"""The connection to one upstream server, made when it is needed and made again when it was lost."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from mcp import Client, ClientSession, MCPError
from pydantic import ValidationError

from nexus_hub.errors import HubError, UpstreamRejected, UpstreamTimedOut, UpstreamUnavailable
from nexus_hub.upstream import faults, snapshot, wire
from nexus_hub.upstream.backoff import Backoff
from nexus_hub.upstream.connector import Connector
from nexus_hub.upstream.faults import NotExecuted, TransportFailure
from nexus_hub.upstream.requests import OnProgress, UpstreamRequest
from nexus_hub.upstream.session import Session

T = TypeVar("T")
Work = Callable[[ClientSession], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of one connection, in seconds, requests and bytes."""

    connect_timeout: float = 15.0
    idle_seconds: float = 300.0
    concurrency: int = 64
    max_bytes: int = 32 * 1024 * 1024


class Connection:
    """Sends requests over the one link to a server; opens it at need, at most one at a time."""

    def __init__(
        self, connector: Connector, limits: ConnectionLimits, clock: Callable[[], float], backoff: Backoff
    ) -> None:
        self._connector = connector
        self._limits = limits
        self._clock = clock
        self._backoff = backoff
        self._server = connector.server
        self._places = asyncio.Semaphore(limits.concurrency)
        self._session: Session | None = None
        self._sessions: set[Session] = set()
        self._fault: Callable[[], HubError] | None = None
        self._failed_link: Session | None = None
        self._retired = False

    async def request(
        self, request: UpstreamRequest, seconds: float | None, on_progress: OnProgress | None
    ) -> dict[str, Any]:
        """Send one request; see `Connections.request`."""
        return await self._run(lambda session: wire.send(session, request, on_progress), seconds)

    async def inspect(self, seconds: float | None) -> snapshot.Snapshot:
        """Read everything the server offers, even during a pause after failures."""
        return await self._run(lambda session: snapshot.take(session, self._server), seconds, skip_backoff=True)

    def retire(self) -> None:
        """Take no new requests, and close after those under way."""
        self._retired = True
        if self._session is not None:
            self._session.retire()

    async def finished(self) -> None:
        """Wait until a retired one is closed."""
        await asyncio.gather(*(session.finished() for session in self._sessions))

    async def close(self) -> None:
        """Close now; requests under way fail."""
        self._retired = True
        await asyncio.gather(*(session.close() for session in self._sessions))

    async def _run(self, work: Work[T], seconds: float | None, *, skip_backoff: bool = False) -> T:
        """Do the work within the time-out, twice at most, and only if the first was surely not executed."""
        progress = _Progress(skip_backoff)
        try:
            async with asyncio.timeout(seconds) as deadline, self._places:
                return await self._with_reconnect(work, progress)
        except TimeoutError:
            if not deadline.expired() or seconds is None:
                raise
            late: HubError = UpstreamTimedOut(self._server, seconds)
            if not progress.sent:
                late = UpstreamUnavailable(self._server, f"The server {self._server!r} was not free or open in time.")
        raise late

    async def _with_reconnect(self, work: Work[T], progress: "_Progress") -> T:
        trouble = TransportFailure("refused")
        for _ in range(2):
            outcome = await self._attempt(work, progress)
            if not isinstance(outcome, NotExecuted):
                return outcome
            trouble = outcome.trouble
            progress.sent = False
        raise faults.not_reached(self._server, trouble)

    async def _attempt(self, work: Work[T], progress: "_Progress") -> T | NotExecuted:
        """Errors are raised outside of every except clause, so that they carry no context that holds secrets."""
        async with self._live(skip_backoff=progress.skip_backoff) as (session, client):
            progress.sent = True
            try:
                return await work(client.session)
            except MCPError as error:
                fault: HubError | NotExecuted = faults.while_calling(self._server, error, self._connector.mark)
            except ValidationError:
                fault = faults.nonconforming(self._server)
            except wire.InputRequired:
                fault = UpstreamRejected(self._server, -32603, "it asks for input, which the hub does not offer")
            if isinstance(fault, NotExecuted):
                session.retire()
                self._connector.forget()
                return fault
        raise fault

    @asynccontextmanager
    async def _live(self, *, skip_backoff: bool) -> AsyncGenerator[tuple[Session, Client]]:
        for _ in range(2):
            session = self._current(skip_backoff=skip_backoff)
            opened = await session.opened()
            if isinstance(opened, Exception):
                fault = self._not_opened(session, opened)
                raise fault()
            if session.usable:
                break
        else:
            fault = self._not_opened(session, ConnectionAbortedError("closed as soon as it was open"))
            raise fault()
        self._backoff.succeed()
        with session.use():
            yield session, opened

    def _not_opened(self, session: Session, error: Exception) -> Callable[[], HubError]:
        """Note the failure once, however many wait for the link."""
        if self._fault is None or session is not self._failed_link:
            self._failed_link = session
            self._fault = self._connector.fault(error)
            self._connector.forget()
            self._backoff.fail()
        return self._fault

    def _current(self, *, skip_backoff: bool) -> Session:
        if self._retired:
            raise UpstreamUnavailable(self._server, f"The server {self._server!r} was changed or removed; try again.")
        if self._session is not None and self._session.usable:
            return self._session
        if self._fault is not None and self._backoff.seconds_left and not skip_backoff:
            fault = self._fault
            raise fault()
        self._session = self._open(after=self._session)
        return self._session

    def _open(self, after: Session | None) -> Session:
        """A new link, which waits for the end of one that is closing, but not for requests on a retired one."""
        session = Session(
            self._connector.client,
            after=after if after is not None and after.over else None,
            connect_timeout=self._limits.connect_timeout,
            idle_seconds=self._limits.idle_seconds,
            clock=self._clock,
            finished=self._sessions.discard,
        )
        self._sessions.add(session)
        return session


class _Progress:
    """How far a request has come: whether it has been handed to the SDK, and whether it waits out pauses."""

    def __init__(self, skip_backoff: bool) -> None:
        self.skip_backoff = skip_backoff
        self.sent = False
