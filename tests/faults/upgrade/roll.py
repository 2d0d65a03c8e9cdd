"""Move a fleet to another release part by part, in the order of docs/fleet.md, and back in the reverse one."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from deployments.fleet import Fleet
from tests.faults.upgrade.release import Release

TAKEN_UP_SECONDS = {"services": 30.0}
"""Until a part is at work that gives no sign of it."""
BALANCED_SECONDS = 5.0
"""Until a balancer sends requests to a process that has become ready."""
PREFECT, WORKERS, APIS = ("prefect", "services"), ("worker",), ("api",)


@dataclass(frozen=True, slots=True)
class Step:
    """A step that was taken."""

    way: str
    what: str
    at: datetime
    seconds: float
    said: str = ""
    """What its command said."""


@dataclass
class Roller:
    """Moves the parts of a fleet, and writes down each step."""

    fleet: Fleet
    release: Release
    deploy_first: bool = False
    on_step: Callable[[Step], None] = lambda _: None
    steps: list[Step] = field(default_factory=list)
    _way: str = ""

    def forward(self) -> None:
        """Bring the fleet to the next release: first what reads, then what writes."""
        self._way = "to N+1"
        self._command("migrate", self.release.python)
        self._restart(PREFECT, self.release.python)
        if self.deploy_first:
            self._command("deploy", self.release.python)
        self._restart(WORKERS, self.release.python)
        if not self.deploy_first:
            self._command("deploy", self.release.python)
        self._restart(APIS, self.release.python)

    def back(self) -> None:
        """Bring it back, in the reverse order; the schema stays."""
        self._way = "back to N"
        self._restart(APIS, None)
        self._command("deploy", None)
        self._restart(WORKERS, None)
        self._restart(PREFECT, None)
        self._command("migrate", None)

    def _restart(self, kinds: tuple[str, ...], python: Path | None) -> None:
        for kind in kinds:
            for part in [part for part in self.fleet.parts if part.kind == kind]:
                with self._taken(f"{part.name} stops"):
                    part.stop()
                with self._taken(f"{part.name} starts, and is ready"):
                    part.start(python=python)
                time.sleep(TAKEN_UP_SECONDS.get(kind, BALANCED_SECONDS))

    def _command(self, word: str, python: Path | None) -> None:
        with self._taken(f"nexus-hub {word}") as said:
            try:
                said.append(self.fleet.command(word, python=python))
            except subprocess.CalledProcessError as error:
                raise AssertionError(f"nexus-hub {word}: {error.stderr or error.stdout}") from None

    @contextmanager
    def _taken(self, what: str) -> Iterator[list[str]]:
        at, began = datetime.now(UTC), time.monotonic()
        said: list[str] = []
        yield said
        step = Step(self._way, what, at, time.monotonic() - began, "; ".join("".join(said).split("\n")).strip("; "))
        self.steps.append(step)
        self.on_step(step)
