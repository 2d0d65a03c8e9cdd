"""The supervisor: parts that start one after the other, are kept alive, and stop in reverse order."""

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
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
from nexus_hub.stack.keeper import Keeper, Part
from nexus_hub.stack.process import Command, gone, run
from nexus_hub.stack.state import PartState, Phase, StackState


@dataclass(frozen=True, slots=True)
class Step:
    """Something done once between two parts."""

    name: str
    act: Callable[[], Awaitable[None]]


class Supervisor:
    """Runs a plan in a home whose lock the caller holds; leaving it stops what was started, whatever happened."""

    def __init__(
        self, home: Home, plan: Sequence[Part | Step], *, on_change: Callable[[StackState], None] | None = None
    ) -> None:
        self.home = home
        self.plan = plan
        self._on_change = on_change
        self._keepers: list[Keeper] = []
        self._steps: dict[str, PartState] = {}
        self._phase = StackState()

    async def __aenter__(self) -> Self:
        await end_leftovers(states.read(self.home.state_file))
        self._phase = StackState(pid=os.getpid(), started_at=datetime.now(UTC))
        self._publish()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start everything, each part when the one before is healthy.

        Raises:
            StartFailed: a part or a step did not succeed; leave the supervisor to stop the others.
        """
        for item in self.plan:
            await (self._start_part(item) if isinstance(item, Part) else self._take_step(item))
        self._enter("ready")

    async def stop(self) -> None:
        """Stop all parts, the last one first."""
        self._enter("stopping")
        for keeper in reversed(self._keepers):
            await keeper.stop()
        self._enter("stopped")

    def state(self) -> StackState:
        """How everything is now, in the order of the plan."""
        known = {keeper.part.name: keeper.state for keeper in self._keepers} | self._steps
        return self._phase.model_copy(update={"parts": [known.get(item.name) or _waiting(item) for item in self.plan]})

    async def _start_part(self, part: Part) -> None:
        keeper = Keeper(part, self.home.logs / f"{part.name}.log", self._publish)
        self._keepers.append(keeper)
        await keeper.start()

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
            self._on_change(state)


def command_step(name: str, command: Command, home: Home) -> Step:
    """A step that is a program; any exit code but 0 fails it."""
    log = home.logs / f"{name}.log"

    async def act() -> None:
        if (code := await run(command, log)) != 0:
            raise StartFailed(name, f"it ended with exit code {code}", log, tail(log))

    return Step(name, act)


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


def _waiting(item: Part | Step) -> PartState:
    if isinstance(item, Part):
        return PartState(name=item.name, port=item.port)
    return PartState(name=item.name, kind="step")
