"""The HTTP server of the API."""

import socket
import sys
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from nexus_hub.api.connections import ServerConfig, ServingLimits

GRACE_SECONDS = 10
"""The time that requests may take to end once the API is told to stop; `up` gives it 15 s."""
DEFAULT_LIMITS = ServingLimits()
_START_FAILED = 3


class Server(uvicorn.Server):
    """Ends the streams, which would not end by themselves, before it waits for the open requests."""

    def __init__(self, app: FastAPI, host: str, port: int, limits: ServingLimits = DEFAULT_LIMITS) -> None:
        self._app = app
        super().__init__(
            ServerConfig(
                app,
                limits,
                host=host,
                port=port,
                access_log=False,
                log_config=None,
                log_level="warning",
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then stop."""
        self._app.state.runtime.feed.close()
        await super().shutdown(sockets)


def serve(app: FastAPI, host: str, port: int, limits: ServingLimits) -> None:
    """Serve until a signal comes.

    Raises:
        SystemExit: it could not start.
    """
    server = Server(app, host, port, limits)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(_START_FAILED)
