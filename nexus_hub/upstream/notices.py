"""Notices: what a server says unasked, and for whom it is.

A change of its lists is for the hub, an update of a resource for those who subscribed to it, and a log message for the
client of the call that it is about. They are taken from the session's streams before the SDK sees them.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from mcp.shared.message import SessionMessage
from mcp_types import LOG_LEVEL_META_KEY, JSONRPCNotification

from nexus_hub.upstream.peer import Peer

LIST_CHANGED = frozenset(f"notifications/{kind}/list_changed" for kind in ("tools", "resources", "prompts"))
UPDATED = "notifications/resources/updated"
MESSAGE = "notifications/message"
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
MOST_PER_SECOND = 1000
"""Notices of one session that are read in a second: a server that says more is read more slowly."""
MOST_WAITING = 256
"""Log messages that wait for their client; of more the oldest are dropped."""
DELIVERY_SECONDS = 1.0
"""The longest that the end of a call waits for its last log messages to be taken."""

_log = logging.getLogger(__name__)


def read_level(meta: Mapping[str, Any] | None) -> str | None:
    """Read the level of log messages that a request asks for in its metadata."""
    level = (meta or {}).get(LOG_LEVEL_META_KEY)
    return level if isinstance(level, str) and level in LEVELS else None


class LogRelay:
    """Passes the log messages of a call on to its client, in order and without holding up what else its server says.

    Messages below `level` are left out.
    """

    def __init__(self, peer: Peer | None, level: str | None = None) -> None:
        self._peer = peer
        self._level = level
        self._waiting: deque[dict[str, Any]] = deque(maxlen=MOST_WAITING)
        self._delivery: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the last messages of a call that went well."""
        delivery, self._peer = self._delivery, None
        if delivery is None:
            return
        try:
            if error is None:
                await asyncio.wait([delivery], timeout=DELIVERY_SECONDS)
        finally:
            delivery.cancel()

    def put(self, params: dict[str, Any]) -> None:
        """Take the parameters of a `notifications/message`."""
        if self._peer is None or self._is_below(params.get("level")):
            return
        self._waiting.append(params)
        if self._delivery is None or self._delivery.done():
            self._delivery = asyncio.create_task(self._deliver(self._peer), name="upstream-log")

    def _is_below(self, level: object) -> bool:
        return self._level is not None and level in LEVELS and LEVELS.index(str(level)) < LEVELS.index(self._level)

    async def _deliver(self, peer: Peer) -> None:
        while self._waiting:
            try:
                await peer.log(self._waiting.popleft())
            except Exception as error:
                _log.debug("A log message was not delivered: %s.", type(error).__name__)


class Notices:
    """Notices of one session."""

    def __init__(
        self,
        on_change: Callable[[], None],
        on_update: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_change = on_change
        self._on_update = on_update
        self._clock = clock
        self._second = clock()
        self._count = 0

    async def take(self, item: object, find_logs: Callable[[SessionMessage], LogRelay | None]) -> bool:
        """Take a notice from what a server sends; False for everything that is none of ours."""
        if not isinstance(item, SessionMessage) or not isinstance(item.message, JSONRPCNotification):
            return False
        await self._slow_down()
        method, params = item.message.method, item.message.params or {}
        if method in LIST_CHANGED:
            self._on_change()
        elif method == UPDATED and isinstance(uri := params.get("uri"), str):
            self._on_update(uri)
        elif method == MESSAGE and (logs := find_logs(item)) is not None:
            logs.put(params)
        return method in LIST_CHANGED or method in {UPDATED, MESSAGE}

    async def _slow_down(self) -> None:
        """Read a server that says too much more slowly, which holds up its own calls and nobody else's."""
        now = self._clock()
        if now - self._second >= 1:
            self._second, self._count = now, 0
        self._count += 1
        if self._count > MOST_PER_SECOND:
            await asyncio.sleep(self._second + 1 - now)
