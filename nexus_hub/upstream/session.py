"""A session with a server: a task that opens the MCP client, keeps it open, and closes it."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, suppress

from mcp import Client

OpenClient = Callable[[Callable[[], None]], AbstractAsyncContextManager[Client]]
"""Makes a client that isn't open yet; it calls the given function when its server goes away."""

Place = Callable[["Session"], AbstractAsyncContextManager[None]]
"""Makes the block within which a session has its place, which it waits for before it is opened."""

_CLOSE_SECONDS = 15.0
_log = logging.getLogger(__name__)


class Session:
    """A client and its owner task: the SDK wants a client opened and closed in the same task.

    The owner closes the client when it is disconnected, retired and idle, or idle for long; any task may use it
    meanwhile.
    """

    def __init__(
        self,
        open_client: OpenClient,
        *,
        after: "Session | None",
        connect_timeout: float,
        idle_seconds: float,
        clock: Callable[[], float],
        on_closed: "Callable[[Session], None]",
        place: "Place",
    ) -> None:
        self._open_client = open_client
        self._place = place
        self._connect_timeout = connect_timeout
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._opened: asyncio.Future[Client | Exception] = asyncio.get_running_loop().create_future()
        self._change = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._ended = asyncio.Event()
        self._unusable = asyncio.Event()
        self._users = self._holders = self._awaiting = 0
        self._retired = self._over = False
        self.taken = self.answered = 0
        """Calls that it took, and those of them that the server answered."""
        self.listed = False
        """True if its listings were asked for, and nobody has looked since if the server goes on."""
        self.ended_itself = False
        """True if it was the server that ended it."""
        self.used_at = clock()
        self._owner = asyncio.create_task(self._own(after), name="upstream-session")
        self._owner.add_done_callback(lambda _: on_closed(self))

    @property
    def usable(self) -> bool:
        """True if new requests may go over it."""
        return not (self._over or self._retired)

    @property
    def error(self) -> Exception | None:
        """The error that kept it from opening."""
        opened = self._opened.result() if self._opened.done() else None
        return opened if isinstance(opened, Exception) else None

    @property
    def over(self) -> bool:
        """True if it is closed or about to be."""
        return self._over

    @property
    def is_idle(self) -> bool:
        """True if it is open, and nobody uses it or is about to."""
        return self.usable and self._opened.done() and not (self._users or self._holders or self._awaiting)

    @property
    def is_closing(self) -> bool:
        """True if it is about to be closed, with nothing under way on it."""
        return not (self.usable or self._users)

    @contextmanager
    def await_use(self) -> Iterator[None]:
        """Count somebody who is about to use it."""
        self._awaiting += 1
        try:
            yield
        finally:
            self._awaiting -= 1

    async def wait_open(self) -> Client | Exception:
        """Wait for the open client, or for the error that kept it from opening."""
        return await asyncio.shield(self._opened)

    @contextmanager
    def use(self, *, is_call: bool = False) -> Iterator[None]:
        """Keep it from being closed as idle or retired; calls are counted."""
        self._users += 1
        self.taken += is_call
        self.listed |= not is_call
        self._idle.clear()
        try:
            yield
        finally:
            self._users -= 1
            self.used_at = self._clock()
            self._change.set()
            if not self._users:
                self._idle.set()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep it from being closed as idle while it is usable."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            self._change.set()

    def forget_unanswered(self) -> None:
        """Count only the calls that were answered."""
        self.taken = self.answered

    async def wait_idle(self, seconds: float | None) -> bool:
        """Wait until nothing is under way on it, so long at most; tell if that is so."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        return self._idle.is_set()

    async def wait_over(self) -> None:
        """Wait until it is closed or about to be."""
        await self._ended.wait()

    async def wait_unusable(self) -> None:
        """Wait until no new requests may go over it."""
        await self._unusable.wait()

    def disconnect(self) -> None:
        """Note that its server is gone; what is under way on it fails."""
        self.ended_itself = self.ended_itself or not self._over
        self._end()

    def _end(self) -> None:
        self._over = True
        self._ended.set()
        self._unusable.set()
        self._change.set()

    def retire(self) -> None:
        """Take no new requests, and close after the last one under way."""
        self._retired = True
        self._unusable.set()
        self._change.set()

    async def wait_closed(self) -> None:
        """Wait until it is closed."""
        await asyncio.wait([self._owner])

    async def close(self) -> None:
        """Close it now; requests under way fail."""
        self._end()
        if not self._opened.done():
            self._owner.cancel()
        _, running = await asyncio.wait([self._owner], timeout=_CLOSE_SECONDS)
        for owner in running:
            owner.cancel()
        await self.wait_closed()

    async def _own(self, after: "Session | None") -> None:
        try:
            if after is not None:
                await after.wait_closed()
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self._place(self))
                async with asyncio.timeout(self._connect_timeout):
                    client = await stack.enter_async_context(self._open_client(self.disconnect))
                self.used_at = self._clock()
                self._opened.set_result(client)
                await self._wait_over()
        except Exception as error:
            if self._opened.done():
                _log.debug("An upstream connection ended with %s.", type(error).__name__)
            else:
                self._opened.set_result(error)
        finally:
            self._end()
            if not self._opened.done():
                self._opened.set_result(ConnectionAbortedError("closed before it was open"))

    async def _wait_over(self) -> None:
        """Wait until it is disconnected, or until nobody uses it and it is retired or has been idle for long."""
        while not self._over:
            idle_left = self.used_at + self._idle_seconds - self._clock()
            if not self._users and (self._retired or (idle_left <= 0 and not self._holders)):
                break
            self._change.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if self._users or self._holders else idle_left):
                    await self._change.wait()
        self._end()
