"""Troubles of what a fleet stands on; each lasts for as long as its block, or is over at once."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from redis.asyncio import Redis

from deployments.fleet import Fleet
from tests.faults.dependencies.bounded import BoundedDirectory

FAKETIME = "faketime/libfaketimeMT.so.1"
HOG_SECONDS = 0.3
HOGS_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Stage:
    """A fleet with what troubles need: directories that can get full, and files that set the clocks of parts."""

    fleet: Fleet
    disks: Mapping[str, BoundedDirectory]
    clocks: Path

    def clock_environment(self, part: str) -> dict[str, str]:
        """Make the environment of a part whose clock is set by a file; durations stay right."""
        self.set_clock(part, 0)
        return {
            "LD_PRELOAD": str(find_faketime()),
            "FAKETIME_TIMESTAMP_FILE": str(self.clocks / part),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set_clock(self, part: str, seconds: int) -> None:
        """Set a part's clock ahead, or back."""
        (self.clocks / part).write_text(f"{seconds:+d}\n", encoding="ascii")


Trouble = Callable[[Stage], AbstractAsyncContextManager[None]]


def find_faketime() -> Path | None:
    """Find the library that sets the clock of a process, if it is installed."""
    return next(iter(Path("/usr/lib").glob(f"*/{FAKETIME}")), None)


@asynccontextmanager
async def redis_flushed(stage: Stage) -> AsyncIterator[None]:
    """FLUSHALL, as an operator types it."""
    async with Redis.from_url(stage.fleet.redis_url) as redis:
        await redis.flushall()
    yield


@asynccontextmanager
async def redis_empty(stage: Stage) -> AsyncIterator[None]:
    """Redis dies, and comes back on a new disk."""
    part = stage.fleet.part("redis")
    await asyncio.to_thread(part.kill, restart=False)
    try:
        yield
    finally:
        shutil.rmtree(stage.fleet.environments.part_home("redis") / "appendonlydir")
        await asyncio.to_thread(part.start)


@asynccontextmanager
async def postgres_restarted(stage: Stage) -> AsyncIterator[None]:
    """PostgreSQL is shut down at once (`pg_ctl -m immediate`), and started again."""
    text = (stage.fleet.environments.home.postgres / "data" / "postmaster.pid").read_text(encoding="ascii")
    os.kill(int(text.split()[0]), signal.SIGQUIT)
    yield


@asynccontextmanager
async def connections_exhausted(stage: Stage) -> AsyncIterator[None]:
    """Others take each connection that PostgreSQL has left, and each that gets free."""
    held: list[psycopg.AsyncConnection[tuple[object, ...]]] = []

    async def connect() -> None:
        held.append(await psycopg.AsyncConnection.connect(stage.fleet.database_url, application_name="hog"))

    async def hog() -> None:
        while True:
            failures = await asyncio.gather(*(connect() for _ in range(HOGS_AT_ONCE)), return_exceptions=True)
            await asyncio.sleep(HOG_SECONDS if any(failures) else 0)

    hogging = asyncio.create_task(hog())
    try:
        yield
    finally:
        hogging.cancel()
        with suppress(asyncio.CancelledError):
            await hogging
        await asyncio.gather(*(one.close() for one in held))


@asynccontextmanager
async def connections_lost_and_exhausted(stage: Stage) -> AsyncIterator[None]:
    """All sessions of the hub and of Prefect are ended, and others take their connections."""
    async with connections_exhausted(stage):
        await asyncio.sleep(5)
        async with await psycopg.AsyncConnection.connect(stage.fleet.admin_url, autocommit=True) as admin:
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name <> 'hog' AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
        yield


@asynccontextmanager
async def failed_over(stage: Stage) -> AsyncIterator[None]:
    """The first PostgreSQL dies for good, and the standby takes its place."""
    await asyncio.to_thread(stage.fleet.fail_over)
    yield


@asynccontextmanager
async def prefect_away(stage: Stage) -> AsyncIterator[None]:
    """All of Prefect's servers are gone."""
    parts = [part for part in stage.fleet.parts if part.kind in {"prefect", "services"}]
    await asyncio.gather(*(asyncio.to_thread(part.kill, restart=False) for part in parts))
    try:
        yield
    finally:
        await asyncio.gather(*(asyncio.to_thread(part.start) for part in parts))


def disk_full(*names: str) -> Trouble:
    """Make the trouble that directories are full."""

    @asynccontextmanager
    async def trouble(stage: Stage) -> AsyncIterator[None]:
        disks = [stage.disks[name] for name in names]
        for disk in disks:
            await asyncio.to_thread(disk.fill)
        try:
            yield
        finally:
            for disk in disks:
                await asyncio.to_thread(disk.free)

    return trouble


def clock_set(part: str, seconds: int) -> Trouble:
    """Make the trouble that the clock of a part's machine jumps, and jumps back."""

    @asynccontextmanager
    async def trouble(stage: Stage) -> AsyncIterator[None]:
        stage.set_clock(part, seconds)
        try:
            yield
        finally:
            stage.set_clock(part, 0)

    return trouble
