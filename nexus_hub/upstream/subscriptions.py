"""Subscriptions to the resources of a server: one with the server for all who want to hear of the same URI."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import random
from typing import Any, Self

from mcp import ClientSession, MCPError
from mcp.client.subscriptions import SubscriptionLost, listen
from mcp_types import INTERNAL_ERROR, METHOD_NOT_FOUND

from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.errors import HubError, UpstreamRejected, UpstreamUnavailable
from nexus_hub.telemetry.loops import outlasting, tell_failure
from nexus_hub.upstream import faults
from nexus_hub.upstream.backoff import ConnectBackoff
from nexus_hub.upstream.faults import NotExecuted
from nexus_hub.upstream.listening import NOT_OFFERED, is_modern, wait_end
from nexus_hub.upstream.session import Session
from nexus_hub.upstream.wire import exchange

OnUpdate = Callable[[str], None]
"""Called with the URI of a resource that its server says has changed, or that may have changed unheard."""
HoldSession = Callable[[], AbstractAsyncContextManager[tuple[Session, ClientSession]]]
"""Gives an open session with the server, opened at need, that does not become idle meanwhile."""
ASK_SECONDS = 30.0
CALM_SECONDS = 60.0
"""After a session or stream that lasted so long, the next one is opened after the shortest pause."""


@dataclass(slots=True)
class _Wanted:
    """Receivers of the updates of one URI; `granted` is done once the server has taken or refused the subscription."""

    granted: asyncio.Future[None]
    receivers: list[OnUpdate] = field(default_factory=list)


class ResourceSubscriptions:
    """Subscriptions with one server, kept over sessions that end, while anybody wants any.

    After a session that ended, each receiver is told of its URI: updates may have been missed.
    """

    def __init__(self, server: str, hold_session: HoldSession, hidden: Callable[[], Iterable[str]] = tuple) -> None:
        self._server = server
        self._hold_session = hold_session
        self._hidden = hidden
        self._wanted: dict[str, _Wanted] = {}
        self._change = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """True if nobody wants any, and the server was told."""
        return not self._wanted and (self._keeper is None or self._keeper.done())

    async def add(self, uri: str, on_update: OnUpdate) -> None:
        """Have a function called at each update of a resource, from the moment that this returns.

        Raises:
            UpstreamError: the server can't be reached, or takes no subscription to this resource.
        """
        wanted = self._wanted.get(uri)
        if wanted is None:
            wanted = self._wanted[uri] = _Wanted(asyncio.get_running_loop().create_future())
            self._change.set()
        wanted.receivers.append(on_update)
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep(), name="upstream-subscriptions")
        try:
            await asyncio.shield(wanted.granted)
        except BaseException:
            self.remove(uri, on_update)
            raise

    def remove(self, uri: str, on_update: OnUpdate) -> None:
        """Call a function no more; the server is told once nobody wants the resource."""
        wanted = self._wanted.get(uri)
        if wanted is None or on_update not in wanted.receivers:
            return
        wanted.receivers.remove(on_update)
        if not wanted.receivers:
            self._drop(uri)

    def note(self, uri: str) -> None:
        """Tell receivers of an update: those of the URI, and those of one that it lies below."""
        for wanted in [wanted for known, wanted in self._wanted.items() if uri == known or _is_below(uri, known)]:
            for receiver in list(wanted.receivers):
                with outlasting("upstream-subscriptions"):
                    receiver(uri)

    async def close(self) -> None:
        """End all of it."""
        self._refuse_waiting(UpstreamUnavailable(self._server, "The hub's connections are being closed."))
        self._wanted.clear()
        if self._keeper is not None:
            await cancel_and_wait(self._keeper)

    def _drop(self, uri: str, error: HubError | None = None) -> None:
        granted = self._wanted.pop(uri).granted
        self._change.set()
        if granted.done():
            return
        if error is None:
            granted.cancel()
        else:
            granted.set_exception(error)
            granted.exception()  # read here, since who waits for it may be gone

    def _end(self, uri: str, error: HubError) -> None:
        """End the subscriptions to a resource that its server does not take, or not any more."""
        if uri in self._wanted and self._wanted[uri].granted.done():
            self.note(uri)
        if uri in self._wanted:  # who was told may have ended it
            self._drop(uri, error)

    def _end_all(self, error: HubError) -> None:
        for uri in list(self._wanted):
            self._end(uri, error)

    async def _keep(self) -> None:
        backoff = ConnectBackoff(time.monotonic, random)
        while self._wanted:
            began = time.monotonic()
            try:
                async with self._hold_session() as (session, client):
                    await self._serve(session, client)
            except HubError as error:
                self._refuse_waiting(error)
            except MCPError as error:
                if error.code in NOT_OFFERED:
                    self._end_all(self._to_error(error))
                self._refuse_waiting(self._to_error(error))
            except Exception as error:
                tell_failure("upstream-subscriptions", error)
                reason = f"The subscriptions with the server {self._server!r} failed; try again."
                self._refuse_waiting(UpstreamUnavailable(self._server, reason))
            if self._wanted:
                if time.monotonic() - began >= CALM_SECONDS:
                    backoff.succeed()
                backoff.fail()
                self._change.clear()
                await _wait_first(asyncio.sleep(backoff.seconds_left), self._change.wait())

    def _refuse_waiting(self, error: HubError) -> None:
        """Refuse those who have no subscription yet; the others keep theirs for the next session."""
        for uri in [uri for uri, wanted in self._wanted.items() if not wanted.granted.done()]:
            self._drop(uri, error)

    def _to_error(self, error: MCPError) -> HubError:
        fault = faults.to_call_error(self._server, error, self._hidden())
        return fault.verdict if isinstance(fault, NotExecuted) else fault

    async def _serve(self, session: Session, client: ClientSession) -> None:
        """Keep the subscriptions of a session in line with those wanted until there are none, or it ends."""
        capabilities = client.server_capabilities
        if capabilities is None or capabilities.resources is None or not capabilities.resources.subscribe:
            reason = "it takes no subscriptions to its resources"
            self._end_all(UpstreamRejected(self._server, METHOD_NOT_FOUND, reason))
            return
        async with _StreamSubscriptions(client) if is_modern(client) else _RequestSubscriptions(client) as kept:
            while session.usable and not kept.lost.is_set():
                self._change.clear()
                self._settle(await kept.set(set(self._wanted)))
                if not self._wanted:
                    return
                await _wait_first(self._change.wait(), session.wait_unusable(), kept.lost.wait())

    def _settle(self, outcome: "Outcome") -> None:
        """Tell of new subscriptions with the server; of one that was there before, updates may have been missed."""
        for uri, refusal in outcome.items():
            if (wanted := self._wanted.get(uri)) is None:
                continue
            if refusal is not None:
                self._end(uri, self._to_error(refusal))
            elif wanted.granted.done():
                self.note(uri)
            else:
                wanted.granted.set_result(None)


Outcome = dict[str, MCPError | None]
"""New subscriptions by their URIs, with the server's refusals."""


class _RequestSubscriptions:
    """Subscriptions of a session by `resources/subscribe`: up to 2025-11-25, one request for each."""

    def __init__(self, client: ClientSession) -> None:
        self._client = client
        self._uris: set[str] = set()
        self.lost = asyncio.Event()
        """Never set: they last as long as the session."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def set(self, uris: set[str]) -> Outcome:
        """Subscribe to what is new, and unsubscribe from what is gone."""
        for uri in self._uris - uris:
            with suppress(MCPError):
                await self._ask("resources/unsubscribe", uri)
        outcome: Outcome = {}
        for uri in sorted(uris - self._uris):
            outcome[uri] = await self._subscribe(uri)
        self._uris = {uri for uri in uris if outcome.get(uri) is None}
        return outcome

    async def _subscribe(self, uri: str) -> MCPError | None:
        try:
            await self._ask("resources/subscribe", uri)
        except MCPError as error:
            if faults.is_closed(error):
                raise
            return error
        return None

    async def _ask(self, method: str, uri: str) -> None:
        await exchange(self._client, method, {"uri": uri}, {"timeout": ASK_SECONDS})


class _StreamSubscriptions:
    """Subscriptions of a session by `subscriptions/listen`: since 2026-07-28, one stream for all of them.

    A stream's URIs are fixed, so others need another stream; the old one is closed once that is open.
    """

    def __init__(self, client: ClientSession) -> None:
        self._client = client
        self._uris: set[str] = set()
        self._stream = AsyncExitStack()
        self.lost = asyncio.Event()
        """Set once the server has ended the stream."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stream.aclose()

    async def set(self, uris: set[str]) -> Outcome:
        """Listen for these URIs."""
        if uris == self._uris:
            return {}
        lost, stream = asyncio.Event(), AsyncExitStack()
        granted = await stream.enter_async_context(_listen_for(self._client, uris, lost))
        await self._stream.aclose()
        new = uris - self._uris
        self._stream, self.lost, self._uris = stream, lost, uris & granted
        return {uri: None if uri in granted else _REFUSAL for uri in sorted(new)}


_REFUSAL = MCPError(METHOD_NOT_FOUND, "it takes no subscription to this resource")


@asynccontextmanager
async def _listen_for(client: ClientSession, uris: set[str], lost: asyncio.Event) -> AsyncGenerator[set[str]]:
    """Open a stream for the updates of some URIs, and give those that the server agreed to."""
    if not uris:
        yield set()
        return
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                stream = await stack.enter_async_context(listen(client, resource_subscriptions=sorted(uris)))
        except (SubscriptionLost, TimeoutError):
            raise MCPError(INTERNAL_ERROR, "it ends or does not open the stream of updates") from None
        ending = asyncio.create_task(wait_end(stream), name="upstream-updates")
        ending.add_done_callback(lambda _: lost.set())
        stack.push_async_callback(cancel_and_wait, ending)
        yield set(stream.honored.resource_subscriptions or ())


def _is_below(uri: str, known: str) -> bool:
    """Tell if a URI is that of a part of a resource."""
    return uri.startswith((known if known.endswith(("/", "#")) else f"{known}/", f"{known}#"))


async def _wait_first(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait for the first of several, and cancel the others."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
