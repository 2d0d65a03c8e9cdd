"""What a fleet stands on fails in the midst of load: nothing is lost, repeated or changed, and all is well afterwards.

All troubles, with Prefect away for ten minutes, are `python -m tests.faults.dependencies.run`; their results are in
benchmarks/results/dependencies.md.
"""

import asyncio
import os
import shutil

import pytest

from tests.faults.dependencies.cases import CASES
from tests.faults.dependencies.stages import TroubledCell, skew, staged
from tests.faults.dependencies.troubles import find_faketime
from tests.faults.fleet import checks
from tests.faults.fleet.cell import Times
from tests.faults.fleet.fleets import placed, settled

NEEDED = ("haproxy", "redis-server")
PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
TIMES = Times(before=8, after=25)
FELT = ("redis-flushed", "postgres-restarted", "home-full", "postgres-full", "prefect-away")
CLOCKS = ("worker-ahead", "worker-behind", "api-ahead", "api-behind")
ALWAYS = {check.__name__ for check in (checks.none_is_lost, checks.none_ran_twice, checks.no_ended_job_changed)}
"""A trouble may fail calls and hold up the schedule while it lasts; a clock may not."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(shutil.which(name, path=PATH) is None for name in NEEDED), reason="needs haproxy and redis-server"
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make disks full"),
]


async def bear(names: tuple[str, ...], minded: set[str], *, standby: bool = False) -> dict[tuple[str, str], object]:
    """Let the troubles come one after the other; what contradicts the checks, and what was not well afterwards."""
    found: dict[tuple[str, str], object] = {}
    with staged(standby=standby) as (stage, directory):
        async with placed(stage.fleet, directory) as place:
            if any(name in CLOCKS for name in names):
                await asyncio.to_thread(skew, stage)
            for name in names:
                await settled(stage.fleet)
                cell = TroubledCell(place, name, stage, CASES[name], times=TIMES)
                broken = checks.broken((await cell.bear()).evidence)
                found |= {(name, check): broken[check] for check in broken.keys() & minded}
                if cell.witness.normal_after is None:
                    found[name, "normal"] = cell.witness.told
    return found


async def test_what_a_fleet_stands_on_may_fail() -> None:
    assert await bear(FELT, ALWAYS) == {}


async def test_a_fleet_outlives_the_loss_of_its_database_server() -> None:
    assert await bear(("failover",), ALWAYS, standby=True) == {}


@pytest.mark.skipif(find_faketime() is None, reason="needs faketime")
async def test_the_clock_of_one_machine_matters_to_nobody() -> None:
    assert await bear(CLOCKS, {check.__name__ for check in checks.CHECKS}) == {}
