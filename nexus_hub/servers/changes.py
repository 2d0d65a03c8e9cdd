"""Changes that servers tell of: each server that does is read anew at once, and no more often than it is worth."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.errors import DatabaseUnavailable, HubError, RefreshRunning
from nexus_hub.json_text import write
from nexus_hub.models import ServerRef
from nexus_hub.telemetry.loops import tell_failure
from nexus_hub.upstream.snapshot import Snapshot

GATHER_SECONDS = 0.1
"""Several lists change together, and each has a notice of its own."""
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 300.0
LONGEST_SILENCE_SECONDS = 300.0
"""After so long without a notice nothing is kept of a server."""
CONCURRENCY = 8


class RefreshesServers(Protocol):
    """The part of a `Refresher` that reads one server anew."""

    async def refresh(self, ref: ServerRef) -> Snapshot: ...  # noqa: D102


class ChangeRefresher:
    """Reads servers anew that say that their lists changed.

    The first notice has a server read at once. Those that come within the pause after that have it read once more at
    the pause's end. The pause doubles while a server is found unchanged in spite of its notices.
    """

    def __init__(
        self, refresher: RefreshesServers, *, pause: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        self._refresher = refresher
        self._pause = pause
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._watches: dict[ServerRef, tuple[asyncio.Event, asyncio.Task[None]]] = {}

    def note(self, ref: ServerRef, name: str) -> None:
        """Take a notice of a server, of whichever of its lists."""
        watch = self._watches.get(ref)
        if watch is None:
            spoken = asyncio.Event()
            task = asyncio.create_task(self._watch(ref, spoken), name=f"refresh-changed {name}")
            watch = self._watches[ref] = spoken, task
        watch[0].set()

    async def close(self) -> None:
        """Read nothing any more."""
        await asyncio.gather(*(cancel_and_wait(task) for _, task in self._watches.values()))

    async def _watch(self, ref: ServerRef, spoken: asyncio.Event) -> None:
        known, pause = b"", FIRST_PAUSE_SECONDS
        try:
            while await _is_set(spoken):
                await self._pause(GATHER_SECONDS)
                spoken.clear()
                found = await self._read(ref)
                if found is None:
                    spoken.set()
                elif found in (known, b""):
                    pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                else:
                    known, pause = found, FIRST_PAUSE_SECONDS
                await self._pause(pause)
        finally:
            del self._watches[ref]

    async def _read(self, ref: ServerRef) -> bytes | None:
        """Read a server; gives a digest of its lists, empty if it could not be read, which its state says.

        None if it is to be read again: somebody else was at it, perhaps since before the change, or the database away.
        """
        async with self._slots:
            try:
                seen = await self._refresher.refresh(ref)
            except (RefreshRunning, DatabaseUnavailable):
                return None
            except HubError:
                return b""
            except Exception as error:
                tell_failure("refresh-changed", error)
                return b""
        return await asyncio.to_thread(_digest, seen)


async def _is_set(spoken: asyncio.Event) -> bool:
    """Wait for a notice, but not for long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LONGEST_SILENCE_SECONDS):
            await spoken.wait()
    return spoken.is_set()


def _digest(seen: Snapshot) -> bytes:
    lists = [seen.tools, seen.resources, seen.resource_templates, seen.prompts]
    return hashlib.sha256(write(lists, allow_nan=True)).digest()
