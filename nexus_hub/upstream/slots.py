"""Slots of a server: how many requests are under way to it at the same time, shared fairly between users."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from nexus_hub.errors import TooMany
from nexus_hub.fair_share import fits

MOST_WAITING = 100
"""Requests of one user that wait for a slot with a bound on their patience; more are refused at once."""


class FairSlots:
    """Gives slots: the next is the user's with the least under way, and no user gets those that are kept for others.

    What hangs never gives its slot back, so that a share is kept free also while nobody else waits.
    """

    def __init__(self, server: str, places: int, user_share: float) -> None:
        self._server = server
        self._places = places
        self._user_share = user_share
        self._taken: Counter[Hashable] = Counter()
        self._in_all = 0
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def take(self, user: Hashable, *, patience: float | None = None) -> AsyncIterator[None]:
        """Wait for a slot of a user, which lasts as long as the block; for so many seconds (None: for ever).

        Raises:
            TooMany: none was free for so long, or too many of the user's requests wait already.
        """
        if user not in self._waiting and self._fits(user):
            self._count(user, 1)
        else:
            await self._wait(user, patience)
        try:
            yield
        finally:
            self._count(user, -1)
            self._wake()

    async def _wait(self, user: Hashable, patience: float | None) -> None:
        if patience is not None and len(self._waiting.get(user, ())) >= MOST_WAITING:
            raise self._refusal(user)
        try:
            async with asyncio.timeout(patience) as limit:
                await self._queue(user)
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._refusal(user) from None

    async def _queue(self, user: Hashable) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(user, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(user, turn)
            else:
                self._count(user, -1)
                self._wake()
            raise

    def _refusal(self, user: Hashable) -> TooMany:
        message = (
            f"The server {self._server!r} is at work on {self._taken.get(user, 0)} calls of yours, and takes "
            f"{self._places} at a time from all users. Call again when one of yours has ended, or cancel one."
        )
        return TooMany("NEXUS_USER_SHARE", message, retry_after=1)

    def _wake(self) -> None:
        while found := self._choose():
            (user,) = found
            turn = self._waiting[user].popleft()
            self._waiting.move_to_end(user)
            if not self._waiting[user]:
                del self._waiting[user]
            if not turn.cancelled():
                self._count(user, 1)
                turn.set_result(None)

    def _choose(self) -> tuple[Hashable] | None:
        """Find the user whose request is next; of those with equally many under way, whose turn was longest ago."""
        best: tuple[int, Hashable] | None = None
        for user in self._waiting:
            own = self._taken.get(user, 0)
            if (best is None or own < best[0]) and self._fits(user):
                best = own, user
                if not own:
                    break
        return best and (best[1],)

    def _leave(self, user: Hashable, turn: asyncio.Future[None]) -> None:
        if (turns := self._waiting.get(user)) is not None and turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[user]

    def _fits(self, user: Hashable) -> bool:
        return fits(self._taken.get(user, 0), self._in_all, self._places, self._user_share)

    def _count(self, user: Hashable, step: int) -> None:
        self._in_all += step
        self._taken[user] += step
        if not self._taken[user]:
            del self._taken[user]
