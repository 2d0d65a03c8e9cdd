"""Connections of the HTTP server: how many are open, and how long one may take to send a request or read an answer."""

import asyncio
from dataclasses import dataclass
from typing import Any, Self

import h11
import uvicorn
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from nexus_hub.api.problems import Problem, from_error
from nexus_hub.errors import RequestTimedOut
from nexus_hub.settings import Settings

LINGER_SECONDS = 2.0
"""Time for a client to read an answer that was given before its body had arrived."""
KEEP_ALIVE_SECONDS = 75
"""Longer than proxies and clients keep a connection without a request: it's theirs to end one, or a request is lost."""
SEND_BYTES = 256 * 1024
KNOWN = "nexus_hub.known"
"""The member of a request's state that is called once its sender is known."""


@dataclass(frozen=True, slots=True)
class ServingLimits:
    """Limits of connections and of the server's end, and proxies that are believed; see the settings of these names."""

    max_connections: int = 800
    header_seconds: float = 10
    send_seconds: float = 30
    drain_seconds: float = 0
    api_grace_seconds: int = 10
    trusted_proxies: str = "127.0.0.1"

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Take the limits from the settings."""
        return cls(
            settings.max_connections,
            settings.header_seconds,
            settings.send_seconds,
            settings.drain_seconds,
            settings.api_grace_seconds,
            settings.trusted_proxies,
        )


class OpenConnections:
    """Open connections of a process: where there are too many, the one that has been without a request longest goes.

    A request counts from the moment in which its sender is known until it is answered: whoever has no token that is
    known keeps nobody out, whatever the hub waits for meanwhile.
    """

    def __init__(self, limits: ServingLimits) -> None:
        self.limits = limits
        self._open: set[HttpConnection] = set()
        self._without_request: dict[HttpConnection, None] = {}

    def admit(self, connection: "HttpConnection") -> bool:
        """Count a new connection, in another one's place if need be; False if all have a request that counts."""
        if len(self._open) >= self.limits.max_connections:
            oldest = next(iter(self._without_request), None)
            if oldest is None:
                return False
            self.forget(oldest)
            oldest.transport.abort()
        self._open.add(connection)
        self._without_request[connection] = None
        return True

    def begin_request(self, connection: "HttpConnection") -> None:
        """Note that a connection has a request of somebody who is known."""
        self._without_request.pop(connection, None)

    def end_request(self, connection: "HttpConnection") -> None:
        """Note that a connection has none any more, the last in the row of those."""
        if connection in self._open:
            self._without_request.pop(connection, None)
            self._without_request[connection] = None

    def forget(self, connection: "HttpConnection") -> None:
        """Count a connection no longer."""
        self._open.discard(connection)
        self._without_request.pop(connection, None)


class ServerConfig(uvicorn.Config):
    """Uvicorn's configuration, with the connections that are open."""

    def __init__(self, app: Any, limits: ServingLimits, **options: Any) -> None:
        self.connections = OpenConnections(limits)
        own: dict[str, Any] = {"timeout_keep_alive": KEEP_ALIVE_SECONDS, "forwarded_allow_ips": limits.trusted_proxies}
        options = own | options
        super().__init__(app, http=HttpConnection, ws="none", **options)


class HttpConnection(H11Protocol):
    """A connection that is ended if a head does not arrive, a body is not wanted, or an answer is not read."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        assert isinstance(config, ServerConfig)  # noqa: S101 - which made it
        self._all = config.connections
        self._limits = config.connections.limits
        self.app_state = app_state | {KNOWN: self._note_known}
        self._deadline: asyncio.TimerHandle | None = None
        self._reader_check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head, or refuse where all connections are in use."""
        super().connection_made(transport)
        if self._all.admit(self):
            self._expect(self._limits.header_seconds)
        else:
            message = "All connections of this hub are in use; try again in a moment (NEXUS_MAX_CONNECTIONS)."
            self._refuse(Problem(503, "too-many-connections", message, headers={"Retry-After": "1"}))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._all.forget(self)
        self._expect(None)
        self._stop_reader_check()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; the next head has its time from its first byte."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._is_busy():
            self._expect(None)
        elif self._deadline is None:
            self._expect(self._limits.header_seconds)

    def on_response_complete(self) -> None:
        """Wait for the next head; of a body that nobody read, only for a moment."""
        super().on_response_complete()
        if not self._is_busy():  # nor has a pipelined request begun
            self._all.end_request(self)
            if not self.transport.is_closing() and self.conn.their_state is h11.SEND_BODY:
                self._expect(LINGER_SECONDS)
        if self.transport.get_write_buffer_size():
            self._begin_reader_check()

    def pause_writing(self) -> None:
        """Write no more until the reader has read, and look at whether it reads at all."""
        super().pause_writing()
        self._begin_reader_check()

    def resume_writing(self) -> None:
        """Write on."""
        super().resume_writing()
        self._stop_reader_check()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, as any other problem."""
        _ = msg
        if self.cycle is not None:  # whoever reads its body learns that there is no more
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._refuse(Problem(400, "invalid-request", "This is no HTTP request that the hub can read."))

    def announce_close(self) -> None:
        """Let the answer to the request that is under way say that the connection ends with it, if it has not begun."""
        if self.cycle is not None:
            self.cycle.default_headers = [*self.cycle.default_headers, CLOSE_HEADER]

    def _note_known(self) -> None:
        if self._is_busy():
            self._all.begin_request(self)

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect(self, seconds: float | None) -> None:
        """Give the client so much time for what is awaited of it, in place of what was awaited before."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        self._deadline = None
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._refuse(from_error(RequestTimedOut("head", self._limits.header_seconds, "NEXUS_HEADER_SECONDS")))
        else:
            self._close()

    def _refuse(self, problem: Problem) -> None:
        """Answer with a problem where an answer can still be given, and close."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            problem.headers["Connection"] = "close"
            for event in (
                h11.Response(status_code=problem.status_code, headers=problem.raw_headers),
                h11.Data(data=bytes(problem.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self._close()

    def _close(self) -> None:
        """Close once what was written has gone, or with it if it does not go."""
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._begin_reader_check()

    def _begin_reader_check(self) -> None:
        self._stop_reader_check()
        unread = self.transport.get_write_buffer_size()
        self._reader_check = self.loop.call_later(self._limits.send_seconds, self._check_reader, unread)

    def _stop_reader_check(self) -> None:
        if self._reader_check is not None:
            self._reader_check.cancel()
            self._reader_check = None

    def _check_reader(self, before: int) -> None:
        """Drop a connection whose reader is too slow, and with it what waits for it."""
        self._reader_check = None
        unread = self.transport.get_write_buffer_size()
        if unread > max(before - SEND_BYTES, 0):
            self.transport.abort()
        elif unread:
            self._begin_reader_check()
