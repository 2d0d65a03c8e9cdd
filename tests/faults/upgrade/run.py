"""An upgrade of a fleet under load, part by part, to the next release and back: `benchmarks/results/upgrade.md`.

python -m tests.faults.upgrade.run
"""

import argparse
import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg

from benchmarks.report import machine, publish, table
from deployments.fleet import Fleet
from tests.faults.fleet import checks
from tests.faults.fleet.cell import Outcome
from tests.faults.fleet.fleets import passed, placed, settled, started
from tests.faults.fleet.sent import WAYS
from tests.faults.upgrade.cell import DURABLE, UPGRADE, Upgrade
from tests.faults.upgrade.release import NEXT_FLOW, NOTE, make_next
from tests.faults.upgrade.roll import Roller, Step
from tests.fixtures import run
from tests.fixtures.mcp_wire import ERAS

logger = logging.getLogger(__name__)
DURABLE_TOOL = ("--tool", "idempotent")
SHOWN = 3
"""Contradictions of a check that are printed."""


@dataclass
class Report:
    """An upgrade to the next release and back."""

    outcome: Outcome
    cell: Upgrade
    steps: list[Step]
    claimed_by_next: int
    """Jobs that the next release's workers claimed: its queries were in use."""
    greeted: Counter[str]
    """The states of the runs of the flow that only the next release knows."""
    machine: str
    broken: dict[str, list[str]] = field(init=False)
    """What does not hold, with what contradicts it."""

    def __post_init__(self) -> None:
        found = checks.broken(self.outcome.evidence)
        ends, failures = self.cell.followed.ends, self.cell.followed.failures
        more = {
            "no_submission_failed": self.cell.refused(),
            "each_follower_saw_the_end": [*failures, *(end for end in ends if end != "completed")],
            "the_next_release_worked": [] if self.claimed_by_next else ["it claimed nothing"],
            "its_own_flow_was_run": [] if set(self.greeted) == {"COMPLETED"} else [str(self.greeted)],
        }
        self.broken = found | {name: contradictions for name, contradictions in more.items() if contradictions}


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--deploy-first", action="store_true", help="before the workers, which leave what is new then")
    options = parser.parse_args()
    report = upgrade(deploy_first=options.deploy_first)
    publish("upgrade_deploy_first" if options.deploy_first else "upgrade", page(report))
    for check, found in report.broken.items():
        logger.info("%s: %d times, such as %s", check, len(found), found[:SHOWN])
    sys.exit(1 if report.broken else 0)


def upgrade(*, deploy_first: bool = False) -> Report:
    """Start a fleet, and bring it to the next release and back under load; perhaps with deployments before workers."""
    with started(isolated=False) as (fleet, directory):
        release = make_next(run.new_directory("next"))
        roller = Roller(fleet, release, deploy_first, lambda step: logger.info("%s", line(step)))
        return asyncio.run(_upgrade(fleet, directory, roller))


async def _upgrade(fleet: Fleet, directory: Path, roller: Roller) -> Report:
    def roll() -> None:
        roller.forward()
        roller.back()

    async with placed(fleet, directory) as place:
        await asyncio.to_thread(fleet.command, "server", "set", "journaled", "--durable", "always", *DURABLE_TOOL)
        await settled(fleet)
        cell = Upgrade(place, "upgrade", roll)
        outcome = await cell.run(UPGRADE, fleet.part("proxy"), "kill", lambda: passed(fleet))
    for row in (*outcome.evidence.first_seen.values(), *outcome.evidence.rows.values()):
        row.pop(NOTE, None)  # those that ended before the migration have got it since
    claimed, greeted = _claimed_by_next(fleet), _greeted(fleet)
    return Report(outcome, cell, roller.steps, claimed, greeted, machine(fleet.database_url))


def _claimed_by_next(fleet: Fleet) -> int:
    with psycopg.connect(fleet.admin_url) as connection:
        found = connection.execute(f"SELECT count(*) FROM job_results WHERE {NOTE} <> ''".encode()).fetchone()
    return int(found[0]) if found else 0


def _greeted(fleet: Fleet) -> Counter[str]:
    wanted = {"flows": {"name": {"any_": [NEXT_FLOW]}}}
    url = f"{fleet.prefect_url}/flow_runs/filter"
    runs = httpx.post(url, json=wanted, auth=fleet.prefect_auth, timeout=30, trust_env=False).raise_for_status().json()
    return Counter(run["state_type"] for run in runs)


def page(report: Report) -> str:
    """Write the results."""
    evidence, cell = report.outcome.evidence, report.cell
    calls = evidence.notes.calls
    ways = {way: [sent for sent in cell.jobs if sent.way == way] for way in WAYS}
    figures = [
        *([f"jobs sent by {way}", str(len(sent))] for way, sent in ways.items()),
        ["jobs of a schedule", str(len(evidence.fired))],
        ["jobs that a client followed as events, and saw end", str(len(cell.followed.ends))],
        *([f"calls at `/mcp`, {era}", str(sum(call.era == era for call in calls))] for era in ERAS),
        ["of them jobs from their start", str(sum(call.planned.kind_name == DURABLE for call in calls))],
        ["jobs that workers of N+1 claimed", str(report.claimed_by_next)],
        [
            "runs of the flow that only N+1 has",
            ", ".join(f"{number} {state}" for state, number in report.greeted.items()),
        ],
        ["**calls failed**", str(len(checks.failed_calls(evidence)))],
        ["**submissions refused**", str(len(cell.refused()))],
        ["requests at Prefect's own API that were sent again", str(len(cell.refused(by_prefect=True)))],
        ["**followers that did not see the end**", str(len(cell.followed.failures))],
        ["**jobs lost**", str(len(list(checks.none_is_lost(evidence))))],
        ["**ran twice**", str(len(list(checks.none_ran_twice(evidence))))],
        ["**changed after the end**", str(len(list(checks.no_ended_job_changed(evidence))))],
        ["longest gap of the schedule", f"{checks.longest_gap(evidence):.0f} s"],
        ["slowest call, without what it asked for", f"{_slowest(report):.1f} s"],
    ]
    log = "\n".join(line(step) for step in report.steps)
    broken = "\n".join(f"- {name}: {len(found)}" for name, found in report.broken.items()) or "None."
    return TEXT.format(machine=report.machine, figures=table(["under load", ""], figures), log=log, broken=broken)


TEXT = """\
# An upgrade under load, to N+1 and back

2 APIs, 3 workers, 2 Prefect APIs, 2 Prefect services, Redis and PostgreSQL behind HAProxy on one machine. N+1 has a
migration that adds a column to `job_results` and replaces the function of its trigger, queries that write the column, a
flow with another parameter, a task of another name and a flow with a schedule that N does not know.
`python -m tests.faults.upgrade.run`

{machine}

{figures}

## What did not hold

{broken}

## Log

```
{log}
```
"""


def line(step: Step) -> str:
    """Write a step as a line of the log."""
    said = f"   ({step.said})" if step.said else ""
    return f"{step.at:%H:%M:%S}  {step.way:<9}  {step.what}, {step.seconds:.1f} s{said}"


def _slowest(report: Report) -> float:
    calls: Iterable[float] = (call.seconds - call.planned.seconds for call in report.outcome.evidence.notes.calls)
    return max(calls, default=0.0)


if __name__ == "__main__":
    main()
