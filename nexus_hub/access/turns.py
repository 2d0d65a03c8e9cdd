"""Turns: how much of one kind of work runs in a process at the same time, for each user and in all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from uuid import UUID

from nexus_hub.errors import TooManyRequests
from nexus_hub.models import Principal

PATIENCE_SECONDS = 10.0
MOST_WAITING = 100
"""Requests of one user that wait for a turn; more are refused at once."""


@dataclass(slots=True)
class _Lane:
    """A user's places, and how many have or want one."""

    places: asyncio.Semaphore
    requests: int = 0


class Turns:
    """Gives turns, in the order in which they are asked for; the operator's are bounded only by those of all.

    `what` names the work in the error. With a `patience` of 0 nothing waits.
    """

    def __init__(
        self, what: str, *, per_user: int, in_all: int | None = None, patience: float = PATIENCE_SECONDS
    ) -> None:
        total = "" if in_all is None else f" and {in_all} in all"
        self._what = f"{what}, of which {per_user} are let in for each user{total}"
        self._per_user = per_user
        self._patience = patience
        self._all: AbstractAsyncContextManager[None] = nullcontext() if in_all is None else asyncio.Semaphore(in_all)
        self._lanes: dict[UUID | None, _Lane] = {}

    @asynccontextmanager
    async def turn(self, principal: Principal) -> AsyncIterator[None]:
        """Wait for a turn, which lasts as long as the block.

        Raises:
            TooManyRequests: none was free for so long, or too many wait already.
        """
        lane = self._lanes.setdefault(principal.user_id, _Lane(asyncio.Semaphore(self._per_user)))
        if not principal.is_operator and lane.requests >= self._per_user + MOST_WAITING:
            raise self._refusal()
        lane.requests += 1
        try:
            async with AsyncExitStack() as held:
                try:
                    async with asyncio.timeout(self._patience):
                        if not principal.is_operator:
                            await held.enter_async_context(lane.places)
                        await held.enter_async_context(self._all)
                except TimeoutError:
                    raise self._refusal() from None
                yield
        finally:
            lane.requests -= 1
            if not lane.requests:
                del self._lanes[principal.user_id]

    def _refusal(self) -> TooManyRequests:
        return TooManyRequests(self._what)
