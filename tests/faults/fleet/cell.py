"""One cell of the matrix: load from all ways, a strike at one part, and the evidence of what it did."""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal

import psycopg

from tests.faults.chaos import journal
from tests.faults.chaos.killer import Struck
from tests.faults.chaos.observer import Observer
from tests.faults.fleet.callers import Caller
from tests.faults.fleet.evidence import Evidence
from tests.faults.fleet.place import Part, Place, until_fired
from tests.faults.fleet.rows import Rows
from tests.faults.fleet.sent import Draws, Notes, Passed, Way
from tests.faults.fleet.ways import Ways
from tests.fixtures.mcp_wire import ERAS

logger = logging.getLogger(__name__)
Deed = Literal["kill", "freeze", "cut"]
DEEDS: tuple[Deed, ...] = ("kill", "freeze", "cut")
RATES: Mapping[Way, float] = {"API": 1.0, "SQL": 0.5, "command line": 0.05, "Prefect": 0.4}
"""Jobs of each way in a second."""
CALL_RATE = 1.5
"""Direct calls of each era in a second."""
LOOK_SECONDS = 2.0
BETWEEN_SECONDS = 3.0
"""A cell begins between two runs of the schedule."""
STRIKE_SECONDS = 90.0
"""So long a part is frozen or cut off."""
Served = Callable[[], Mapping[str, Passed]]
"""How each call was passed to a process, by the call's tag."""


@dataclass(frozen=True, slots=True)
class Times:
    """The seconds of a cell: of load before the strike, of a freeze or cut, of load afterwards."""

    before: float = 10
    strike: float = STRIKE_SECONDS
    after: float = 35
    patience: float = 300
    """For so long nothing may end, at the end, before the cell is judged as it is."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A cell that is over."""

    part: str
    deed: Deed
    evidence: Evidence
    seconds: float


class Cell:
    """The load on a place, and one strike in the midst of it."""

    def __init__(self, place: Place, name: str, *, times: Times | None = None, rate: float = 1.0) -> None:
        self._place = place
        self._draws = Draws(name)
        self._times = times or Times()
        self._rate = rate
        self._notes = Notes()
        self._rows, self._watching = Rows(place.database_url), Rows(place.database_url)
        self._observer = Observer(self._watching)

    async def run(self, name: str, part: Part, deed: Deed, served: Served) -> Outcome:
        """Strike the part under load, wait until all is over, and bring the evidence together."""
        schedule = self._place.schedule
        await until_fired(self._place.journal, schedule.tag)
        await asyncio.sleep(BETWEEN_SECONDS)
        await self._rows.begin()
        self._watching.since = self._rows.since
        began = time.monotonic()
        async with self._watched():
            async with self._load():
                await asyncio.sleep(self._times.before)
                struck = await self._strike(name, part, deed)
                await asyncio.sleep(self._times.after)
                ended = time.monotonic()
            fired = await schedule.fired(began, ended)
            await self._until_over({f"flow-run:{one.id}" for one in fired})
            evidence = Evidence(
                self._notes,
                await self._all_rows(),
                self._observer.first_seen,
                journal.read(self._place.journal),
                [struck],
                schedule.tag,
                fired,
                (began, ended),
            )
        passed = served()
        for call in self._notes.calls:
            call.passed = passed.get(call.planned.tag)
        for rows in (self._rows, self._watching):
            await rows.close()
        return Outcome(name, deed, evidence, time.monotonic() - began)

    async def _strike(self, name: str, part: Part, deed: Deed) -> Struck:
        at = time.monotonic()
        match deed:
            case "kill":
                await asyncio.to_thread(part.kill)
            case "freeze":
                await self._hold(part.freeze, part.thaw)
            case "cut":
                await self._hold(part.cut, part.restore)
        return Struck(deed, name, at, time.monotonic())

    async def _hold(self, begin: Callable[[], object], end: Callable[[], object]) -> None:
        await asyncio.to_thread(begin)
        try:
            await asyncio.sleep(self._times.strike)
        finally:
            await asyncio.to_thread(end)

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        watch = asyncio.create_task(self._observer.watch())
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    @asynccontextmanager
    async def _load(self) -> AsyncIterator[None]:
        """Send jobs and calls as long as the block runs; what was begun is then brought to its end."""
        ways = Ways(self._place, self._rows)
        callers = [Caller(self._place.url, token, self._notes) for token in self._place.tokens]
        sending: set[asyncio.Task[None]] = set()

        async def repeat(rate: float, send: Callable[[], Awaitable[None]]) -> None:
            for pause in self._draws.pauses(rate * self._rate):
                await asyncio.sleep(pause)
                task = asyncio.ensure_future(send())
                sending.add(task)
                task.add_done_callback(sending.discard)

        loops = [asyncio.create_task(repeat(rate, self._job_sender(ways, way))) for way, rate in RATES.items()]
        loops += [asyncio.create_task(repeat(CALL_RATE, self._caller(callers, era))) for era in ERAS]
        try:
            yield
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await asyncio.gather(*sending)
            await ways.close()
            for caller in callers:
                await caller.close()

    def _job_sender(self, ways: Ways, way: Way) -> Callable[[], Awaitable[None]]:
        async def send() -> None:
            sent = self._draws.job(way)
            self._notes.jobs.append(sent)
            await ways.send(sent)

        return send

    def _caller(self, callers: list[Caller], era: str) -> Callable[[], Awaitable[None]]:
        turns = itertools.cycle(callers)

        async def send() -> None:
            await next(turns).call(self._draws.call(era))

        return send

    async def _until_over(self, keys: set[str]) -> None:
        """Wait until each job has its row and has ended, or nothing has ended for long."""
        asked = {sent.planned.tag for sent in self._notes.jobs}
        began = time.monotonic()
        while time.monotonic() < max(began, self._observer.last_end) + self._times.patience:
            with suppress(psycopg.Error):
                all_came = asked <= await self._rows.tags() and keys <= await self._rows.keys()
                if all_came and await self._rows.unended() == 0:
                    await self._observer.look()
                    return
            await asyncio.sleep(LOOK_SECONDS)
        logger.warning("not all jobs have come and ended")

    async def _all_rows(self) -> dict[str, dict[str, object]]:
        while True:
            try:
                return await self._rows.all()
            except psycopg.Error as error:
                logger.warning("the rows can't be read: %s", type(error).__name__)
                await asyncio.sleep(LOOK_SECONDS)
