"""Services: programs that are started, watched, restarted with back-off when they end by themselves, and stopped."""

import asyncio
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

from nexus_hub.errors import HubError, StartFailed
from nexus_hub.home.files import rotate_all, tail
from nexus_hub.stack import process as processes
from nexus_hub.stack.probes import SILENT, Probe, Sign
from nexus_hub.stack.process import Command
from nexus_hub.stack.state import PartState
from nexus_hub.telemetry.loops import outlasting

SILENT_SECONDS = 45.0
"""A service that has answered no probe for so long, and several in a row, is ended and started again."""
FEWEST_MISSES = 3
PROBE_SECONDS = 10.0
LOOK_SECONDS = 1.0
"""Time between two looks at the descendants of a service that is coming up: each goes through all processes."""
HUNG_GRACE_SECONDS = 5.0
"""The time that a hung service has to end by itself; a frozen one can't."""
HANGS_LIMIT, HANGS_WITHIN_SECONDS = 5, 3600.0
"""A service that hangs more often within the time is left as it is: restarts do not help it."""


async def _nothing() -> None:
    return


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds to wait before a restart: doubling from `first` to `limit`, back to `first` after `calm` of health."""

    first: float = 0.2
    limit: float = 10
    calm: float = 30

    def following(self, delay: float, healthy_for: float) -> float:
        """The delay after this one (0: none yet), for a service that was healthy for that long."""
        return self.first if delay == 0 or healthy_for >= self.calm else min(delay * 2, self.limit)


@dataclass(frozen=True, slots=True)
class Service:
    """A program that stays: it starts after the items that `after` names; `prepare` runs before each start."""

    name: str
    command: Command
    probe: Probe
    after: tuple[str, ...] = ()
    port: int | None = None
    prepare: Callable[[], Awaitable[None]] = _nothing
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 15
    start_timeout: float = 180
    backoff: Backoff = field(default_factory=Backoff)
    patience: float = SILENT_SECONDS
    """Seconds without an answer after which it counts as hung."""
    interval: float = 5
    """Seconds between two probes of a service that has come up."""


class ServiceSupervisor:
    """Keeps one service alive until it is stopped; `changed` is called whenever its state is another one."""

    def __init__(self, service: Service, log: Path, changed: Callable[[], None]) -> None:
        self.service = service
        self.log = log
        self.ended = ""
        """The end of the last process that ended by itself, in words."""
        self.state = PartState(name=service.name, port=service.port, log=str(log))
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._came_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._began = 0.0
        self._healthy_since: float | None = None
        self._healthy_last = self._heard = 0.0
        self._misses = 0
        self._hangs: deque[float] = deque(maxlen=HANGS_LIMIT)
        self._family: list[psutil.Process] = []

    async def start(self) -> None:
        """Start the service and wait until it is healthy for the first time.

        Raises:
            StartFailed: it ended before, or gave no sign of life in time.
        """
        self._began = time.monotonic()
        self._show(phase="starting", started_at=datetime.now(UTC))
        self._task = asyncio.create_task(self._supervise(), name=f"supervise {self.service.name}")
        try:
            await asyncio.wait_for(self._came_up, self.service.start_timeout)
        except TimeoutError:
            raise self._failure(f"no sign of life within {self.service.start_timeout:g} s") from None

    async def stop(self, first: signal.Signals | None = None, *, grace: float | None = None) -> None:
        """End the service in order, or by another signal or sooner; kill what does not end; nothing of it is left."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._task
        if self._process is not None:
            seconds = self.service.grace if grace is None else grace
            await processes.end(self._process, first or self.service.stop_signal, grace=seconds)
        self._show(phase="stopped", pid=None, healthy=False)

    async def _supervise(self) -> None:
        delay = 0.0
        while True:
            self._healthy_since = None
            try:
                why = await self._run_once()
            except Exception as error:  # whatever it is, the next try may succeed
                why = f"it can't be started: {error}"
                self._fail_first_start(error if isinstance(error, HubError) else None, why)
            if self._fail_first_start(None, why):
                return
            healthy_for = self._healthy_last - self._healthy_since if self._healthy_since else 0.0
            delay = self.service.backoff.following(delay, healthy_for)
            self.ended = why
            processes.note(self.log, f"{why}; starting again in {delay:g} s")
            self._show(phase="down", pid=None, healthy=False, failing=[], restarts=self.state.restarts + 1)
            await asyncio.sleep(delay)

    async def _run_once(self) -> str:
        """Run the service once, to its end, or until it hangs; how it ended."""
        await self.service.prepare()
        self._process = process = await processes.spawn(self.service.command, self.log)
        self._heard, self._misses = time.monotonic(), 0
        self._show(phase="starting", pid=process.pid, created=_created(process.pid))
        ended, watch = asyncio.create_task(process.wait()), asyncio.create_task(self._watch(process.pid))
        try:
            await asyncio.wait({ended, watch}, return_when=asyncio.FIRST_COMPLETED)
            why = None if ended.done() else f"it has answered nothing for {time.monotonic() - self._heard:.0f} s"
            if why is not None:
                self._hangs.append(time.monotonic())
                processes.note(self.log, f"{why}; it is ended")
                await processes.end(process, self.service.stop_signal, grace=HUNG_GRACE_SECONDS)
            code = await ended
        finally:
            watch.cancel()
            ended.cancel()
        processes.kill_rest(process.pid, self._family)
        self._process = None
        return why or _ending(code)

    async def _watch(self, pid: int) -> None:
        """Look after the process until it hangs; no error ends this, since nobody else would look."""
        looked = 0.0
        while not self._is_hung():
            with outlasting(f"watch-{self.service.name}"):
                self._take_note(await self._probe())
            with outlasting(f"watch-{self.service.name}"):
                if self._healthy_since or time.monotonic() - looked >= LOOK_SECONDS:
                    looked = time.monotonic()
                    self._family = processes.descendants(pid)
                    rotate_all(self.log.parent)
            await asyncio.sleep(self.service.interval if self._healthy_since else 0.1)

    async def _probe(self) -> Sign:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await self.service.probe()
        except TimeoutError:
            return SILENT

    def _take_note(self, sign: Sign) -> None:
        now = time.monotonic()
        self._heard, self._misses = (now, 0) if sign.alive else (self._heard, self._misses + 1)
        if sign.healthy:
            self._healthy_last = now
            if self._healthy_since is None:
                self._healthy_since = now
                if not self._came_up.done():
                    self.state.seconds = round(now - self._began, 2)
                    self._came_up.set_result(None)
        failing = list(sign.failing)
        if sign.healthy != self.state.healthy or failing != self.state.failing:
            self._show(healthy=sign.healthy, phase="up" if sign.healthy else "down", failing=failing)

    def _is_hung(self) -> bool:
        """Tell if it has been silent for so long, in spite of several probes, that only a restart helps.

        What answers that it is not ready is alive. One that is still starting has the time that a start may take.
        """
        now = time.monotonic()
        patience = self.service.patience if self._healthy_since else self.service.start_timeout
        if not self._came_up.done() or self._misses < FEWEST_MISSES or now - self._heard < patience:
            return False
        return len(self._hangs) < HANGS_LIMIT or now - self._hangs[0] > HANGS_WITHIN_SECONDS

    def _fail_first_start(self, error: HubError | None, why: str) -> bool:
        """Fail the first start for whoever waits for it; true if it failed."""
        if not self._came_up.done():
            self._came_up.set_exception(error or self._failure(why))
            self._show(phase="failed", pid=None)
        return not self._came_up.cancelled() and self._came_up.exception() is not None

    def _failure(self, why: str) -> StartFailed:
        self._show(phase="failed")
        return StartFailed(self.service.name, why, self.log, tail(self.log))

    def _show(self, **changes: object) -> None:
        self.state = self.state.model_copy(update=changes)
        with outlasting(f"state-{self.service.name}"):
            self._changed()


def _created(pid: int) -> float | None:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def _ending(code: int) -> str:
    if code < 0:
        return f"it was ended by signal {signal.Signals(-code).name}"
    return f"it ended with exit code {code}"
