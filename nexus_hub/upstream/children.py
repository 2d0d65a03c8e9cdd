"""Children of a process: how many commands of servers it runs at the same time.

For a new one, the idle child goes that was used longest ago. One that is at work never does.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

import psutil

from nexus_hub.upstream.session import Session

MOST, MOST_OF_SERVER = 64, 16
"""The children of a process, and of those the children of one server."""
PATIENCE_SECONDS = 10.0
"""The time for which a session waits for a child to become idle."""
SPARE = 0.25
"""The part of a process's children that is kept for servers without any, whatever callers of others do."""
RETRY_SECONDS = 1.0
LOOK_SECONDS = 0.05


class NoPlaceError(Exception):
    """All children of a process, or of one server, are at work; `words` say so."""

    def __init__(self, words: str) -> None:
        self.words = words
        super().__init__(words)


@dataclass(frozen=True, slots=True)
class ServerChildren:
    """The children of one server."""

    all: "Children"
    server: Hashable
    name: str

    @property
    def most(self) -> int:
        """The children that it may have."""
        return self.all.most_of_server

    @asynccontextmanager
    async def place(self, session: Session) -> AsyncIterator[None]:
        """Hold a place for the child of a session, as long as the block runs.

        Raises:
            NoPlaceError: none became free for a while.
        """
        await self.all.wait_for_place(self.server, self.name)
        with self.all.hold(session, self.server):
            yield


class Children:
    """The children of a process, by their sessions."""

    def __init__(
        self, most: int = MOST, most_of_server: int = MOST_OF_SERVER, *, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._most = most
        self.most_of_server = most_of_server
        self._patience = patience
        self._held: dict[Session, Hashable] = {}
        self._waiting: list[Hashable] = []

    def __len__(self) -> int:
        return len(self._held)

    @contextmanager
    def hold(self, session: Session, server: Hashable) -> Iterator[None]:
        """Count a child as long as the block runs."""
        self._held[session] = server
        try:
            yield
        finally:
            del self._held[session]

    async def wait_for_place(self, server: Hashable, name: str) -> None:
        """Wait until there is room for one more child of a server; an idle one goes for it.

        Raises:
            NoPlaceError: all are at work, and were for a while.
        """
        until = asyncio.get_running_loop().time() + self._patience
        self._waiting.append(server)
        try:
            while (full := self._find_full(server)) is not None:
                is_meant, bound = full
                self._make_room(is_meant)
                if asyncio.get_running_loop().time() >= until:
                    raise NoPlaceError(f"The server {name!r} can't be started now: {bound}. Try again in a moment.")
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._waiting.remove(server)

    def _find_full(self, server: Hashable) -> tuple[Callable[[Hashable], bool], str] | None:
        """Find the bound that is reached: the servers of which one has to go, and its words; None if there is room."""
        own = sum(one == server for one in self._held.values())
        if own >= self.most_of_server:
            words = f"all {self.most_of_server} of its children are at work (NEXUS_MAX_SERVER_CHILDREN)"
            return lambda one: one == server, words
        spare = int(self._most * SPARE) if own else 0
        if len(self._held) >= self._most - spare:
            kept = f" but {spare}, which are for servers without any," if spare else ""
            words = f"all {self._most} commands that this process may run{kept} are at work (NEXUS_MAX_CHILDREN)"
            return lambda _: True, words
        return None

    def _make_room(self, is_meant: Callable[[Hashable], bool]) -> None:
        """Close the idle child that was used longest ago, unless enough are closing for all who wait."""
        sessions = [session for session, server in self._held.items() if is_meant(server)]
        wanted = sum(is_meant(server) for server in self._waiting)
        idle = [session for session in sessions if session.is_idle]
        if idle and sum(session.is_closing for session in sessions) < wanted:
            min(idle, key=lambda session: session.used_at).retire()

    def measure_memory(self) -> float:
        """Add up the resident memory of all children and what they started, in bytes; what they share counts for each.

        Nothing else of the hub starts processes in those that have children.
        """
        total = 0
        for process in psutil.Process().children(recursive=True) if self._held else ():
            with suppress(psutil.Error):  # it has ended
                total += process.memory_info().rss
        return total
