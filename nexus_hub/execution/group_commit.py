"""Writes in groups, and reads shared for a moment: what lets many jobs at once cost the database little."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Hashable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

LARGEST_GROUP = 100


class Claimed(Protocol):
    """What is written under a claim."""

    @property
    def claim_id(self) -> UUID:
        """The claim that the row must have."""


T = TypeVar("T", bound=Claimed)
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[T]):
    item: T
    written: asyncio.Future[bool]


class GroupCommit(Generic[T]):
    """Group commit: what comes while a write is under way goes together with the next one.

    `write` takes some items in one transaction and says under which claims it wrote. Of a group that it refuses with
    one of the errors `apart`, each item is written by itself.
    """

    def __init__(
        self,
        write: Callable[[list[T]], Awaitable[Collection[UUID]]],
        *,
        apart: tuple[type[Exception], ...] = (),
        largest: int = LARGEST_GROUP,
    ) -> None:
        self._write = write
        self._apart = apart
        self._largest = largest
        self._waiting: list[_Waiting[T]] = []
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, item: T) -> bool:
        """Write an item; whether its claim was there. Raises what the write of its group raised."""
        waiting = _Waiting(item, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await waiting.written

    async def _work(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[: self._largest], self._waiting[self._largest :]
            try:
                await self._write_group(group)
            finally:
                for one in group:
                    one.written.cancel()  # does nothing to what has an answer

    async def _write_group(self, group: list[_Waiting[T]]) -> None:
        try:
            claims = await self._write([one.item for one in group])
        except Exception as error:
            if len(group) > 1 and isinstance(error, self._apart):
                for one in group:
                    await self._write_group([one])
                return
            for one in group:
                if not one.written.done():
                    one.written.set_exception(error)
            return
        for one in group:
            if not one.written.done():
                one.written.set_result(one.item.claim_id in claims)


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
        """The answer for a key, read anew if it is too old."""
        read_at, answer = self._known.get(key, (0.0, None))
        if answer is None or self._clock() - read_at >= self._seconds:
            answer = asyncio.ensure_future(self._read(key))
            self._known[key] = self._clock(), answer
            answer.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(answer)

    def _forget(self, key: K, answer: asyncio.Future[Any]) -> None:
        if (answer.cancelled() or answer.exception() is not None) and self._known.get(key, (0, None))[1] is answer:
            del self._known[key]
