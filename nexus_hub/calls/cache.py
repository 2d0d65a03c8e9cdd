"""A cache of answers that are shared for a moment: what lets many calls at once cost the database little."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

from nexus_hub.errors import DatabaseUnavailable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


RETRY_SECONDS = 5.0
"""An answer that could not be renewed, since the database is away, is tried again after so long."""


class TtlCache(Generic[K, V]):
    """Answers that are good for some seconds; who asks while one is being read waits for it. Errors are not kept.

    Where changes are told of, nobody has to wait for a second reading: an answer that is younger than `kept_seconds` is
    given at once and renewed behind that; while the database is away, it stands.
    """

    def __init__(
        self,
        read: Callable[[K], Awaitable[V]],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        kept_seconds: float = 0,
    ) -> None:
        self._read = read
        self._seconds = seconds
        self._kept_seconds = max(seconds, kept_seconds)
        self._clock = clock
        self._known: dict[K, tuple[float, asyncio.Future[V]]] = {}
        self._renewing: dict[K, asyncio.Future[V]] = {}

    async def __call__(self, key: K) -> V:
        """Give the answer for a key, read anew if it is too old; what is too old is forgotten."""
        if not self._seconds:
            return await self._read(key)
        read_at, answer = self._known.get(key, (0.0, None))
        age = self._clock() - read_at
        if answer is None or age >= self._kept_seconds:
            oldest = self._clock() - self._kept_seconds
            self._known = {known: entry for known, entry in self._known.items() if entry[0] > oldest}
            answer = asyncio.ensure_future(self._read(key))
            self._known[key] = self._clock(), answer
            answer.add_done_callback(lambda done: self._forget(key, done))
        elif age >= self._seconds and answer.done() and key not in self._renewing:
            self._renew(key, answer)
        return await asyncio.shield(answer)

    def _renew(self, key: K, answer: asyncio.Future[V]) -> None:
        """Read an answer anew behind those who ask; a change that is told of meanwhile goes before what is read."""

        def replace(renewed: asyncio.Future[V]) -> None:
            del self._renewing[key]
            error = None if renewed.cancelled() else renewed.exception()
            if self._known.get(key, (0, None))[1] is not answer:
                return
            if isinstance(error, DatabaseUnavailable):
                self._known[key] = self._clock() - self._seconds + RETRY_SECONDS, answer
            elif error is None and not renewed.cancelled():
                self._known[key] = self._clock(), renewed
            else:
                del self._known[key]

        self._renewing[key] = asyncio.ensure_future(self._read(key))
        self._renewing[key].add_done_callback(replace)

    def forget(self, key: K) -> None:
        """Read the answer for a key anew when it is asked for next; who waits for one now gets an older one."""
        self._known.pop(key, None)

    def forget_all(self, is_stale: Callable[[K], bool] = lambda _key: True) -> None:
        """Read every answer anew when it is asked for next, or those for the keys that are stale."""
        self._known = {key: entry for key, entry in self._known.items() if not is_stale(key)}

    def _forget(self, key: K, answer: asyncio.Future[Any]) -> None:
        if (answer.cancelled() or answer.exception() is not None) and self._known.get(key, (0, None))[1] is answer:
            del self._known[key]


class Cached(Generic[V]):
    """A reading that is made by one at a time, and good for a while for all who ask."""

    def __init__(
        self, read: Callable[[], Awaitable[V]], seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._seconds = seconds
        self._clock = clock
        self._lock = asyncio.Lock()
        self._kept: tuple[float, V] | None = None

    async def get(self) -> V:
        """Give the last reading, or make another one."""
        async with self._lock:
            if self._kept is None or self._clock() - self._kept[0] >= self._seconds:
                value = await self._read()
                self._kept = self._clock(), value
            return self._kept[1]
