"""Tasks of asyncio: cancellation that can't be swallowed, and contexts that have to be left by whoever entered them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

REPEAT_SECONDS = 1.0
T = TypeVar("T")


async def cancel_and_wait(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end; raise the error that it ended with, if any.

    It is cancelled again each second, since `asyncio.wait_for` of Python 3.11, which psycopg uses, can swallow it.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=REPEAT_SECONDS)
    if not task.cancelled():
        task.result()


@asynccontextmanager
async def in_own_task(context: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """Keep a context open in a task of its own: anyio's may be left only by the task that has entered them."""
    opened: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    left = asyncio.Event()

    async def keep() -> None:
        async with context as value:
            opened.set_result(value)
            await left.wait()

    keeping = asyncio.create_task(keep())
    try:
        waiting: set[asyncio.Future[Any]] = {keeping, opened}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not opened.done():
            keeping.result()
        yield opened.result()
    finally:
        left.set()
        if not opened.done():
            keeping.cancel()
        await asyncio.wait({keeping})
        if opened.done():
            keeping.result()
