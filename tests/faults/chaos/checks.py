"""What must hold of a run, whatever was killed: each check gives what contradicts it, from evidence past the hub.

The evidence: the upstreams' journal of executions, what was submitted and answered, the rows when they were first seen
ended, and the rows at the end.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from tests.faults.chaos.driver import TRANSIENT, Submission
from tests.faults.chaos.journal import Execution
from tests.faults.chaos.killer import Struck
from tests.faults.chaos.rows import Row

ENDED = {"completed", "failed", "cancelled"}
REASONS = {"outcome-unknown", "run-lost", "lease-expired", "upstream-unavailable", "database-unavailable"}
"""The codes that a job may fail with in such a run."""


@dataclass
class Evidence:
    """All that is known at the end of a run."""

    submissions: list[Submission]
    rows: dict[str, Row]
    """At the end, by id."""
    first_seen: dict[str, Row]
    """When they were first seen ended, by id."""
    executions: dict[str, list[Execution]]
    """By tag."""
    struck: list[Struck]
    made_for: dict[str, str] = field(default_factory=dict)
    """Of each shared run's flow run, the batch that it was made for, if it was made for one."""
    jobs: list[tuple[Submission, Row, list[Execution]]] = field(init=False)
    """Each submission that became a row, with that row and its executions."""

    def __post_init__(self) -> None:
        self.jobs = [
            (one, self.rows[one.id], self.executions.get(one.planned.tag, []))
            for one in self.submissions
            if len(one.ids) == 1 and one.id in self.rows
        ]


Check = Callable[[Evidence], Iterator[str]]


def every_submission_is_one_row(evidence: Evidence) -> Iterator[str]:
    """Whatever was sent more than once, or lost its answer, is one row; and no row is there that nobody asked for."""
    keys = Counter(row["idempotency_key"] for row in evidence.rows.values() if row["idempotency_key"])
    answered: set[str] = set()
    for one in evidence.submissions:
        planned = one.planned
        if len(one.ids) != 1 or one.id not in evidence.rows:
            yield f"{planned.tag} was answered with the ids {one.ids}"
        if planned.sql_id is None and keys[planned.tag] != 1:
            yield f"{planned.tag} is {keys[planned.tag]} rows"
        answered |= one.ids
    for stray in evidence.rows.keys() - answered:
        yield f"nobody asked for {evidence.rows[stray]}"


def every_job_ended(evidence: Evidence) -> Iterator[str]:
    for row in evidence.rows.values():
        if row["status"] not in ENDED:
            yield f"has not ended: {row}"


def find_changed(first_seen: Mapping[str, Row], rows: Mapping[str, Row]) -> Iterator[str]:
    """Find the rows that are not as they were when they were first seen ended."""
    for job_id, before in first_seen.items():
        after = rows.get(job_id)
        if after != before:
            yield f"{before} became {after}"


def no_ended_job_changed(evidence: Evidence) -> Iterator[str]:
    yield from find_changed(evidence.first_seen, evidence.rows)


def none_ran_twice_at_once(evidence: Evidence) -> Iterator[str]:
    """Two executions of a job overlap, and it was not the execution of a frozen worker that the hub gave up.

    A frozen process can't end its call, and nobody else can; so no hub can keep this from happening to a call that
    takes longer than the lease.
    """
    for first, second in overlaps(evidence):
        if not by_freeze(evidence, first, second):
            yield f"{first} and {second}"


def overlaps(evidence: Evidence) -> Iterator[tuple[Execution, Execution]]:
    """The executions of the same job of which the second began while the first was alive."""
    for executions in evidence.executions.values():
        for first, second in pairwise(executions):
            if second.began < first.until:
                yield first, second


def by_freeze(evidence: Evidence, first: Execution, second: Execution) -> bool:
    """Whether a worker was frozen in the midst of the first execution and still was so when the second began."""
    freezes = (one for one in evidence.struck if one.deed == "freeze")
    return any(first.began < freeze.at < second.began < freeze.until for freeze in freezes)


def what_may_not_be_repeated_ran_once(evidence: Evidence) -> Iterator[str]:
    for one, row, executions in evidence.jobs:
        if not one.planned.kind.repeatable and len(executions) > 1:
            yield f"{one.planned} ran {len(executions)} times: {executions}; {row}"


def no_attempt_ran_twice(evidence: Evidence) -> Iterator[str]:
    """There are at most as many executions as attempts, and at most as many attempts as allowed."""
    for one, row, executions in evidence.jobs:
        if not len(executions) <= row["attempt"] <= row["max_attempts"]:
            yield f"{one.planned} ran {len(executions)} times: {executions}; {row}"


def a_result_is_that_of_the_last_execution(evidence: Evidence) -> Iterator[str]:
    """What is recorded as a job's result is what the upstream gave for this very job, and nothing ran after it."""
    for one, row, executions in evidence.jobs:
        if row["status"] != "completed":
            continue
        answer = {"tag": one.planned.tag, "execution": executions[-1].name if executions else None}
        if json.loads(_text(row)) != answer or executions[-1].how != "done":
            yield f"{row['result']}, and the executions are {executions}; {row}"
        if row["result"].get("isError", False) != (one.planned.kind.name == "failing"):
            yield f"isError is wrong: {row}"


def _text(row: Row) -> str:
    result = row["result"]
    match row["job_type"]:
        case "resource_fetch":
            text = result["contents"][0]["text"]
        case "prompt_execute":
            text = result["messages"][0]["content"]["text"]
        case _:
            text = result["content"][0]["text"]
    return str(text)


def a_failure_has_its_reason(evidence: Evidence) -> Iterator[str]:
    for one, row, executions in evidence.jobs:
        if row["status"] != "failed":
            continue
        if row["error_code"] not in REASONS or not row["error"]:
            yield f"failed for no reason of this run: {row}"
        if row["error_code"] == "outcome-unknown" and not one.planned.kind.repeatable and len(executions) > 1:
            yield f"the outcome of {len(executions)} executions is unknown: {row}"
        if row["error_code"] == "run-lost" and len(executions) >= row["attempt"]:
            yield f"its run was lost, and it ran in each attempt: {executions}; {row}"


def cancelled_is_what_was_asked_for(evidence: Evidence) -> Iterator[str]:
    """By name, with the flow run that carried it, or with the one that was made for its batch before it was taken."""
    runs = {one.cancelled_run for one in evidence.submissions} - {None}
    batches = {batch for run, batch in evidence.made_for.items() if run in runs}
    for one, row, _ in evidence.jobs:
        carried_by = {row["flow_run_id"], row["lost_flow_run_id"]}
        was_asked = one.asked_to_cancel or carried_by & runs or row["batch_id"] in batches
        if row["status"] == "cancelled" and not was_asked:
            yield f"nobody cancelled {row}"
        if one.cancelled_by_api and row["status"] != "cancelled":
            yield f"the API said that it cancelled {row}"


def the_api_only_says_that_it_is_busy(evidence: Evidence) -> Iterator[str]:
    """During an outage it answers not at all, or that it can't now; it fails in no other way."""
    known = {"POST 202", "DELETE 200", "DELETE 409"} | {
        f"{method} {code}" for method in ("POST", "DELETE") for code in TRANSIENT
    }
    for one in evidence.submissions:
        for answer in one.answers:
            if answer.startswith(("POST ", "DELETE ")) and answer not in known:
                yield f"{one.planned.tag}: {answer}"


CHECKS: tuple[Check, ...] = (
    every_submission_is_one_row,
    every_job_ended,
    no_ended_job_changed,
    none_ran_twice_at_once,
    what_may_not_be_repeated_ran_once,
    no_attempt_ran_twice,
    a_result_is_that_of_the_last_execution,
    a_failure_has_its_reason,
    cancelled_is_what_was_asked_for,
    the_api_only_says_that_it_is_busy,
)


def broken(evidence: Evidence) -> dict[str, list[str]]:
    """The checks that do not hold, each with what contradicts it."""
    found = {check.__name__: list(check(evidence)) for check in CHECKS}
    return {name: contradictions for name, contradictions in found.items() if contradictions}
