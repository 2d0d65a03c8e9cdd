"""Sessions of the older era whose requests come to several processes, behind a proxy without stickiness.

A client of such a session can't be asked anything: its answer would come to some other process. Each process tells the
one that keeps the session, by a notice of the database, that it got a request of it.
"""

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from nexus_hub.errors import HubError
from nexus_hub.upstream.peer import PeerRefused

T = TypeVar("T")
SESSIONS = load("sessions")
TELL_SECONDS = 10.0
"""The time between two notices of the same session."""
MOST_SESSIONS = 10_000
"""Sessions that are remembered; the one that was used longest ago is forgotten."""
OBSTACLE = (
    "The client behind this call can't be asked: the requests of its session come to several processes of the hub, and "
    "its answer would come to another one than this call. The proxy before the hub needs stickiness for that: see "
    "'Several API processes' in docs/gateway.md."
)


class SharedSessions:
    """Knows which of the sessions of this process are shared with others, and tells others of theirs."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._shared: OrderedDict[str, None] = OrderedDict()
        self._told: OrderedDict[str, float] = OrderedDict()
        self._questions: defaultdict[str, set[asyncio.Timeout]] = defaultdict(set)
        self._telling: set[asyncio.Task[None]] = set()

    def __contains__(self, session: str) -> bool:
        return session in self._shared

    def note(self, session: str) -> None:
        """Take a notice that another process got a request of a session; what is asked in it is asked no longer."""
        _remember(self._shared, session, None)
        for question in list(self._questions.get(session, ())):
            question.reschedule(0)

    def tell(self, session: str) -> None:
        """Tell the process that keeps a session that a request of it came here."""
        now = time.monotonic()
        if now - self._told.get(session, -TELL_SECONDS) >= TELL_SECONDS:
            _remember(self._told, session, now)
            telling = asyncio.create_task(self._send(session))
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)

    @asynccontextmanager
    async def question(self, session: str) -> AsyncIterator[None]:
        """Ask the client of a session in the block, as long as the session is not shared.

        Raises:
            PeerRefused: it is.
        """
        try:
            async with asyncio.timeout(None) as limit:
                self._questions[session].add(limit)
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise PeerRefused(OBSTACLE) from None
        finally:
            self._questions[session].discard(limit)
            if not self._questions[session]:
                del self._questions[session]

    async def _send(self, session: str) -> None:
        with suppress(HubError):  # the next request of the session tells
            async with self._database.transaction() as transaction:
                await transaction.run(SESSIONS["tell_of_session"], session=session)


@dataclass(frozen=True, slots=True)
class SessionUse:
    """A session as a request of it finds it: of this process, unless it is `foreign`."""

    id: str
    shared: SharedSessions
    foreign: bool = False

    @property
    def obstacle(self) -> str | None:
        """The reason why its client can't be asked; None if there is none."""
        return OBSTACLE if self.foreign or self.id in self.shared else None


def _remember(known: OrderedDict[str, T], session: str, value: T) -> None:
    known[session] = value
    known.move_to_end(session)
    while len(known) > MOST_SESSIONS:
        known.popitem(last=False)
