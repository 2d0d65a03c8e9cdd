"""Writes in groups: what lets many jobs at once cost the database little."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from nexus_hub.telemetry.loops import outlasting

LARGEST_GROUP = 100


class Claimed(Protocol):
    """A write under a claim."""

    @property
    def claim_id(self) -> UUID:
        """The claim that the row must have."""


T = TypeVar("T", bound=Claimed)


@dataclass(frozen=True, slots=True)
class _PendingWrite(Generic[T]):
    item: T
    written: asyncio.Future[bool]


class GroupCommit(Generic[T]):
    """Group commit: what comes while a write is under way goes together with the next one.

    `write` takes some items in one transaction and says under which claims it wrote. Of a group that it refuses with
    one of the errors `apart`, each item is written by itself. Where nobody waits for a write, it can `linger` for some
    seconds so that more go together, unless it has to `hurry`.
    """

    def __init__(
        self,
        write: Callable[[list[T]], Awaitable[Collection[UUID]]],
        *,
        apart: tuple[type[Exception], ...] = (),
        largest: int = LARGEST_GROUP,
        linger: float = 0,
    ) -> None:
        self._write = write
        self._apart = apart
        self._largest = largest
        self._linger = linger
        self._hurried = asyncio.Event()
        self._waiting: list[_PendingWrite[T]] = []
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, item: T) -> bool:
        """Write an item; True if its claim was there. Raises what the write of its group raised."""
        return await self.put(item)

    def put(self, item: T) -> asyncio.Future[bool]:
        """Have an item written soon; the future tells what became of it, as a call does."""
        waiting = _PendingWrite(item, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return waiting.written

    def hurry(self) -> None:
        """Write at once what lingers, and what comes until nothing waits."""
        if self._waiting:
            self._hurried.set()

    async def _work(self) -> None:
        while self._waiting:
            if self._linger and len(self._waiting) < self._largest:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._hurried.wait(), self._linger)
            group, self._waiting = self._waiting[: self._largest], self._waiting[self._largest :]
            try:
                with outlasting("group-commit"):
                    await self._write_group(group)
            finally:
                for one in group:
                    one.written.cancel()  # does nothing to what has an answer
        self._hurried.clear()

    async def _write_group(self, group: list[_PendingWrite[T]]) -> None:
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
