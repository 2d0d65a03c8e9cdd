"""The event loop of a process that serves requests or works on jobs."""

import sniffio


def assume_asyncio() -> None:
    """Say that what is started from here runs on asyncio.

    anyio and httpcore find out in each of their steps otherwise: 6 % of what a job of a batch costs a worker. Threads
    that asyncio starts inherit it: nothing in them may start an event loop by `anyio.run`.
    """
    sniffio.current_async_library_cvar.set("asyncio")
