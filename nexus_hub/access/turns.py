"""Turns: how much of one kind of work runs in a process at the same time, for each user and in all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from uuid import UUID

from nexus_hub.errors import TooMany
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

    `what` names the work in the error. With a `patience` of 0 nothing waits. Where nobody is known yet, an address
    stands for the user.
    """

    def __init__(
        self,
        what: str,
        *,
        per_user: int,
        in_all: int | None = None,
        patience: float = PATIENCE_SECONDS,
        user: str = "user",
    ) -> None:
        total = "" if in_all is None else f" and {in_all} in all"
        self._what = what
        self._bound = f"{per_user} at a time for each {user}{total}"
        self._per_user = per_user
        self._patience = patience
        self._all: tuple[asyncio.Semaphore, ...] = () if in_all is None else (asyncio.Semaphore(in_all),)
        self._lanes: dict[UUID | str | None, _Lane] = {}

    def turn(self, principal: Principal) -> AbstractAsyncContextManager[None]:
        """Wait for a turn, which lasts as long as the block.

        Raises:
            TooMany: none was free for so long, or too many wait already.
        """
        return self.turn_of(principal.user_id)

    @asynccontextmanager
    async def turn_of(self, user: UUID | str | None) -> AsyncIterator[None]:
        """Wait for a turn of a user, of whoever asks from an address, or of the operator (None), as `turn` does."""
        lane = self._lanes.setdefault(user, _Lane(asyncio.Semaphore(self._per_user)))
        if user is not None and lane.requests >= self._per_user + MOST_WAITING:
            raise self._refusal()
        lane.requests += 1
        places, taken = self._all if user is None else (lane.places, *self._all), 0
        try:
            try:
                async with (
                    asyncio.timeout(self._patience) if any(place.locked() for place in places) else nullcontext()
                ):
                    for place in places:
                        await place.acquire()
                        taken += 1
            except TimeoutError:
                raise self._refusal() from None
            yield
        finally:
            for place in places[:taken]:
                place.release()
            lane.requests -= 1
            if not lane.requests:
                del self._lanes[user]

    @asynccontextmanager
    async def later(self, principal: Principal) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Give the means to take a turn once it is known to be needed; it lasts as long as the block."""
        async with AsyncExitStack() as held:
            taken = False

            async def take() -> None:
                nonlocal taken
                if not taken:
                    await held.enter_async_context(self.turn(principal))
                    taken = True

            yield take

    def _refusal(self) -> TooMany:
        return TooMany(
            self._what, f"Too much runs at the same time: {self._what}, {self._bound}; try again later.", retry_after=1
        )
