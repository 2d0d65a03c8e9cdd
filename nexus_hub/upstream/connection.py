"""The connection to an upstream server: its session is opened at need, and anew once it was disconnected."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from mcp import Client, ClientSession, MCPError
from pydantic import ValidationError

from nexus_hub.errors import (
    HubError,
    LoginNeeded,
    MalformedResult,
    OutcomeUnknown,
    TooLarge,
    UpstreamRejected,
    UpstreamTimedOut,
    UpstreamUnavailable,
)
from nexus_hub.json_object import JsonObject
from nexus_hub.upstream import faults, rounds, snapshot, wire
from nexus_hub.upstream.children import RETRY_SECONDS, NoPlaceError, ServerChildren
from nexus_hub.upstream.circuit import Circuit
from nexus_hub.upstream.connector import Connector, OnDisconnect, questions_of
from nexus_hub.upstream.faults import NotExecuted
from nexus_hub.upstream.lifespan import Lifespan
from nexus_hub.upstream.listening import listening
from nexus_hub.upstream.lookout import Lookout
from nexus_hub.upstream.notices import LogRelay, Notices, read_level
from nexus_hub.upstream.peer import Pause, Peer, PeerRefused
from nexus_hub.upstream.requests import OnProgress, UpstreamRequest
from nexus_hub.upstream.session import Place, Session
from nexus_hub.upstream.slots import FairSlots

T = TypeVar("T")
Work = Callable[[Client], Awaitable[T]]
_SHARED, _CROWD = object(), object()
"""Keys of the session that all callers share, and of that of callers who are too many to have one each."""
MOST_OWN_SESSIONS = 32
PATIENCE_SECONDS = 10.0
"""A call that its caller gives up after so long counts as one without an answer."""
_HUB = "hub"
"""The hub's own requests have slots beside those of its users."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of a connection, in seconds, requests and bytes."""

    idle_seconds: float = 300.0
    concurrency: int = 64
    user_share: float = 0.5
    max_bytes: int = 32 * 1024 * 1024
    read: snapshot.ReadLimits = snapshot.DEFAULT_LIMITS


class Connection:
    """Sends requests over its session with a server; opens that at need, at most one at a time."""

    def __init__(
        self,
        connector: Connector,
        limits: ConnectionLimits,
        clock: Callable[[], float],
        circuit: Circuit,
        slots: FairSlots,
        *,
        on_change: Callable[[], None] | None = None,
        on_update: Callable[[str], None] = lambda _: None,
        on_idle: "Callable[[Connection], None]" = lambda _: None,
        children: ServerChildren | None = None,
    ) -> None:
        self._on_change = on_change
        self._on_update = on_update
        self._on_idle = on_idle
        self._under_way = 0
        self._connector = connector
        self._limits = limits
        self._clock = clock
        self._circuit = circuit
        self._place: Place = _take_no_place if children is None else children.place
        self._most_own = MOST_OWN_SESSIONS if children is None else min(MOST_OWN_SESSIONS, children.most - 1)
        self._server = connector.server
        self._lookout = Lookout(connector.server, circuit, self._knock, self._note_silence)
        self._slots = slots
        self._current: dict[Hashable, Session] = {}
        self._sessions: set[Session] = set()
        self._fault: Callable[[], HubError] | None = None
        self._failed_session: Session | None = None
        self._retired = False
        self._lifespan = Lifespan(bounded=connector.is_command, clock=clock, ping=wire.ping)

    def check(self) -> None:
        """Refuse a call that would not be sent; see `Lookout.check`."""
        self._lookout.check()

    def slot(self, user: Hashable, patience: float) -> AbstractAsyncContextManager[None]:
        """Hold a slot of a user; see `Connections.slot`."""
        self.check()
        return self._slots.take(user, patience=patience)

    async def request(
        self,
        request: UpstreamRequest,
        seconds: float | None,
        on_progress: OnProgress | None,
        peer: Peer | None = None,
        user: Hashable = None,
        *,
        has_slot: bool = False,
    ) -> JsonObject:
        """Send one request; see `Connections.request`."""
        self.check()
        owner = None if peer is None else peer.owner
        progress = _Progress(owner, user, has_slot=has_slot, is_patient=not has_slot)

        async def work(client: Client) -> JsonObject:
            questions = questions_of(client)
            async with LogRelay(peer, read_level(request.meta)) as logs:
                return await rounds.play(client.session, questions, request, on_progress, peer, progress.pause, logs)

        return await self._run(work, seconds, progress)

    async def inspect(self, seconds: float | None) -> snapshot.Snapshot:
        """Read everything the server offers, even during a pause after failures; opening a session comes on top."""

        def work(client: Client) -> Awaitable[snapshot.Snapshot]:
            return snapshot.take(client.session, self._server, seconds=seconds, limits=self._limits.read)

        total = None if seconds is None else seconds + self._connector.connect_timeout
        return await self._run(work, total, _Progress(user=_HUB, is_call=False))

    @asynccontextmanager
    async def hold(self) -> AsyncGenerator[tuple[Session, ClientSession]]:
        """Give an open session, which does not become idle meanwhile."""
        self._under_way += 1
        try:
            session, client = await self._open_session(_Progress())
            with session.hold():
                yield session, client.session
        finally:
            self._end_request()

    @property
    def hidden(self) -> tuple[str, ...]:
        """The secrets that are masked in the server's words."""
        return self._connector.hidden

    @property
    def logs_in(self) -> bool:
        """True if its requests carry a login."""
        return self._connector.logs_in

    @property
    def is_idle(self) -> bool:
        """True if it has no session and nothing is under way."""
        return not self._sessions and not self._under_way

    def _end_request(self) -> None:
        self._under_way -= 1
        if self.is_idle:
            self._on_idle(self)

    def retire(self) -> None:
        """Take no new requests, and close after those under way."""
        self._retired = True
        for session in self._current.values():
            session.retire()

    async def wait_closed(self) -> None:
        """Wait until a retired connection is closed."""
        await asyncio.gather(*(session.wait_closed() for session in self._sessions))

    async def close(self) -> None:
        """Close now; requests under way fail."""
        self._retired = True
        await self._lookout.close()
        await asyncio.gather(*(session.close() for session in self._sessions))

    async def _run(self, work: Work[T], seconds: float | None, progress: "_Progress") -> T:
        """Do the work within the time-out, twice at most, and only if the first was surely not executed."""
        self._under_way += 1
        try:
            slot = nullcontext() if progress.has_slot else self._slots.take(progress.user)
            async with asyncio.timeout(seconds) as deadline, slot:
                progress.pause.deadline = deadline
                return await self._with_reconnect(work, progress)
        except asyncio.CancelledError:
            if progress.sent_at is not None and self._clock() - progress.sent_at >= PATIENCE_SECONDS:
                self._note_unanswered(progress)
            raise
        except TimeoutError:
            if not deadline.expired() or seconds is None:
                raise
            self._note_unanswered(progress)
            late: HubError = UpstreamTimedOut(self._server, seconds)
            if progress.sent_at is None:
                late = UpstreamUnavailable(self._server, f"The server {self._server!r} was not free or open in time.")
        finally:
            self._end_request()
        raise late

    async def _with_reconnect(self, work: Work[T], progress: "_Progress") -> T:
        outcome = await self._attempt(work, progress)
        if isinstance(outcome, NotExecuted):
            progress.sent_at = None
            outcome = await self._attempt(work, progress)
        if isinstance(outcome, NotExecuted):
            raise outcome.verdict
        return outcome

    async def _attempt(self, work: Work[T], progress: "_Progress") -> T | NotExecuted:
        """Do the work once.

        Errors are raised outside of every except clause, so that they carry no context that holds secrets.
        """
        async with self._use_session(progress) as (session, client):
            progress.sent_at = self._clock()
            try:
                result = await work(client)
            except MCPError as error:
                fault: HubError | NotExecuted = faults.to_call_error(self._server, error, self._connector.hidden)
            except wire.MalformedAnswer as error:
                fault = MalformedResult(self._server, error.place, error.answer)
            except ValidationError:
                fault = MalformedResult(self._server, "it is no result of what was asked for")
            except wire.InputRequired:
                fault = UpstreamRejected(self._server, -32603, "it asks for input, which the hub does not offer")
            except PeerRefused as refusal:
                fault = UpstreamRejected(self._server, refusal.code, f"it asks for input. {refusal.message}")
            else:
                self._circuit.succeed()
                session.answered += progress.is_call
                return result
            self._note_fault(fault, progress)
            session.answered += progress.is_call and not isinstance(fault, OutcomeUnknown)
            if isinstance(fault, TooLarge):
                session.retire()  # a transport may end with it
            if isinstance(fault, NotExecuted):
                session.retire()
                self._connector.forget()
                return fault
        raise fault

    @asynccontextmanager
    async def _use_session(self, progress: "_Progress") -> AsyncGenerator[tuple[Session, Client]]:
        session, client = await self._open_session(progress)
        with session.use(is_call=progress.is_call):
            yield session, client

    async def _open_session(self, progress: "_Progress") -> tuple[Session, Client]:
        if progress.is_call:
            await self._lookout.find_out()
        useless = 0
        while True:
            session = self._pick_session(progress.owner, skip_backoff=not progress.is_call)
            with session.await_use():
                opened = await session.wait_open()
                if isinstance(opened, NoPlaceError) and progress.is_patient:
                    continue
                if isinstance(opened, Exception):
                    fault = self._note_failure(session, opened)
                    raise fault()
                await self._lifespan.wait_turn(session, opened.session)
            if session.usable:
                break
            useless += not session.taken
            if useless == 2:
                fault = self._note_failure(session, ConnectionAbortedError("closed as soon as it was open"))
                raise fault()
        self._circuit.connect()
        return session, opened

    @asynccontextmanager
    async def _client(self, on_disconnect: OnDisconnect) -> AsyncGenerator[Client]:
        """Open a client that takes notices, and listens for changes of lists if anybody wants to know of them."""
        notices = Notices(self._on_change or _ignore, self._on_update)
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(self._connector.client(on_disconnect, notices))
            if self._on_change is not None:
                await stack.enter_async_context(listening(client.session, self._on_change))
            yield client

    def _note_failure(self, session: Session, error: Exception) -> Callable[[], HubError]:
        """Note the failure once, however many wait for the session; one of a login is nobody else's."""
        if isinstance(error, NoPlaceError):  # which is the hub's, and tells nothing of the server
            return partial(UpstreamUnavailable, self._server, error.words, RETRY_SECONDS)
        if self._connector.is_of_login(error):
            return self._connector.fault(error)
        if self._fault is None or session is not self._failed_session:
            self._failed_session = session
            self._fault = self._connector.fault(error)
            silent = self._connector.was_silent(error)
            self._connector.forget()
            if not silent or not self._circuit.seconds_left:  # during the pause, others have failed together with it
                self._circuit.fail(self._fault().message, silent=silent, decisive=isinstance(error, TimeoutError))
        return self._fault

    def _note_fault(self, fault: HubError | NotExecuted, progress: "_Progress") -> None:
        """Tell a server that said something, whatever it was, from one of which nothing was heard."""
        if isinstance(fault, OutcomeUnknown | UpstreamTimedOut):
            self._note_unanswered(progress)
        elif not isinstance(fault, NotExecuted | LoginNeeded):
            self._circuit.succeed()

    def _note_unanswered(self, progress: "_Progress") -> None:
        if progress.is_call and progress.sent_at is not None:
            self._lookout.note_unanswered()

    async def _knock(self) -> None:
        """Ask the server for any answer, over a new session if there is none."""
        total = self._connector.connect_timeout + 2 * wire.KNOCK_SECONDS
        await self._run(lambda client: wire.knock(client.session), total, _Progress(user=_HUB, is_call=False))

    def _note_silence(self) -> None:
        """Use the sessions no more: the next one begins with a question that wants an answer."""
        for session in self._current.values():
            session.retire()
        self._connector.forget()

    def _pick_session(self, owner: Hashable, *, skip_backoff: bool) -> Session:
        if self._retired:
            raise UpstreamUnavailable(self._server, f"The server {self._server!r} was changed or removed; try again.")
        key = self._key(owner)
        current = self._current.get(key)
        if current is not None and current.usable:
            return current
        if self._circuit.seconds_left and not skip_backoff:
            self.check()
            if (fault := self._fault) is not None:
                raise fault()
        self._current[key] = self._new_session(after=current)
        return self._current[key]

    def _key(self, owner: Hashable) -> Hashable:
        """Give the key of a caller's session: all share one, unless the server asks what nothing ties to a call."""
        if not self._connector.asks_alone:
            return _SHARED
        if shared := self._current.pop(_SHARED, None):
            shared.retire()
        if owner in self._current:
            return owner
        self._current = {key: session for key, session in self._current.items() if session.usable or key is _CROWD}
        return owner if len(self._current) < self._most_own else _CROWD

    def _new_session(self, after: Session | None) -> Session:
        """Open a session, which waits for the end of one that is closing, but not for requests on a retired one."""
        session = Session(
            self._client,
            after=after if after is not None and after.over else None,
            connect_timeout=self._connector.connect_timeout,
            idle_seconds=self._limits.idle_seconds,
            clock=self._clock,
            on_closed=self._note_closed,
            place=self._place,
        )
        self._sessions.add(session)
        return session

    def _note_closed(self, session: Session) -> None:
        self._sessions.discard(session)
        if session.error is not None and not self._retired:
            self._note_failure(session, session.error)  # all who waited for it may have gone
        if session.ended_itself:
            self._lifespan.note_end(session)
        if self.is_idle:
            self._on_idle(self)


def _take_no_place(_session: Session) -> AbstractAsyncContextManager[None]:
    """Let a session that is not a command's open at once."""
    return nullcontext()


def _ignore() -> None:
    """Do nothing with a change of a server's lists."""


@dataclass
class _Progress:
    """Progress of a request of one owner: `sent_at` once the SDK has it; one that is no call waits out no pause.

    `user` is the one whose share of the slots it takes, unless it has a slot already. One that `is_patient` waits for
    a command's place as long as its time-out lets it.
    """

    owner: Hashable = None
    user: Hashable = None
    has_slot: bool = False
    is_call: bool = True
    is_patient: bool = False
    sent_at: float | None = None
    pause: Pause = field(default_factory=Pause)
