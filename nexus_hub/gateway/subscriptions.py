"""Subscriptions of clients: what changes is told to both eras, over the stream that each of them keeps open.

The newer era asks for a stream by `subscriptions/listen`. A session of the older one has a stream of its own (GET),
into which notices are written beside those of the SDK.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

import mcp_types as types
from mcp import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nexus_hub.access.turns import Turns
from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.errors import HubError, UpstreamTimedOut
from nexus_hub.gateway import followers
from nexus_hub.gateway.asked import VIEW, Asked
from nexus_hub.gateway.entries import Entry
from nexus_hub.gateway.followers import (
    ALL_LISTS,
    LISTS,
    TASK,
    TASK_STATUS,
    TASKS,
    UPDATED,
    Address,
    Followers,
    NoticeFollower,
    Topic,
)
from nexus_hub.gateway.places import CallPlace
from nexus_hub.gateway.views import Views
from nexus_hub.json_object import JsonObject
from nexus_hub.json_text import write
from nexus_hub.models import Principal, ServerRef

MOST_SUBJECTS = 100
"""Resources, and tasks, that one stream is told of."""
AGREE_SECONDS = 5.0
"""The time that a server has to take a subscription; a client waits for it."""
MOST_SESSIONS = 10_000
"""Sessions whose subscribed resources are remembered; the one that was used longest ago is forgotten."""
FLAGS = {
    "toolsListChanged": Topic(LISTS["tools"]),
    "promptsListChanged": Topic(LISTS["prompts"]),
    "resourcesListChanged": Topic(LISTS["resources"]),
}
_SESSION = "mcp-session-id"
Params = dict[str, Any]
Key = tuple[Principal, str]
"""A session of the older era, and whose it is."""
WatchResource = Callable[[ServerRef, str, Principal, Callable[[], None]], AbstractAsyncContextManager[None]]
"""Has a server, logged in at for somebody, tell of updates of a resource as long as the block runs."""
ReadTask = Callable[[Principal, str, CallPlace], Awaitable[Params]]
"""Reads a caller's task as a notification tells of it, as far as it is seen at an address, or raises NotFound."""
IsAllowed = Callable[[Request, Principal], Awaitable[bool]]
"""Tells if the token of a request is still the caller's."""


class _Notification(BaseModel):
    """A notification of any method, which the SDK sends as it is."""

    method: str
    params: Params


class Subscriptions:
    """Streams of notices of a process; each counts as one of its caller's event streams."""

    def __init__(
        self,
        views: Views,
        streams: Turns,
        is_allowed: IsAllowed,
        watch_resource: WatchResource,
        read_tasks: Mapping[str, ReadTask],
    ) -> None:
        self.followers = Followers(views)
        self._views = views
        self._streams = streams
        self._is_allowed = is_allowed
        self._watch_resource = watch_resource
        self._read_tasks = read_tasks
        self._sessions: OrderedDict[Key, _Topics] = OrderedDict()
        self._open: dict[Key, _Watches] = {}
        """Those that the open streams of such sessions are told of."""

    def close(self) -> None:
        """End all streams, and those that come later."""
        self.followers.close()

    async def listen(self, asked: Asked) -> dict[str, Any]:
        """Answer `subscriptions/listen`: what is granted, then notices, at the end both forms of saying that it ends.

        Raises:
            TooMany: the caller has too many streams.
        """
        request_id, address = asked.context.request_id, Address.of(asked.view)
        meta = {SUBSCRIPTION_ID_META_KEY: request_id}
        wanted = asked.params["notifications"]
        asked = asked.without_view()  # the stream is open for long, and the catalog changes
        async with self._streams.turn(asked.principal), AsyncExitStack() as stack:
            granted: Params = {flag: True for flag in FLAGS if wanted.get(flag) is True}
            topics = {FLAGS[flag] for flag in granted}
            if tasks := await self._readable_tasks(address, wanted.get("taskIds")):
                granted["taskIds"] = tasks
                topics |= {Topic(TASK, str(UUID(task))) for task in tasks}
            follower = stack.enter_context(self.followers.follow(address, frozenset(topics)))
            watches = await stack.enter_async_context(self._watches(follower))
            if uris := await watches.add_all(_texts(wanted.get("resourceSubscriptions"))):
                granted["resourceSubscriptions"] = uris
            await _notify(asked, "notifications/subscriptions/acknowledged", {"notifications": granted, "_meta": meta})
            async for method, params in self._notices(watches, asked.context.request):
                await _notify(asked, method, {**params, "_meta": meta})
            await _notify(asked, "notifications/cancelled", {"requestId": request_id, "_meta": meta})
        return asked.answer(JsonObject.of({"_meta": meta}))

    async def subscribe(self, asked: Asked) -> dict[str, Any]:
        """Answer `resources/subscribe`, of the older era: the session's own stream is told of updates.

        Raises:
            NotFound, Conflict: no server, or more than one, has the resource.
            NotAllowed: the caller may see it, and not read it.
            UpstreamError: its server does not take the subscription.
            MCPError: the session has subscribed to too many.
        """
        uri, session = asked.params["uri"], _session_of(asked)
        asked.view.require("resource", asked.view.locate(uri).entry, uri)
        uris = self._wanted_by(session).uris
        if uri not in uris and len(uris) >= MOST_SUBJECTS:
            raise MCPError(types.INVALID_PARAMS, f"A session subscribes to {MOST_SUBJECTS} resources at most.")
        if session in self._open:
            await self._open[session].add(uri)
        uris[uri] = None
        return asked.answer(JsonObject.of({}))

    async def unsubscribe(self, asked: Asked) -> dict[str, Any]:
        """Answer `resources/unsubscribe`; nothing happens if there is no such subscription."""
        uri, session = asked.params["uri"], _session_of(asked)
        self._wanted_by(session).uris.pop(uri, None)
        if session in self._open:
            await self._open[session].drop(uri)
        return asked.answer(JsonObject.of({}))

    def follow_task(self, asked: Asked, task_id: UUID) -> None:
        """Tell a session of the older era of a core task of the caller's, over its own stream, once that is open."""
        session, topic = _session_of(asked), Topic(TASK_STATUS, str(task_id))
        tasks = self._wanted_by(session).tasks
        tasks[topic] = None
        dropped = next(iter(tasks)) if len(tasks) > MOST_SUBJECTS else None
        if dropped is not None:
            del tasks[dropped]
        if (watches := self._open.get(session)) is not None:
            self.followers.add_task(watches.follower, topic)
            if dropped is not None:
                self.followers.drop_task(watches.follower, dropped)

    def _wanted_by(self, session: Key) -> "_Topics":
        """Give what a session wants to hear of; the session is remembered from then on."""
        wanted = self._sessions.setdefault(session, _Topics())
        self._sessions.move_to_end(session)
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return wanted

    async def serve_legacy(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request of the older era that is no POST: of a session's own stream, with notices, or of its end.

        Raises:
            TooMany: the caller has too many streams.
        """
        address = Address.of(scope.pop(VIEW))
        session = address.principal, Headers(scope=scope).get(_SESSION, "")
        if scope["method"] != "GET":
            if scope["method"] == "DELETE":
                self._sessions.pop(session, None)
            await app(scope, receive, send)
            return
        async with self._streams.turn(address.principal):
            with self.followers.follow(address, ALL_LISTS) as follower:
                stream = _LegacyStream(receive, send, follower.closed)
                relay = asyncio.create_task(self._relay(stream, follower, session, Request(scope)))
                try:
                    await app(scope, stream.receive, stream.send)
                finally:
                    await cancel_and_wait(relay)

    async def _relay(self, stream: "_LegacyStream", follower: NoticeFollower, session: Key, request: Request) -> None:
        """Write notices into a stream, once the SDK has begun it: then it is the session's and the caller's."""
        await stream.began.wait()
        try:
            async with self._watches(follower) as watches:
                self._open[session] = watches
                wanted = self._sessions.get(session, _Topics())
                for task in wanted.tasks:
                    self.followers.add_task(follower, task)
                await watches.add_all(wanted.uris)
                async for method, params in self._notices(watches, request):
                    await stream.write({"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {}))
        finally:
            self._open.pop(session, None)
            follower.close()

    async def _notices(self, watches: "_Watches", request: Request | None) -> AsyncIterator[tuple[str, Params]]:
        """Give the notices for a follower as things change, as long as the token of its request is good."""
        follower, checked = watches.follower, time.monotonic()
        async for changed in follower.rounds():
            if time.monotonic() - checked >= followers.IDLE_SECONDS:
                if not await self._is_still_allowed(request, follower.address.principal):
                    return
                checked = time.monotonic()
            if await self.followers.renew(follower):
                await watches.drop_hidden()
            for topic in changed:
                if topic.method == UPDATED and topic not in follower.topics:
                    continue  # it may not be read any more
                if topic.method not in TASKS:
                    yield topic.method, {"uri": topic.subject} if topic.subject else {}
                elif (task := await self._task(follower.address, topic)) is not None:
                    yield topic.method, task

    async def _is_still_allowed(self, request: Request | None, principal: Principal) -> bool:
        return request is None or await self._is_allowed(request, principal)

    async def _task(self, address: Address, topic: Topic) -> Params | None:
        """Read a task as far as the caller may; None if it may not, or the database is away just now."""
        try:
            return await self._read_tasks[topic.method](address.principal, topic.subject, address.place)
        except HubError:
            return None

    async def _readable_tasks(self, address: Address, wanted: Any) -> list[str]:
        ids = [one for one in _texts(wanted) if _is_id(one)]
        return [one for one in ids if await self._task(address, Topic(TASK, one)) is not None]

    @asynccontextmanager
    async def _watches(self, follower: NoticeFollower) -> AsyncIterator["_Watches"]:
        watches = _Watches(follower, self._views, self._watch_resource)
        try:
            yield watches
        finally:
            await watches.close()


@dataclass(frozen=True, slots=True)
class _Topics:
    """The resources that a session of the older era has subscribed to, and the tasks that it has asked after."""

    uris: dict[str, None] = field(default_factory=dict)
    tasks: dict[Topic, None] = field(default_factory=dict)


class _Watches:
    """The resources that one stream is told of."""

    def __init__(self, follower: NoticeFollower, views: Views, watch: WatchResource) -> None:
        self.follower = follower
        self._views = views
        self._watch = watch
        self._held: dict[str, AsyncExitStack] = {}
        self._entries: dict[str, Entry] = {}

    async def add_all(self, uris: Iterable[str]) -> list[str]:
        """Watch all that the caller may read and whose servers agree; give those."""

        async def try_to_add(uri: str) -> None:
            with suppress(HubError):
                await self.add(uri)

        wanted = list(uris)
        await asyncio.gather(*map(try_to_add, wanted))
        return [uri for uri in wanted if uri in self._held]

    async def add(self, uri: str) -> None:
        """Watch a resource, unless that is done already.

        Raises:
            NotFound, Conflict: no server, or more than one, has it.
            UpstreamError: its server does not take the subscription, or takes too long for that.
        """
        if uri in self._held:
            return
        stack = self._held[uri] = AsyncExitStack()
        try:
            await self._begin(uri, stack)
        except BaseException:
            if self._held.get(uri) is stack:
                del self._held[uri]
            raise
        if self._held.get(uri) is stack:
            self.follower.topics.add(Topic(UPDATED, uri))
        else:
            await stack.aclose()  # it was dropped meanwhile

    async def _begin(self, uri: str, stack: AsyncExitStack) -> None:
        view = await self.follower.address.view(self._views)
        found = view.locate(uri)
        view.require("resource", found.entry, uri)
        self._entries[uri] = found.entry
        topic = Topic(UPDATED, uri)
        try:
            async with asyncio.timeout(AGREE_SECONDS):
                principal = self.follower.address.principal
                watch = self._watch(found.entry.ref, found.uri, principal, lambda: self.follower.offer(topic))
                await stack.enter_async_context(watch)
        except TimeoutError:
            raise UpstreamTimedOut(found.entry.server, AGREE_SECONDS) from None
        except HubError as error:
            refusal = found.entry.tell(error)
        else:
            return
        raise refusal

    async def drop(self, uri: str) -> None:
        """Watch a resource no longer."""
        self.follower.topics.discard(Topic(UPDATED, uri))
        self._entries.pop(uri, None)
        if (stack := self._held.pop(uri, None)) is not None:
            await stack.aclose()

    async def drop_hidden(self) -> None:
        """Watch no longer what the caller may not read any more."""
        for uri, entry in list(self._entries.items()):
            permission = self.follower.address.permission(entry)
            if permission is None or not permission.may_call:
                await self.drop(uri)

    async def close(self) -> None:
        """Watch none any more."""
        for uri in list(self._held):
            await self.drop(uri)


class _LegacyStream:
    """The response of a GET: it has two writers, and ends with its follower."""

    def __init__(self, receive: Receive, send: Send, ended: asyncio.Event) -> None:
        self.began = asyncio.Event()
        self._receive = receive
        self._send = send
        self._ended = ended
        self._writing = asyncio.Lock()
        self._is_over = False

    async def receive(self) -> Message:
        """Receive from the client, or that it has left, once the follower is closed."""
        received = asyncio.ensure_future(self._receive())
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait([received, ended], return_when=asyncio.FIRST_COMPLETED)
            return received.result() if received.done() else {"type": "http.disconnect"}
        finally:
            received.cancel()
            ended.cancel()

    async def send(self, message: Message) -> None:
        """Pass on what the SDK sends."""
        async with self._writing:
            self._is_over |= message["type"] == "http.response.body" and not message.get("more_body")
            await self._send(message)
        if message["type"] == "http.response.start" and message["status"] == 200:
            self.began.set()

    async def write(self, notification: Params) -> None:
        """Write an event of our own."""
        body = b"event: message\r\ndata: " + write(notification) + b"\r\n\r\n"
        async with self._writing:
            if not self._is_over:
                await self._send({"type": "http.response.body", "body": body, "more_body": True})


def _texts(value: Any) -> Iterator[str]:
    """Give the first distinct texts of what a client sends as a list of them."""
    texts = dict.fromkeys(one for one in value if isinstance(one, str)) if isinstance(value, list) else {}
    return iter(list(texts)[:MOST_SUBJECTS])


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _session_of(asked: Asked) -> Key:
    request = asked.context.request
    return asked.principal, "" if request is None else request.headers.get(_SESSION, "")


async def _notify(asked: Asked, method: str, params: Mapping[str, Any]) -> None:
    """Send a notification on the stream of a request."""
    plain = dict(JsonObject.of(params))  # what is in them may be a text of JSON, which the SDK can't write
    notification = cast(types.ServerNotification, _Notification(method=method, params=plain))
    await asked.context.session.send_notification(notification, related_request_id=asked.context.request_id)
