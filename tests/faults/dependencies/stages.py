"""A fleet whose disks can get full and whose clocks can be set, under load."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

from deployments.fleet import Fleet, services
from deployments.fleet.proxy import CONFIG
from tests.faults.chaos.killer import Struck
from tests.faults.dependencies.bounded import bounded
from tests.faults.dependencies.cases import DATABASE, HOME_OF_API, HOME_OF_WORKER, SKEWED, Case
from tests.faults.dependencies.troubles import Stage
from tests.faults.dependencies.witness import Witness
from tests.faults.fleet.cell import Cell, Deed, Outcome, Times
from tests.faults.fleet.fleets import passed, with_log
from tests.faults.fleet.place import Part, Place
from tests.fixtures import run

NORMAL_SECONDS = 180.0
"""For so long a fleet is waited for that is not well again after the load."""


@contextmanager
def staged(*, standby: bool = False) -> Iterator[tuple[Stage, Path]]:
    """Start a fleet, and make a directory for the evidence; all is gone at the end. Only root can."""
    run.begin()
    with ExitStack() as stack:
        stack.callback(run.end)
        evidence = run.new_directory("dependencies")
        directory = Path(tempfile.mkdtemp(prefix="nexus-fleet-", dir=run.find_memory()))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        directory.chmod(0o711)  # PostgreSQL's own user goes through it
        clocks = directory / "clocks"
        clocks.mkdir()
        disks = {DATABASE: stack.enter_context(bounded(directory / "postgres", 0o711))}
        for part in (HOME_OF_API, HOME_OF_WORKER):
            disks[part] = stack.enter_context(bounded(directory / "parts" / part, 0o700))
        config = evidence / "haproxy.cfg"
        config.write_text(with_log(CONFIG.read_text()))
        stack.enter_context(patch.object(services, "CONFIG", config))
        extra = {"NEXUS_ALLOW_PRIVATE_UPSTREAMS": "true"}
        fleet = Fleet(directory, workers=2, prefect=1, standby=standby, extra_env=extra, keep=True)
        yield Stage(stack.enter_context(fleet), disks, clocks), evidence


class TroubledCell(Cell):
    """The load on a fleet, and a trouble in the midst of it; the hub is asked all the time for its own word."""

    def __init__(self, place: Place, name: str, stage: Stage, case: Case, *, times: Times, rate: float = 1.0) -> None:
        super().__init__(place, name, times=times, rate=rate)
        self._stage = stage
        self._case = case
        self.witness = Witness(stage.fleet)

    async def bear(self) -> Outcome:
        """Let the trouble come under load, wait until all is over, and bring the evidence together."""
        fleet = self._stage.fleet
        async with self.witness.watching():
            # The part and the deed are those of a strike, which a trouble takes the place of.
            outcome = await self.run(self._case.words, fleet.part("proxy"), "kill", lambda: passed(fleet))
            await self.witness.until_normal(NORMAL_SECONDS)
        return outcome

    async def _until_over(self, keys: set[str]) -> None:
        with suppress(TimeoutError):  # the schedule's jobs go on ending
            async with asyncio.timeout(self._times.patience):
                await super()._until_over(keys)

    async def _strike(self, name: str, part: Part, deed: Deed) -> Struck:
        self.witness.began = at = time.monotonic()
        async with self._case.trouble(self._stage):
            await asyncio.sleep(self._case.seconds)
        self.witness.ended = time.monotonic()
        return Struck("kill", name, at, self.witness.ended)


def skew(stage: Stage) -> None:
    """Start those parts anew whose clocks can be set from now on."""
    for name in SKEWED:
        with suppress(KeyError):
            stage.fleet.part(name).start(env=stage.clock_environment(name))
