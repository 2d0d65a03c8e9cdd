"""The HTTP server of the API."""

import asyncio
import signal
import socket
import sys
import time
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI
from sse_starlette.sse import AppStatus
from uvicorn.protocols.http.flow_control import CLOSE_HEADER

from nexus_hub.api.connections import HttpConnection, ServerConfig, ServingLimits
from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.event_loop import assume_asyncio
from nexus_hub.execution.ending import Ending

DEFAULT_LIMITS = ServingLimits()
HANDLES_AT, ALL_AT = 0.6, 0.8
"""Parts of the grace after which callers that take a handle get one, and then all get an answer."""
_START_FAILED = 3


class Server(uvicorn.Server):
    """Ends in two steps: first balancers hear of it and take it out, then what is under way ends.

    The streams, which would not end by themselves, are ended before it waits for the open requests.
    """

    def __init__(self, app: FastAPI, host: str, port: int, limits: ServingLimits = DEFAULT_LIMITS) -> None:
        self._app = app
        self._limits = limits
        self._stops_at: float | None = None
        self._is_announced = False
        # Else it ends all answers that are streams, such as those to calls of the older era, when the process is told
        # to stop: streams without an end of their own are ended in `shutdown`.
        AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]
        super().__init__(
            ServerConfig(
                app,
                limits,
                host=host,
                port=port,
                access_log=False,
                log_config=None,
                log_level="warning",
                timeout_graceful_shutdown=limits.api_grace_seconds,
            )
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain at the first signal; end at once at the second, as by a SIGKILL."""
        del frame
        if self._stops_at is not None:
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        self._captured_signals.append(sig)
        self.drain()

    def drain(self) -> None:
        """Let `/readyz` say from now on that this process stops, and stop when the time of draining is over."""
        self._app.state.draining = True
        self._stops_at = time.monotonic() + self._limits.drain_seconds

    async def on_tick(self, counter: int) -> bool:
        """Look if it is time to stop; clients are to bring their next requests elsewhere before."""
        if self._stops_at is not None:
            if not self._is_announced:
                self._announce_close()
            self.should_exit = self.should_exit or time.monotonic() >= self._stops_at
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then stop."""
        self._app.state.draining = True
        self._announce_close()
        self._app.state.runtime.drain()
        self._app.state.gateway.subscriptions.close()
        ending = asyncio.create_task(self._end_calls())
        try:
            await self._finish()
            await super().shutdown(sockets)
        finally:
            await cancel_and_wait(ending)

    async def _finish(self) -> None:
        """Let what is under way end, before this process stops to listen, where balancers were given time to leave it.

        One that can't connect takes a process for dead, and cuts off what it still has there.
        """
        if self._limits.drain_seconds:
            until = time.monotonic() + self._limits.api_grace_seconds
            while (tasks := set(self.server_state.tasks)) and (left := until - time.monotonic()) > 0:
                await asyncio.wait(tasks, timeout=left)
            self.config.timeout_graceful_shutdown = max(1, round(until - time.monotonic()))

    async def _end_calls(self) -> None:
        """Answer, before the grace is over, the callers that wait at calls which take longer."""
        grace = self._limits.api_grace_seconds
        await asyncio.sleep(grace * HANDLES_AT)
        self._app.state.runtime.end_calls(Ending.HANDLES)
        await asyncio.sleep(grace * (ALL_AT - HANDLES_AT))
        self._app.state.runtime.end_calls(Ending.ALL)

    def _announce_close(self) -> None:
        """Let each answer say that its connection ends with it."""
        if self._is_announced:
            return
        self._is_announced = True
        self.config.encoded_headers.append(CLOSE_HEADER)
        self.server_state.default_headers = [*self.server_state.default_headers, CLOSE_HEADER]
        for connection in self.server_state.connections:
            if isinstance(connection, HttpConnection):
                connection.announce_close()


def serve(app: FastAPI, host: str, port: int, limits: ServingLimits) -> None:
    """Serve until a signal comes.

    Raises:
        SystemExit: it could not start.
    """
    server = Server(app, host, port, limits)
    assume_asyncio()
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(_START_FAILED)
