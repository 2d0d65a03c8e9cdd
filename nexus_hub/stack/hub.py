"""Run a home's stack in this process until it is told to stop."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from nexus_hub.stack.accounts import require_reachable, server_account
from nexus_hub.stack.parts import Planner, whole_stack
from nexus_hub.stack.secrets import create_secrets
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
        StartFailed: a service did not come up; what was started is stopped again.
    """
    home = prepare_home(settings)
    with home.lock():
        create_secrets(home, settings)
        plan = planner(settings, home)
        async with Supervisor(home, plan, on_change=on_change) as supervisor:
            if await _unless(stop, supervisor.start()):
                await stop.wait()


def prepare_home(settings: Settings) -> Home:
    """Make the home where it is missing.

    Raises:
        UnsafeHome: it is another user's, others can write to it, or PostgreSQL's user can't enter it.
        NotConfigured: there is no user to run PostgreSQL as.
    """
    home = Home(settings.home)
    if settings.embeds_postgres:
        require_reachable(home.postgres, server_account(home.postgres / "data"))
    home.create()
    return home


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work unless told to stop before it is done; true if it was done."""
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
