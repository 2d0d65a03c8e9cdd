"""Clients that stay: each submits a job with the hub's own client, and follows it to its end as a stream of events."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from nexus_hub.client import HubClient
from nexus_hub.errors import HubError

EVERY_SECONDS = 3.0
CALL_SECONDS = 4.0
"""Longer than the pause between two of them: some are always followed."""
PATIENCE_SECONDS = 240.0


@dataclass
class Followed:
    """What followers were told."""

    ends: list[str] = field(default_factory=list)
    """The last status of each job."""
    failures: list[str] = field(default_factory=list)


@asynccontextmanager
async def following(url: str, token: str, prefix: str) -> AsyncIterator[Followed]:
    """Submit and follow as long as the block runs, and what was begun to its end."""
    followed, ending = Followed(), asyncio.Event()
    async with HubClient(url, token) as client, asyncio.TaskGroup() as group:
        group.create_task(_begin(client, prefix, followed, ending, group))
        yield followed
        ending.set()


async def _begin(
    client: HubClient, prefix: str, followed: Followed, ending: asyncio.Event, group: asyncio.TaskGroup
) -> None:
    for number in itertools.count():
        if ending.is_set():
            return
        group.create_task(_follow(client, f"{prefix}-follower-{number}", followed))
        await asyncio.sleep(EVERY_SECONDS)


async def _follow(client: HubClient, tag: str, followed: Followed) -> None:
    body = {"name": "journaled__plain", "arguments": {"tag": tag, "seconds": CALL_SECONDS}}
    try:
        job = await client.submit(body)
        async for row in client.watch(job["id"], timeout=PATIENCE_SECONDS):
            job = row
    except HubError as error:
        followed.failures.append(f"{error.code}: {error.message}")
    else:
        followed.ends.append(job["status"])
