"""The row of a trouble in the table of results, and its form in a file of rows."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.report import table
from tests.faults.dependencies.witness import Witness
from tests.faults.fleet.cell import Outcome
from tests.faults.fleet.table import Line, line

HEAD = (
    "what fails",
    "told by",
    "normal after",
    "jobs",
    "lost",
    "ran twice",
    "changed after the end",
    "outcome unknown",
    "latest",
    "direct calls",
    "failed",
    "slowest",
    "longest gap of the schedule",
    "fired twice",
)


@dataclass(frozen=True, slots=True)
class TroubleLine:
    """The figures of a trouble."""

    figures: Line
    told: dict[str, float]
    normal_after: float | None

    def cells(self) -> list[str]:
        """The cells of the table's row."""
        one = self.figures
        told = ", ".join(f"{what} ({after:.0f} s)" for what, after in sorted(self.told.items(), key=lambda at: at[1]))
        return [
            one.part,
            told or "nothing: it is not felt",
            "never" if self.normal_after is None else f"{self.normal_after:.0f} s",
            f"{sum(one.jobs)} ({', '.join(map(str, one.jobs))})",
            *map(str, (one.lost, one.twice, one.changed, one.unknown)),
            f"{one.latest:.0f} s",
            str(one.calls),
            str(one.failed_there + one.failed_elsewhere),
            f"{one.slowest:.1f} s",
            f"{one.gap:.0f} s",
            str(one.fired_twice),
        ]


def trouble_line(outcome: Outcome, witness: Witness) -> TroubleLine:
    """Count what the evidence of a trouble comes to."""
    return TroubleLine(line(outcome), witness.told, witness.normal_after)


def append(path: Path, one: TroubleLine) -> None:
    """Keep a trouble's figures; a later run of the same one takes the place of an earlier one."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(one)) + "\n")


def read(path: Path) -> list[TroubleLine]:
    """Read the last figures of each trouble, in the order of the first ones."""
    said = [json.loads(text) for text in path.read_text().splitlines()]
    lines = [TroubleLine(Line(**one["figures"]), one["told"], one["normal_after"]) for one in said]
    return list({one.figures.part: one for one in lines}.values())


INTRODUCTION = """# What a fleet stands on, failing

Two API processes, two workers, a Prefect API server, two processes of Prefect's services, Redis, PostgreSQL and
HAProxy on one machine, under load from all ways: jobs through the API, by plain SQL, by the command line and by runs
made in Prefect, a schedule that fires every 10 s, and direct calls at `/mcp` in both eras. The evidence is that of
fleet.md.

- *told by*: what the hub itself said that was not so before, and how many seconds after the trouble began: `/readyz` of
  the API processes, and the parts of `/v1/health`, as the console shows them. `scheduler: warn` also says that Prefect
  took more than 3 s to answer, as it may on a machine that has other work.
- *normal after*: from the end of the trouble until all probes and all parts were well, but for the loops of the last
  two minutes that `api: warn` tells of.
- *jobs*: by the API, SQL, the command line, Prefect and the schedule. *latest*: from the storing of a job to its end,
  without the seconds that its call takes; of a run of the schedule from its due time to its execution.
- *failed*: direct calls without a result; each was told so, and none of them ran twice.

`python -m tests.faults.dependencies.run --rows FILE`, as root, does it again, and tries what is not in the table.

A first run with PostgreSQL's disk full for 60 s found two faults, which are mended and have tests of their own: once
there was room the jobs whose leases could not be renewed were rescued at once, one of them as of unknown outcome, and
runs that were asked for in Prefect failed without a second try to store their jobs.

A first run in which all sessions were ended and no connection was left lost seven runs that were asked for in Prefect:
the worker crashed them over the errors of Prefect's server. It leaves them to be taken again now. The rows are of
several runs of this program, on the machine below.
"""


def page(lines: Iterable[TroubleLine], machine: str) -> str:
    """Make the page of results."""
    ordered = list(lines)
    failures = [
        f"- {one.figures.part}: "
        + ", ".join(f"{number} x {name}" for name, number in sorted(one.figures.failures.items()))
        for one in ordered
        if one.figures.failures
    ]
    words = ["How direct calls failed:", "", *failures, ""] if failures else []
    return "\n".join([INTRODUCTION, machine, "", table(HEAD, [one.cells() for one in ordered]), "", *words])
