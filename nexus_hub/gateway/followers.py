"""Followers: clients that are told when what they see changes, each kind at most once a second.

A notice says that something changed, and not what: a follower has no queue of them, but a set of what it has not said
yet, so that one who reads slowly costs no memory.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID

from nexus_hub.access.permissions import OPERATORS, Permission, Permissions
from nexus_hub.catalog.bundles import Bundle
from nexus_hub.errors import HubError, NotFound, NotOffered
from nexus_hub.gateway.entries import Entry
from nexus_hub.gateway.places import CallPlace
from nexus_hub.gateway.views import Mode, View, Views
from nexus_hub.live.listener import CatalogChange, CatalogKind, JobChange
from nexus_hub.models import Principal, ServerRef

PAUSE_SECONDS = 1.0
"""The time between two notices of the same thing to a client."""
SETTLE_SECONDS = 0.2
"""The time from a change to the notice of it: other processes hear of it too, and the client may ask any of them."""
IDLE_SECONDS = 30.0
"""The time after which it is looked at whether a follower may still hear anything, also if nothing happened."""
UPDATED = "notifications/resources/updated"
TASK, TASK_STATUS = "notifications/tasks", "notifications/tasks/status"
TASKS = (TASK, TASK_STATUS)
"""Of a task by the extension, and of one of the core of 2025-11-25."""
LISTS: Mapping[CatalogKind, str] = {
    "tools": "notifications/tools/list_changed",
    "resources": "notifications/resources/list_changed",
    "prompts": "notifications/prompts/list_changed",
}


@dataclass(frozen=True, slots=True)
class Topic:
    """Something that a client may be told of: a list, or the resource or task that is its subject."""

    method: str
    subject: str = ""


ALL_LISTS = frozenset(Topic(method) for method in LISTS.values())


@dataclass(frozen=True, slots=True)
class Address:
    """A caller and where it asks: what is needed for a view, without a hold on the catalog as it was."""

    principal: Principal
    server: str | None
    ref: ServerRef | None
    mode: Mode
    permissions: Permissions = field(default=OPERATORS, repr=False)
    """The caller's rights when they were looked at last."""
    bundle: Bundle | None = None
    """The bundle, if it is the address of one, as it was then."""

    @classmethod
    def of(cls, view: View) -> Self:
        """Take it of a view."""
        if view.server is None:
            name = None if view.bundle is None else view.bundle.name
            return cls(view.principal, name, None, view.mode, view.permissions, view.bundle)
        return cls(view.principal, view.server.name, view.server.ref, view.mode, view.permissions)

    @property
    def place(self) -> CallPlace:
        """The jobs that are seen there."""
        return CallPlace(self.ref, None if self.bundle is None else self.bundle.name)

    def permission(self, entry: Entry) -> Permission | None:
        """Give what the caller may do there with a resource that was seen; None if it is not seen any more."""
        if self.bundle is None:
            return self.permissions.of_server(entry.ref)
        is_there = entry.by_bundle is not None and self.bundle.find_entry(entry.by_bundle.entry_id) is not None
        return self.permissions.of_bundle(self.bundle.id) if is_there else None

    def see(self, change: CatalogChange) -> frozenset[CatalogKind]:
        """Give the kinds of a change that may be seen there: one of a hidden server is no news."""
        if self.bundle is not None:
            return change.kinds if any(entry.ref == change.ref for entry in self.bundle.entries) else frozenset()
        if self.ref not in {None, change.ref}:
            return frozenset()
        if self.permissions.of_server(change.ref) is not None:
            return change.kinds
        return change.kinds & {"tools"} if self.permissions.sees_server(change.ref) else frozenset()

    async def view(self, views: Views) -> View:
        """Give the view as it is now.

        Raises:
            NotFound: the server is gone.
            DatabaseUnavailable: the catalog can't be read.
        """
        return await views.view(self.principal, self.server, self.mode)


class NoticeFollower:
    """Follows the topics of one client, as far as it sees them; made by `Followers.follow`."""

    def __init__(self, address: Address, topics: frozenset[Topic]) -> None:
        self.address = address
        self.topics = set(topics)
        self.is_in_doubt = False
        """True once the server of its address may be another one, or gone, or the caller may do more or less."""
        self.closed = asyncio.Event()
        self._pending: dict[Topic, None] = {}
        self._filled = asyncio.Event()

    def hear(self, change: CatalogChange | None) -> None:
        """Take a change of the catalog; None: some may have been missed."""
        if change is None:
            self.is_in_doubt = self.address.server is not None
            self.offer_lists(frozenset(LISTS))
        elif change.user_id in {None, self.address.principal.user_id}:
            self.offer_lists(self.address.see(change))
            if self.address.server is not None and "server" in change.kinds:
                self.doubt()

    def doubt(self) -> None:
        """Have it looked at again if the caller still sees its address, and the same there."""
        self.is_in_doubt = True
        self._filled.set()

    def offer_lists(self, kinds: frozenset[CatalogKind]) -> None:
        """Say that the lists of these kinds changed. The tools of search mode never do."""
        for kind in LISTS:
            if kind in kinds and not (kind == "tools" and self.address.mode == "search"):
                self.offer(Topic(LISTS[kind]))

    def offer(self, topic: Topic) -> None:
        """Say that something changed, if the client follows that."""
        if topic in self.topics:
            self._pending[topic] = None
            self._filled.set()

    def close(self) -> None:
        """Let it end."""
        self.closed.set()
        self._filled.set()

    async def rounds(self) -> AsyncIterator[list[Topic]]:
        """Give what changed, grouped by the second, or nothing where nothing did for a while; end once it is closed."""
        while not self.closed.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._filled.wait()
            if self._filled.is_set():
                await self._rest(SETTLE_SECONDS)
            if self.closed.is_set():
                return
            self._filled.clear()
            changed, self._pending = list(self._pending), {}
            yield changed
            if changed:
                await self._rest(PAUSE_SECONDS)

    async def _rest(self, seconds: float) -> None:
        """Wait so long, or until it is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.closed.wait()


class Followers:
    """All followers of a process, which it hands the changes of the catalog and of jobs to."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._all: set[NoticeFollower] = set()
        self._of_task: defaultdict[UUID, set[NoticeFollower]] = defaultdict(set)
        self._closed = False

    def __len__(self) -> int:
        return len(self._all)

    @contextmanager
    def follow(self, address: Address, topics: frozenset[Topic]) -> Iterator[NoticeFollower]:
        """Follow topics, which the caller must be known to see, as long as the block runs."""
        follower = NoticeFollower(address, topics)
        self._all.add(follower)
        for topic in topics:
            if topic.method == TASK:
                self.add_task(follower, topic)
        if self._closed:
            follower.close()
        try:
            yield follower
        finally:
            self._all.discard(follower)
            for topic in list(follower.topics):
                if topic.method in TASKS:
                    self.drop_task(follower, topic)

    def add_task(self, follower: NoticeFollower, topic: Topic) -> None:
        """Let a follower hear of a task, too, which the caller must be known to see."""
        follower.topics.add(topic)
        self._of_task[UUID(topic.subject)].add(follower)

    def drop_task(self, follower: NoticeFollower, topic: Topic) -> None:
        """Let a follower hear of a task no longer."""
        follower.topics.discard(topic)
        task = UUID(topic.subject)
        self._of_task[task].discard(follower)
        if not self._of_task[task]:
            del self._of_task[task]

    def notice(self, change: CatalogChange | None) -> None:
        """Take a change of the catalog from the listener; None: some may have been missed."""
        for follower in self._all:
            follower.hear(change)

    def doubt(self) -> None:
        """Look again at what each caller sees, since it may have changed."""
        for follower in self._all:
            follower.doubt()

    def notice_job(self, change: JobChange | None) -> None:
        """Take a change of a job from the listener, as above; mere progress is not told."""
        ids = list(self._of_task) if change is None else [change.job_id]
        if change is not None and change.event != "state":
            return
        for job_id in ids:
            for follower in self._of_task.get(job_id, ()):
                for method in TASKS:
                    follower.offer(Topic(method, str(job_id)))

    async def renew(self, follower: NoticeFollower) -> bool:
        """Look if a follower's address is still the same, and what its caller may do there; true if that has changed.

        The follower is closed if there is no such address any more.
        """
        if not follower.is_in_doubt:
            return False
        before = follower.address
        try:
            follower.address = Address.of(await before.view(self._views))
        except (NotFound, NotOffered):
            follower.close()
        except HubError:
            return False  # the catalog can't be read just now: it is looked at again
        follower.is_in_doubt = False
        if follower.address == before:
            return False
        follower.offer_lists(frozenset(LISTS))
        return True

    def close(self) -> None:
        """Close all followers, and those that come later."""
        self._closed = True
        for follower in list(self._all):
            follower.close()
