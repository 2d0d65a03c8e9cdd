"""A session with a server: a task that opens the MCP client, keeps it open, and closes it."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, suppress

from mcp import Client

OpenClient = Callable[[Callable[[], None]], AbstractAsyncContextManager[Client]]
"""Makes a client that isn't open yet; it calls the given function when its server goes away."""

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
    ) -> None:
        self._open_client = open_client
        self._connect_timeout = connect_timeout
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._opened: asyncio.Future[Client | Exception] = asyncio.get_running_loop().create_future()
        self._change = asyncio.Event()
        self._users = 0
        self._retired = self._over = False
        self._used_at = clock()
        self._owner = asyncio.create_task(self._own(after), name="upstream-session")
        self._owner.add_done_callback(lambda _: on_closed(self))

    @property
    def usable(self) -> bool:
        """True if new requests may go over it."""
        return not (self._over or self._retired)

    @property
    def over(self) -> bool:
        """True if it is closed or about to be."""
        return self._over

    async def wait_open(self) -> Client | Exception:
        """Wait for the open client, or for the error that kept it from opening."""
        return await asyncio.shield(self._opened)

    @contextmanager
    def use(self) -> Iterator[None]:
        """Keep it from being closed as idle or retired."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._used_at = self._clock()
            self._change.set()

    def disconnect(self) -> None:
        """Note that its server is gone; what is under way on it fails."""
        self._over = True
        self._change.set()

    def retire(self) -> None:
        """Take no new requests, and close after the last one under way."""
        self._retired = True
        self._change.set()

    async def wait_closed(self) -> None:
        """Wait until it is closed."""
        await asyncio.wait([self._owner])

    async def close(self) -> None:
        """Close it now; requests under way fail."""
        self.disconnect()
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
                async with asyncio.timeout(self._connect_timeout):
                    client = await stack.enter_async_context(self._open_client(self.disconnect))
                self._used_at = self._clock()
                self._opened.set_result(client)
                await self._wait_over()
        except Exception as error:
            if self._opened.done():
                _log.debug("An upstream connection ended with %s.", type(error).__name__)
            else:
                self._opened.set_result(error)
        finally:
            self._over = True
            if not self._opened.done():
                self._opened.set_result(ConnectionAbortedError("closed before it was open"))

    async def _wait_over(self) -> None:
        """Wait until it is disconnected, or until nobody uses it and it is retired or has been idle for long."""
        while not self._over:
            idle_left = self._used_at + self._idle_seconds - self._clock()
            if not self._users and (self._retired or idle_left <= 0):
                break
            self._change.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if self._users else idle_left):
                    await self._change.wait()
        self._over = True
