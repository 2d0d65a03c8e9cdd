"""Jobs of all kinds while worker, API, Prefect and PostgreSQL are killed at random and connections are cut.

The same seed gives the same jobs and the same blows in the same order; when they fall, and so on what, is chance.
Sizes: NEXUS_CHAOS_SEED, NEXUS_CHAOS_JOBS, NEXUS_CHAOS_KILLS, NEXUS_CHAOS_LEASE (seconds).
NEXUS_CHAOS_TABLE names a file for the table.
"""

import os
import sys
from pathlib import Path

import pytest

from tests.faults.chaos import checks, table
from tests.faults.chaos.run import Size, run
from tests.fixtures.hub import any_hub

pytestmark = pytest.mark.stack


async def test_no_job_is_lost_doubled_or_changed_by_kills(
    tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    size = Size.of_environment()
    with any_hub(request, NEXUS_ALLOW_PRIVATE_UPSTREAMS="true", **size.times) as hub:
        report = await run(hub, size, tmp_path)
    lines = table.lines(report.evidence, report.runs, seed=size.seed, seconds=report.seconds, tail=report.tail)
    text = table.markdown(report.evidence, lines)
    with capsys.disabled():
        sys.stdout.write(f"\n{text}")
    if path := os.environ.get("NEXUS_CHAOS_TABLE"):
        Path(path).write_text(text)
    assert checks.broken(report.evidence) == {}
