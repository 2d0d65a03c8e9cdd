"""Budget of bytes that a process has in its hands at the same time."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """Lets as many bytes through at the same time as there is room for, in the order in which they ask.

    What is larger than the whole budget goes alone.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def use(self, size: int) -> AsyncIterator[None]:
        """Take room for so many bytes as long as the block runs; waits until there is some."""
        size = min(size, self._limit)
        await self._take(size)
        try:
            yield
        finally:
            self._used -= size
            self._wake()

    async def _take(self, size: int) -> None:
        if not size or (not self._waiting and self._used + size <= self._limit):
            self._used += size
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.remove((size, turn))
            else:
                self._used -= size
            self._wake()
            raise

    def _wake(self) -> None:
        while self._waiting and self._used + self._waiting[0][0] <= self._limit:
            size, turn = self._waiting.popleft()
            self._used += size
            turn.set_result(None)
