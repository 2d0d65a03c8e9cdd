"""Cancellation of asyncio tasks that can't be swallowed."""

import asyncio
from typing import Any

REPEAT_SECONDS = 1.0


async def cancel_and_wait(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end; raise the error that it ended with, if any.

    It is cancelled again each second, since `asyncio.wait_for` of Python 3.11, which psycopg uses, can swallow it.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=REPEAT_SECONDS)
    if not task.cancelled():
        task.result()
