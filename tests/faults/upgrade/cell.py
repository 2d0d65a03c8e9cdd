"""Load on a fleet from all ways while it is brought to the next release and back."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from tests.faults.chaos.killer import Struck
from tests.faults.chaos.plan import Planned
from tests.faults.fleet.callers import Caller
from tests.faults.fleet.cell import Cell, Times
from tests.faults.fleet.place import Place
from tests.faults.fleet.sent import DirectCall, Sent
from tests.faults.upgrade.callers import Patient
from tests.faults.upgrade.followers import Followed, following
from tests.fixtures.mcp_wire import ERAS

TIMES = Times(before=15, after=20)
RATE = 0.4
"""Of the load of the matrix of faults: on one machine each part that starts takes most of it."""
UPGRADE = "the fleet"
DURABLE, DURABLE_SECONDS = "idempotentHint", 4.0
"""The kind whose calls at `/mcp` are jobs from their start, and the time between two of them."""
TAKEN = {"POST 202", "exit 0", "Prefect 201", "Prefect 200"}
"""The answers of jobs that are taken; 200 is Prefect's to a request that is repeated."""


class Upgrade(Cell):
    """The load of the matrix of faults, with durable calls at `/mcp` and followers; in its midst comes the upgrade."""

    def __init__(self, place: Place, name: str, roll: Callable[[], None]) -> None:
        super().__init__(place, name, times=TIMES, rate=RATE)
        self._roll = roll
        self._name = name
        self._patients: list[Patient] = []
        self.followed = Followed()

    @property
    def jobs(self) -> list[Sent]:
        """The jobs that were sent."""
        return self._notes.jobs

    def refused(self, *, by_prefect: bool = False) -> list[str]:
        """List the tries to submit a job that were in vain, at the hub or at Prefect's own API: it was sent again."""
        return [
            f"{sent.way}: {answer}"
            for sent in self.jobs
            if (sent.way == "Prefect") is by_prefect
            for answer, number in sent.answers.items()
            for _ in range(number)
            if answer not in TAKEN
        ]

    async def _strike(self, *_: Any) -> Struck:
        at = time.monotonic()
        await asyncio.to_thread(self._roll)
        return Struck("kill", UPGRADE, at, time.monotonic())

    @asynccontextmanager
    async def _load(self) -> AsyncIterator[None]:
        place = self._place
        self._patients = [Patient(place.url, token, self._notes) for token in place.tokens]
        async with AsyncExitStack() as stack:
            for patient in self._patients:
                stack.push_async_callback(patient.close)
            self.followed = await stack.enter_async_context(following(place.url, place.key, self._name))
            await stack.enter_async_context(self._calling_durably())
            await stack.enter_async_context(super()._load())
            yield

    def _caller(self, callers: list[Caller], era: str) -> Callable[[], Awaitable[None]]:
        return super()._caller([*self._patients], era)

    @asynccontextmanager
    async def _calling_durably(self) -> AsyncIterator[None]:
        """Call a tool that is a job from its start, in both eras in turn."""

        async def repeat(calls: asyncio.TaskGroup) -> None:
            turns = zip(itertools.count(), itertools.cycle(self._patients), itertools.cycle(ERAS), strict=False)
            for number, patient, era in turns:
                planned = Planned(f"{self._name}-durable-{number}", DURABLE, 0.5, 0.0, None)
                calls.create_task(patient.call(DirectCall(planned, era, time.monotonic())))
                await asyncio.sleep(DURABLE_SECONDS)

        async with asyncio.TaskGroup() as calls:
            repeating = asyncio.create_task(repeat(calls))
            yield
            repeating.cancel()
