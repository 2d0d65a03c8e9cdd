"""A fleet under load from all ways, one part of each kind killed in the midst of it.

The whole matrix, with freezes and cuts, is `python -m tests.faults.fleet.run`; its results are in
benchmarks/results/fleet.md.
"""

import os
import shutil

import pytest

from tests.faults.fleet import checks
from tests.faults.fleet.cell import Cell, Times
from tests.faults.fleet.fleets import passed, placed, settled, started

NEEDED = ("haproxy", "redis-server")
TIMES = Times(before=8, after=25)
PARTS = ("api-1", "worker-1", "prefect-1", "services-1", "redis", "postgres", "proxy")
PASSED_BY_ALL = {"postgres", "proxy"}
"""Of these a fleet has one, so that calls fail and the schedule waits while it is away."""
ONLY_OF_MANY = {"only_the_struck_process_failed_calls", "the_schedule_kept_its_time"}
PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(shutil.which(name, path=PATH) is None for name in NEEDED), reason="needs haproxy and redis-server"
    ),
]


async def test_kills_lose_repeat_and_change_no_job_and_fail_the_calls_of_the_killed_process_only() -> None:
    contradictions: dict[tuple[str, str], list[str]] = {}
    with started(isolated=False) as (fleet, directory):
        async with placed(fleet, directory) as place:
            for part in PARTS:
                await settled(fleet)
                cell = Cell(place, part, times=TIMES)
                outcome = await cell.run(part, fleet.part(part), "kill", lambda: passed(fleet))
                excused = ONLY_OF_MANY if part in PASSED_BY_ALL else set()
                broken = checks.broken(outcome.evidence)
                contradictions |= {(part, check): broken[check] for check in broken.keys() - excused}
    assert contradictions == {}
