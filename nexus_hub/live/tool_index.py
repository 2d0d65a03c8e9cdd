"""Live index: the tools of all servers in this process's memory, as the catalog's notices keep them.

The system's tools are there for all; a user's own are read when the user searches, and dropped when the user has not
for a while or others need the room. Changes are made in one thread and searches in another: neither holds up the event
loop, and a search does not wait for a long change.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import TypeVar
from uuid import UUID

from nexus_hub.catalog.documents import (
    OfferedTools,
    OfferRow,
    Owner,
    count_own_tools,
    list_offers,
    make_offered,
    read_offers,
)
from nexus_hub.db.pool import Database
from nexus_hub.live.listener import CatalogChange
from nexus_hub.live.tool_sight import Offerer, Sight
from nexus_hub.memory import keep_made
from nexus_hub.models import ServerRef
from nexus_hub.search.document import Filters, Found
from nexus_hub.search.index import ToolIndex
from nexus_hub.search.selection import Selection
from nexus_hub.search.vectors import Embedder, load_embedder
from nexus_hub.telemetry.bus import report_defect

DEBOUNCE_SECONDS = 0.05
"""The time that the notices of one change have to arrive."""
PATIENCE_SECONDS = 0.5
"""The longest that a search waits for the index to be built, or to follow what has just changed."""
BATCH = 8
"""Servers that are read in one go."""
IDLE_SECONDS = 600.0
"""The tools of a user who has not searched for so long are dropped."""
MOST_OWN_TOOLS = 50_000
"""Tools of users' own servers that are kept, with all of one user's at least."""
MOST_SIGHTS = 64
"""Sights whose selections in the index are kept."""
T = TypeVar("T")


def make_index() -> ToolIndex:
    """Make an empty index, which knows what words mean if that is installed."""
    return ToolIndex(load_meaning())


@cache
def load_meaning() -> Embedder | None:
    """Load what knows the meaning of words; files that are damaged cost no more than that."""
    try:
        return load_embedder()
    except Exception as error:
        report_defect(error)
        return None


class LiveIndex:
    """Keeps a `ToolIndex` as the catalog is. It is built when `run` begins; before that there is none."""

    def __init__(self, database: Database, make_index: Callable[[], ToolIndex] = make_index) -> None:
        self.offered: dict[ServerRef, OfferedTools] = {}
        """What is indexed, by server."""
        self._database = database
        self._make_index = make_index
        self._index: ToolIndex | None = None
        """Made once there is a tool: it reads megabytes."""
        self._changing, self._searching = (ThreadPoolExecutor(1, f"tools-{name}") for name in ("change", "search"))
        self._is_kept_up = False
        self._changed: dict[ServerRef, None] = {}
        self._unlisted: set[Owner] = set()
        self._owners: dict[Owner, asyncio.Future[None]] = {}
        """Users whose tools are kept, or are being read; the one who has not searched for longest is the first."""
        self._used: dict[Owner, float] = {}
        self._built = asyncio.Event()
        self._wakeup = asyncio.Event()
        self._catching_up, self._reading = asyncio.Lock(), asyncio.Lock()
        self._underway = 0
        """Changed servers that are being read."""
        self._selections: dict[Sight, Selection] = {}
        self._sizes: dict[Sight, int] = {}

    async def run(self) -> None:
        """Build the index and keep it as the catalog is, until cancelled."""
        self._is_kept_up = True
        self._unlisted |= {None, *self._owners}
        while True:
            await self.catch_up()
            self._built.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS / 10):
                    await self._wakeup.wait()
                    await asyncio.sleep(DEBOUNCE_SECONDS)
            self._wakeup.clear()
            await self._drop(self._find_idle())

    def close(self) -> None:
        """End the threads once they have done what they are at."""
        for thread in (self._changing, self._searching):
            thread.shutdown(wait=False, cancel_futures=True)

    def notice(self, change: CatalogChange | None) -> None:
        """Take note of a server whose tools or name may have changed; None: of all."""
        if not self._is_kept_up:
            return
        if change is None:
            self._unlisted |= {None, *self._owners}
        elif change.kinds & {"tools", "server"} and self._is_kept(change.user_id):
            self._changed[change.ref] = None
        self._wakeup.set()

    async def catch_up(self) -> None:
        """Index what was changed until now.

        Raises:
            DatabaseUnavailable: it can't be read.
        """
        async with self._catching_up:
            unlisted, self._unlisted = self._unlisted, set()
            changed, self._changed = self._changed, {}
            try:
                for owner in list(unlisted):
                    changed |= dict.fromkeys(await list_offers(self._database, owner))
                    changed |= {ref: None for ref, one in self.offered.items() if _is_of(owner, one.owner)}
                    unlisted.discard(owner)
                for batch in _split(list(changed)):
                    self._underway = len(changed)
                    await self._read(batch)
                    for ref in batch:
                        del changed[ref]
                    if not self._built.is_set():
                        keep_made()  # else the collector goes through all of it, again and again, and the loop waits
            except BaseException:
                self._unlisted |= unlisted
                self._changed = changed | self._changed
                raise
            finally:
                self._underway = 0

    async def include(self, owner: Owner) -> bool:
        """See to it that an owner's tools are indexed, and what has changed just before.

        False if there is no index yet, no room for the tools of all users, or if reading them takes long.

        Raises:
            DatabaseUnavailable, TookTooLong: they can't be read.
        """
        if not self._built.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._built.wait(), PATIENCE_SECONDS)
        if not self._built.is_set() or (owner == "all" and not await self._has_room_for_all()):
            return False
        if owner is not None:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._include(owner)
            except TimeoutError:  # the reading goes on, for who comes later
                return False
        if 0 < len(self._changed) + self._underway <= BATCH:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.catch_up(), PATIENCE_SECONDS)
        return True

    async def search(self, query: str, sight: Sight, limit: int, filters: Filters) -> Found:
        """Search what a caller sees."""
        if (index := self._index) is None:
            return Found([], 0)
        selection = self._selections.pop(sight, None) or index.select(sight)
        self._selections[sight] = selection
        if len(self._selections) > MOST_SIGHTS:
            self._sizes.pop(oldest := next(iter(self._selections)), None)
            del self._selections[oldest]
        return await _run(self._searching, lambda: index.search(query, selection, limit=limit, filters=filters))

    async def count_bytes(self, sight: Sight) -> int:
        """Count the bytes of the definitions of all tools that a caller sees."""
        sizes, offered = self._sizes, list(self.offered.values())
        if sight not in sizes:
            sizes[sight] = await _run(self._searching, lambda: sum(map(sight.count_bytes, offered)))
        return sizes[sight]

    async def _has_room_for_all(self) -> bool:
        return await count_own_tools(self._database, MOST_OWN_TOOLS + 1) <= MOST_OWN_TOOLS

    async def _include(self, owner: Owner) -> None:
        read = self._owners.pop(owner, None) or asyncio.ensure_future(self._read_owner(owner))
        self._owners[owner], self._used[owner] = read, time.monotonic()
        try:
            await asyncio.shield(read)
        except BaseException:
            if read.done() and self._owners.get(owner) is read:
                del self._owners[owner], self._used[owner]
            raise

    async def _read_owner(self, owner: Owner) -> None:
        for batch in _split(await list_offers(self._database, owner)):
            await self._read(batch)
        await self._drop(self._find_surplus(owner))

    async def _read(self, servers: Collection[ServerRef]) -> None:
        """Let the index have of these servers what the database has."""
        async with self._reading:
            await self._replace(servers, await read_offers(self._database, servers))

    async def _drop(self, owners: Collection[Owner]) -> None:
        """Forget the tools of users that are not kept any more."""
        for owner in owners:
            self._owners.pop(owner, None)
            self._used.pop(owner, None)
        async with self._reading:
            gone = [ref for ref, one in self.offered.items() if not self._is_kept(one.owner)]
            if gone:
                await self._replace(gone, [])

    async def _replace(self, servers: Collection[ServerRef], rows: Collection[OfferRow]) -> None:
        before = {Offerer(ref, self.offered[ref].owner) for ref in servers if ref in self.offered}
        made = await _run(self._changing, lambda: self._replace_groups(before, rows))
        for ref in servers:
            self.offered.pop(ref, None)
        self.offered |= {one.ref: one for one in made}
        self._sizes = {}  # a count that is under way goes into the one before

    def _replace_groups(self, before: set[Offerer], rows: Collection[OfferRow]) -> list[OfferedTools]:
        """Replace groups of the index. One that can't be indexed is left out, so that it costs the others nothing."""
        made: list[OfferedTools] = []
        if self._index is None:
            if not rows:
                return []
            self._index = self._make_index()
        index = self._index
        for row in rows:
            try:
                one = make_offered(row)
                index.replace(Offerer(one.ref, one.owner), one.documents)
                made.append(one)
            except Exception as error:
                before.add(Offerer(row.ref, row.owner))
                report_defect(error)
        for group in before - {Offerer(one.ref, one.owner) for one in made}:
            index.remove(group)
        return made

    def _is_kept(self, owner: UUID | None) -> bool:
        return owner is None or owner in self._owners or "all" in self._owners

    def _find_idle(self) -> list[Owner]:
        oldest = time.monotonic() - IDLE_SECONDS
        return [owner for owner, used in self._used.items() if used < oldest]

    def _find_surplus(self, searching: Owner) -> set[Owner]:
        """Find for whose tools there is no room any more: all users together, then who has not searched lately."""
        tools: Counter[Owner] = Counter()
        for one in self.offered.values():
            tools[one.owner] += 0 if one.owner is None else len(one.documents)
        if tools.total() <= MOST_OWN_TOOLS:
            return set()
        found: set[Owner] = {"all"}
        surplus = sum(tools[owner] for owner in self._owners) - MOST_OWN_TOOLS
        for owner in self._owners:
            if surplus > 0 and owner != searching:
                found.add(owner)
                surplus -= tools[owner]
        return found - {searching}


async def _run(thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(thread, work)


def _is_of(owner: Owner, of: UUID | None) -> bool:
    return of is not None if owner == "all" else of == owner


def _split(servers: list[ServerRef]) -> Iterable[list[ServerRef]]:
    return (servers[start : start + BATCH] for start in range(0, len(servers), BATCH))
