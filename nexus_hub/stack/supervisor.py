"""The supervisor: services and steps that start as soon as what they need is there, and stop in reverse order."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from types import TracebackType
from typing import Self

import psutil

from nexus_hub.errors import StartFailed
from nexus_hub.home.files import tail
from nexus_hub.home.layout import Home
from nexus_hub.stack import state as states
from nexus_hub.stack.process import Command, gone, run
from nexus_hub.stack.services import Service, ServiceSupervisor
from nexus_hub.stack.state import PartState, Phase, StackState
from nexus_hub.telemetry.bus import subscribe
from nexus_hub.telemetry.loops import FailingLoops, outlasting


@dataclass(frozen=True, slots=True)
class Step:
    """Something done once, after the items of the plan that `after` names."""

    name: str
    act: Callable[[], Awaitable[None]]
    after: tuple[str, ...] = ()


class Supervisor:
    """Runs a plan in a home whose lock the caller holds; leaving it stops what was started, whatever happened."""

    def __init__(
        self, home: Home, plan: Sequence[Service | Step], *, on_change: Callable[[StackState], None] | None = None
    ) -> None:
        self.home = home
        self.plan = plan
        self._on_change = on_change
        self._services: dict[str, ServiceSupervisor] = {}
        self._steps: dict[str, PartState] = {}
        self._phase = StackState()
        self._failing = FailingLoops()
        self._resources = ExitStack()

    async def __aenter__(self) -> Self:
        self._resources.enter_context(subscribe(self._failing))
        await end_leftovers(states.read(self.home.state_file))
        self._phase = StackState(pid=os.getpid(), started_at=datetime.now(UTC))
        self._publish()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._resources:
            await self.stop()

    async def start(self) -> None:
        """Start everything, each item when those that it comes after are healthy or done.

        Raises:
            StartFailed: a service or a step did not succeed; leave the supervisor to stop the others.
        """
        started = {item.name: asyncio.Event() for item in self.plan}

        async def take(item: Service | Step) -> None:
            for name in item.after:
                if name in started:  # what the plan leaves out is there already
                    await started[name].wait()
            await (self._start_service(item) if isinstance(item, Service) else self._take_step(item))
            started[item.name].set()

        try:
            async with asyncio.TaskGroup() as group:
                for item in self.plan:
                    group.create_task(take(item))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        self._enter("ready")

    async def stop(self) -> None:
        """Stop all services, the last one of the plan first."""
        self._enter("stopping")
        for item in reversed(self.plan):
            if item.name in self._services:
                await self._services[item.name].stop()
        self._enter("stopped")

    def state(self) -> StackState:
        """Show everything as it is now, in the order of the plan."""
        known = {name: service.state for name, service in self._services.items()} | self._steps
        parts = [known.get(item.name) or _waiting(item) for item in self.plan]
        return self._phase.model_copy(update={"parts": parts, "failing": self._failing.names()})

    async def _start_service(self, service: Service) -> None:
        log = self.home.logs / f"{service.name}.log"
        self._services[service.name] = ServiceSupervisor(service, log, self._publish)
        await self._services[service.name].start()

    async def _take_step(self, step: Step) -> None:
        began = monotonic()
        self._show_step(step, "starting", None)
        try:
            await step.act()
        except Exception:
            self._show_step(step, "failed", monotonic() - began)
            raise
        self._show_step(step, "done", monotonic() - began)

    def _show_step(self, step: Step, phase: Phase, seconds: float | None) -> None:
        rounded = None if seconds is None else round(seconds, 2)
        self._steps[step.name] = _waiting(step).model_copy(update={"phase": phase, "seconds": rounded})
        self._publish()

    def _enter(self, phase: str) -> None:
        self._phase = self._phase.model_copy(update={"phase": phase})
        self._publish()

    def _publish(self) -> None:
        state = self.state()
        with suppress(OSError):  # a full disk must not end the supervision
            states.write(self.home.state_file, state)
        if self._on_change:
            with outlasting("view"):  # nor must a terminal that is gone
                self._on_change(state)


def command_step(name: str, command: Command, home: Home, after: tuple[str, ...] = ()) -> Step:
    """Make a step of a program; any exit code but 0 fails it."""
    log = home.logs / f"{name}.log"

    async def act() -> None:
        if (code := await run(command, log)) != 0:
            raise StartFailed(name, f"it ended with exit code {code}", log, tail(log))

    return Step(name, act, after)


async def end_leftovers(state: StackState | None) -> None:
    """Kill what a supervisor that was killed itself has left, where the system did not do that."""
    left = [process for part in (state.parts if state else []) if (process := _same_process(part))]
    for process in left:
        with suppress(psutil.Error):
            process.terminate()
    for process in await gone(left, within=30):
        with suppress(psutil.Error):
            process.kill()
    await gone(left, within=5)


def _same_process(part: PartState) -> psutil.Process | None:
    try:
        process = psutil.Process(part.pid) if part.pid and part.created else None
        return process if process and abs(process.create_time() - (part.created or 0)) < 2 else None
    except psutil.Error:
        return None


def _waiting(item: Service | Step) -> PartState:
    if isinstance(item, Service):
        return PartState(name=item.name, port=item.port)
    return PartState(name=item.name, kind="step")
