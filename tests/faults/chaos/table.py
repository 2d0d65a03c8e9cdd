"""What a run came to, as a table of Markdown."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from tests.faults.chaos.checks import Evidence, by_freeze, overlaps
from tests.faults.chaos.flow_runs import Runs, disagreements, is_shared, open_states
from tests.faults.chaos.plan import KINDS

ANSWERS = {"POST 202", "DELETE 200", "DELETE 409"}
Line = tuple[str, object]


def lines(evidence: Evidence, runs: Runs, *, seed: int, seconds: float, tail: float) -> Iterable[Line]:
    """The lines of the table: what, and how much."""
    jobs = evidence.jobs
    rows = [row for _, row, _ in jobs]
    yield "seed", seed
    yield "duration", f"{seconds:.0f} s"
    yield "kills", _counted(one.what for one in evidence.struck if one.deed == "kill")
    yield "freezes of a worker", sum(one.deed == "freeze" for one in evidence.struck)
    cuts = [one for one in evidence.struck if one.deed == "cut"]
    yield "cuts (connections)", f"{len(cuts)} ({sum(one.count for one in cuts)})"
    yield "jobs", len(evidence.rows)
    yield "stored by plain SQL", sum(one.planned.sql_id is not None for one in evidence.submissions)
    batches = [one.planned.batch for one in evidence.submissions if one.planned.batch is not None]
    yield "submitted in batches (requests)", f"{len(batches)} ({len(set(batches))})"
    yield "ended as", _counted(row["status"] for row in rows)
    yield "failed with", _counted(row["error_code"] for row in rows if row["status"] == "failed")
    yield "rescued: completed in a later attempt", sum(_rescued(row) for row in rows)
    yield "rescued: completed, though a run of it was lost", sum(_lost_a_run(row, runs) for row in rows)
    yield "requests sent again", sum(max(one.answers.total() - 1, 0) for one in evidence.submissions)
    yield "answers that were no success", _counted(_failures(evidence))
    yield "executions cut short in the upstream", _counted(_cut_short(evidence))
    yield "of them within a second of a worker's death", _noticed(evidence)
    found = list(overlaps(evidence))
    excused = sum(by_freeze(evidence, *pair) for pair in found)
    yield "overlapping executions", f"{len(found)}, of them by a frozen worker: {excused}"
    yield "from the last kill to the last end", f"{tail:.0f} s"
    statuses = {row["id"]: row["status"] for row in rows}
    all_runs = [run for of_job in runs.values() for run in of_job]
    yield "flow runs", len(all_runs)
    shared = {run["id"] for run in all_runs if is_shared(run)}
    yield "flow runs that many jobs shared", len(shared)
    yield "jobs that ended in one of those", sum(row["flow_run_id"] in shared for row in rows)
    yield "flow runs of ended jobs still open in Prefect", _counted(open_states(runs, statuses).elements())
    named = {row["id"]: row["flow_run_id"] for row in rows}
    yield "last flow runs that disagree with their job", _counted(disagreements(runs, statuses, named).elements())


def histogram(evidence: Evidence) -> Iterable[list[object]]:
    """A line for each kind of job: its name, how many, and of them with 0, 1, 2, 3 or more executions."""
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for one, _, executions in evidence.jobs:
        counts[one.planned.kind_name][min(len(executions), 3)] += 1
    for name in KINDS:
        yield [name, counts[name].total(), *(counts[name][number] for number in range(4))]


def markdown(evidence: Evidence, lines: Iterable[Line]) -> str:
    """Both tables as text."""
    first = [f"| {what} | {value} |" for what, value in lines]
    second = [f"| {' | '.join(map(str, line))} |" for line in histogram(evidence)]
    head = ["| kind of job | jobs | not executed | once | twice | more often |", "|---|---|---|---|---|---|"]
    return "\n".join(["| what | |", "|---|---|", *first, "", *head, *second, ""])


def _counted(values: Iterable[str]) -> str:
    counts: Mapping[str, int] = Counter(values)
    parts = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return f"{sum(counts.values())}: {parts}" if parts else "0"


def _rescued(row: dict[str, object]) -> bool:
    return row["status"] == "completed" and row["attempt"] != 1


def _lost_a_run(row: dict[str, object], runs: Runs) -> bool:
    of_job = runs.get(str(row["id"]), [])
    return row["status"] == "completed" and any(run["state_type"] == "CRASHED" for run in of_job)


def _failures(evidence: Evidence) -> Iterable[str]:
    for one in evidence.submissions:
        yield from (answer for answer in one.answers.elements() if answer not in ANSWERS)


def _cut_short(evidence: Evidence) -> Iterable[str]:
    for executions in evidence.executions.values():
        yield from (one.how or "its process was killed" for one in executions if one.how != "done")


def _noticed(evidence: Evidence) -> int:
    """How many executions the HTTP upstream cut short within a second of a worker's death."""
    kills = [one.at for one in evidence.struck if one.deed == "kill" and one.what.endswith("worker")]
    return sum(
        one.how not in {"done", None} and any(0 < one.until - kill < 1 for kill in kills)
        for executions in evidence.executions.values()
        for one in executions
    )
