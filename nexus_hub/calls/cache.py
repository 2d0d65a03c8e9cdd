"""A cache of answers that are shared for a moment: what lets many calls at once cost the database little."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TtlCache(Generic[K, V]):
    """Answers that are good for some seconds; who asks while one is being read waits for it. Errors are not kept."""

    def __init__(
        self, read: Callable[[K], Awaitable[V]], seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._seconds = seconds
        self._clock = clock
        self._known: dict[K, tuple[float, asyncio.Future[V]]] = {}

    async def __call__(self, key: K) -> V:
        """Give the answer for a key, read anew if it is too old; what is too old is forgotten."""
        if not self._seconds:
            return await self._read(key)
        read_at, answer = self._known.get(key, (0.0, None))
        if answer is None or self._clock() - read_at >= self._seconds:
            oldest = self._clock() - self._seconds
            self._known = {known: entry for known, entry in self._known.items() if entry[0] > oldest}
            answer = asyncio.ensure_future(self._read(key))
            self._known[key] = self._clock(), answer
            answer.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(answer)

    def _forget(self, key: K, answer: asyncio.Future[Any]) -> None:
        if (answer.cancelled() or answer.exception() is not None) and self._known.get(key, (0, None))[1] is answer:
            del self._known[key]
