"""Kills parts with SIGKILL, freezes workers, cuts the hub's database connections; notes what it did and when."""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from nexus_hub.stack import state as states
from tests.faults.chaos.plan import Blow, Deed
from tests.faults.chaos.rows import Rows

PATIENCE_SECONDS = 90
"""How long a part that was killed before may take to have a process again."""
LOOK_SECONDS = 0.25
"""A call that is under way writes into the journal more often than that."""
AMID_SECONDS = 20
"""How long a blow waits for calls at most: after some blows there can't be any."""


@dataclass(frozen=True, slots=True)
class Struck:
    """A blow as it fell; times are of the monotonic clock."""

    deed: Deed
    what: str
    at: float
    until: float
    """When a freeze was over; else the same."""
    count: int = 1
    """How many connections were cut."""


class SecondWorker:
    """A worker beside the hub's own, started again whenever it ends."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Keep it alive while the block runs; then it drains and ends."""
        keeping = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
            if self._process is not None and self._process.returncode is None:
                self._process.terminate()
                await self._process.wait()

    async def _keep(self) -> None:
        while True:
            with self._log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "nexus_hub", "worker", env=self._environment, stdout=log, stderr=log
                )
            await self._process.wait()
            await asyncio.sleep(0.5)


class Killer:
    """Deals out blows, one after the other; a freeze goes on in the background."""

    def __init__(
        self, state_file: Path, journal: Path, second: SecondWorker, rows: Rows, chance: random.Random
    ) -> None:
        self._state_file = state_file
        self._journal = journal
        self._second = second
        self._rows = rows
        self._chance = chance
        self._killed: set[psutil.Process] = set()
        self._freezes: set[asyncio.Task[None]] = set()
        self.struck: list[Struck] = []

    async def deal(self, blows: list[Blow]) -> None:
        """Deal all blows, and wait for the end of the last freeze."""
        for blow in blows:
            await asyncio.sleep(blow.pause)
            if blow.amid:
                await self._until_calls_are_under_way()
            match blow.deed:
                case "kill":
                    await self._kill(blow.what)
                case "cut":
                    await self._cut(blow.what[0])
                case "freeze":
                    await self._freeze(blow)
        await asyncio.gather(*self._freezes)

    async def _until_calls_are_under_way(self) -> None:
        deadline = time.monotonic() + AMID_SECONDS
        while time.monotonic() < deadline:
            before = self._journal.stat().st_size
            await asyncio.sleep(LOOK_SECONDS)
            if self._journal.stat().st_size > before:
                return

    async def _kill(self, parts: tuple[str, ...]) -> None:
        processes = [await self._alive(part) for part in parts]
        for part, process in zip(parts, processes, strict=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()
            self._killed.add(process)
            self._note("kill", part)

    async def _freeze(self, blow: Blow) -> None:
        process = await self._alive(blow.what[0])
        with suppress(psutil.NoSuchProcess):
            process.suspend()
        began = time.monotonic()

        async def thaw() -> None:
            await asyncio.sleep(blow.seconds)
            with suppress(psutil.NoSuchProcess):
                process.resume()
            self.struck.append(Struck("freeze", blow.what[0], began, time.monotonic()))

        self._freezes.add(asyncio.create_task(thaw()))

    async def _cut(self, which: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                sessions = await self._rows.hub_sessions()
                pids = [
                    one["pid"] for one in sessions if which != "listeners" or one["name"].startswith("nexus-hub listen")
                ]
                share = {"half": (len(pids) + 1) // 2, "one": min(1, len(pids))}.get(which, len(pids))
                await self._rows.terminate(self._chance.sample(pids, share))
            except psycopg.Error:
                assert time.monotonic() < deadline, "PostgreSQL did not come back"
                await asyncio.sleep(0.1)
            else:
                self._note("cut", which, share)
                return

    async def _alive(self, part: str) -> psutil.Process:
        """The part's process, once it has one that was not killed before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with suppress(psutil.NoSuchProcess):
                pid = self._second.pid if part == "second worker" else self._pid(part)
                if pid is not None and (process := psutil.Process(pid)) not in self._killed:
                    return process
            assert time.monotonic() < deadline, f"{part} did not come back"
            await asyncio.sleep(0.05)

    def _pid(self, part: str) -> int | None:
        state = states.read(self._state_file)
        return next((one.pid for one in state.parts if one.name == part), None) if state else None

    def _note(self, deed: Deed, what: str, count: int = 1) -> None:
        now = time.monotonic()
        self.struck.append(Struck(deed, what, now, now, count))
