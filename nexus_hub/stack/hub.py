"""Run a home's stack in this process until it is told to stop."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from nexus_hub.stack.parts import Planner, whole_stack
from nexus_hub.stack.state import StackState
from nexus_hub.stack.supervisor import Supervisor


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    *,
    on_change: Callable[[StackState], None] | None = None,
    planner: Planner = whole_stack,
) -> None:
    """Start everything, keep it up until `stop` is set, stop everything.

    Raises:
        AlreadyRunning: another supervisor holds the home.
        UnsafeHome, PortTaken, NotConfigured: before anything was started.
        StartFailed: a part did not come up; what was started is stopped again.
    """
    home = Home(settings.home)
    home.create()
    with home.lock():
        home.create_secrets(settings)
        plan = planner(settings, home)
        async with Supervisor(home, plan, on_change=on_change) as supervisor:
            if await _unless(stop, supervisor.start()):
                await stop.wait()


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work unless told to stop before it is done; whether it was done."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
            return True
        return False
    finally:
        for task in (working, stopping):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
