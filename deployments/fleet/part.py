"""A part of a fleet: one process with its children, which can be struck in every way that a process can be."""

import asyncio
import math
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import psutil

from deployments.fleet.places import Site
from nexus_hub.errors import NotAllowed, StartFailed
from nexus_hub.stack.services import Backoff, Service, ServiceSupervisor

Result = TypeVar("Result")
RESTART = Backoff(first=1.5, limit=3)
"""As soon as systemd and Kubernetes do it at first."""
START_SECONDS = 600.0
"""A fleet on a small and busy machine takes minutes."""
HEALTHY_SECONDS = 60.0


class Runner(Protocol):
    """Runs coroutines in the event loop of the fleet, from any other thread."""

    def __call__(self, work: Coroutine[Any, Any, Result]) -> Result: ...  # noqa: D102


class Link(Protocol):
    """The way from a part to all others."""

    def cut(self, place: Site) -> None: ...  # noqa: D102
    def restore(self, place: Site) -> None: ...  # noqa: D102


class Part:
    """A part; it is started again when it ends by itself, as systemd would do it, and when it is killed.

    `make` gives its service for a Python to run it with (None: that of the fleet) and variables beyond its own;
    `report` hears a line of each start after an end by itself.
    """

    def __init__(
        self,
        name: str,
        place: Site,
        make: Callable[[str | None, Mapping[str, str]], Service],
        log: Path,
        run: Runner,
        link: Link | None,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.name = name
        self.place = place
        self.log = log
        self._make = make
        self._run = run
        self._link = link
        self._report = report
        self._supervisor: ServiceSupervisor | None = None
        self._retired: str | None = None

    @property
    def kind(self) -> str:
        """The part's kind: its name without the number."""
        return self.name.partition("-")[0]

    @property
    def pid(self) -> int:
        """The process id.

        Raises:
            StartFailed: it does not run now.
        """
        if (pid := self._find_pid()) is None:
            raise StartFailed(self.name, "it does not run now", self.log)
        return pid

    @property
    def is_running(self) -> bool:
        """True while there is a process, frozen or not."""
        return self._find_pid() is not None

    @property
    def is_healthy(self) -> bool:
        """True if it has answered the last probe."""
        return self._supervisor is not None and self._supervisor.state.healthy

    @property
    def restarts(self) -> int:
        """The number of times that it was started again since `start`."""
        return 0 if self._supervisor is None else self._supervisor.state.restarts

    def processes(self) -> list[psutil.Process]:
        """List its process and all that descend from it."""
        if (pid := self._find_pid()) is None:
            return []
        try:
            leader = psutil.Process(pid)
            return [leader, *leader.children(recursive=True)]
        except psutil.Error:
            return []

    def start(self, *, python: str | Path | None = None, env: Mapping[str, str] | None = None) -> None:
        """Start it and wait until it is healthy; `python` is that of another installation.

        Raises:
            StartFailed: it ended before, or gave no sign of life in time.
        """
        self._run(self.begin(None if python is None else str(python), env or {}))

    def stop(self) -> None:
        """Ask it to end with the signal that it is stopped by, SIGTERM for most, and wait; it stays stopped."""
        self._run(self.end(None))

    def kill(self, *, restart: bool = True) -> None:
        """Kill it and its children with SIGKILL; it comes back after a second or two, unless told otherwise."""
        if not restart:
            self._run(self.end(signal.SIGKILL))
        for process in self.processes():  # none is left where it is not to come back
            with suppress(psutil.Error):
                process.kill()

    def freeze(self) -> None:
        """Stop all its processes where they are (SIGSTOP); its connections stay open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen part go on."""
        self._signal(signal.SIGCONT)

    def cut(self) -> None:
        """Cut it off from the network, without a word to anybody: what it sends is lost, and what is sent to it.

        Raises:
            NotAllowed: the fleet's parts have no network of their own.
        """
        self._require_link().cut(self.place)

    def restore(self) -> None:
        """Connect it again.

        Raises:
            NotAllowed: the fleet's parts have no network of their own.
        """
        self._require_link().restore(self.place)

    def retire(self, why: str) -> None:
        """Kill it for good."""
        self._retired = why
        self.kill(restart=False)

    async def begin(self, python: str | None, env: Mapping[str, str]) -> None:
        """Start it, in the event loop of the fleet."""
        if self._retired is not None:
            raise StartFailed(self.name, self._retired, self.log)
        if self._supervisor is not None:
            await self._supervisor.stop()
        service = replace(self._make(python, env), backoff=RESTART, patience=math.inf, start_timeout=START_SECONDS)
        self._supervisor = ServiceSupervisor(service, self.log, self._tell)
        await self._supervisor.start()

    async def end(self, first: signal.Signals | None, grace: float | None = None) -> None:
        """Stop it, in the event loop of the fleet. A frozen one hears of any signal but SIGKILL only if it goes on."""
        if self._supervisor is not None:
            if first != signal.SIGKILL:
                self.thaw()
            supervisor, self._supervisor = self._supervisor, None
            await supervisor.stop(first, grace=grace)

    async def until_healthy(self, seconds: float = HEALTHY_SECONDS) -> None:
        """Wait in any event loop until it answers its probe.

        Raises:
            TimeoutError: it does not in that time.
        """
        async with asyncio.timeout(seconds):
            while not self.is_healthy:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    def _tell(self) -> None:
        if self._supervisor is not None and self._supervisor.state.phase == "starting" and self.restarts:
            self._report(f"{self.name}: {self._supervisor.ended}; started again, pid {self.pid}")

    def _find_pid(self) -> int | None:
        return None if self._supervisor is None else self._supervisor.state.pid

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to all its processes, and to those that were born meanwhile."""
        seen: set[int] = set()
        while new := [process for process in self.processes() if process.pid not in seen]:
            for process in new:
                seen.add(process.pid)
                with suppress(psutil.Error):
                    process.send_signal(number)

    def _require_link(self) -> Link:
        if self._link is None:
            raise NotAllowed(
                f"{self.name} can't be cut off: make the fleet with isolated=True, which needs root and iproute2."
            )
        return self._link


def numbered(kind: str, count: int) -> Iterator[str]:
    """Name the parts of a kind."""
    return (f"{kind}-{number}" for number in range(1, count + 1))
