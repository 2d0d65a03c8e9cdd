"""Limiter of calls to a server, in the database so that all processes share it."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from nexus_hub.errors import DatabaseUnavailable
from nexus_hub.rate_limit.bound import Bound
from nexus_hub.telemetry.bus import emit
from nexus_hub.telemetry.events import LimitDecided

logger = logging.getLogger(__name__)
RATE_LIMIT = load("rate_limit")
_TAKE = b"\n".join([RATE_LIMIT["be_brief"], RATE_LIMIT["take_rate_limit"]])
LONGEST_WAIT_SECONDS = 3.0
"""For a connection and an answer: the database itself gives up a statement after 2."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Calls in any minute: of all users of a server together, and of each one of them; None is no limit."""

    per_minute: int | None = None
    per_user: int | None = None

    def __bool__(self) -> bool:
        return self.per_minute is not None or self.per_user is not None


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to a call that wants to go; `retry_after` in seconds if it may not, `remaining` calls if known."""

    allowed: bool
    remaining: int | None
    retry_after: float


@dataclass(frozen=True, slots=True)
class Usage:
    """The state of a limit that is partly used up; `retry_after` and `reset_after` in seconds."""

    scope: Literal["server", "user"]
    quota: int
    remaining: int
    retry_after: float
    reset_after: float


class Limiter:
    """Takes calls from both limits of a server, of which the stricter wins.

    No sliding minute holds more calls than a limit. While the database gives no answer, each process keeps to the
    limits by itself: it counts the calls that it let out in the last minute, whoever admitted them. It does so at all
    times, since the database does not know of those that went out without it.
    """

    def __init__(
        self,
        database: Database,
        *,
        longest_wait: float = LONGEST_WAIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._longest_wait = longest_wait
        self._bound = Bound(clock)

    async def take(self, server_id: UUID, user_id: UUID | None, limits: Limits) -> Decision:
        """Take a call from the limits, or say when to come back."""
        if not limits:
            return Decision(allowed=True, remaining=None, retry_after=0)
        keys = (server_id, (server_id, user_id))
        if wait := self._wait(keys, limits):
            emit(LimitDecided(server_id, "refused"))
            return Decision(allowed=False, remaining=0, retry_after=wait)
        with self._bound.reserve(*keys):
            try:
                decision = await self._ask(server_id, user_id, limits)
                emit(LimitDecided(server_id, "allowed" if decision.allowed else "refused"))
            except (DatabaseUnavailable, TimeoutError):
                logger.warning("the database gives no answer about a limit; this process keeps to it by itself")
                emit(LimitDecided(server_id, "unasked"))
                decision = Decision(allowed=True, remaining=None, retry_after=0)
        if decision.allowed:
            self._bound.note(*keys)
        return decision

    async def peek(self, server_id: UUID, user_id: UUID | None, limits: Limits) -> list[Usage]:
        """Look at each limit without counting a call."""
        async with self._database.transaction() as transaction:
            return await transaction.all(RATE_LIMIT["peek_rate_limit"], Usage, **_bind(server_id, user_id, limits))

    async def count(self, server_ids: Sequence[UUID]) -> dict[UUID, int]:
        """Count the calls of the last minute to servers that have limits; those without any are left out."""
        ids = [str(one) for one in server_ids]
        async with self._database.transaction(bounded=True) as transaction:
            rows = await transaction.all(RATE_LIMIT["count_calls"], server_ids=ids)
        return {row["server_id"]: row["used"] for row in rows}

    async def purge(self) -> int:
        """Delete the counts that no limit looks at any more; the number of rows."""
        async with self._database.transaction() as transaction:
            return await transaction.run(RATE_LIMIT["purge_rate_limits"])

    async def _ask(self, server_id: UUID, user_id: UUID | None, limits: Limits) -> Decision:
        async with asyncio.timeout(self._longest_wait):
            return await self._database.ask(_TAKE, Decision, **_bind(server_id, user_id, limits))

    def _wait(self, keys: tuple[UUID, tuple[UUID, UUID | None]], limits: Limits) -> float:
        quotas = (limits.per_minute, limits.per_user)
        return max(self._bound.wait(key, quota) for key, quota in zip(keys, quotas, strict=True) if quota is not None)


def _bind(server_id: UUID, user_id: UUID | None, limits: Limits) -> dict[str, object]:
    return {
        "server_id": str(server_id),
        "user_id": user_id,
        "per_minute": limits.per_minute,
        "per_user": limits.per_user,
    }
