"""Many watchers over real HTTP while the listener is cut off: which ends of jobs do they miss?"""

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from nexus_hub.client import Event
from nexus_hub.jobs import store
from nexus_hub.models import TERMINAL, Principal
from tests.fixtures.served import SERVICE_KEY, Served

FEEDS, SINGLES, JOBS, CUTS = 40, 60, 200, 2
AT_ONCE = 10
"""Watchers that begin at the same time: each reads from the database, and all at once they may wait for it too long."""


@dataclass
class Watcher:
    """One who follows, and what it was told."""

    stream: AsyncIterator[Event]
    expects: set[str]
    told: list[Event] = field(default_factory=list)

    async def begin(self) -> None:
        """Hear where things stand."""
        self.told.append(await anext(self.stream))

    async def watch(self) -> None:
        """Listen until all that it expects has ended."""
        while self.missing() and (event := await anext(self.stream, None)) is not None:
            self.told.append(event)

    def missing(self) -> set[str]:
        """The jobs of whose end it has not heard."""
        return self.expects - {event.data.get("id") for event in self.told if event.data.get("status") in TERMINAL}

    def versions(self, job_id: str) -> list[int]:
        """In the order in which they came."""
        return [event.data["version"] for event in self.told if event.data.get("id") == job_id]


async def lived(api: Served, job_id: UUID, owner: Principal, chance: random.Random) -> None:
    """Take a job through its states, in some seconds."""
    await asyncio.sleep(chance.uniform(0, 6))
    if chance.random() < 0.2:
        await store.cancel(api.database, owner, job_id)
        return
    attempt = await api.claimed(job_id)
    await asyncio.sleep(chance.uniform(0, 2))
    await api.completed(attempt)


async def cut_twice(api: Served) -> int:
    """Cut the listener off while jobs change; how many connections that ended."""
    ended = 0
    for _ in range(CUTS):
        await asyncio.sleep(2)
        ended += await api.cut_listeners()
    return ended


async def watching(api: Served, stack: AsyncExitStack, jobs: dict[UUID, tuple[Principal, str]]) -> list[Watcher]:
    """Feeds of the operator and of the users, and streams of single jobs, each told of where things stand now."""
    tokens = sorted({token for _, token in jobs.values()})
    clients = {token: await stack.enter_async_context(api.client(token)) for token in (SERVICE_KEY, *tokens)}
    followed: list[tuple[str, UUID | None]]
    followed = [(token, None) for token in (SERVICE_KEY, *tokens) for _ in range(FEEDS // (1 + len(tokens)))]
    followed += [(SERVICE_KEY, job_id) for job_id in list(jobs)[:SINGLES]]
    watchers = []
    for token, job_id in followed:
        stream = await stack.enter_async_context(aclosing(clients[token].events(str(job_id) if job_id else None)))
        visible = {one for one, (_, owner) in jobs.items() if token in (SERVICE_KEY, owner)}
        watchers.append(Watcher(stream, {str(one) for one in ({job_id} if job_id else visible)}))
    for first in range(0, len(watchers), AT_ONCE):
        await asyncio.gather(*(watcher.begin() for watcher in watchers[first : first + AT_ONCE]))
    return watchers


async def test_a_hundred_watchers_miss_no_end_of_two_hundred_jobs(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(7)
    users = [await served.user(f"user-{number}") for number in range(4)]
    owners = [chance.choice(users) for _ in range(JOBS)]
    jobs = {await served.stored(owner): (owner, token) for owner, token in owners}
    async with AsyncExitStack() as stack, asyncio.timeout(300):
        watchers = await watching(served, stack, jobs)
        told = [asyncio.create_task(watcher.watch()) for watcher in watchers]
        lives = (lived(served, job_id, owner, chance) for job_id, (owner, _) in jobs.items())
        cuts, *_ = await asyncio.gather(cut_twice(served), *lives)
        await asyncio.wait(told, timeout=120)
        for task in told:
            task.cancel()
        await asyncio.wait(told)
    expected = sum(len(watcher.expects) for watcher in watchers)
    missed = sum(len(watcher.missing()) for watcher in watchers)
    resyncs = sum(event.name == "resync" for watcher in watchers for event in watcher.told)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(watchers)} watchers, {len(jobs)} jobs, {cuts} cuts, {resyncs} resyncs: "
            f"{missed} of {expected} terminal states missed\n"
        )
    assert (len(watchers), len(jobs), cuts, missed) == (FEEDS + SINGLES, JOBS, CUTS, 0)
    assert resyncs >= CUTS * FEEDS
    for watcher in watchers:
        for job_id in watcher.expects:
            versions = watcher.versions(job_id)
            assert versions == sorted(set(versions))
