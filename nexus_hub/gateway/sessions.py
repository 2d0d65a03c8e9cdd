"""Sessions of the older era: kept by the process that opened them, and served by the others as far as that goes.

A session's id says which process opened it. Another process, behind a proxy without stickiness or after a restart,
knows nothing of the session, and answers each of its requests by itself: what needs the session is refused, all else
works.
"""

import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp.server import Server
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import ASGIApp, Message, Scope, Send

from nexus_hub.cancellation import in_own_task
from nexus_hub.gateway.asked import SESSION
from nexus_hub.gateway.shared_sessions import SessionUse, SharedSessions

_HEADER = MCP_SESSION_ID_HEADER.encode()
_ID = re.compile(rb"([0-9a-f]{16})-([0-9a-f]{32})")


class Sessions:
    """The SDK's managers of sessions: one that keeps them, and one that serves requests without."""

    def __init__(self, server: Server[Any], shared: SharedSessions, *, max_body_bytes: int, max_sessions: int) -> None:
        self._shared = shared
        self._mark = secrets.token_hex(8).encode()
        """Tells the sessions of this process from those of others, also of one before a restart."""
        self._keeping = StreamableHTTPSessionManager(
            server, max_request_body_size=max_body_bytes, max_sessions=max_sessions
        )
        self._passing = StreamableHTTPSessionManager(server, stateless=True, max_request_body_size=max_body_bytes)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve sessions as long as the block runs."""
        async with in_own_task(self._keeping.run()), in_own_task(self._passing.run()):
            yield

    @property
    def open(self) -> int:
        """The sessions that this process keeps."""
        return len(self._keeping._server_instances)  # the SDK tells of them nowhere else

    def route(self, scope: Scope) -> ASGIApp:
        """Choose who serves a request; of a session of this process the SDK is given the id that it knows."""
        session = next((value for name, value in scope["headers"] if name == _HEADER), b"")
        found = _ID.fullmatch(session)
        if found is None:
            return self._keeping.handle_request
        mark, own_id = found.groups()
        use = scope[SESSION] = SessionUse(session.decode(), self._shared, foreign=mark != self._mark)
        if use.foreign:
            self._shared.tell(use.id)
            return self._passing.handle_request
        scope["headers"] = [(name, own_id if name == _HEADER else value) for name, value in scope["headers"]]
        return self._keeping.handle_request

    def wrap(self, send: Send) -> Send:
        """Give a `send` that says in a session's id which process opened it."""

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    (name, self._mark + b"-" + value if name.lower() == _HEADER else value)
                    for name, value in message["headers"]
                ]
                message = {**message, "headers": headers}
            await send(message)

        return send_marked
