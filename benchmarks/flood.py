"""A flood of one user's jobs, some of which hang, and another user's quick jobs beside it."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from benchmarks.report import milliseconds, percentile, table
from benchmarks.ways import REQUEST_SECONDS, Subject, pause
from nexus_hub.client import HubClient
from nexus_hub.errors import ApiProblem
from nexus_hub.models import TERMINAL

ECHO, OTHER = "echo", "other"
"""The server of the quick jobs, and one more of its kind."""
HANGING, HANG_SECONDS = 32, 1800
ALONE = 40
"""Quick jobs that are measured without a flood, before each of them."""
PATIENCE_SECONDS = 30
"""A quick job that has not ended by then is given up, and counts as one that took so long."""
BEGIN_SECONDS, LEAST, LONGEST_END_SECONDS = 2, 5, 1800
PER_REQUEST = 1000
OPEN = "SELECT count(*) FROM job_results WHERE user_id = %s AND status IN ('pending', 'running')"


@dataclass(frozen=True)
class Variant:
    """One shape of the flood: its name, the server that gets it, and where those that hang stand in it."""

    name: str
    server: str
    spread: bool = False


VARIANTS = (
    Variant("the hanging ones first, one by one; another server", OTHER),
    Variant("the hanging ones first, one by one; the same server", ECHO),
    Variant("the hanging ones spread over the batches; the same server", ECHO, spread=True),
)


@dataclass
class Quick:
    """The quick jobs of one situation: their seconds, how many were given up, and the flood's ended jobs per second."""

    took: list[float] = field(default_factory=list)
    given_up: int = 0
    flood_rate: float | None = None


@dataclass(frozen=True)
class Users:
    """The two users, the id of the first one, and a connection to ask after the jobs of that one."""

    flooding: HubClient
    quick: HubClient
    flooding_id: str
    database: psycopg.AsyncConnection[Any]

    async def open_jobs(self) -> int:
        """The flooding user's pending and running jobs."""
        cursor = await self.database.execute(OPEN.encode(), [self.flooding_id])
        (count,) = await cursor.fetchone() or (0,)
        return int(count)


@asynccontextmanager
async def added(subject: Subject) -> AsyncIterator[Users]:
    """Two new users, each with a token."""
    tokens = {name: subject.hub.user(name) for name in ("flooding", "quick")}
    users = (await subject.client.request("GET", "/v1/users"))["items"]
    (user_id,) = [user["id"] for user in users if user["name"] == "flooding"]
    options = "-c nexus.scope=service"
    async with (
        HubClient(subject.hub.url, tokens["flooding"], timeout=REQUEST_SECONDS) as flooding,
        HubClient(subject.hub.url, tokens["quick"]) as quick,
        await psycopg.AsyncConnection.connect(subject.hub.app_url, autocommit=True, options=options) as database,
    ):
        yield Users(flooding, quick, user_id, database)


def hanging_of(flood: int) -> int:
    """How many jobs of a flood hang."""
    return min(HANGING, flood // 2)


def jobs(variant: Variant, flood: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Those that are sent one by one, and those that are sent in batches after them."""
    hanging = hanging_of(flood)
    hang: dict[str, Any] = {
        "name": f"{variant.server}__wait",
        "arguments": {"seconds": HANG_SECONDS},
        "max_attempts": 1,
    }
    quick: dict[str, Any] = {"name": f"{variant.server}__echo", "arguments": {"n": 1}}
    rest = [quick] * (flood - hanging)
    if not variant.spread:
        return [hang] * hanging, rest
    every = len(rest) // hanging
    for place in range(hanging):
        rest.insert(place * (every + 1), hang)
    return [], rest


async def flooded(users: Users, variant: Variant, flood: int, seconds: float) -> Quick:
    """Quick jobs one after the other until all others of the flood have ended, or for so many seconds."""
    quick, (alone, rest) = Quick(), jobs(variant, flood)
    hanging = [await _begin(users.flooding, job) for job in alone]
    sending = asyncio.create_task(_send(users, rest))
    watching = asyncio.create_task(_watch(users, sending, flood, seconds))
    while not watching.done() or len(quick.took) < LEAST:
        await _quick(users, quick)
    ids = await sending
    quick.flood_rate = await watching
    hanging += [job_id for job_id, job in zip(ids, rest, strict=True) if job["name"].endswith("__wait")]
    await _end(users, hanging)
    return quick


async def _begin(client: HubClient, job: dict[str, Any]) -> str:
    """Send a job and wait until it runs, so that the next one does not come together with it; its id."""
    job_id: str = (await client.submit(job))["id"]
    until = time.monotonic() + BEGIN_SECONDS
    while (await client.job(job_id))["status"] == "pending" and time.monotonic() < until:
        await asyncio.sleep(0.05)
    return job_id


async def _send(users: Users, rest: Sequence[dict[str, Any]]) -> list[str]:
    ids: list[str] = []
    for at in range(0, len(rest), PER_REQUEST):
        ids += await users.flooding.submit_batch(rest[at : at + PER_REQUEST])
    return ids


async def _watch(users: Users, sending: "asyncio.Task[list[str]]", flood: int, seconds: float) -> float:
    """Wait until no more than those that hang are open, or the time is over; how many ended per second."""
    began = time.monotonic()
    while True:
        await asyncio.sleep(1)
        left, lasted = await users.open_jobs(), time.monotonic() - began
        if sending.done() and (lasted > seconds or left <= hanging_of(flood)):
            return (flood - left) / lasted


async def _quick(users: Users, quick: Quick) -> None:
    await pause(0.1, 0.5)
    began = time.perf_counter()
    job = await users.quick.submit({"name": f"{ECHO}__echo", "arguments": {"n": 1}})
    *_, last = [row async for row in users.quick.watch(job["id"], timeout=PATIENCE_SECONDS)]
    quick.took.append(time.perf_counter() - began)
    if last["status"] not in TERMINAL:
        quick.given_up += 1
        await _cancel(users.quick, job["id"])


async def _cancel(client: HubClient, job_id: str) -> None:
    try:
        await client.request("DELETE", f"/v1/jobs/{job_id}")
    except ApiProblem as error:
        if error.status != 409:  # it has ended meanwhile
            raise


async def _end(users: Users, hanging: Sequence[str]) -> None:
    """Cancel what hangs, and wait until the rest has ended."""
    await asyncio.gather(*(_cancel(users.flooding, job_id) for job_id in hanging))
    until = time.monotonic() + LONGEST_END_SECONDS
    while await users.open_jobs():
        assert time.monotonic() < until, "the flood does not end"
        await asyncio.sleep(1)


async def measured(subject: Subject, flood: int, seconds: float) -> dict[str, Quick]:
    """Quick jobs alone and in each flood, by turns; those alone are one situation."""
    alone = Quick()
    found = {"alone": alone}
    async with added(subject) as users:
        await _quick(users, Quick())
        for variant in VARIANTS:
            for _ in range(ALONE):
                await _quick(users, alone)
            found[variant.name] = await flooded(users, variant, flood, seconds)
    return found


def shown(found: dict[str, Quick]) -> str:
    """A table of the situations."""
    low = percentile(found["alone"].took, 95)
    rows = [
        [
            name,
            str(len(quick.took)),
            *(milliseconds(percentile(quick.took, p)) for p in (50, 95)),
            f"{percentile(quick.took, 95) / low:.1f}",
            str(quick.given_up),
            "-" if quick.flood_rate is None else f"{quick.flood_rate:.1f}",
        ]
        for name, quick in found.items()
    ]
    given_up = f"not ended in {PATIENCE_SECONDS} s"
    return table(["flood", "quick jobs", "p50", "p95", "p95 / alone's", given_up, "jobs/s of the flood"], rows)
