"""The row of a cell in the table of results, and its form in a file of rows."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from benchmarks.report import table
from tests.faults.fleet import checks
from tests.faults.fleet.callers import CALL_SECONDS
from tests.faults.fleet.cell import DEEDS, STRIKE_SECONDS, Deed, Outcome
from tests.faults.fleet.evidence import Evidence
from tests.faults.fleet.schedules import EVERY_SECONDS
from tests.faults.fleet.sent import WAYS

HEAD = (
    "part",
    "struck by",
    "jobs sent (API, SQL, command line, Prefect, schedule)",
    "lost",
    "ran twice",
    "changed after the end",
    "outcome unknown",
    "latest",
    "direct calls",
    "failed in the struck process",
    "failed elsewhere",
    "slowest",
    "longest gap of the schedule",
    "fired twice",
)


@dataclass(frozen=True, slots=True)
class Line:
    """The figures of a cell."""

    part: str
    deed: Deed
    jobs: list[int]
    lost: int
    twice: int
    changed: int
    unknown: int
    latest: float
    """Seconds of the job that was late the longest: from its storing to its end, without its call."""
    calls: int
    failed_there: int
    failed_elsewhere: int
    failures: dict[str, int]
    slowest: float
    """Seconds of the slowest direct call, without what it asked for."""
    gap: float
    fired_twice: int
    late_by: dict[str, float]
    """The latest of each way."""

    def cells(self) -> list[str]:
        """The cells of the table's row."""
        figures = (self.lost, self.twice, self.changed, self.unknown)
        return [
            self.part,
            self.deed,
            f"{sum(self.jobs)} ({', '.join(map(str, self.jobs))})",
            *map(str, figures),
            f"{self.latest:.0f} s",
            str(self.calls),
            str(self.failed_there),
            str(self.failed_elsewhere),
            f"{self.slowest:.1f} s",
            f"{self.gap:.0f} s",
            str(self.fired_twice),
        ]


def line(outcome: Outcome) -> Line:
    """Count what the evidence of a cell comes to."""
    evidence = outcome.evidence
    ways = Counter(sent.way for sent in evidence.notes.jobs)
    failed, elsewhere = checks.failed_calls(evidence), checks.failed_elsewhere(evidence)
    late = _late(evidence)
    return Line(
        part=outcome.part,
        deed=outcome.deed,
        jobs=[*(ways[way] for way in WAYS), len(evidence.fired)],
        lost=len(list(checks.none_is_lost(evidence))),
        twice=len(list(checks.none_ran_twice(evidence))),
        changed=len(list(checks.no_ended_job_changed(evidence))),
        unknown=sum(row["error_code"] == "outcome-unknown" for row in evidence.durable.rows.values()),
        latest=max(late.values(), default=0.0),
        calls=len(evidence.notes.calls),
        failed_there=len(failed) - len(elsewhere),
        failed_elsewhere=len(elsewhere),
        failures=dict(Counter(call.failure or "" for call in failed)),
        slowest=max((call.seconds - call.planned.seconds for call in evidence.notes.calls), default=0.0),
        gap=checks.longest_gap(evidence),
        fired_twice=len(list(checks.fired_twice(evidence))),
        late_by=late,
    )


def _late(evidence: Evidence) -> dict[str, float]:
    """The longest delay of each way, and of the schedule from when a run was due to its execution."""
    late: dict[str, float] = {}
    for one, row, _ in evidence.durable.jobs:
        way = getattr(one, "way", "")
        late[way] = max(late.get(way, 0.0), _span(row) - one.planned.seconds)
    by_name = {one.name: one for one in evidence.executions.get(evidence.schedule_tag, [])}
    for fired, job in evidence.runs_of_schedule():
        if job is not None and job["status"] == "completed":
            name = json.loads(job["result"]["content"][0]["text"])["execution"]
            late["schedule"] = max(late.get("schedule", 0.0), by_name[name].began - fired.due)
    return late


def _span(row: dict[str, object]) -> float:
    created, ended = (datetime.fromisoformat(str(row[name])) for name in ("created_at", "completed_at"))
    return (ended - created).total_seconds()


def append(path: Path, one: Line) -> None:
    """Keep a cell's figures; a later run of the same cell takes the place of an earlier one."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(one)) + "\n")


def read(path: Path) -> list[Line]:
    """The last figures of each cell, part by part."""
    found = {(one.part, one.deed): one for one in (Line(**json.loads(text)) for text in path.read_text().splitlines())}
    order = {part: number for number, part in enumerate(dict.fromkeys(part for part, _ in found))}
    return sorted(found.values(), key=lambda one: (order[one.part], DEEDS.index(one.deed)))


INTRODUCTION = """# A fleet, struck part by part

Two API processes, three workers, two Prefect API servers, two processes of Prefect's services, Redis, PostgreSQL
and HAProxy on one machine, each in a network of its own. One part at a time was killed (SIGKILL, and started again
after two seconds), frozen (SIGSTOP of all its processes for {seconds} s) or cut off (its link taken down for
{seconds} s, without a word to anybody), under load from all ways: jobs through the API, by plain SQL, by the
command line and by runs made in Prefect, a schedule that fires every {every} s, and direct calls at `/mcp` in both
eras. The evidence is the upstream's own journal of executions, the rows when they were first seen ended and at the
end, what each client was answered, and the proxy's log.

In all {jobs:,} jobs and {calls:,} direct calls.

- *lost*: taken, and no job that has ended. *ran twice*: two executions at once, or one more than it was tried, or a
  second one of what may not be repeated. *outcome unknown*: jobs that may not be repeated and whose process was
  gone in the midst of the call: they say so.
- *latest*: from the storing of a job to its end, without the seconds that its call takes; of a run of the schedule
  from its due time to its execution.
- *failed in the struck process*: direct calls without a result that the proxy had passed to it; *elsewhere*: all
  others. *slowest*: the longest wait for an answer, without the call's own seconds; clients give up after
  {patience} s.

`python -m tests.faults.fleet.run --rows FILE` does it again; checks that do not hold are in its log. The rows are of
several runs on machines of the kind below: those with some 130 calls for a kill, and some 400 else, at the usual load
of five a second, the others at less than half of it.
"""


def page(lines: Iterable[Line], machine: str) -> str:
    """Make the page of results."""
    ordered = list(lines)
    said = INTRODUCTION.format(
        seconds=f"{STRIKE_SECONDS:.0f}",
        every=EVERY_SECONDS,
        patience=CALL_SECONDS,
        jobs=sum(sum(one.jobs) for one in ordered),
        calls=sum(one.calls for one in ordered),
    )
    return f"{said}\n{machine}\n\n{markdown(ordered)}"


def markdown(lines: Iterable[Line]) -> str:
    """Make the table of all cells, and the words of what failed."""
    ordered = list(lines)
    failures = [
        f"- {one.part}, {one.deed}: " + ", ".join(f"{number} x {name}" for name, number in sorted(one.failures.items()))
        for one in ordered
        if one.failures
    ]
    words = ["", "How direct calls failed:", "", *failures] if failures else []
    return "\n".join([table(HEAD, [one.cells() for one in ordered]), *words, ""])
