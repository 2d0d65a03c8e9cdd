"""Live connections to upstream MCP servers: one per server, login and revision of the configuration.

Slots and the circuit are the server's, whatever the login. There is one more connection in the older era for clients
of that era that a server may ask in the middle of a call. Servers of both eras ask on the connection itself, which the
newer one does not have, unless they were written for that.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

from mcp import ClientSession
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from nexus_hub.errors import InvalidConfig, UpstreamUnavailable
from nexus_hub.json_object import JsonObject
from nexus_hub.models import ServerRef
from nexus_hub.telemetry.logs import quiet_libraries
from nexus_hub.upstream import addresses
from nexus_hub.upstream.addresses import Resolve
from nexus_hub.upstream.children import Children, ServerChildren
from nexus_hub.upstream.circuit import Circuit, Circuits
from nexus_hub.upstream.config import HttpConfig, StdioConfig
from nexus_hub.upstream.connection import Connection, ConnectionLimits
from nexus_hub.upstream.connector import Connector
from nexus_hub.upstream.credentials import CredentialSource
from nexus_hub.upstream.peer import Peer, select_askable
from nexus_hub.upstream.requests import OnProgress, UpstreamRequest
from nexus_hub.upstream.session import Session
from nexus_hub.upstream.slots import FairSlots
from nexus_hub.upstream.snapshot import DEFAULT_LIMITS, READ_SECONDS, ReadLimits, Snapshot
from nexus_hub.upstream.subscriptions import OnUpdate, ResourceSubscriptions

OnListChanged = Callable[[ServerRef, str], None]
"""Called with a server and its name."""
CONNECT_SECONDS = 15.0
COMMAND_CONNECT_SECONDS = 90.0
"""Commands such as npx, uvx and docker fetch their program first where it is not there yet."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server as a connection needs it.

    `revision` grows with every change of the configuration; `guarded` keeps it to public addresses;
    `protocol_version` is the one that it spoke last, if that is known.
    """

    ref: ServerRef
    name: str
    config: HttpConfig | StdioConfig = field(repr=False)
    revision: int
    guarded: bool
    protocol_version: str | None = None
    credentials: CredentialSource | None = field(default=None, repr=False, compare=False)
    login_of: UUID | None = field(default=None, repr=False, compare=False)
    """The user whose own login the credentials are; None where there is one for all."""

    @property
    def key(self) -> "Key":
        """The connection that it goes by."""
        return self.ref, self.login_of


Key = tuple[ServerRef, UUID | None]
"""A server, and the user whose login a connection to it uses."""


class Connections:
    """Sends requests to upstream servers and keeps what is needed for it open.

    Use it as an async context manager, in one event loop. A server that is dead or slow holds up no other. Standard
    error of children goes to files in `log_dir`, of mode 0600 and bounded size, or nowhere when it is None.
    """

    def __init__(
        self,
        *,
        log_dir: Path | None,
        connect_timeout: float | None = None,
        command_timeout: float | None = None,
        idle_seconds: float = 300.0,
        concurrency: int = 64,
        user_share: float = 0.5,
        max_bytes: int = 32 * 1024 * 1024,
        read_limits: ReadLimits = DEFAULT_LIMITS,
        children: Children | None = None,
        resolve: Resolve = addresses.resolve,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._log_dir = log_dir
        self._limits = ConnectionLimits(idle_seconds, concurrency, user_share, max_bytes, read_limits)
        self._http_seconds = connect_timeout or CONNECT_SECONDS
        self._command_seconds = command_timeout or connect_timeout or COMMAND_CONNECT_SECONDS
        self._resolve = resolve
        self._clock = clock
        self.children = Children() if children is None else children
        """The commands that run for servers in this process."""
        self.circuits = Circuits(clock, jitter)
        self._held: dict[Key, tuple[int, Connection]] = {}
        self._older: dict[Key, tuple[int, Connection | None]] = {}
        self._slots: dict[ServerRef, FairSlots] = {}
        self._revisions: dict[ServerRef, int] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._retired: set[Connection] = set()
        self._on_change: OnListChanged | None = None
        self._subscribed: dict[Key, tuple[Target, ResourceSubscriptions]] = {}
        self._open = False

    async def __aenter__(self) -> Self:
        quiet_libraries()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        await asyncio.gather(*(subscriptions.close() for _, subscriptions in self._subscribed.values()))
        held = [connection for _, connection in (*self._held.values(), *self._older.values()) if connection]
        self._held.clear()
        self._older.clear()
        await asyncio.gather(*(connection.close() for connection in {*held, *self._retired}))
        await asyncio.gather(*self._closing)

    def check(self, target: Target) -> None:
        """Say at once if no call is sent to a server now, since it does not answer.

        Raises:
            CircuitOpen: that is so; since when, and until when.
        """
        self._connection_to(target).check()

    def slot(self, target: Target, user_id: UUID | None, *, patience: float) -> AbstractAsyncContextManager[None]:
        """Hold one of a server's slots, for a request that is made with `has_slot` as long as the block runs.

        Raises:
            CircuitOpen: as `check`; nobody waits for such a server.
            TooMany: none was free for so many seconds.
        """
        return self._connection_to(target).slot(user_id, patience)

    async def request(
        self,
        target: Target,
        request: UpstreamRequest,
        *,
        timeout: float | None,
        on_progress: OnProgress | None = None,
        peer: Peer | None = None,
        user_id: UUID | None = None,
        has_slot: bool = False,
    ) -> JsonObject:
        """Send a request and return the MCP result as on the wire; `timeout` is in seconds and covers everything.

        The server may ask `peer`, the client behind the call, in the middle of it; meanwhile the time-out stands still.
        One that takes rounds gets a wish for input as the result, of the type `input_required`. Log messages of the
        call go to the peer, too.

        Requests of the same user (None: the operator) take no more than a share of the server's slots, and wait for
        one within the time-out, unless one is held for them already: see `slot`. Cancelling the
        awaiting task cancels the request at the server. Raises UpstreamUnavailable, CircuitOpen among them, and
        ForbiddenAddress when the request surely had no effect, OutcomeUnknown and UpstreamTimedOut when it may have
        had one, UpstreamRejected for a JSON-RPC error, TooLarge for an answer over `max_bytes`.
        """
        older = self._older_connection_to(target) if self._is_asked_back(target, peer) else None
        if older is not None:
            try:
                return await older.request(request, timeout, on_progress, peer, user_id, has_slot=has_slot)
            except UpstreamUnavailable:  # the call has not reached it, so it may go the other way
                self._older[target.key] = (target.revision, None)
                self._retire(older)
        connection = self._connection_to(target)
        return await connection.request(request, timeout, on_progress, peer, user_id, has_slot=has_slot)

    async def inspect(self, target: Target, *, timeout: float | None = READ_SECONDS) -> Snapshot:
        """Read what the server says about itself and all it offers; errors as for `request`.

        The `timeout` begins once the session is open. What can't be had is left out and named.
        """
        return await self._connection_to(target).inspect(timeout)

    def on_list_changed(self, on_change: OnListChanged) -> None:
        """Have a function called whenever a server with an open connection says that its lists changed.

        Servers of 2026-07-28 are asked to say so, on connections that are opened from now on.
        """
        self._on_change = on_change

    async def subscribe(self, target: Target, uri: str, on_update: OnUpdate) -> None:
        """Have a function called at each update of a resource; its server knows of one subscription to each URI.

        The connection stays open meanwhile, and is made again when it was lost: then the function is called too, since
        updates may have been missed. Raises UpstreamRejected when the server takes no such subscription, and errors as
        for `request` when it can't be reached.
        """
        held = self._subscribed.get(target.key)
        if held is None:
            hold, hidden = partial(self._hold, target.key), partial(self._hidden, target.key)
            subscriptions = ResourceSubscriptions(target.name, hold, hidden)
        else:
            target, subscriptions = max(held[0], target, key=lambda one: one.revision), held[1]
        self._subscribed[target.key] = target, subscriptions
        await subscriptions.add(uri, on_update)

    def unsubscribe(self, target: Target, uri: str, on_update: OnUpdate) -> None:
        """Call a function no more at updates of a resource."""
        if target.key in self._subscribed:
            self._subscribed[target.key][1].remove(uri, on_update)

    @asynccontextmanager
    async def _hold(self, key: Key) -> AsyncGenerator[tuple[Session, ClientSession]]:
        async with self._connection_to(self._subscribed[key][0]).hold() as held:
            yield held

    def _hidden(self, key: Key) -> tuple[str, ...]:
        return self._connection_to(self._subscribed[key][0]).hidden

    def _note_update(self, key: Key, uri: str) -> None:
        if key in self._subscribed:
            self._subscribed[key][1].note(uri)

    async def forget(self, ref: ServerRef) -> None:
        """Close the connections to a server once their requests under way have ended; it returns at once."""
        self.circuits.forget(ref)
        self._slots.pop(ref, None)
        self._revisions.pop(ref, None)
        self._close_all(lambda key, _: key[0] == ref)

    def disconnect(self, ref: ServerRef) -> None:
        """Close the connections to a server that is switched off or gone, once their requests have ended."""
        self._close_all(lambda key, _: key[0] == ref)

    def forget_login(self, ref: ServerRef, user_id: UUID | None) -> None:
        """Open sessions anew that use a login which has changed: a session may belong to an account."""
        self._close_all(lambda key, _: key[0] == ref and key[1] in (None, user_id))

    def forget_logins(self) -> None:
        """Open all sessions anew that use a login: any of these may have changed unheard."""
        self._close_all(lambda _, held: held is not None and held.logs_in)

    def _close_all(self, is_meant: Callable[[Key, Connection | None], bool]) -> None:
        for connections in (self._held, self._older):
            for key in [key for key, (_, held) in connections.items() if is_meant(key, held)]:
                if (held := connections.pop(key)[1]) is not None:
                    self._retire(held)

    def _connection_to(self, target: Target) -> Connection:
        """Get the connection for a target, or for a newer revision of it if there is one already."""
        if not self._open:
            raise RuntimeError("Connections are used inside 'async with'.")
        key = target.ref, target.login_of
        held = self._held.get(key)
        if held is not None and held[0] >= target.revision:
            return held[1]
        connection = self._connect(target)
        if held is not None:
            self._retire(held[1])
        self._held[key] = (target.revision, connection)
        return connection

    def _is_asked_back(self, target: Target, peer: Peer | None) -> bool:
        """Tell if a server of both eras may want to ask the client in a way that only the older era has.

        Not so for a command, of which there would be two.
        """
        return (
            peer is not None
            and peer.speaks_older
            and isinstance(target.config, HttpConfig)
            and target.protocol_version in MODERN_PROTOCOL_VERSIONS
            and bool(select_askable(peer.capabilities))
        )

    def _older_connection_to(self, target: Target) -> Connection | None:
        """Get the connection in the older era; None if the server does not speak it."""
        held = self._older.get(target.key)
        if held is not None and held[0] >= target.revision:
            return held[1]
        if held is not None and held[1] is not None:
            self._retire(held[1])
        connection = self._connect(target, is_older=True)
        self._older[target.key] = (target.revision, connection)
        return connection

    def _connect(self, target: Target, *, is_older: bool = False) -> Connection:
        if target.guarded and isinstance(target.config, StdioConfig):
            raise InvalidConfig(f"The server {target.name!r} belongs to a user and can only be reached by HTTP.")
        connector = Connector(
            target.name,
            target.config,
            guarded=target.guarded,
            resolve=self._resolve,
            log=self._log_path(target.ref),
            max_bytes=self._limits.max_bytes,
            connect_timeout=self._connect_timeout(target.config),
            max_listing_bytes=self._limits.read.listing_bytes,
            protocol_version=target.protocol_version,
            is_older=is_older,
            credentials=target.credentials,
        )
        return Connection(
            connector,
            self._limits,
            self._clock,
            self._circuit_of(target),
            self._slots_of(target),
            on_change=partial(self._on_change, target.ref, target.name) if self._on_change else None,
            on_update=partial(self._note_update, target.key),
            on_idle=partial(self._drop_idle, target.key) if target.login_of else _keep,
            children=ServerChildren(self.children, target.ref, target.name) if connector.is_command else None,
        )

    def _circuit_of(self, target: Target) -> Circuit:
        """Give the circuit of a server, a new one for a changed configuration."""
        known = self._revisions.setdefault(target.ref, target.revision)
        if target.revision <= known:
            return self.circuits.of(target.ref)
        self._revisions[target.ref] = target.revision
        return self.circuits.renew(target.ref)

    def _slots_of(self, target: Target) -> FairSlots:
        """Give the slots that all logins of a server share."""
        if target.ref not in self._slots:
            self._slots[target.ref] = FairSlots(target.name, self._limits.concurrency, self._limits.user_share)
        return self._slots[target.ref]

    def _drop_idle(self, key: Key, connection: Connection) -> None:
        """Forget the connection of a user's own login that has no session any more, of which there may be many."""
        for connections in (self._held, self._older):
            if key in connections and connections[key][1] is connection:
                del connections[key]
        if key in self._subscribed and self._subscribed[key][1].is_idle:
            del self._subscribed[key]

    def _connect_timeout(self, config: HttpConfig | StdioConfig) -> float:
        general = self._command_seconds if isinstance(config, StdioConfig) else self._http_seconds
        return config.connect_seconds or general

    def _log_path(self, ref: ServerRef) -> Path | None:
        return self._log_dir / f"{ref.server_type}-{ref.server_ref_id}.log" if self._log_dir else None

    def _retire(self, connection: Connection) -> None:
        connection.retire()
        self._retired.add(connection)
        task = asyncio.create_task(connection.wait_closed())
        self._closing.add(task)
        task.add_done_callback(lambda done: self._discard(connection, done))

    def _discard(self, connection: Connection, task: asyncio.Task[None]) -> None:
        self._retired.discard(connection)
        self._closing.discard(task)


def _keep(_connection: Connection) -> None:
    """Keep a connection that is idle: it knows its server."""
