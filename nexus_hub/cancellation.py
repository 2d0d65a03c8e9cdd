"""Ending a task for good."""

import asyncio
from typing import Any

PATIENCE_SECONDS = 1.0


async def cancel_and_wait(task: asyncio.Task[Any]) -> None:
    """Cancel a task until it has ended; an error that it ended with is raised.

    On Python 3.11 `asyncio.wait_for`, with which psycopg waits, now and then swallows a cancellation: one may be lost.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE_SECONDS)
    if not task.cancelled():
        task.result()
