"""Turns at what keeps the event loop busy: one check after the other, and the loop's other work between them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

_COSTLY_SECONDS = 0.002
_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


@asynccontextmanager
async def take_turn() -> AsyncIterator[None]:
    """Run the block while no other one is run; after a costly one everybody else gets a turn of the event loop."""
    async with _locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        began = time.monotonic()
        try:
            yield
        finally:
            if time.monotonic() - began > _COSTLY_SECONDS:
                await asyncio.sleep(0)
