"""Live connections to upstream MCP servers: at most one per server and revision of its configuration."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from nexus_hub.errors import InvalidConfig
from nexus_hub.json_object import JsonObject
from nexus_hub.models import ServerRef
from nexus_hub.telemetry.logs import quiet_libraries
from nexus_hub.upstream import addresses
from nexus_hub.upstream.addresses import Resolve
from nexus_hub.upstream.backoff import ConnectBackoff
from nexus_hub.upstream.config import HttpConfig, StdioConfig
from nexus_hub.upstream.connection import Connection, ConnectionLimits
from nexus_hub.upstream.connector import Connector
from nexus_hub.upstream.requests import OnProgress, UpstreamRequest
from nexus_hub.upstream.snapshot import DEFAULT_LIMITS, READ_SECONDS, ReadLimits, Snapshot

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
        max_bytes: int = 32 * 1024 * 1024,
        read_limits: ReadLimits = DEFAULT_LIMITS,
        resolve: Resolve = addresses.resolve,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._log_dir = log_dir
        self._limits = ConnectionLimits(idle_seconds, concurrency, max_bytes, read_limits)
        self._http_seconds = connect_timeout or CONNECT_SECONDS
        self._command_seconds = command_timeout or connect_timeout or COMMAND_CONNECT_SECONDS
        self._resolve = resolve
        self._clock = clock
        self._jitter = jitter
        self._held: dict[ServerRef, tuple[int, Connection]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._retired: set[Connection] = set()
        self._open = False

    async def __aenter__(self) -> Self:
        quiet_libraries()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        held = [connection for _, connection in self._held.values()]
        self._held.clear()
        await asyncio.gather(*(connection.close() for connection in {*held, *self._retired}))
        await asyncio.gather(*self._closing)

    async def request(
        self,
        target: Target,
        request: UpstreamRequest,
        *,
        timeout: float | None,
        on_progress: OnProgress | None = None,
    ) -> JsonObject:
        """Send a request and return the MCP result as on the wire; `timeout` is in seconds and covers everything.

        Cancelling the awaiting task cancels the request at the server. Raises UpstreamUnavailable and
        ForbiddenAddress when the request surely had no effect, OutcomeUnknown and UpstreamTimedOut when it may have
        had one, UpstreamRejected for a JSON-RPC error, TooLarge for an answer over `max_bytes`.
        """
        return await self._connection_to(target).request(request, timeout, on_progress)

    async def inspect(self, target: Target, *, timeout: float | None = READ_SECONDS) -> Snapshot:
        """Read what the server says about itself and all it offers; errors as for `request`.

        The `timeout` begins once the session is open. What can't be had is left out and named.
        """
        return await self._connection_to(target).inspect(timeout)

    async def forget(self, ref: ServerRef) -> None:
        """Close the connection to a server once its requests under way have ended; it returns at once."""
        held = self._held.pop(ref, None)
        if held is not None:
            self._retire(held[1])

    def _connection_to(self, target: Target) -> Connection:
        """Get the connection for a target, or for a newer revision of it if there is one already."""
        if not self._open:
            raise RuntimeError("Connections are used inside 'async with'.")
        held = self._held.get(target.ref)
        if held is not None and held[0] >= target.revision:
            return held[1]
        connection = self._connect(target)
        if held is not None:
            self._retire(held[1])
        self._held[target.ref] = (target.revision, connection)
        return connection

    def _connect(self, target: Target) -> Connection:
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
        )
        return Connection(connector, self._limits, self._clock, ConnectBackoff(self._clock, self._jitter))

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
