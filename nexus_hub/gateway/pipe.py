"""Standard input and output as lines: each has a thread of its own, so that neither can hold up the event loop."""

import asyncio
import os
import queue
import threading
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError
from contextlib import suppress

_WAITING_LINES = 64
"""Lines that are read ahead; a client that sends more waits."""


class Pipe:
    """The two ends of a client that started this process: lines of bytes, without their line ends.

    `ended` is set once it sends nothing more, `closed` once it reads nothing more. The threads are daemons: one that is
    blocked for ever does not keep the process.
    """

    def __init__(self, source: int, sink: int) -> None:
        """Begin; inside of the event loop."""
        self.ended, self.closed = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._source, self._sink = source, sink
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue(_WAITING_LINES)
        self._writes: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]]] = queue.SimpleQueue()
        for work in (self._read_all, self._write_all):
            threading.Thread(target=work, daemon=True).start()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (line := await self._lines.get()) is not None:
            yield line

    async def write(self, line: bytes) -> None:
        """Write a line, and wait until the client has room for it; nothing once it reads no more."""
        if not self.closed.is_set():
            written: asyncio.Future[None] = self._loop.create_future()
            self._writes.put((line, written))
            await written

    def _read_all(self) -> None:
        gone = suppress(RuntimeError, OSError, CancelledError)  # the loop, or the other end
        with gone, open(self._source, "rb", closefd=False) as file:
            for line in file:
                asyncio.run_coroutine_threadsafe(self._lines.put(line.strip()), self._loop).result()
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.ended.set)
            asyncio.run_coroutine_threadsafe(self._lines.put(None), self._loop)

    def _write_all(self) -> None:
        while True:
            line, written = self._writes.get()
            with suppress(RuntimeError):
                try:
                    _write_whole(self._sink, line + b"\n")
                except OSError:
                    self._loop.call_soon_threadsafe(self.closed.set)
                self._loop.call_soon_threadsafe(_finish, written)


def _write_whole(sink: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(sink, rest) :]


def _finish(written: "asyncio.Future[None]") -> None:
    if not written.done():
        written.set_result(None)
