"""Watches of a stream: each resource is watched once, however many ask at a time, and none after the end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from nexus_hub.errors import NotFound, UpstreamTimedOut
from nexus_hub.gateway import subscriptions
from nexus_hub.gateway.followers import UPDATED, Address, NoticeFollower, Topic
from nexus_hub.gateway.subscriptions import _Watches
from nexus_hub.models import OPERATOR, Principal, ServerRef

REF = ServerRef("system", UUID(int=1))
TOPIC = Topic(UPDATED, "x://1")


class Server:
    """A server that takes subscriptions once `ready`."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.watched: list[str] = []
        self.tell: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def watch(
        self, ref: ServerRef, uri: str, principal: Principal, on_update: Callable[[], None]
    ) -> AsyncIterator[None]:
        assert (ref, principal) == (REF, OPERATOR)
        await self.ready.wait()
        self.watched.append(uri)
        self.tell = on_update
        try:
            yield
        finally:
            self.watched.remove(uri)

    async def view(self, *_: object) -> Any:
        """Stand for the views too: one that knows all but what is nobody's."""
        return self

    def locate(self, uri: str) -> Any:
        if uri.startswith("nobody"):
            raise NotFound("resource", uri)
        return SimpleNamespace(entry=SimpleNamespace(ref=REF, server="srv"), uri=uri)

    def require(self, *_: object) -> None:
        """Let everything be read."""


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def follower() -> NoticeFollower:
    return NoticeFollower(Address(OPERATOR, None, None, "all"), frozenset())


@pytest.fixture
def watches(server: Server, follower: NoticeFollower) -> _Watches:
    return _Watches(follower, server, server.watch)  # type: ignore[arg-type]


async def test_a_resource_is_watched_once_however_many_ask(
    server: Server, watches: _Watches, follower: NoticeFollower
) -> None:
    server.ready.set()
    await asyncio.gather(*(watches.add("x://1") for _ in range(5)))
    assert server.watched == ["x://1"]
    server.tell()
    assert list(follower._pending) == [TOPIC]
    await watches.close()
    assert server.watched == []


async def test_what_is_dropped_while_its_server_thinks_is_watched_no_longer(
    server: Server, watches: _Watches, follower: NoticeFollower
) -> None:
    adding = asyncio.create_task(watches.add("x://1"))
    await asyncio.sleep(0)
    await watches.drop("x://1")
    server.ready.set()
    await adding
    assert (server.watched, follower.topics) == ([], set())


async def test_what_can_not_be_watched_may_be_asked_for_again(
    server: Server, watches: _Watches, follower: NoticeFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "AGREE_SECONDS", 0)
    with pytest.raises(UpstreamTimedOut):
        await watches.add("x://1")
    with pytest.raises(NotFound):
        await watches.add("nobody://1")
    assert await watches.add_all(["nobody://1", "x://1"]) == []
    monkeypatch.setattr(subscriptions, "AGREE_SECONDS", 60)
    server.ready.set()
    assert await watches.add_all(["nobody://1", "x://1"]) == ["x://1"]
    assert follower.topics == {TOPIC}
