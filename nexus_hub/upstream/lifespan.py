"""The number of calls that a child of a server lives for: some end after each answer, or after so many of them."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from mcp import ClientSession

from nexus_hub.upstream.session import Session

TRIAL_SECONDS = 2.0
"""The longest that other calls wait for the first answer of a server of which nothing is known."""
END_SECONDS = 1.0
"""The time in which a child that ends after an answer has ended."""

Ping = Callable[[ClientSession, float], Awaitable[None]]


class Lifespan:
    """Decides how many calls a session takes, so that none is sent to a child that ends before it reads it.

    The first call to an unknown command goes alone; a ping after its answer, once there is another call, tells if the
    child goes on. Where children were seen to end, each takes as many calls as the last one answered, and what comes
    beyond that waits for the next child. One that goes on all the same lifts the bound. Listings tell nothing of calls,
    but some children end after them, too: a ping comes before the first call then.
    """

    def __init__(self, *, bounded: bool, clock: Callable[[], float], ping: Ping) -> None:
        self._bounded = bounded
        self._limit = 1 if bounded else None
        self._seen_to_end = False
        self._clock = clock
        self._ping = ping
        self._turn = asyncio.Lock()

    def note_end(self, session: Session) -> None:
        """Learn from a session whose server has ended by itself."""
        if self._bounded and session.answered:
            self._limit, self._seen_to_end = session.answered, True

    async def wait_turn(self, session: Session, client: ClientSession) -> None:
        """Wait until a session may take one more call, or takes none any more."""
        if self._limit is None:
            return
        async with self._turn:
            if session.listed:
                await self._outlive_listings(session, client)
            while session.usable and self._limit is not None and session.taken >= self._limit:
                await self._look(session, client)

    async def _outlive_listings(self, session: Session, client: ClientSession) -> None:
        session.listed = False
        if await session.wait_idle(TRIAL_SECONDS) and session.usable and (left := self._seconds_left(session)) > 0:
            await self._ping(client, left)

    async def _look(self, session: Session, client: ClientSession) -> None:
        """Wait for the calls under way, and see what became of the child."""
        if not await session.wait_idle(None if self._seen_to_end else TRIAL_SECONDS):
            self._lift()
        elif session.usable and session.answered < session.taken:  # given up: nobody knows if the child answers yet
            if self._seen_to_end:
                session.retire()
            else:
                session.forget_unanswered()
        elif session.usable and await self._goes_on(session, client):
            self._lift()

    async def _goes_on(self, session: Session, client: ClientSession) -> bool:
        left = self._seconds_left(session)
        if left > 0 and not self._seen_to_end:
            await self._ping(client, left)
        elif left > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await session.wait_over()
        return session.usable

    def _seconds_left(self, session: Session) -> float:
        return session.used_at + END_SECONDS - self._clock()

    def _lift(self) -> None:
        self._limit, self._seen_to_end = None, False
